"""A network as a chain of fused blocks of ONNX operators whose channel widths are still open.

A block is the smallest piece with one tensor in and one tensor out (a stem, a residual block, a
pooled convolution, a head). The time of a single operator depends on what the runtime fuses
around it; the time of a block depends far less on its neighbours, so blocks are what is timed.

BatchNorm is already folded into convolutions here, and shortcuts are convolutions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

Value = int | float | tuple[int, ...]
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


@dataclass(frozen=True, kw_only=True)
class Op:
    """One ONNX operator; a ``Conv`` or ``Gemm`` brings its weight and bias along.

    Attributes:
        kind: ONNX operator type.
        inputs: Names of the tensors it reads.
        output: Name of the tensor it makes.
        width: Channels (or features) of its output.
        attributes: ONNX attributes, sorted by name. ``Clip`` takes ``min`` and ``max`` here.
        grouping: Groups of a convolution; of a depthwise one they follow the widths.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    width: Width
    attributes: tuple[tuple[str, Value], ...] = ()
    grouping: Width = Width(1)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Operators in order, with one tensor in and one tensor out.

    Attributes:
        name: Where it is in the model, e.g. ``layer1.0``; not part of its identity.
        ops: The operators; the last one makes the output.
        input: Name of the tensor that comes in.
        input_width: Channels of the input.
        spatial: Height and width of the input, empty where it is flat.
        rectified: Whether the input comes out of a ReLU.
    """

    name: str
    ops: tuple[Op, ...]
    input: str
    input_width: Width
    spatial: tuple[int, ...]
    rectified: bool = False

    @property
    def output(self) -> str:
        """Name of the tensor that goes out."""
        return self.ops[-1].output if self.ops else self.input

    @property
    def groups(self) -> tuple[int, ...]:
        """Groups its time depends on, in order of first appearance."""
        widths = [self.input_width, *(w for op in self.ops for w in (op.width, op.grouping))]
        return tuple(dict.fromkeys(group for width in widths for group, _ in width.terms))

    @property
    def joined(self) -> frozenset[tuple[int, int]]:
        """Pairs of groups that some operator joins: one in what it reads, one in what it makes."""
        widths = {self.input: self.input_width} | {op.output: op.width for op in self.ops}
        return frozenset(
            (min(source, made), max(source, made))
            for op in self.ops
            for name in op.inputs
            for source, _ in widths[name].terms
            for made, _ in op.width.terms
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

        described = _describe(self, text)
        return f"rectified {described}" if self.rectified else described

    @property
    def key(self) -> str:
        """Identity of a block made by :meth:`at`: equal keys are equal work."""
        return _describe(self, lambda width: str(width.fixed))

    def at(self, widths: Widths) -> "Block":
        """The block at fixed widths, (G,) or by group, without operators that have nothing to do.

        A tensor of width 0 is gone, and so is every operator that needs it; of a sum or a
        concatenation the other terms stay; a ReLU that then follows a ReLU goes as well. A block
        may end up without operators.
        """
        names = {self.input: self.input}  # what is left of a tensor, by its name in ``self.ops``
        rectified = {self.input} if self.rectified else set()
        ops: list[Op] = []
        for op in self.ops:
            survivors = tuple(names[name] for name in op.inputs if name in names)
            whole = len(survivors) == len(op.inputs)
            if op.width.at(widths) == 0 or not (whole or op.kind in _SURVIVES_ALONE):
                continue
            # Where the convolution before it is gone, a ReLU may follow a ReLU.
            again = op.kind == "Relu" and survivors != op.inputs and survivors[0] in rectified
            if (whole or len(survivors) > 1) and not again:
                if op.kind == "Relu":
                    rectified.add(op.output)
                names[op.output] = op.output
                width, grouping = Width(op.width.at(widths)), Width(op.grouping.at(widths))
                ops.append(replace(op, inputs=survivors, width=width, grouping=grouping))
            elif survivors:
                names[op.output] = survivors[0]
        kept = _needed(ops, names[self.output])
        return replace(self, ops=kept, input_width=Width(self.input_width.at(widths)))


@dataclass(frozen=True, kw_only=True)
class Network:
    """A chain of blocks.

    Attributes:
        blocks: In order; each reads what the one before it makes.
        full: Width of every group in the dense network (G,).
        branches: Groups that are 0 together: a residual branch that can be dropped.
        input_shape: (N, C, H, W) of what the network reads.
        owned: Channels of a layer that one channel of a group owns (G,), 1 unless said.
    """

    blocks: tuple[Block, ...]
    full: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    input_shape: tuple[int, ...]
    owned: tuple[int, ...] = ()

    def share(self, group: int) -> int:
        """Channels of a layer that one channel of ``group`` owns."""
        return self.owned[group] if self.owned else 1

    @property
    def droppable(self) -> frozenset[int]:
        """Groups that may have width 0."""
        return frozenset(group for branch in self.branches for group in branch)

    @property
    def batch(self) -> int:
        """Images per run."""
        return self.input_shape[0]

    def at(self, widths: Widths) -> Block:
        """The whole network as one block at fixed widths (G,)."""
        first = self.blocks[0]
        ops = tuple(op for block in self.blocks for op in block.ops)
        return replace(first, name="network", ops=ops).at(widths)


def _needed(ops: Sequence[Op], output: str) -> tuple[Op, ...]:
    """The operators ``output`` depends on, in order."""
    needed = {output}
    kept: list[Op] = []
    for op in reversed(ops):
        if op.output in needed:
            needed.update(op.inputs)
            kept.append(op)
    return tuple(reversed(kept))


def _describe(block: Block, text: Callable[[Width], str]) -> str:
    places = {block.input: "x"}
    lines = ["x".join([text(block.input_width), *map(str, block.spatial)])]
    for place, op in enumerate(block.ops):
        attributes = [f"{name}={_plain(value)}" for name, value in op.attributes]
        if op.grouping != Width(1):
            attributes.append(f"group={text(op.grouping)}")
        inputs = ",".join(places[name] for name in op.inputs)
        lines.append(f"{op.kind}[{' '.join(attributes)}]({inputs})>{text(op.width)}")
        places[op.output] = str(place)
    return " ".join(lines)


def _plain(value: Value) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
