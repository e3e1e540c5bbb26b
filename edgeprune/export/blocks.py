"""An exported network cut into the chain of blocks that the latency table times.

The graph is cut wherever a single tensor carries everything on. What lies between two cuts and
holds weights begins a block; what follows without weights (ReLU, pooling) belongs to it, except
that a global pooling or a flattening begins the head.
"""

from collections.abc import Iterator, Mapping, Sequence

from edgeprune.deploy.table.graph import Op, Shape, shapes_of
from edgeprune.deploy.table.network import Block
from edgeprune.export.open_ops import OpenOps
from edgeprune.prune.tracing.residual import common_path

_FLATTEN = "Flatten", "Reshape"


def cut(graph: OpenOps, ops: Sequence[Op]) -> tuple[Block, ...]:
    """Cut operators into blocks.

    Args:
        graph: The whole graph.
        ops: Its operators, BatchNorms folded.
    """
    shapes = shapes_of(graph.source, graph.shape, ops)
    blocks = []
    flowing, rectified = graph.source, False
    for piece in _merged(_atoms(ops, graph.source, shapes)):
        made = {name for op in piece for name in op.outputs}
        answers = tuple(name for name in graph.outputs if name in made - {piece[-1].output})
        block = Block(
            name=_path(graph, piece),
            ops=piece,
            input=flowing,
            shape=shapes[flowing],
            output=piece[-1].output,
            answers=answers,
            rectified=rectified,
        )
        blocks.append(block)
        flowing, rectified = block.output, piece[-1].kind == "Relu"
    return tuple(blocks)


def _path(graph: OpenOps, ops: Sequence[Op]) -> str:
    """Module path that all weights of these operators share."""
    makers = {name: op.reads[:1] for op in graph.folded for name in op.outputs}
    paths = []
    for op in ops:
        for one in op.constants if op.is_weighted else ():
            name = one.name
            while name in makers:
                name = makers[name][0]
            paths.append(name.rpartition(".")[0])
    return common_path([path for path in paths if path]) or ops[0].output


def _atoms(
    ops: Sequence[Op], source: str, shapes: Mapping[str, Shape]
) -> Iterator[tuple[Op, ...]]:
    """Cut after every operator behind which one tensor is all that is still read."""
    last_use = {name: place for place, op in enumerate(ops) for name in op.reads}
    alive = {source}
    atom: list[Op] = []
    for place, op in enumerate(ops):
        atom.append(op)
        alive = {name for name in (*alive, *op.outputs) if last_use.get(name, -1) > place}
        if place == len(ops) - 1 or (alive == {op.output} and _is_plain(shapes[op.output])):
            yield tuple(atom)
            atom = []


def _is_plain(shape: Shape) -> bool:
    """Whether the context of a block can make such a tensor: (N, C, H, W) or (N, C)."""
    return len(shape) in (2, 4) and not any(
        width.terms for axis, width in enumerate(shape) if axis != 1
    )


def _merged(atoms: Iterator[tuple[Op, ...]]) -> Iterator[tuple[Op, ...]]:
    """Join what has no weights to what has some."""
    block: tuple[Op, ...] = ()
    for atom in atoms:
        opens = _weighted(atom) or _opens_head(atom[0])
        if block and opens and _weighted(block):
            yield block
            block = ()
        block = (*block, *atom)
    yield block


def _weighted(ops: Sequence[Op]) -> bool:
    return any(op.is_weighted for op in ops)


def _opens_head(op: Op) -> bool:
    return op.kind == "GlobalAveragePool" or (op.kind in _FLATTEN and len(op.shape) == 2)
