"""Proof that a traced network slims exactly: groups for which it fails are left whole."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from edgeprune.prune.slimming.rewriting import Kept
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan, check
from edgeprune.prune.tracing.fx_graph import NOT_OF_TRACING
from edgeprune.prune.tracing.propagation import Unfollowed
from edgeprune.prune.tracing.trace import Trace, trace


def proven(model: nn.Module, example: Tensor) -> Trace:
    """Trace a model, and leave every group whole whose slimming gives other answers.

    One plan that keeps every second channel is compared with the dense network whose removed
    channels are zero wherever they are carried; where the two differ, each group by itself.

    Args:
        model: As for :func:`trace`.
        example: An input, batch first; only its shape, dtype and device matter.

    Raises:
        InputError: the model does not accept ``example``.
    """
    traced = trace(model, example)
    if not traced.groups or _is_exact(traced, example, [g.name for g in traced.groups]):
        return traced
    failing = [g.name for g in traced.groups if not _is_exact(traced, example, [g.name])]
    # Groups may be right one by one and wrong together: then none of them can be trusted.
    kept = trace(model, example, whole=failing)
    if kept.groups and not _is_exact(kept, example, [g.name for g in kept.groups]):
        failing = [g.name for g in traced.groups]
        kept = trace(model, example, whole=failing)
    reason = "slimming it was tried and gives other answers than the masked network"
    named = tuple(Unfollowed(name, "?", reason) for name in failing)
    return replace(kept, unfollowed=(*kept.unfollowed, *named))


def carried(traced: Trace, plan: PruningPlan, example: Tensor) -> Any:
    """What the dense network answers with removed channels at zero wherever they are carried.

    This looks at no layer, only at what flows, so it judges the slicing of every kind of layer.
    """
    with torch.no_grad():
        return _Carried(traced, plan).run(example.clone())


class _Carried(fx.Interpreter):
    def __init__(self, traced: Trace, plan: PruningPlan) -> None:
        super().__init__(traced.graph)
        self._kept = Kept(traced, check(plan, traced.groups))
        self._joins = {b.join: b.kept for b in traced.blocks if self._kept.dropped(b)}

    def run_node(self, n: fx.Node) -> Any:
        if n in self._joins:
            return self.env[self._joins[n]].clone()
        found = super().run_node(n)
        axis, stay = self._kept.of(n)
        if axis is None or stay.all():
            return found
        mask = torch.from_numpy(stay).to(found.device)
        mask = mask.view([-1 if d == axis else 1 for d in range(found.ndim)])
        # In place, as aliases of the tensor must see it; an expanded one has none to see it.
        return found * mask if 0 in found.stride() else found.mul_(mask)


def _is_exact(traced: Trace, example: Tensor, halved: list[str]) -> bool:
    """Whether the network without every second channel of these groups answers as the masked."""
    kept = {g.name: tuple(range(0, g.width, 2 if g.name in halved else 1)) for g in traced.groups}
    plan = PruningPlan(model="proof", kept=kept)
    generator = torch.Generator().manual_seed(0)
    x = example.detach().clone()
    if x.is_floating_point():
        x = torch.randn(x.shape, generator=generator).to(x)
    try:
        with torch.no_grad():
            thin = slim(traced, plan, fold_constants=False).eval()
            found, expected = tree_leaves(thin(x.clone())), tree_leaves(carried(traced, plan, x))
    except NOT_OF_TRACING:
        raise
    except Exception:
        return False  # a slim network that cannot run is no slim network
    return all(map(_agree, found, expected))


def _agree(found: Any, expected: Any) -> bool:
    if not isinstance(found, Tensor) or not found.is_floating_point():
        return True
    # A third of the digits: sums over fewer channels are rounded otherwise.
    limit = torch.finfo(found.dtype).eps ** (1 / 3)
    found, expected = found.nan_to_num().double(), expected.nan_to_num().double()
    return bool((found - expected).norm() <= limit * expected.norm())
