"""Symbolic tracing with torch.fx and shape propagation, around submodules that resist."""

import contextlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata
from torch.utils._pytree import tree_leaves

from edgeprune.errors import InputError
from edgeprune.prune.tracing.functional_layers import to_layers
from edgeprune.prune.tracing.operations import operation
from edgeprune.prune.tracing.tracer import Tracer, evaluating_copy

# Says nothing about the model: to go on without a submodule would hide a machine's trouble.
NOT_OF_TRACING = (MemoryError, OSError, torch.OutOfMemoryError)

_NOT_THE_MODELS = ("/torch/", "/edgeprune/prune/tracing/")
"""Folders of code that runs while a model is traced and is not its own."""


class _Live(int):
    """Stands for ``self.training`` while tracing, so that its uses can be found again."""


_LIVE = _Live(0)


class UntraceableError(Exception):
    """The root of a model branches on data, so there is no one graph to follow.

    Attributes:
        source: File and line where tracing stopped.
    """

    def __init__(self, reason: str, source: str) -> None:
        super().__init__(reason)
        self.source = source


def symbolic_graph(
    model: nn.Module, example: Tensor, layers: Callable[[nn.Module], bool]
) -> tuple[fx.GraphModule, dict[str, tuple[str, str]]]:
    """Trace ``model`` in evaluation mode, with the shape of every value in the node's meta.

    The parameters are shared with ``model``, which is left as it was; only its mode changes
    while it is traced. A submodule that cannot be traced becomes one opaque node.
    ``node.meta["tensor_meta"]`` holds a TensorMetadata, or a tuple of them;
    ``node.meta["value"]`` the concrete value where it is not a tensor.
    Arguments that read ``self.training`` stay live: the graph follows ``train()``/``eval()``.

    Args:
        model: Any module with one tensor input.
        example: An input, batch first, on the device of the model.
        layers: Says which modules are kept as one node.

    Returns:
        The graph, and the opaque submodules by name with their source line and reason.

    Raises:
        InputError: the model does not accept an input such as ``example``.
        UntraceableError: the forward function of the model itself cannot be traced.
    """
    opaque: dict[str, tuple[str, str]] = {}
    with _live_training(model):
        root = _called(model)
        while True:
            tracer = Tracer(layers, opaque, example)
            try:
                graph = tracer.trace(root)
                break
            except NOT_OF_TRACING:
                raise
            except Exception as error:
                source = _source_of(traceback.extract_tb(error.__traceback__))
                if tracer.failed is None or tracer.failed in opaque:
                    raise UntraceableError(_first_line(error), source) from error
                opaque[tracer.failed] = (source, _first_line(error))
    _spell_as_torch(graph)
    shell = evaluating_copy(root)
    _keep_training_live(graph)
    traced = fx.GraphModule(shell, graph, type(model).__name__)
    _Shapes(traced).measure(example)
    to_layers(traced)
    _refuse_other_answers(model, traced, example)
    return traced, opaque


def _called(model: nn.Module) -> nn.Module:
    """A root whose forward function calls ``model`` as a user does, with one input.

    Hooks of the root, and a forward function of the instance, are traced like everything else.
    A copy of the root alone: its submodules stay the model's own, so that code which holds on
    to them (a closure, a bound method) still meets what is traced.
    """
    call: Any = nn.Module._call_impl

    def forward(self: nn.Module, x: Tensor) -> Any:
        return call(model, x)

    model_class: Any = type(model)
    root = model_class.__new__(type(model_class.__name__, (model_class,), {"forward": forward}))
    root.__dict__.update(model.__dict__)
    root.__dict__.pop("forward", None)
    found: nn.Module = root
    return found


def source_line(node: fx.Node) -> str:
    """``file:line`` of the model's own code that made this node."""
    frames = [line for line in (node.stack_trace or "").splitlines() if "File " in line]
    for frame in reversed(frames):
        if not any(home in frame for home in _NOT_THE_MODELS):
            name, line = frame.split('"')[1], frame.split("line ")[1].split(",")[0]
            return f"{_short(name)}:{line}"
    return "?"


def _source_of(stack: traceback.StackSummary) -> str:
    for frame in reversed(stack):
        if not any(home in frame.filename for home in _NOT_THE_MODELS):
            return f"{_short(frame.filename)}:{frame.lineno}"
    return "?"


def _short(path: str) -> str:
    """The last two parts of a path: enough to find it, the same on every machine."""
    return "/".join(path.replace("\\", "/").split("/")[-2:])


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _live_training(model: nn.Module) -> Iterator[None]:
    """Let every ``self.training`` read as false, in a way that is recognised in a graph."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.__dict__["training"] = _LIVE
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _keep_training_live(graph: fx.Graph) -> None:
    """Let arguments that came from ``self.training`` read the flag of the graph module."""
    flag: list[fx.Node] = []

    def swap(argument: Any) -> Any:
        if not isinstance(argument, _Live):
            return argument
        if not flag:
            with graph.inserting_before(next(iter(graph.nodes))):
                flag.append(graph.create_node("get_attr", "training"))
        return flag[0]

    for node in list(graph.nodes):
        node.args = fx.node.map_aggregate(node.args, swap)
        node.kwargs = fx.node.map_aggregate(node.kwargs, swap)


_SPELLINGS = {"axis": "dim", "keepdims": "keepdim"}
"""numpy's names of arguments, which torch takes too, and torch's own."""


def _spell_as_torch(graph: fx.Graph) -> None:
    """One spelling of every argument: torch's names, the tensor that is acted on first."""
    for node in graph.nodes:
        known = node.op == "call_method" or (
            node.op == "call_function" and not operation(node).startswith("function ")
        )
        if not known or node.target is getattr:
            continue
        kwargs = {_SPELLINGS.get(name, name): value for name, value in node.kwargs.items()}
        first = next((name for name in ("input", "tensors") if name in kwargs), None)
        if first and not node.args and node.op == "call_function":
            node.args = (kwargs.pop(first),)
        node.kwargs = kwargs


def _refuse_other_answers(model: nn.Module, graph: fx.GraphModule, example: Tensor) -> None:
    """Refuse a graph that does not give the model's answers on random numbers.

    What torch.fx cannot see (a value that the model keeps between calls, code that looks at the
    type of a tensor) would else become a wrong model without a word.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = example.detach()
    if example.is_floating_point():
        drawn = torch.randn(example.shape, generator=generator).to(example)
    with _evaluating(model):
        wanted, got = (_answers(network, drawn.clone()) for network in (model, graph))
    if len(wanted) != len(got) or not all(map(_close, wanted, got)):
        raise UntraceableError("its graph gives other answers than the model", "?")


def _answers(network: nn.Module, example: Tensor) -> list[Tensor]:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what draws in evaluation draws the same for both
        found = network(example)
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]


def _close(wanted: Tensor, got: Tensor) -> bool:
    if wanted.shape != got.shape or not wanted.is_floating_point():
        return wanted.shape == got.shape and torch.equal(wanted, got)
    # Half of the digits: weights that were computed once are rounded elsewhere.
    limit = torch.finfo(wanted.dtype).eps ** 0.5
    wanted, got = wanted.nan_to_num().double(), got.nan_to_num().double()
    return bool((wanted - got).norm() <= limit * wanted.norm())


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class _Shapes(fx.Interpreter):
    """Runs the graph once and notes what every node returned."""

    def measure(self, example: Tensor) -> None:
        try:
            with torch.no_grad():
                self.run(example)
        except NOT_OF_TRACING:
            raise
        except Exception as error:
            raise InputError(
                f"the model does not accept an input of shape {tuple(example.shape)}: "
                f"{_first_line(error)}"
            ) from error

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        meta = fx.node.map_aggregate(result, _describe)
        n.meta["value"] = meta
        returned = result if isinstance(result, (tuple, list)) else (result,)
        if any(isinstance(value, Tensor) for value in returned):
            n.meta["tensor_meta"] = meta
        return result


def _describe(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return TensorMetadata(
        value.shape, value.dtype, value.requires_grad, value.stride(), None, False, {}
    )
