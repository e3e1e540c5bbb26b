"""Values that pass along a graph, and what is kept where no rule knows an operator."""

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.prune.tracing.calls import Plain, depends, leaves, plain
from edgeprune.prune.tracing.coupling import Flow
from edgeprune.prune.tracing.trace import trace

FLOW = Flow((1, 3), 1, np.array([4, 5, 6]))
SIZE = Plain(3, np.array([5, 4]))


def test_values_are_found_wherever_they_hide() -> None:
    hidden = ([FLOW, 7], {"dim": SIZE}, slice(None, SIZE, 2))
    assert list(leaves(hidden)) == [FLOW, SIZE, SIZE]
    assert depends(hidden).tolist() == [4, 5]
    assert depends((FLOW, 7)).size == 0


def test_plain_content_has_ids_in_the_place_of_tensors() -> None:
    content = plain((SIZE, slice(SIZE, None), [FLOW]))
    assert content[:2] == (3, slice(3, None))
    assert content[2][0].tolist() == [[4, 5, 6]]


def test_an_unknown_operator_keeps_what_it_touches_and_nothing_else() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)
            self.out, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.out(torch.cumsum(self.two(self.one(x)), 1)))

    traced = trace(Odd().eval(), torch.zeros(1, 3, 4, 4))
    assert [group.name for group in traced.groups] == ["one", "out"]
    [unfollowed] = traced.unfollowed
    assert unfollowed.reason == "no rule for cumsum"
    assert unfollowed.source.startswith("tracing/test_propagation.py:")
