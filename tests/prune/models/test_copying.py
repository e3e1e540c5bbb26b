"""Networks whose weights hooks compute can be copied, and share nothing with the copy."""

import copy

import pytest
import torch
from torch import nn

from edgeprune.prune.models.copying import deep_copy


def test_weights_that_a_hook_computes_are_copied() -> None:
    layer, x = nn.utils.spectral_norm(nn.Linear(4, 3)).eval(), torch.ones(2, 4)
    expected = layer(x)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(layer)
    copied = deep_copy(layer)
    assert torch.equal(copied(x), expected)
    with torch.no_grad():
        copied.weight_orig.zero_()
    assert torch.equal(layer(x), expected)


def test_what_is_shared_stays_shared_across_copies_of_one_memo() -> None:
    one = nn.Linear(2, 2)
    pair, memo = nn.ModuleList([one, one]), {}
    copied = deep_copy(pair, memo)
    assert copied[0] is copied[1]
    assert deep_copy(one, memo) is copied[0]
    assert copied[0].weight is not one.weight
