"""Values of a traced graph while channels are propagated, and a call of a node on them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from torch import fx, nn

from edgeprune.arrays import Ints
from edgeprune.prune.tracing.coupling import Flow

NOTHING: Ints = np.empty(0, np.int64)


@dataclass(frozen=True)
class Plain:
    """A value that is no tensor, such as a size.

    Attributes:
        value: The value for the example input.
        depends: Ids of the channels whose removal would change it.
        parts: The same for each element, where the value is a shape.
    """

    value: Any
    depends: Ints = field(default_factory=lambda: NOTHING)
    parts: tuple[Ints, ...] = ()


Value: TypeAlias = "Flow | Plain | tuple[Value, ...]"
"""What a node returned."""


class CannotFollowError(Exception):
    """Raised by a rule whose operator meets channels in a way it has no answer for."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One node with the values of its arguments.

    Attributes:
        node: A call in the graph.
        name: Name of its operator, for messages and for rules that serve several.
        args: Positional arguments as torch.fx has them, a :data:`Value` in the place of each node.
        kwargs: The same for keyword arguments.
        module: The layer it calls, if it calls one.
    """

    node: fx.Node
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    module: nn.Module | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor that the node returns."""
        return tuple(self.node.meta["tensor_meta"].shape)

    def value(self, position: int, keyword: str, default: Any = None) -> Any:
        """A plain argument, given by position or keyword."""
        given = self.args[position] if position < len(self.args) else self.kwargs.get(keyword)
        return default if given is None else plain(given)

    def flow(self) -> Flow:
        """The input tensor.

        Raises:
            CannotFollowError: the first argument is no tensor.
        """
        found = self.args[0] if self.args else self.kwargs.get("input")
        if not isinstance(found, Flow):
            raise CannotFollowError(f"{self.name} does not act on a tensor")
        return found


def plain(value: Any) -> Any:
    """The concrete content of an argument, ids in the place of tensors."""
    if isinstance(value, Plain):
        return value.value
    if isinstance(value, Flow):
        return value.spread()
    if isinstance(value, (tuple, list)):
        return type(value)(plain(v) for v in value)
    if isinstance(value, slice):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    return value


def leaves(value: object) -> Iterator[Flow | Plain]:
    """Every Flow and Plain inside an argument."""
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from leaves(part)
    elif isinstance(value, slice):
        yield from leaves((value.start, value.stop, value.step))
    elif isinstance(value, dict):
        yield from leaves(tuple(value.values()))
    elif isinstance(value, (Flow, Plain)):
        yield value


def depends(values: object) -> Ints:
    """Ids of all channels whose removal would change a plain value in ``values``."""
    found = [v.depends for v in leaves(values) if isinstance(v, Plain) and v.depends.size]
    return np.unique(np.concatenate(found)) if found else NOTHING
