"""The weights of a slim network as its ONNX graph wants them: transposed, BatchNorm folded."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import numpy as np
from onnx import helper
from torch import Tensor, nn

from edgeprune.deploy.table.assemble import Weights
from edgeprune.deploy.table.graph import Constant, Op, Shape, Width, is_gone, settled, sizes_of
from edgeprune.export.onnx_rules import CannotCutError, run

_OUT = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0}  # axis of a weight that BatchNorm scales


@dataclass(frozen=True)
class Fold:
    """A BatchNorm that goes into the weights of the operator before it.

    Attributes:
        weight: Name of the weight, before and after.
        bias: Names of the bias, empty without one, and of what it becomes.
        norm: Names of scale, shift, mean and variance.
        axis: Axis of the weight that is scaled.
        epsilon: What is added to the variance.
    """

    weight: str
    bias: tuple[str, str]
    norm: tuple[str, str, str, str]
    axis: int
    epsilon: float

    def into(self, values: dict[str, Any]) -> None:
        """Put the new weight and bias among the values, unless a part of them is gone."""
        if not values.keys() >= {self.weight, *self.norm}:
            return
        scale, shift, mean, variance = (values[name].astype(np.float64) for name in self.norm)
        factor = scale / np.sqrt(variance + self.epsilon)  # (O,)
        weight = values[self.weight]
        view = [-1 if d == self.axis else 1 for d in range(weight.ndim)]
        values[self.weight] = (weight * factor.reshape(view)).astype(np.float32)
        bias = values[self.bias[0]] if self.bias[0] else 0.0
        values[self.bias[1]] = ((bias - mean) * factor + shift).astype(np.float32)


@dataclass(frozen=True)
class CutWeights:
    """How the weights of the graph come from those of a torch network.

    Attributes:
        given: Shapes of the parameters and buffers, by name.
        aliases: Other names of each of them.
        fills: Shape and value of weights that are one number throughout, by name.
        folded: Operators that make weights of weights, in order.
        folds: BatchNorms that go into other weights.
        full: Channels of every group (G,).
    """

    given: Mapping[str, Shape]
    aliases: Mapping[str, Sequence[str]]
    fills: Mapping[str, tuple[Shape, float]]
    folded: Sequence[Op]
    folds: Sequence[Fold]
    full: tuple[int, ...]

    def of(self, network: nn.Module) -> tuple[tuple[int, ...], Weights]:
        """The widths (G,) of a slim network, and the weights of its graph by name.

        A group that no weight of the network shows was dropped: its width is 0.

        Raises:
            CannotCutError: the weights fit no widths.
        """
        values: dict[str, Any] = {}
        for name in self.given:
            tensor = _tensor(network, (name, *self.aliases.get(name, ())))
            if tensor is not None:
                values[name] = tensor.detach().cpu().float().numpy()
        widths = self._widths(values)
        for name, (shape, value) in self.fills.items():
            values[name] = np.full(sizes_of(settled(shape, widths)), value, np.float32)
        for op in self.folded:
            fixed = op.at(widths, op.inputs)
            if all(name in values for name in fixed.reads) and not is_gone(fixed.shape):
                values.update(zip(fixed.outputs, _made(fixed, values), strict=True))
        for fold in self.folds:
            fold.into(values)
        return widths, values

    def _widths(self, values: Mapping[str, Any]) -> tuple[int, ...]:
        for name, value in values.items():
            if value.ndim != len(self.given[name]):
                raise CannotCutError(f"{name} has {value.ndim} axes, not {len(self.given[name])}")
        found: dict[int, int] = {}
        sizes = [
            (name, width, size)
            for name, value in values.items()
            for width, size in zip(self.given[name], value.shape, strict=True)
        ]
        open_ = [entry for entry in sizes if entry[1].terms]
        for _ in range(len(self.full)):  # a size of several groups, once all but one are known
            for _, width, size in open_:
                unknown = [term for term in width.terms if term[0] not in found]
                if len(unknown) == 1:
                    ((group, times),) = unknown
                    rest = Width(width.fixed, tuple(t for t in width.terms if t[0] in found))
                    found[group] = (size - rest.at(found)) // times
        widths = tuple(found.get(group, 0) for group in range(len(self.full)))
        for name, width, size in sizes:
            if width.at(widths) != size:
                raise CannotCutError(f"{name} has {size} channels, not {width.at(widths)}")
        return widths


def _tensor(network: nn.Module, names: Sequence[str]) -> Tensor | None:
    for name in names:
        with suppress(AttributeError):
            found = attrgetter(name)(network)
            if isinstance(found, Tensor):
                return found
    return None


def _made(op: Op, values: Mapping[str, Any]) -> list[Any]:
    """What an operator at fixed widths makes of weights."""
    feeds, names = dict(values), []
    for place, one in enumerate(op.inputs):
        if isinstance(one, str):
            names.append(one)
            continue
        names.append(f"#{place}")
        if one.sizes is not None:
            feeds[names[-1]] = np.array(sizes_of(one.sizes), np.int64)
        elif one.content is not None:
            shape = sizes_of(one.shape)
            feeds[names[-1]] = np.frombuffer(one.content, one.dtype).reshape(shape)
        else:
            names[-1] = one.name
    return run(helper.make_node(op.kind, names, list(op.outputs), **op.plain_attributes), feeds)


@dataclass(frozen=True)
class Folded:
    """Operators without the BatchNorms that went into the weights before them.

    Attributes:
        ops: What is left.
        folds: How the weights come about.
    """

    ops: tuple[Op, ...]
    folds: list[Fold] = field(default_factory=list)


def without_norms(ops: Sequence[Op], outputs: Collection[str]) -> Folded:
    """Fold every BatchNorm that alone reads an operator with weights of its own into it.

    Args:
        ops: Operators in order.
        outputs: What has to stay.
    """
    readers: dict[str, list[Op]] = {}
    uses: dict[str, int] = {}
    for op in ops:
        for name in op.reads:
            readers.setdefault(name, []).append(op)
        for one in op.constants:
            uses[one.name] = uses.get(one.name, 0) + 1
    found = Folded(())
    made: dict[str, Op] = {}
    gone: set[str] = set()
    for op in ops:
        after = readers.get(op.output, [])
        norm = after[0] if len(after) == 1 and after[0].kind == "BatchNormalization" else None
        if norm is None or op.output in outputs or not _takes(op, uses):
            made[op.output] = made.get(op.output, op)
            continue
        made[norm.output] = _join(op, norm, found.folds)
        gone.add(op.output)
    kept = [made[op.output] for op in ops if op.output not in gone]
    return replace(found, ops=tuple(kept))


def _takes(op: Op, uses: Mapping[str, int]) -> bool:
    constants = op.constants
    if op.kind not in _OUT or not constants or any(uses[one.name] > 1 for one in constants):
        return False
    if op.kind == "Gemm" and dict(op.attributes).get("transB") != 1:
        return False
    grouped = op.kind == "ConvTranspose" and "group" in dict(op.attributes)
    return not grouped and all(one.is_weight for one in constants) and len(op.reads) == 1


def _join(op: Op, norm: Op, folds: list[Fold]) -> Op:
    weight, bias = op.constants[0], op.constants[1] if len(op.constants) > 1 else None
    names = tuple(one.name for one in norm.constants)
    scale = norm.constants[0]
    fold = Fold(
        weight=weight.name,
        bias=(bias.name if bias else "", f"{weight.name.removesuffix('.weight')}.bias"),
        norm=(names[0], names[1], names[2], names[3]),
        axis=_OUT[op.kind],
        epsilon=float(dict(norm.attributes).get("epsilon", 1e-5)),  # type: ignore[arg-type]
    )
    folds.append(fold)
    inputs = op.inputs[0], weight, Constant(shape=scale.shape, name=fold.bias[1])
    return replace(op, inputs=inputs, outputs=norm.outputs, shapes=norm.shapes)
