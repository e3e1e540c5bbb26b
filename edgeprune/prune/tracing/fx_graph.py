"""Symbolic tracing with torch.fx and shape propagation, around submodules that resist."""

import contextlib
import inspect
import traceback
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata

from edgeprune.errors import InputError

# Says nothing about the model: to go on without a submodule would hide a machine's trouble.
NOT_OF_TRACING = (MemoryError, OSError, torch.OutOfMemoryError)


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


class _Tracer(fx.Tracer):
    """Traces down to the layers that have a rule, and around submodules that resist."""

    record_stack_traces = True

    def __init__(self, layers: Callable[[nn.Module], bool], opaque: Collection[str]) -> None:
        super().__init__()
        self._layers = layers
        self._opaque = opaque
        self.failed: str | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            self._layers(m)
            or module_qualified_name in self._opaque
            or super().is_leaf_module(m, module_qualified_name)
        )

    def call_module(
        self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or self.path_of_module(m)
            raise


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
        root = _with_one_input(model)
        while True:
            tracer = _Tracer(layers, opaque)
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
    shell = _shallow(model, {})
    for module in shell.modules():
        module.training = False
    _keep_training_live(graph)
    traced = fx.GraphModule(shell, graph, type(model).__name__)
    _Shapes(traced).measure(example)
    return traced, opaque


def _shallow(module: nn.Module, seen: dict[int, nn.Module]) -> nn.Module:
    """A copy of the module tree that shares every tensor; ``seen`` holds the copies so far."""
    if id(module) in seen:
        return seen[id(module)]
    copy = module.__class__.__new__(module.__class__)
    seen[id(module)] = copy
    state = dict(module.__dict__)
    state["_parameters"] = dict(module._parameters)
    state["_buffers"] = dict(module._buffers)
    state["_modules"] = {
        name: child if child is None else _shallow(child, seen)
        for name, child in module._modules.items()
    }
    copy.__dict__.update(state)
    return copy


def _with_one_input(model: nn.Module) -> nn.Module:
    """``model`` with every argument of its forward function but the first at its default.

    A copy of the root alone: its submodules stay the model's own, so that code which holds on
    to them (a closure, a bound method) still meets what is traced.
    """
    model_class: Any = type(model)
    if len(inspect.signature(model_class.forward).parameters) <= 2:
        return model

    def forward(self: nn.Module, x: Tensor) -> Any:
        return model_class.forward(self, x)

    root = model_class.__new__(type(model_class.__name__, (model_class,), {"forward": forward}))
    root.__dict__.update(model.__dict__)
    found: nn.Module = root
    return found


def source_line(node: fx.Node) -> str:
    """``file:line`` of the model's own code that made this node."""
    frames = [line for line in (node.stack_trace or "").splitlines() if "File " in line]
    for frame in reversed(frames):
        if "/torch/" not in frame and __file__ not in frame:
            name, line = frame.split('"')[1], frame.split("line ")[1].split(",")[0]
            return f"{_short(name)}:{line}"
    return "?"


def _source_of(stack: traceback.StackSummary) -> str:
    for frame in reversed(stack):
        if "/torch/" not in frame.filename and frame.filename != __file__:
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
