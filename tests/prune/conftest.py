"""The network whose channels are judged by hand."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Judged(nn.Module):
    """One residual stream (stem), one branch group (conv1), one group of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv1, self.bn1 = nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.conv2, self.bn2 = nn.Conv2d(5, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.hidden, self.out = nn.Linear(6, 4), nn.Linear(4, 3)

    def maps(self, x: Tensor) -> dict[str, list[Tensor]]:
        """The maps of each group, once more and without the library."""
        first = F.relu(self.bn0(self.stem(x)))
        branch = F.relu(self.bn1(self.conv1(first)))
        second = F.relu(self.bn2(self.conv2(branch)) + first)
        hidden = F.relu(self.hidden(second.mean((2, 3))))
        return {"stem": [first, second], "conv1": [branch], "hidden": [hidden[:, :, None, None]]}

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.bn0(self.stem(x)))
        branch = F.relu(self.bn1(self.conv1(first)))
        second = F.relu(self.bn2(self.conv2(branch)) + first)
        logits: Tensor = self.out(F.relu(self.hidden(second.mean((2, 3)))))
        return logits


@pytest.fixture
def judged() -> Callable[[float], nn.Module]:
    """Makes the network, evaluating; its BatchNorm scales lie between a number and 1.5."""

    def make(least_scale: float) -> nn.Module:
        torch.manual_seed(3)
        model = Judged()
        for norm in (model.bn0, model.bn1, model.bn2):
            nn.init.uniform_(norm.weight, least_scale, 1.5)
            nn.init.uniform_(norm.bias, -0.3, 0.3)
        return model.eval()

    return make
