"""Residual branches that can be dropped (depth pruning), and the nodes that vanish with them."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from torch import fx, nn

from edgeprune.prune.tracing.operations import is_in_place, operation

_VIEWS = (
    "view reshape flatten unflatten permute transpose t movedim moveaxis squeeze unsqueeze "
    "expand expand_as view_as reshape_as chunk split tensor_split narrow select unbind getitem "
    "contiguous detach to float double half bfloat16 cpu cuda identity dropout dropout1d "
    "dropout2d dropout3d "
    "alpha_dropout alphadropout feature_dropout feature_alpha_dropout featurealphadropout "
    "stochastic_depth"
)
"""Operators that may return the memory of their input, in evaluation."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A branch of an addition that can be dropped: the addition then returns its other side.

    Attributes:
        name: Module path that the branch lies in, such as ``layer1.0``.
        join: The addition.
        kept: The other operand of the addition.
        branch: Nodes that vanish with the branch, in order, the addition not among them.
        groups: Indices of the channel groups that lie wholly inside the branch.
    """

    name: str
    join: fx.Node
    kept: fx.Node
    branch: tuple[fx.Node, ...]
    groups: tuple[int, ...]


def find_blocks(
    graph: fx.GraphModule,
    is_addition: Callable[[fx.Node], bool],
    carriers: Sequence[Sequence[fx.Node]],
) -> tuple[Block, ...]:
    """Find the innermost droppable branches.

    A branch may be dropped when nothing outside uses what it computes, when it changes nothing
    in place that lives on, and when at least one channel group lies wholly inside it.

    Args:
        graph: A traced model.
        is_addition: Says which nodes add two tensors.
        carriers: For every group, the nodes that carry its channels.
    """
    above = _ancestors(graph)
    found: list[Block] = []
    for join in graph.graph.nodes:
        if is_addition(join):
            sides = list(join.all_input_nodes)
            candidates = [
                block
                for end, kept in (sides, sides[::-1])
                if (block := _branch(graph, join, end, kept, above, carriers))
            ]
            found += sorted(candidates, key=lambda b: len(b.branch))[-1:]
    joins = {block.join for block in found}
    innermost = [b for b in found if not joins.intersection(b.branch)]
    names = numbered([block.name for block in innermost])
    return tuple(replace(b, name=name) for b, name in zip(innermost, names, strict=True))


def common_path(paths: Sequence[str]) -> str:
    """The module path that all ``paths`` share, possibly empty."""
    shared: list[str] = []
    for parts in zip(*(path.split(".") for path in paths), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def numbered(names: Iterable[str]) -> list[str]:
    """The names, each one's second use as ``name#2`` and so on."""
    uses: Counter[str] = Counter()
    found = []
    for name in names:
        uses[name] += 1
        found.append(name if uses[name] == 1 else f"{name}#{uses[name]}")
    return found


def _branch(
    graph: fx.GraphModule,
    join: fx.Node,
    end: fx.Node,
    kept: fx.Node,
    above: dict[fx.Node, int],
    carriers: Sequence[Sequence[fx.Node]],
) -> Block | None:
    if end not in above or kept not in above:
        return None  # a parameter is no branch
    mask = above[end] & ~above[kept]  # bits of the nodes that only this side needs
    order = list(above)
    branch = [n for i, n in enumerate(order) if mask >> i & 1]
    inside = {*branch, join}
    if not branch or any(n.op == "placeholder" for n in branch):
        return None
    if any(user not in inside for n in branch for user in n.users):
        return None
    if any(_writes_into(graph, n, inside) for n in branch):
        return None
    members = set(branch)
    groups = tuple(i for i, nodes in enumerate(carriers) if members.issuperset(nodes))
    if not groups:
        return None
    modules = [str(n.target) for n in branch if n.op == "call_module"]
    name = common_path(modules) or join.name
    return Block(name=name, join=join, kept=kept, branch=tuple(branch), groups=groups)


def _ancestors(graph: fx.GraphModule) -> dict[fx.Node, int]:
    """Bit i of an entry is set if node i is the node itself or one it is computed from.

    Parameters and flags read from the model are nobody's ancestors: they belong to no branch.
    """
    nodes = [n for n in graph.graph.nodes if n.op != "get_attr"]
    above: dict[fx.Node, int] = {}
    for i, node in enumerate(nodes):
        mask = 1 << i
        for source in node.all_input_nodes:
            mask |= above.get(source, 0)
        above[node] = mask
    return above


def _writes_into(graph: fx.GraphModule, node: fx.Node, inside: set[fx.Node]) -> bool:
    """Whether ``node`` changes, in place, a tensor that comes from outside the branch."""
    if not writes_in_place(graph, node):
        return False
    target = node.all_input_nodes[0] if node.all_input_nodes else None
    if target is None:
        return False
    made = _origin(graph, target)
    return made not in inside and made.op != "get_attr"


def writes_in_place(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node changes its first input."""
    if node.op == "call_module":
        module: nn.Module = graph.get_submodule(str(node.target))
        return bool(getattr(module, "inplace", False))
    if node.kwargs.get("inplace") is True:
        return True
    return is_in_place(node)


def changes(graph: fx.GraphModule, node: fx.Node, source: fx.Node) -> bool:
    """Whether ``node``, or what follows it through views, writes into its input ``source``."""
    if node.op == "output" or node.all_input_nodes[0] is not source:
        return False
    if writes_in_place(graph, node):
        return True
    return _may_alias(graph, node) and any(changes(graph, user, node) for user in node.users)


def _origin(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The node that made the memory which ``node`` may return."""
    while node.all_input_nodes and _may_alias(graph, node):
        node = node.all_input_nodes[0]
    return node


def _may_alias(graph: fx.GraphModule, node: fx.Node) -> bool:
    if not node.op.startswith("call"):
        return False
    return writes_in_place(graph, node) or operation(node, graph) in _VIEWS.split()


def through(nodes: Sequence[fx.Node]) -> list[fx.Node]:
    """Nodes that everything behind them depends on alone, the output among them."""
    places = {node: place for place, node in enumerate(nodes)}
    found, reach = [], 0
    for place, node in enumerate(nodes):
        if reach <= place and node.op not in ("placeholder", "get_attr"):
            found.append(node)
        if node.op != "get_attr":
            reach = max([reach, *(places[user] for user in node.users)])
    return found
