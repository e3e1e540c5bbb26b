"""An ONNX model as a torch module, so that it is evaluated like the network it came from."""

from typing import Any, Self

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.target import Runtime


class OnnxNetwork(nn.Module):
    """Runs an ONNX model of batch 1 on images one by one, opened as on the target.

    Args:
        proto: The model; one image input.
        runtime: How it is opened.
    """

    def __init__(self, proto: onnx.ModelProto, runtime: Runtime) -> None:
        super().__init__()
        self._session = open_session(proto.SerializeToString(), runtime)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The output for images (N, C, H, W), or several, on the device of the images."""
        each = [self._session.outputs(image[None]) for image in images.cpu().float().numpy()]
        joined = (torch.from_numpy(np.concatenate(one)) for one in zip(*each, strict=True))
        found = tuple(output.to(images.device) for output in joined)
        return found[0] if len(found) == 1 else found

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The same one: a session has no state that a run changes."""
        return self
