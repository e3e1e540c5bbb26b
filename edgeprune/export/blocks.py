"""A traced model cut into the chain of blocks that the latency table times.

The graph is cut wherever a single tensor carries everything on. What lies between two cuts and
holds weights begins a block; what follows without weights (ReLU, pooling) belongs to it, except
that a global pooling or a flattening begins the head.
"""

from collections.abc import Iterator, Sequence

from torch import fx, nn

from edgeprune.deploy.table.network import Block, Network, Op, Width
from edgeprune.errors import InputError
from edgeprune.export.lowering import Made, grouping, lower, shape_of
from edgeprune.prune.space.widths import channels_per_member
from edgeprune.prune.tracing.residual import common_path
from edgeprune.prune.tracing.trace import Trace

_WEIGHTED = ("Conv", "Gemm")
_OPENS_HEAD = ("GlobalAveragePool", "Flatten")


def to_network(trace: Trace) -> Network:
    """Describe a traced model as a chain of blocks with open widths.

    BatchNorm that follows a convolution is taken as folded into it, as in an exported file.

    Args:
        trace: Of a model with one image input; option-A shortcuts rewritten.

    Returns:
        The network; group i of it is ``trace.groups[i]``, its batch that of the example.

    Raises:
        InputError: a node no ONNX operator is known for, or a model without convolutions; the
            message names the line of the model.
    """
    lowered = _Lowered(trace)
    for node in trace.graph.graph.nodes:
        lowered.take(node)
    if not _weighted(lowered.ops):
        raise InputError("the model has no layers that can be timed; nothing of it was traced")
    blocks = []
    flowing, rectified = lowered.source, False
    for piece in _merged(_atoms(lowered.ops, lowered.source)):
        block = Block(
            name=lowered.path(piece),
            ops=piece,
            input=flowing,
            input_width=lowered.widths[flowing],
            spatial=lowered.shapes[flowing][2:],
            rectified=rectified,
        )
        blocks.append(block)
        flowing, rectified = block.output, piece[-1].kind == "Relu"
    return Network(
        blocks=tuple(blocks),
        full=tuple(group.width for group in trace.groups),
        branches=tuple(block.groups for block in trace.blocks),
        input_shape=lowered.shapes[lowered.source],
        owned=tuple(map(channels_per_member, trace.groups)),
    )


class _Lowered:
    """The graph as ONNX operators, and what is known of every tensor."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.ops: list[Op] = []
        self.source = ""
        self.names: dict[fx.Node, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.widths: dict[str, Width] = {}
        self.paths: dict[str, str] = {}

    def take(self, node: fx.Node) -> None:
        """Lower one node, after all those it reads."""
        if node.op == "placeholder":
            self.source = self.source or node.name
            self.names[node] = node.name
            self.shapes[node.name], self.widths[node.name] = (
                shape_of(node),
                _width(self.trace, node),
            )
        elif node.op.startswith("call_") and hasattr(node.meta.get("tensor_meta"), "shape"):
            self._call(node)

    def _call(self, node: fx.Node) -> None:
        module = _module(self.trace.graph, node)
        made: Made | None = () if _folded(self.trace.graph, node) else lower(node, module)
        inputs = tuple(self.names[n] for n in node.all_input_nodes if n in self.names)
        if made is None or not inputs:
            what = type(module).__name__ if module is not None else node.target
            line = (node.stack_trace or "").strip().rpartition("\n")[2].strip()
            raise InputError(
                f"{node.name} ({what}) cannot be timed in blocks; model line: {line or 'unknown'}"
            )
        self.names[node] = inputs[0]
        for place, (kind, attributes) in enumerate(made):
            last = place == len(made) - 1
            name = node.name if last else f"{node.name}.{place}"
            reads = self.widths[inputs[0]]
            width = _width(self.trace, node) if last else reads
            self.ops.append(
                Op(
                    kind=kind,
                    inputs=inputs,
                    output=name,
                    width=width,
                    attributes=tuple(sorted(attributes.items())),
                    grouping=grouping(node, module, reads),
                )
            )
            self.paths[name] = str(node.target) if module is not None else ""
            self.shapes[name], self.widths[name] = shape_of(node), width
            inputs = (name,)
            self.names[node] = name

    def path(self, ops: Sequence[Op]) -> str:
        """Module path that all layers with weights among ``ops`` share."""
        weighted = [op for op in ops if op.kind in _WEIGHTED] or ops
        return common_path([self.paths[op.output] for op in weighted]) or weighted[0].output


def _atoms(ops: Sequence[Op], source: str) -> Iterator[tuple[Op, ...]]:
    """Cut after every operator behind which one tensor is all that is still read."""
    last_use = {name: place for place, op in enumerate(ops) for name in op.inputs}
    alive = {source}
    atom: list[Op] = []
    for place, op in enumerate(ops):
        atom.append(op)
        alive = {name for name in (*alive, op.output) if last_use.get(name, -1) > place}
        if alive == {op.output} or place == len(ops) - 1:
            yield tuple(atom)
            atom = []


def _merged(atoms: Iterator[tuple[Op, ...]]) -> Iterator[tuple[Op, ...]]:
    """Join what has no weights to what has some."""
    block: tuple[Op, ...] = ()
    for atom in atoms:
        opens = _weighted(atom) or atom[0].kind in _OPENS_HEAD
        if block and opens and _weighted(block):
            yield block
            block = ()
        block = (*block, *atom)
    yield block


def _weighted(ops: Sequence[Op]) -> bool:
    return any(op.kind in _WEIGHTED for op in ops)


def _folded(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node is a BatchNorm that an export folds into the convolution before it."""
    if not isinstance(_module(graph, node), nn.BatchNorm2d):
        return False
    before = node.all_input_nodes[0]
    return isinstance(_module(graph, before), nn.Conv2d) and len(before.users) == 1


def _module(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def _width(trace: Trace, node: fx.Node) -> Width:
    width = trace.width_of(node)
    return Width(width.fixed, width.terms)
