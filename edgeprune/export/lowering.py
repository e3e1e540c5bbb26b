"""ONNX operators that each node of a traced graph becomes once exported."""

import math
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from edgeprune.deploy.table.network import Value, Width
from edgeprune.errors import InputError
from edgeprune.prune.tracing.module_rules import whole_groups
from edgeprune.prune.tracing.operations import operation, spelling

Attributes = dict[str, Value]
Made = tuple[tuple[str, Attributes], ...]

IDENTITY: Made = ()


def lower(node: fx.Node, module: nn.Module | None) -> Made | None:
    """ONNX operators with their attributes, in a row, that do what a node does.

    None of them for a node that does nothing; None where no operator is known for it.
    """
    if module is not None:
        rule = next((rule for kind, rule in _MODULES.items() if isinstance(module, kind)), None)
        return rule(node, module) if rule else None
    # What x.add_(y) changes may be read as x afterwards, which a row of operators cannot say.
    found = None if spelling(node).endswith("_") else _FUNCTIONS.get(operation(node))
    return found(node) if found else None


def grouping(node: fx.Node, module: nn.Module | None, reads: Width) -> Width:
    """Groups of a convolution; where it loses whole ones they follow the width it reads."""
    if not isinstance(module, nn.Conv2d) or module.groups == 1:
        return Width(1)
    if not whole_groups(module):
        return Width(module.groups)
    each = module.in_channels // module.groups
    return Width(
        reads.fixed // each, tuple((group, times // each) for group, times in reads.terms)
    )


def _convolution(node: fx.Node, module: Any) -> Made:
    if isinstance(module.padding, str) and module.padding != "valid":
        raise InputError(f"{node.target}: padding={module.padding!r} cannot be timed in blocks")
    pads = (0, 0) if module.padding == "valid" else module.padding
    attributes: Attributes = {
        "kernel_shape": tuple(module.kernel_size),
        "pads": (*pads, *pads),
        "strides": tuple(module.stride),
    }
    if tuple(module.dilation) != (1, 1):
        attributes["dilations"] = tuple(module.dilation)
    return (("Conv", attributes),)


def _max_pool(node: fx.Node, module: Any) -> Made:
    return _pool("MaxPool", module.kernel_size, module.stride, module.padding, module.ceil_mode)


def _average_pool(node: fx.Node, module: Any) -> Made:
    made = _pool("AveragePool", module.kernel_size, module.stride, module.padding, False)
    return ((made[0][0], made[0][1] | {"count_include_pad": int(module.count_include_pad)}),)


def _pool(kind: str, kernel: Any, stride: Any, padding: Any, ceil: bool) -> Made:
    pads = _pair(padding)
    attributes: Attributes = {
        "kernel_shape": _pair(kernel),
        "pads": (*pads, *pads),
        "strides": _pair(kernel if stride in (None, ()) else stride),
    }
    if ceil:
        attributes["ceil_mode"] = 1
    return ((kind, attributes),)


def _pool_call(kind: str) -> Callable[[fx.Node], Made]:
    def made(node: fx.Node) -> Made:
        given = dict(zip(("kernel_size", "stride", "padding"), node.args[1:], strict=False))
        given |= node.kwargs
        known: Any = fx.node.map_arg(given, lambda node: node.meta["value"])
        sizes = [known.get(key) for key in ("kernel_size", "stride", "padding")]
        return _pool(kind, sizes[0], sizes[1], sizes[2] or 0, bool(given.get("ceil_mode", False)))

    return made


def _adaptive_pool(node: fx.Node, module: Any = None) -> Made:
    before, after = shape_of(node.all_input_nodes[0])[2:], shape_of(node)[2:]
    if math.prod(after) == 1:
        return (("GlobalAveragePool", {}),)
    if before == after:
        return IDENTITY
    if any(b % a for b, a in zip(before, after, strict=True)):
        raise InputError(f"{node.name}: pooling {before} to {after} cannot be timed in blocks")
    kernel = tuple(b // a for b, a in zip(before, after, strict=True))
    return _pool("AveragePool", kernel, kernel, 0, False)


def _flatten(node: fx.Node, module: Any = None) -> Made | None:
    before, after = shape_of(node.all_input_nodes[0]), shape_of(node)
    if before == after:
        return IDENTITY
    return (("Flatten", {"axis": 1}),) if len(after) == 2 and after[0] == before[0] else None


def _mean(node: fx.Node) -> Made | None:
    before, after = shape_of(node.all_input_nodes[0]), shape_of(node)
    if len(before) != 4 or after[:2] != before[:2] or math.prod(after[2:]) != 1:
        return None
    pooled: Made = (("GlobalAveragePool", {}),)
    return (*pooled, ("Flatten", {"axis": 1})) if len(after) == 2 else pooled


def _identity(node: fx.Node, module: Any = None) -> Made:
    return IDENTITY


def _always(kind: str, **attributes: Value) -> Callable[..., Made]:
    def made(node: fx.Node, module: Any = None) -> Made:
        return ((kind, dict(attributes)),)

    return made


def _leaky(node: fx.Node, module: Any) -> Made:
    return (("LeakyRelu", {"alpha": float(module.negative_slope)}),)


def _clip(node: fx.Node, module: Any) -> Made:
    return (("Clip", {"min": float(module.min_val), "max": float(module.max_val)}),)


def _tensors_only(kind: str) -> Callable[[fx.Node], Made | None]:
    """An operator on tensors; with a plain number it is no piece of a network that we know."""

    def made(node: fx.Node) -> Made | None:
        return ((kind, {}),) if len(node.all_input_nodes) == 2 else None

    return made


def _concat(node: fx.Node) -> Made | None:
    axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    return (("Concat", {"axis": 1}),) if axis in (1, 1 - len(shape_of(node))) else None


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Shape of the tensor that a node returns."""
    return tuple(int(size) for size in node.meta["tensor_meta"].shape)


def _pair(size: Any) -> tuple[int, ...]:
    return (int(size), int(size)) if isinstance(size, int) else tuple(int(one) for one in size)


_MODULES: dict[type[nn.Module], Callable[[fx.Node, Any], Made | None]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _always("Gemm"),
    nn.BatchNorm2d: _always("BatchNormalization"),
    nn.BatchNorm1d: _always("BatchNormalization"),
    nn.ReLU6: _clip,
    nn.Hardtanh: _clip,
    nn.ReLU: _always("Relu"),
    nn.LeakyReLU: _leaky,
    nn.Sigmoid: _always("Sigmoid"),
    nn.Hardsigmoid: _always("HardSigmoid", alpha=1 / 6, beta=0.5),
    nn.Hardswish: _always("HardSwish"),
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_pool,
    nn.Flatten: _flatten,
    nn.Identity: _identity,
    nn.Dropout: _identity,
    nn.Dropout2d: _identity,
}
_FUNCTIONS: dict[str, Callable[[fx.Node], Made | None]] = {
    "relu": _always("Relu"),
    "sigmoid": _always("Sigmoid"),
    "add": _tensors_only("Add"),
    "mul": _tensors_only("Mul"),
    "cat": _concat,
    "flatten": _flatten,
    "view": _flatten,
    "reshape": _flatten,
    "mean": _mean,
    "max_pool2d": _pool_call("MaxPool"),
    "avg_pool2d": _pool_call("AveragePool"),
    "adaptive_avg_pool2d": _adaptive_pool,
    "dropout": _identity,
    "contiguous": _identity,
}
