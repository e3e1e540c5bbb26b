"""Deep copies of networks, those included whose weights are computed by hooks."""

import copy
from typing import Any

from torch import Tensor, nn


def deep_copy(module: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """A copy that shares nothing with ``module``.

    Hooks of torch.nn.utils (weight_norm, spectral_norm, prune) leave tensors behind that
    ``copy.deepcopy`` refuses, since a gradient could flow through them; their values are copied.

    Args:
        module: Any network or layer.
        memo: Copies so far by the id of what was copied, as of ``copy.deepcopy``; added to.
    """
    memo = {} if memo is None else memo
    for part in module.modules():
        for value in part.__dict__.values():
            if isinstance(value, Tensor) and not value.is_leaf and id(value) not in memo:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo)
