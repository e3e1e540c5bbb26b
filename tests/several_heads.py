"""A small network with several heads, whose first output is the logits."""

from typing import Any

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    """A trunk with a droppable branch, a map head before it, and a classifier at the end.

    Args:
        how: ``dict``, ``tuple`` or ``nested``: how the two are returned; logits first in a dict.
    """

    def __init__(self, how: str = "dict", classes: int = 2, width: int = 48) -> None:
        super().__init__()
        self.how = how
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )
        self.inner, self.outer = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.last = nn.Conv2d(width, width, 3, padding=1)
        self.maps, self.linear = nn.Conv2d(width, 3, 1), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Any:
        x = torch.max_pool2d(self.stem(x).relu(), 2)
        maps = self.maps(x)
        x = self.last(x + self.outer(self.inner(x).relu())).relu()
        logits = self.linear(x.mean((2, 3)))
        if self.how == "dict":
            return {"class": logits, "map": maps}
        return (logits, maps) if self.how == "tuple" else (maps, [logits])
