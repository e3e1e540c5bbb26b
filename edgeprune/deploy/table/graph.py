"""Operators of an ONNX graph whose channel widths are still open."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgeprune.text import digest

Widths = Sequence[int] | Mapping[int, int]
_SURVIVES_ALONE = ("Add", "Concat")  # operators that go on with the inputs that are left


@dataclass(frozen=True)
class Width:
    """Channels of a tensor: ``fixed + sum(multiplicity * widths[group])``.

    Attributes:
        fixed: Channels that no group prunes.
        terms: Pairs (group, multiplicity).
    """

    fixed: int = 0
    terms: tuple[tuple[int, int], ...] = ()

    def at(self, widths: Widths) -> int:
        """Channels at ``widths``: (G,), or by group."""
        return self.fixed + sum(times * int(widths[group]) for group, times in self.terms)


Shape = tuple[Width, ...]
Value = int | float | str | tuple[int, ...] | tuple[float, ...] | Width


@dataclass(frozen=True, kw_only=True)
class Constant:
    """An input of an operator that is no tensor of the network: a weight, or sizes.

    Attributes:
        shape: Its shape.
        dtype: Type of its elements, as numpy calls it.
        sizes: Elements that follow the widths, of a vector of int64.
        content: Bytes of one that is the same at all widths; None for weights and sizes, as
            the time of an operator does not depend on the values of its weights.
        name: What the values of a real network are found by; no part of the identity.
    """

    shape: Shape
    dtype: str = "float32"
    sizes: Shape | None = None
    content: bytes | None = None
    name: str = field(default="", compare=False)

    @property
    def is_weight(self) -> bool:
        """Whether its values are those of a trained network."""
        return self.sizes is None and self.content is None

    def at(self, widths: Widths) -> "Constant":
        """The constant at fixed widths."""
        sizes = None if self.sizes is None else settled(self.sizes, widths)
        return replace(self, shape=settled(self.shape, widths), sizes=sizes)


@dataclass(frozen=True, kw_only=True)
class Op:
    """One ONNX operator.

    Attributes:
        kind: ONNX operator type.
        inputs: In the order of ONNX: names of tensors, constants, ``""`` for one left out.
        outputs: Names of the tensors it makes.
        shapes: Their shapes.
        attributes: ONNX attributes, sorted by name; a :class:`Width` follows the widths.
    """

    kind: str
    inputs: tuple[str | Constant, ...]
    outputs: tuple[str, ...]
    shapes: tuple[Shape, ...]
    attributes: tuple[tuple[str, Value], ...] = ()

    @property
    def output(self) -> str:
        """The tensor it makes; the last one where it makes several."""
        return self.outputs[-1]

    @property
    def shape(self) -> Shape:
        """Shape of :attr:`output`."""
        return self.shapes[-1]

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tensors it reads."""
        return tuple(one for one in self.inputs if isinstance(one, str) and one)

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The constants it reads."""
        return tuple(one for one in self.inputs if isinstance(one, Constant))

    @property
    def is_weighted(self) -> bool:
        """Whether it joins channels by weights, as a convolution or a matrix product does."""
        return self.kind in ("Conv", "ConvTranspose", "Gemm", "MatMul") and any(
            constant.is_weight for constant in self.constants
        )

    @property
    def plain_attributes(self) -> dict[str, Any]:
        """Its attributes as ONNX takes them, at fixed widths."""
        return {
            name: value.fixed if isinstance(value, Width) else value
            for name, value in self.attributes
        }

    def widths(self) -> Iterator[Width]:
        """Every width that its work depends on."""
        for shape in (*self.shapes, *(constant.shape for constant in self.constants)):
            yield from shape
        yield from (value for _, value in self.attributes if isinstance(value, Width))

    def at(self, widths: Widths, inputs: Sequence[str | Constant]) -> "Op":
        """The operator at fixed widths, on other inputs; outputs without channels are gone."""
        shapes = [settled(shape, widths) for shape in self.shapes]
        left = [place for place, shape in enumerate(shapes) if not is_gone(shape)]
        constants = [one.at(widths) if isinstance(one, Constant) else one for one in inputs]
        if len(left) < len(shapes):  # a Split: no size for what is gone
            constants = [_without_zeros(one) for one in constants]
        return replace(
            self,
            inputs=tuple(constants),
            outputs=tuple(self.outputs[place] for place in left),
            shapes=tuple(shapes[place] for place in left),
            attributes=tuple(
                (name, value.at(widths) if isinstance(value, Width) else value)
                for name, value in self.attributes
            ),
        )


def settled(shape: Shape, widths: Widths) -> Shape:
    """A shape at fixed widths."""
    return tuple(Width(width.at(widths)) for width in shape)


def sizes_of(shape: Shape) -> tuple[int, ...]:
    """The sizes of a shape at fixed widths."""
    return tuple(width.fixed for width in shape)


def is_gone(shape: Shape) -> bool:
    """Whether a tensor at fixed widths has no channels left."""
    return math.prod(sizes_of(shape)) == 0


def shapes_of(source: str, shape: Shape, ops: Iterable[Op]) -> dict[str, Shape]:
    """Shapes of the tensor that comes in and of all that operators make, by name."""
    made = {name: s for op in ops for name, s in zip(op.outputs, op.shapes, strict=True)}
    return {source: shape, **made}


def ops_at(
    ops: Sequence[Op],
    source: str,
    outputs: Sequence[str],
    widths: Widths,
    *,
    rectified: bool = False,
) -> tuple[tuple[Op, ...], tuple[str, ...]]:
    """Operators at fixed widths, (G,) or by group, without those that have nothing to do.

    A tensor of width 0 is gone, and so is every operator that needs it; of a sum or a
    concatenation the other terms stay; a ReLU that then follows a ReLU goes as well.

    Args:
        ops: Operators in order.
        source: The tensor that comes in.
        outputs: The tensors that are wanted.
        widths: The widths.
        rectified: Whether ``source`` comes out of a ReLU.

    Returns:
        What is left, perhaps nothing, and the tensors that stand for ``outputs``.
    """
    names = {source: source, "": ""}  # what is left of a tensor, by its name in ``ops``
    positive = {source} if rectified else set[str]()
    left: list[Op] = []
    for op in ops:
        survivors = [
            names[one] if isinstance(one, str) else one
            for one in op.inputs
            if isinstance(one, Constant) or one in names
        ]
        whole = len(survivors) == len(op.inputs)
        alone = op.kind in _SURVIVES_ALONE and any(isinstance(one, str) for one in survivors)
        fixed = op.at(widths, survivors)
        if not fixed.outputs or not (whole or alone):
            continue
        first = survivors[0] if survivors else ""
        # Where the convolution before it is gone, a ReLU may follow a ReLU.
        again = op.kind == "Relu" and first != op.inputs[0] and first in positive
        if (whole or len(survivors) > 1) and not again:
            if op.kind == "Relu":
                positive.add(op.output)
            names.update((name, name) for name in fixed.outputs)
            left.append(fixed)
        else:
            names[op.output] = str(first)
    found = tuple(names[output] for output in outputs)
    return needed(left, found), found


def needed(ops: Sequence[Op], outputs: Iterable[str]) -> tuple[Op, ...]:
    """The operators that ``outputs`` depend on, in order."""
    wanted = set(outputs)
    kept: list[Op] = []
    for op in reversed(ops):
        if not wanted.isdisjoint(op.outputs):
            wanted.update(op.reads)
            kept.append(op)
    return tuple(reversed(kept))


def describe(
    source: str,
    shape: Shape,
    ops: Iterable[Op],
    text: Callable[[Width], str],
    answers: Sequence[str] = (),
) -> str:
    """Operators in words that do not depend on the names of tensors, and which are answers."""

    def sizes(shape: Shape) -> str:
        return "x".join(map(text, shape))

    def plain(value: Value) -> str:
        if isinstance(value, Width):
            return text(value)
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def constant(one: Constant) -> str:
        if one.sizes is not None:
            return f"({sizes(one.sizes)})"
        values = "" if one.content is None else f"={digest(one.content)}"
        return f"{one.dtype}:{sizes(one.shape)}{values}"

    places = {source: "x", "": ""}
    lines = [sizes(shape)]
    for op in ops:
        attributes = [f"{name}={plain(value)}" for name, value in op.attributes]
        inputs = [places[one] if isinstance(one, str) else constant(one) for one in op.inputs]
        made = ",".join(map(sizes, op.shapes))
        lines.append(f"{op.kind}[{' '.join(attributes)}]({','.join(inputs)})>{made}")
        places.update((name, str(len(places))) for name in op.outputs)
    if answers:
        lines.append(f"answers {','.join(places[name] for name in answers)}")
    return " ".join(lines)


def _without_zeros(one: str | Constant) -> str | Constant:
    if isinstance(one, str) or one.sizes is None:
        return one
    sizes = tuple(width for width in one.sizes if width.fixed)
    return replace(one, sizes=sizes, shape=(Width(len(sizes)),))
