"""A teacher's answers, kept by batch: networks that learn from the same batches ask it once."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from torch import Tensor, nn

from edgeprune.prune.models.outputs import tensors


@dataclass
class Answered:
    """What one teacher in evaluation mode answered to batches that may come again.

    Trainings of one seed take the same images, cropped and mirrored alike, in the same order. The
    pixels themselves are the key, so that whatever differs is asked. On a GPU nothing is kept:
    reading the pixels would make it wait.

    Attributes:
        most: Bytes of answers that are kept; what comes after that is asked each time.
        held: Bytes that are.
    """

    most: int = 1 << 28
    held: int = 0
    _known: dict[bytes, Any] = field(default_factory=dict)

    def __call__(self, teacher: nn.Module, pixels: Tensor) -> Any:
        """The teacher's answer to pixels (N, C, H, W) in channels_last; call without gradients."""
        if pixels.device.type != "cpu":
            return teacher(pixels)
        hashed = blake2b(str(pixels.shape).encode())
        hashed.update(pixels.permute(0, 2, 3, 1).contiguous().numpy().data)
        key = hashed.digest()
        if key in self._known:
            return self._known[key]
        answer = teacher(pixels)
        size = sum(output.nbytes for output in tensors(answer))
        if self.held + size <= self.most:
            self._known[key] = answer
            self.held += size
        return answer
