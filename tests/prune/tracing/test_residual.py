"""Which branches of an addition can be dropped, and what they are called."""

import pytest
import torch
from torch import Tensor, nn

from edgeprune.prune.tracing.residual import common_path
from edgeprune.prune.tracing.trace import trace


@pytest.mark.parametrize(
    ("paths", "shared"),
    [
        (["layer1.0.conv1", "layer1.0.bn1"], "layer1.0"),
        (["layer1.0.conv1"], "layer1.0.conv1"),
        (["layer1.0", "layer10.0"], ""),
        ([], ""),
    ],
)
def test_the_common_path_ends_at_a_dot(paths: list[str], shared: str) -> None:
    assert common_path(paths) == shared


class _Twice(nn.Module):
    """Two additions; the second branch's result may also be read from outside."""

    def __init__(self, leaks: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.a = nn.Sequential(nn.Conv2d(4, 5, 1), nn.Conv2d(5, 4, 1))
        self.b = nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 1))
        self.leaks = leaks

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.a(x)
        branch = self.b(x)
        x = x + branch
        return x * branch.mean((2, 3), keepdim=True) if self.leaks else x


@pytest.mark.parametrize(("leaks", "names"), [(False, ["a", "b"]), (True, ["a"])])
def test_a_branch_that_others_read_cannot_be_dropped(leaks: bool, names: list[str]) -> None:
    traced = trace(_Twice(leaks).eval(), torch.zeros(1, 3, 4, 4))
    assert [block.name for block in traced.blocks] == names


def test_two_branches_of_one_path_get_two_names() -> None:
    class Paired(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)
            widths = ((4, 5), (5, 4), (4, 6), (6, 4))
            self.pair = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in widths)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = x + self.pair[1](self.pair[0](x))
            return x + self.pair[3](self.pair[2](x))

    traced = trace(Paired().eval(), torch.zeros(1, 3, 4, 4))
    assert [block.name for block in traced.blocks] == ["pair", "pair#2"]
    assert [group.block for group in traced.groups] == ["pair", "pair#2"]
