"""Exact MACs and parameters of a population of widths, as quadratic forms.

A convolution costs output positions times weights, and a weight has as many elements as the
product of its axes, two of which are linear in the widths of the channel groups. The cost of a
network is therefore a quadratic form in the widths, with one more variable per residual branch
that is 1 while the branch is there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from edgeprune.arrays import Floats, Ints
from edgeprune.prune.models.shortcuts import ZeroPadShortcut
from edgeprune.prune.tracing.residual import Block
from edgeprune.prune.tracing.trace import Trace, Width


@dataclass(frozen=True)
class _Term:
    """``scale * left(widths) * right(widths)``, for as long as branch ``block`` is there."""

    scale: int
    left: Width
    right: Width
    block: int | None


class CostModel:
    """MACs and parameters of width vectors; counts are those of the slim model, exact.

    Counted are convolutions and linear layers that the traced graph calls, for one image, and
    the parameters of all its layers. The frozen 0/1 convolutions that stand for zero-padded
    shortcuts are left out, as published figures do, and counted apart.

    Attributes:
        macs: Settled widths (``PruningSpace.settle``), (P, G), to multiply-accumulates per image,
            (P,), int64.
        params: Settled widths to parameters, (P,), int64.
        shortcut_macs: Settled widths to MACs of the frozen 0/1 convolutions, which ``macs`` lacks.
    """

    def __init__(self, trace: Trace) -> None:
        published, padding = _weights(trace)
        weights = {**published, **_constant_weights(trace)}
        self.macs = _Sum(_macs(trace, weights), trace.groups, trace.blocks)
        self.params = _Sum(list(published.values()), trace.groups, trace.blocks)
        self.shortcut_macs = _Sum(_macs(trace, padding), trace.groups, trace.blocks)


class _Sum:
    """A sum of terms as one quadratic form z' Q z, where z = (1, widths, branches there)."""

    def __init__(
        self, terms: Sequence[_Term], groups: Sequence[object], blocks: Sequence[Block]
    ) -> None:
        self._groups = len(groups)
        self._inner = np.array([block.groups[0] for block in blocks], np.int64)
        size = 1 + len(groups) + len(blocks)
        self._form = np.zeros((size, size))
        self._cubic: list[_Term] = []
        for term in terms:
            self._add(term, blocks)

    def _add(self, term: _Term, blocks: Sequence[Block]) -> None:
        left, right = self._vector(term.left), self._vector(term.right)
        inner = () if term.block is None else blocks[term.block].groups
        if term.block is None or _vanishes(term.left, inner) or _vanishes(term.right, inner):
            self._form += term.scale * np.outer(left, right)
        elif not term.left.terms or not term.right.terms:
            constant, linear = (left, right) if not term.left.terms else (right, left)
            there = 1 + self._groups + term.block
            self._form[there] += term.scale * constant[0] * linear
        else:
            self._cubic.append(term)  # two widths and a branch: few, added one by one

    def _vector(self, width: Width) -> Floats:
        vector = np.zeros(len(self._form))
        vector[0] = width.fixed
        for group, multiple in width.terms:
            vector[1 + group] = multiple
        return vector

    def __call__(self, widths: Ints) -> Ints:
        there = widths[:, self._inner] > 0  # (P, blocks)
        z = np.concatenate([np.ones((len(widths), 1)), widths, there], 1)  # (P, 1 + G + blocks)
        # Ints stay below 2**53, so floats hold them exactly and BLAS does the work.
        total = np.einsum("pi,pi->p", z @ self._form, z)
        for term in self._cubic:
            product = (z @ self._vector(term.left)) * (z @ self._vector(term.right))
            total += term.scale * product * there[:, term.block]
        counts: Ints = np.rint(total).astype(np.int64)
        return counts


def _vanishes(width: Width, inner: Sequence[int]) -> bool:
    """Whether a width is 0 once all groups of a branch are."""
    return width.fixed == 0 and all(group in inner for group, _ in width.terms)


def _weights(trace: Trace) -> tuple[dict[str, _Term], dict[str, _Term]]:
    """One term per parameter the graph uses; those of padded shortcuts come second."""
    used = _blocks_of(trace)
    published: dict[str, _Term] = {}
    padding: dict[str, _Term] = {}
    blocks: dict[int, set[int | None]] = {}  # of every tensor, which may have several names
    for name, tensor in trace.graph.named_parameters(remove_duplicate=False):
        target = name if name in used else name.rpartition(".")[0]
        if target in used:
            blocks.setdefault(id(tensor), set()).add(used[target])
    for name, tensor in trace.graph.named_parameters():
        if found := blocks.get(id(tensor)):
            block = found.pop() if len(found) == 1 else None
            pads = isinstance(trace.graph.get_submodule(name.rpartition(".")[0]), ZeroPadShortcut)
            (padding if pads else published)[name] = _term(trace, name, tensor, block)
    return published, padding


def _constant_weights(trace: Trace) -> dict[str, _Term]:
    """One term per buffer that a layer applies as a weight, such as the filter of a blur."""
    used = _blocks_of(trace)
    return {
        name: _term(trace, name, tensor, used[owner])
        for name, tensor in trace.graph.named_buffers()
        if (owner := name.rpartition(".")[0]) in used and name.endswith(".weight")
    }


def _term(trace: Trace, name: str, tensor: Tensor, block: int | None) -> _Term:
    widths = [
        trace.tensors[name, axis].width() if (name, axis) in trace.tensors else Width(size, ())
        for axis, size in enumerate(tensor.shape[:2])
    ]
    widths += [Width(1, ())] * (2 - len(widths))  # a bias has one axis
    return _Term(math.prod(tensor.shape[2:]), widths[0], widths[1], block)


def _blocks_of(trace: Trace) -> dict[str, int | None]:
    """Branch that every module and attribute is used in, None where it is used elsewhere."""
    inside = {node: i for i, block in enumerate(trace.blocks) for node in block.branch}
    used: dict[str, int | None] = {}
    for node in trace.graph.graph.nodes:
        if node.op not in ("call_module", "get_attr"):
            continue
        users = {inside.get(user) for user in node.users} if node.op == "get_attr" else set()
        block = users.pop() if len(users) == 1 else inside.get(node)
        for name in _with_descendants(trace, str(node.target)):
            used[name] = block if used.get(name, block) == block else None
    return used


def _with_descendants(trace: Trace, target: str) -> list[str]:
    try:
        module = trace.graph.get_submodule(target)
    except AttributeError:
        return [target]
    return [f"{target}.{name}" if name else target for name, _ in module.named_modules()]


def _macs(trace: Trace, weights: dict[str, _Term]) -> list[_Term]:
    inside = {node: i for i, block in enumerate(trace.blocks) for node in block.branch}
    images = [n.meta["tensor_meta"] for n in trace.graph.graph.find_nodes(op="placeholder")]
    batch = int(images[0].shape[0]) if images else 1
    # By the tensor itself: two layers may share one, under the name of the first.
    names: dict[int, str] = {}
    for name, tensor in (*trace.graph.named_parameters(), *trace.graph.named_buffers()):
        names.setdefault(id(tensor), name)
    terms = []
    for node in trace.graph.graph.nodes:
        layer = trace.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        weight = weights.get(names.get(id(getattr(layer, "weight", None)), ""))
        if weight and (positions := _positions(trace, node, batch)):
            scale = weight.scale * positions
            terms.append(_Term(scale, weight.left, weight.right, inside.get(node)))
    return terms


def _positions(trace: Trace, node: fx.Node, batch: int) -> int:
    """How often a layer applies its weights per image, 0 for what is no matrix product.

    Windows of an image may lie on the first axis of a tensor, beside the images.
    """
    layer = trace.graph.get_submodule(str(node.target))
    if isinstance(layer, nn.Linear):
        return int(math.prod(node.meta["tensor_meta"].shape[:-1])) // batch
    if not isinstance(layer, _ConvNd):
        return 0
    at = node.all_input_nodes[0] if isinstance(layer, _ConvTransposeNd) else node
    shape = at.meta["tensor_meta"].shape
    apart = shape[: len(shape) - layer.weight.ndim + 1]  # none where one image has no such axis
    return int(math.prod(apart) * math.prod(shape[2 - layer.weight.ndim :])) // batch
