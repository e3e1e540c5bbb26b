"""The torch.fx tracer: down to layers with a rule, sizes known where the code asks for them."""

import contextlib
import operator
from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

_PLAIN = nn.Module.__call__, nn.Module.__getattr__
"""The methods that torch.fx puts others in the place of while it traces."""


class Tracer(fx.Tracer):
    """Traces a model whose code may ask for the sizes of its tensors.

    Where Python needs a number (a branch, a loop, ``int()``, ``range()``) it gets that of the
    example; everything else stays symbolic, so that batch and image size stay free. A branch on
    the values of a tensor cannot be traced.

    Args:
        layers: Says which modules are kept as one node.
        opaque: Names of the submodules that are not traced into.
        example: An input of the model.

    Attributes:
        failed: The innermost submodule that could not be traced, once one could not.
    """

    record_stack_traces = True
    proxy_buffer_attributes = True

    def __init__(
        self,
        layers: Callable[[nn.Module], bool],
        opaque: Collection[str],
        example: Tensor,
    ) -> None:
        super().__init__()
        self._layers = layers
        self._opaque = opaque
        self._example = example
        self._known: _Sizes | None = None
        self.failed: str | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a submodule becomes one node."""
        if module_qualified_name in self._opaque or self._layers(m):
            return True
        return type(m).__module__.startswith("torch.nn.modules") and not isinstance(
            m, nn.Sequential
        )

    def call_module(
        self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Trace into a submodule, or note which one could not be traced."""
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or self.path_of_module(m)
            raise

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A value that can be asked for its size."""
        return _Value(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """The side that a branch takes for the example."""
        return bool(self.number(obj))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The parts of a shape, or of a tuple of tensors."""
        try:
            return super().iter(obj)
        except fx.proxy.TraceError:
            return iter([operator.getitem(obj, i) for i in range(len(self.value(obj)))])

    def value(self, obj: fx.Proxy) -> Any:
        """What a node returns for the example, without the content of tensors."""
        if self._known is None:
            self._known = _Sizes(self.root, obj.node.graph, self._example)
        return self._known.of(obj.node)

    def number(self, obj: fx.Proxy) -> Any:
        """A number that does not depend on the content of tensors."""
        if obj.node.op == "get_attr":
            with _untraced():
                return attrgetter(str(obj.node.target))(self.root)
        found = self.value(obj)
        if isinstance(found, Tensor):
            raise fx.proxy.TraceError("control flow that depends on the values of a tensor")
        return found


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Modules as they are outside of a trace: torch.fx records their calls and parameters."""
    methods: Any = nn.Module
    traced = methods.__call__, methods.__getattr__
    methods.__call__, methods.__getattr__ = _PLAIN
    try:
        yield
    finally:
        methods.__call__, methods.__getattr__ = traced


class _Value(fx.Proxy):
    """A value of the traced code that is a number where Python needs one."""

    tracer: Tracer

    def __getattr__(self, k: str) -> Any:
        return _Attribute(self, k)

    def __len__(self) -> int:
        return len(self.tracer.value(self))

    def __int__(self) -> int:
        return int(self.tracer.number(self))

    def __index__(self) -> int:
        return int(self.tracer.number(self))

    def __float__(self) -> float:
        return float(self.tracer.number(self))


class _Attribute(fx.proxy.Attribute, _Value):
    """An attribute of a value, such as its shape."""

    def __getattr__(self, k: str) -> Any:
        if self.attr == "device" and k == "type":
            return self.tracer.value(self).type  # a string, which contexts such as autocast want
        return _Attribute(self, k)


class _Sizes:
    """Runs a graph that still grows, on tensors that have sizes but no content."""

    def __init__(self, root: nn.Module, graph: fx.Graph, example: Tensor) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        # A copy keeps what modules count and cache apart, and their mode is a plain one.
        self._root, self._example = evaluating_copy(root), self._mode.from_tensor(example)
        self._values: dict[fx.Node, Any] = {}
        self._last: fx.Node = graph._root  # in front of the first node

    def of(self, node: fx.Node) -> Any:
        with self._mode, torch.no_grad(), _untraced():
            while node not in self._values:
                self._last = self._last.next
                self._values[self._last] = self._run(self._last)
        return self._values[node]

    def _run(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_aggregate((node.args, node.kwargs), self._argument)
        if node.op == "placeholder":
            return self._example
        target: Any = node.target
        if node.op == "get_attr":
            return self._fake(attrgetter(target)(self._root))
        if node.op == "call_module":
            return self._root.get_submodule(target)(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        return target(*args, **kwargs)

    def _argument(self, argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            return self._values[argument]
        live = isinstance(argument, int) and type(argument) not in (int, bool)
        return bool(argument) if live else argument  # stands for the mode of a module

    def _fake(self, value: Any) -> Any:
        return self._mode.from_tensor(value) if isinstance(value, Tensor) else value


def evaluating_copy(module: nn.Module) -> nn.Module:
    """A copy of a module tree in evaluation mode that shares every tensor."""
    shell = _shallow(module, {})
    for part in shell.modules():
        part.training = False
    return shell


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
