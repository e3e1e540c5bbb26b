"""Operators with open widths for tests, made by hand."""

from edgeprune.deploy.table.graph import Constant, Op, Shape, Value, Width


def width(group: int) -> Width:
    return Width(0, ((group, 1),))


def shape(channels: Width, side: int = 0, batch: int = 1) -> Shape:
    """(N, C, side, side); (N, C) without a side."""
    return (Width(batch), channels, *([Width(side)] * 2 if side else ()))


def op(kind: str, inputs: str, output: str, made: Shape, **attributes: Value) -> Op:
    """An operator without constants; inputs are names with spaces between."""
    return Op(
        kind=kind,
        inputs=tuple(inputs.split()),
        outputs=(output,),
        shapes=(made,),
        attributes=tuple(sorted(attributes.items())),
    )


def linear(source: tuple[str, Width], made: tuple[str, Width]) -> Op:
    """A Gemm with weights (out, in)."""
    (name, reads), (output, channels) = source, made
    weights = Constant(shape=(channels, reads)), Constant(shape=(channels,))
    return Op(
        kind="Gemm",
        inputs=(name, *weights),
        outputs=(output,),
        shapes=(shape(channels),),
        attributes=(("transB", 1),),
    )
