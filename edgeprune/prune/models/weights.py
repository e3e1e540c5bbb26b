"""Loading of a state_dict into a network that it must fit, with hints where it does not."""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.models.shortcuts import ZeroPadShortcut

_SHOWN = 3
_MOST_HEADS = 3
"""Classifiers of one network, auxiliary ones counted (GoogLeNet has two); more is another net."""


def load_into(
    model: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    candidates: Mapping[str, Callable[[int], nn.Module]],
    *,
    new_head: bool = False,
) -> tuple[str, ...]:
    """Load weights into a network of exactly these names and shapes.

    BatchNorm's batch counters may be missing (old checkpoints), and so may the 0/1 weights of
    rewritten shortcuts, which are known. Other floating types are converted.

    Args:
        model: Changed in place.
        state: Weights by name.
        source: What error lines call the weights, e.g. the file's name.
        candidates: Networks by name, each built for a number of classes, for the hint.
        new_head: Leave a classifier as it is where the weights have none of its size.

    Returns:
        Names of the layers that were left as they are, none without ``new_head``.

    Raises:
        InputError: Names or shapes differ, or values are no weights; the line has the first
            ones and a hint.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state and not _implied(model, name)]
    unknown = [name for name in state if name not in own]
    unequal = [name for name in own if name in state and own[name].shape != state[name].shape]
    head = _head(own, state, [*missing, *unequal]) if not unknown else ()
    if (missing or unknown or unequal) and not (head and new_head):
        hint = _hint(own, state, candidates)
        if head:
            hint += f"; --new-head keeps the rest and starts {' and '.join(head)} afresh"
        differences = "; ".join(_differences(own, state, missing, unknown, unequal))
        raise InputError(f"{source} does not fit the model: {differences}{hint}")
    taken = {n: t.to_dense() for n, t in state.items() if n.rpartition(".")[0] not in head}
    _refuse_values(own, taken, source)
    model.load_state_dict({**own, **taken})
    return head


def _differences(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    missing: list[str],
    unknown: list[str],
    unequal: list[str],
) -> list[str]:
    parts = []
    if missing:
        parts.append(f"it lacks {_first(missing)}")
    if unknown:
        parts.append(f"it has {_first(unknown)}, which the model lacks")
    if unequal:
        name = unequal[0]
        shapes = f"{tuple(state[name].shape)}, the model wants {tuple(own[name].shape)}"
        parts.append(f"{name} has shape {shapes}")
    return parts


def _head(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], differing: list[str]
) -> tuple[str, ...]:
    """The classifiers that alone differ, in nothing but their outputs; () where more does.

    A network ends with its classifier, so its last tensor has as many rows as there are classes.
    """
    outputs = [len(tensor) for tensor in own.values() if tensor.ndim][-1:]
    for name in differing:
        other_inputs = name in state and own[name].shape[1:] != state[name].shape[1:]
        if list(own[name].shape[:1]) != outputs or other_inputs:
            return ()
    owners = tuple(dict.fromkeys(name.rpartition(".")[0] for name in differing))
    return owners if len(owners) <= _MOST_HEADS else ()


def _refuse_values(own: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Refuse what is no trained weight: quantised, NaN or infinite, a negative variance."""
    for name, tensor in state.items():
        if not own[name].is_floating_point():
            continue
        if not tensor.is_floating_point() or tensor.dtype.itemsize == 1:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(
                f"{source}: {name} is {kind}, a quantised weight; give the weights it was made of"
            )
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{source}: {name} has NaN or infinite values; train or fetch again")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise InputError(f"{source}: {name} has a negative variance; train or fetch again")


def classes_of(state: Mapping[str, Tensor]) -> int | None:
    """Outputs of the last linear layer among the weights; None where there is none."""
    matrices = [t for name, t in state.items() if t.ndim == 2 and name.endswith("weight")]
    return int(matrices[-1].shape[0]) if matrices else None


def _implied(model: nn.Module, name: str) -> bool:
    owner, _, attribute = name.rpartition(".")
    shortcut = isinstance(model.get_submodule(owner), ZeroPadShortcut)
    return shortcut or attribute == "num_batches_tracked"


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _hint(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    candidates: Mapping[str, Callable[[int], nn.Module]],
) -> str:
    classes = classes_of(state)
    if classes is None:
        return "; it holds no linear layer: is it the state_dict of a classifier?"
    if classes != classes_of(own) and not set(own) ^ _counted(state):
        return f"; it has {classes} classes, the data has {classes_of(own)}"
    shapes = _shapes(state)
    for name, make in candidates.items():
        with torch.device("meta"):
            other = _shapes(make(classes).state_dict())
        if other == shapes:
            return f"; it looks like --model {name} with {classes} classes"
    return ""


def _counted(state: Mapping[str, Tensor]) -> set[str]:
    """Names in the weights, with those of the batch counters that old checkpoints lack."""
    counters = {
        re.sub("running_mean$", "num_batches_tracked", name)
        for name in state
        if name.endswith("running_mean")
    }
    return set(state) | counters


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {n: tuple(t.shape) for n, t in state.items() if not n.endswith("batches_tracked")}
