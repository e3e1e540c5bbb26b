"""Folding of the constants that removed channels sent on into the biases that follow.

With its BatchNorm weight at zero a channel still sends on its BatchNorm shift: a constant. Where
the next layer reads it without spatial padding, its effect is a constant too and moves into that
layer's bias, or into the running mean of the BatchNorm that follows. Elsewhere it is left to
BatchNorm recalibration.
"""

import math
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from edgeprune.prune.slimming.rewriting import Kept
from edgeprune.prune.tracing import function_rules, module_rules
from edgeprune.prune.tracing.trace import Trace


def fold_into(slim: nn.Module, traced: Trace, kept: Kept) -> None:
    """Fold constants into ``slim``, a fresh slim model, in place, where that is exact.

    The result equals the dense model with the BatchNorm weights of removed channels at zero and
    their BatchNorm biases as they were, up to the places where folding is not exact.
    """
    shifts = _Shifts(traced, kept)
    for node, shift in shifts.measure().items():
        axis, stay = kept.of(node)
        left = shift if axis is None else shift[torch.from_numpy(stay).to(shift.device)]
        layer: Any = slim.get_submodule(str(node.target))
        with torch.no_grad():
            if layer.bias is not None:
                layer.bias += left
            elif (norm := shifts.norm_after(node)) is not None:
                mean: Any = slim.get_submodule(norm).running_mean
                mean -= left


class _Shifts(fx.Interpreter):
    """Runs the dense graph on NaN: what is not NaN afterwards does not depend on the input.

    Layers with weights return NaN and, for removed channels, what they send on at zero weight:
    BatchNorms their bias, layers without a bias nothing. Every other operator runs as it is.
    """

    def __init__(self, traced: Trace, kept: Kept) -> None:
        super().__init__(traced.graph)
        self._traced = traced
        self._kept = kept
        self._gone = {n for b in traced.blocks if kept.dropped(b) for n in b.branch}
        self._joins = {b.join: b.kept for b in traced.blocks if kept.dropped(b)}
        nodes = traced.graph.graph.nodes
        self._calls = Counter(str(n.target) for n in nodes if n.op == "call_module")
        self._found: dict[fx.Node, Tensor] = {}

    def measure(self) -> dict[fx.Node, Tensor]:
        """What removed inputs add to each output channel of a layer, dense positions, (C,)."""
        device = next(self._traced.model.parameters()).device
        with torch.no_grad():
            self.run(
                *(
                    torch.full(meta.shape, torch.nan, dtype=meta.dtype, device=device)
                    for node in self._traced.graph.graph.nodes
                    if node.op == "placeholder" and (meta := node.meta["tensor_meta"])
                )
            )
        return self._found

    def norm_after(self, node: fx.Node) -> str | None:
        """Name of the BatchNorm that alone reads a layer's output and can take its shift."""
        users = list(node.users)
        if len(users) != 1 or users[0].op != "call_module":
            return None
        name = str(users[0].target)
        norm = self.module.get_submodule(name)
        fits = isinstance(norm, _BatchNorm) and norm.running_mean is not None
        return name if fits and self._calls[name] == 1 else None

    def run_node(self, n: fx.Node) -> Any:
        """The value of one node, or what is known of it without the input."""
        if n in self._joins:
            return self.env[self._joins[n]]
        if n.op == "call_module":
            layer = self.module.get_submodule(str(n.target))
            if isinstance(layer, (_ConvNd, nn.Linear)):
                source = self.env[n.all_input_nodes[0]]
                if n not in self._gone and self._calls[str(n.target)] == 1:
                    self._note(n, layer, source)
                # Without a bias of its own a channel at zero weight sends on nothing.
                result = source.new_full(n.meta["tensor_meta"].shape, torch.nan)
                return result if layer.bias is not None else self._with(n, result, None)
            if isinstance(layer, _BatchNorm):
                result = torch.full_like(self.env[n.all_input_nodes[0]], torch.nan)
                return self._with(n, result, layer.bias)
            known = module_rules.rule_for(layer) is not None
        else:
            known = not n.op.startswith("call") or function_rules.has_rule(n)
        return super().run_node(n) if known else self._unknown(n.meta["value"])

    def _with(self, node: fx.Node, result: Tensor, shift: Tensor | None) -> Tensor:
        """``result`` with the removed channels at their constant, 0 without a shift."""
        axis, stay = self._kept.of(node)
        if axis is not None:
            gone = torch.from_numpy(np.flatnonzero(~stay)).to(result.device)
            channels = result.movedim(axis, -1)
            channels[..., gone] = 0 if shift is None else shift.detach()[gone]
        return result

    def _unknown(self, meta: Any) -> Any:
        """NaN in the place of every tensor that an operator without a rule returned."""
        if hasattr(meta, "memory_format"):
            device = next(self._traced.model.parameters()).device
            fill = torch.nan if meta.dtype.is_floating_point else 0
            return torch.full(meta.shape, fill, dtype=meta.dtype, device=device)
        return tuple(map(self._unknown, meta)) if type(meta) in (tuple, list) else meta

    def _note(self, node: fx.Node, layer: Any, source: Tensor) -> None:
        axis, stay = self._kept.of(node.all_input_nodes[0])
        if axis is None or not _reads_without_padding(layer):
            return
        table = source.movedim(axis, 0).flatten(1)  # (C, everything else)
        constant = (table == table[:, :1]).all(1) & torch.from_numpy(~stay).to(source.device)
        values = torch.where(constant, table[:, 0], 0)  # (C,)
        if bool(values.any()):
            self._found[node] = _applied(layer, values)


def _applied(layer: Any, values: Tensor) -> Tensor:
    """What a layer makes of an input that is constant over space, without its bias, (C,)."""
    groups = getattr(layer, "groups", 1)
    weight = layer.weight.detach()
    # weight (out, in / groups, *kernel) -> (groups, out / groups, in / groups): summed over space
    weight = weight.reshape(groups, -1, weight.shape[1], math.prod(weight.shape[2:])).sum(3)
    return torch.einsum("goc,gc->go", weight, values.view(groups, -1)).flatten()


def _reads_without_padding(layer: Any) -> bool:
    if isinstance(layer, nn.Linear):
        return True
    padding = layer.padding
    padded = padding != "valid" and any(p != 0 for p in padding)
    return not padded and not isinstance(layer, _ConvTransposeNd)
