"""A network as a chain of fused blocks of ONNX operators whose channel widths are still open.

A block is the smallest piece with one tensor in and one tensor out (a stem, a residual block, a
pooled convolution, a head). The time of a single operator depends on what the runtime fuses
around it; the time of a block depends far less on its neighbours, so blocks are what is timed.
"""

from dataclasses import dataclass, replace

from edgeprune.deploy.table.graph import (
    Op,
    Shape,
    Width,
    Widths,
    describe,
    ops_at,
    settled,
    shapes_of,
)
from edgeprune.text import digest


@dataclass(frozen=True, kw_only=True)
class Block:
    """Operators in order, with one tensor in and one tensor out.

    Attributes:
        name: Where it is in the model, e.g. ``layer1.0``; not part of its identity.
        ops: The operators.
        input: Name of the tensor that comes in.
        shape: Shape of the input.
        output: Name of the tensor that goes out.
        answers: Names of further tensors of it that the network returns, or of all that it
            returns, in order, where the block is a whole network.
        rectified: Whether the input comes out of a ReLU.
    """

    name: str
    ops: tuple[Op, ...]
    input: str
    shape: Shape
    output: str
    answers: tuple[str, ...] = ()
    rectified: bool = False

    @property
    def groups(self) -> tuple[int, ...]:
        """Groups its time depends on, in order of first appearance."""
        widths = [*self.shape, *(width for op in self.ops for width in op.widths())]
        return tuple(dict.fromkeys(group for width in widths for group, _ in width.terms))

    @property
    def joined(self) -> frozenset[tuple[int, int]]:
        """Pairs of groups that some operator joins: one in what it reads, one in what it makes."""
        shapes = shapes_of(self.input, self.shape, self.ops)
        return frozenset(
            (min(source, made), max(source, made))
            for op in self.ops
            for name in op.reads
            for source in _groups(shapes[name])
            for made in (group for shape in op.shapes for group in _groups(shape))
            if source != made
        )

    @property
    def signature(self) -> str:
        """Identity with open widths: equal for blocks that differ only in their groups."""
        # Groups by order of appearance, so that only the wiring counts.
        order = {group: f"g{place}" for place, group in enumerate(self.groups)}

        def text(width: Width) -> str:
            terms = [f"{times}*{order[group]}" for group, times in width.terms]
            if width.fixed > 0 or not terms:
                terms.insert(0, str(width.fixed))
            return "+".join(terms)

        described = describe(self.input, self.shape, self.ops, text, self.answers)
        return f"rectified {described}" if self.rectified else described

    @property
    def key(self) -> str:
        """Identity of a block made by :meth:`at`: equal keys are equal work."""
        plain = describe(
            self.input, self.shape, self.ops, lambda width: str(width.fixed), self.answers
        )
        return digest(plain)

    def at(self, widths: Widths) -> "Block":
        """The block at fixed widths, see :func:`ops_at`; it may end up without operators."""
        wanted = (self.output, *self.answers)
        ops, found = ops_at(self.ops, self.input, wanted, widths, rectified=self.rectified)
        shape = settled(self.shape, widths)
        return replace(self, ops=ops, output=found[0], answers=found[1:], shape=shape)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A chain of blocks.

    Attributes:
        blocks: In order; each reads what the one before it makes. None where its graph cannot be
            cut.
        full: Width of every group in the dense network (G,).
        branches: Groups that are 0 together: a residual branch that can be dropped.
        input_shape: (N, C, H, W) of what the network reads.
        owned: Channels of a layer that one channel of a group owns (G,), 1 unless said.
        outputs: Names of the tensors that it returns, in order.
        graph: Digest of its graph where it has no blocks.
    """

    blocks: tuple[Block, ...]
    full: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    input_shape: tuple[int, ...]
    owned: tuple[int, ...] = ()
    outputs: tuple[str, ...] = ()
    graph: str = ""

    def share(self, group: int) -> int:
        """Channels of a layer that one channel of ``group`` owns."""
        return self.owned[group] if self.owned else 1

    @property
    def droppable(self) -> frozenset[int]:
        """Groups that may have width 0."""
        return frozenset(group for branch in self.branches for group in branch)

    @property
    def whole(self) -> Block:
        """The whole network as one block."""
        ops = tuple(op for block in self.blocks for op in block.ops)
        answers = self.outputs if len(self.outputs) > 1 else ()
        last = self.blocks[-1].output
        return replace(self.blocks[0], name="network", ops=ops, output=last, answers=answers)

    def at(self, widths: Widths) -> Block:
        """The whole network as one block at fixed widths (G,)."""
        return self.whole.at(widths)


def _groups(shape: Shape) -> list[int]:
    return [group for width in shape for group, _ in width.terms]
