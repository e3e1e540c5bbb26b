"""An ONNX model as a torch module, so that it is evaluated like the network it came from."""

from typing import Any, Self

import onnx
import torch
from torch import Tensor, nn

from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.target import Runtime


class OnnxNetwork(nn.Module):
    """Runs an ONNX model of batch 1 on images one by one, opened as on the target.

    Args:
        proto: The model; one image input, logits out.
        runtime: How it is opened.
    """

    def __init__(self, proto: onnx.ModelProto, runtime: Runtime) -> None:
        super().__init__()
        self._session = open_session(proto.SerializeToString(), runtime)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W), float32 on the device of the images."""
        found = self._session.answers(image[None] for image in images.cpu().float().numpy())
        return torch.from_numpy(found).to(images.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The same one: a session has no state that a run changes."""
        return self
