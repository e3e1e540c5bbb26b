"""A network as exported: in torch, as an ONNX model in fp32, and perhaps in int8."""

from dataclasses import dataclass
from pathlib import Path

import onnx
from torch import nn

from edgeprune.export.int8 import Int8Model


@dataclass(frozen=True)
class Exported:
    """A network, the ONNX model that it became, and the checkpoint file that it comes from.

    Attributes:
        model: The network.
        proto: The same in fp32.
        parent: File of its checkpoint.
        int8: The same in int8, which is then what is shipped.
        twin_sha256: Hash of the fp32 file beside an int8 one.
    """

    model: nn.Module
    proto: onnx.ModelProto
    parent: Path | None = None
    int8: Int8Model | None = None
    twin_sha256: str | None = None

    @property
    def shipped(self) -> onnx.ModelProto:
        """What the file holds."""
        return self.int8.quantised.proto if self.int8 else self.proto
