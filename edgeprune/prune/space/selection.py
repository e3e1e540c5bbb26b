"""Layers that a user names: those that stay whole (keep), or the only ones that are pruned (only).

A layer is whole while every channel that it makes stays; what it reads is made by the layers
before it. A glob that fits a module fits all layers inside it.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import accumulate

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from edgeprune.errors import InputError
from edgeprune.prune.models.shortcuts import ZeroPadShortcut
from edgeprune.prune.tracing.module_rules import whole_groups
from edgeprune.prune.tracing.residual import Block
from edgeprune.prune.tracing.trace import ChannelGroup, Trace

_NEAR, _CUTOFF = 3, 0.4  # how many names a glob that fits nothing is answered with, and how near
_SHOWN = 6  # names in one line


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Globs of module names, as of :mod:`fnmatch`; ``*`` crosses dots.

    Attributes:
        keep: Layers that stay whole.
        only: The layers that may be pruned; without any, all of them.
    """

    keep: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keep or self.only)


@dataclass(frozen=True, kw_only=True)
class LeftWhole:
    """What of a network stays as it is because of a selection.

    Attributes:
        groups: Channel groups that keep all of their channels, each with the reason.
        branches: Residual branches that are not dropped, each with the reason.
        partly: Of the groups those that other layers are coupled with than were named.
    """

    groups: Mapping[str, str] = field(default_factory=dict)
    branches: Mapping[str, str] = field(default_factory=dict)
    partly: tuple[str, ...] = ()

    def notes(self, selection: Selection, count: int) -> tuple[str, ...]:
        """What a summary says of it, of ``count`` groups in all; nothing without a selection."""
        if not selection:
            return ()
        asked = [f"keep {glob}" for glob in selection.keep]
        asked += [f"only {glob}" for glob in selection.only]
        found = f"{', '.join(asked)}: left whole {len(self.groups)} of {count} channel groups"
        found += f" ({_some(list(self.groups))})" if self.groups else ""
        if self.branches:
            found += f"; not dropped: {_some(list(self.branches))}"
        return (found, *(f"{name} stays whole: {self.groups[name]}" for name in self.partly))


def refuse_unmatched(selection: Selection, model: nn.Module, name: str) -> None:
    """Refuse a glob that fits no layer of a network.

    Raises:
        InputError: with the nearest names of modules.
    """
    modules = [at for at, module in model.named_modules() if at and any(_weights(module))]
    for option in ("keep", "only"):
        for glob in getattr(selection, option):
            if any(_fits((glob,), module) for module in modules):
                continue
            near = difflib.get_close_matches(glob, modules, _NEAR, _CUTOFF) or modules[:_NEAR]
            raise InputError(
                f"{option} {glob!r} names no layer of {name}; near it: {', '.join(near)} "
                "(globs of module names, such as 'layer1.*')"
            )


def left_whole(traced: Trace, selection: Selection) -> LeftWhole:
    """What stays as it is of a network.

    Coupled channels live or die together, so a group stays whole where one of its layers is
    kept, and unless ``only`` names every layer that makes its channels. A branch is dropped only
    where no layer inside is kept and ``only`` names all of them.

    Raises:
        InputError: nothing is left that may be pruned.
    """
    groups, branches, partly = dict[str, str](), dict[str, str](), list[str]()
    for group in traced.groups:
        carrying = _carrying(traced.graph, group)
        making = [layer for layer, makes in carrying.items() if makes] or list(carrying)
        why, coupled = _protected(selection, list(carrying), making)
        if why:
            groups[group.name] = f"{why}{coupled}"
            partly += [group.name] if coupled else []
    for block in traced.blocks:
        inside = [traced.groups[index].name for index in block.groups]
        layers = list(dict.fromkeys(_inside(traced.graph, block)))
        making = [layer for layer in layers if _makes(traced.graph.get_submodule(layer))]
        why, _ = _protected(selection, layers, making)
        why = why or next((groups[name] for name in inside if name in groups), "")
        if why:
            branches[block.name] = why
    if len(groups) == len(traced.groups) and groups:
        name = (partly or list(groups))[0]
        raise InputError(
            f"keep and only leave nothing to prune: all {len(groups)} channel groups stay whole; "
            f"{name}: {groups[name]}"
        )
    return LeftWhole(groups=groups, branches=branches, partly=tuple(partly))


def _protected(
    selection: Selection, layers: Sequence[str], making: Sequence[str]
) -> tuple[str, str]:
    """Why what these layers hold together stays, and with what else; empty where it need not."""
    kept = [layer for layer in layers if _fits(selection.keep, layer)]
    if kept:
        coupled = [layer for layer in making if layer not in kept]
        with_it = f", coupled with {_some(coupled)}" if coupled else ""
        return f"keep names {_some(kept)}", with_it
    if not selection.only:
        return "", ""
    named = [layer for layer in making if _fits(selection.only, layer)]
    if len(named) == len(making):
        return "", ""
    if not named:
        return "only does not name it", ""
    others = [layer for layer in making if layer not in named]
    return f"only names {_some(named)}", f", coupled with {_some(others)}, which it does not name"


def _carrying(graph: fx.GraphModule, group: ChannelGroup) -> dict[str, bool]:
    """Layers whose outputs are a group's channels, and whether each makes them.

    Norms and depthwise convolutions pass on what others made, as do the 0/1 shortcuts.
    """
    found: dict[str, bool] = {}
    for part in group.slices:
        owner, _, attribute = part.tensor.rpartition(".")
        layer = graph.get_submodule(owner)
        transposed = attribute == "weight" and getattr(layer, "transposed", False)
        if part.axis == (1 if transposed else 0) and not isinstance(layer, ZeroPadShortcut):
            depthwise = isinstance(layer, _ConvNd) and layer.groups > 1 and whole_groups(layer)
            found[owner] = _makes(layer) and not depthwise
    return found


def _inside(graph: fx.GraphModule, block: Block) -> Iterator[str]:
    """Layers with weights that vanish with a branch."""
    for node in block.branch:
        if node.op == "call_module" and any(_weights(graph.get_submodule(str(node.target)))):
            yield str(node.target)
        for source in node.all_input_nodes:
            if source.op == "get_attr":
                yield str(source.target).rpartition(".")[0]


def _makes(layer: nn.Module) -> bool:
    return any(weights > 1 for weights in _weights(layer))


def _weights(layer: nn.Module) -> Iterator[int]:
    """Dimensions of each parameter; frozen 0/1 shortcuts have none that anybody would name."""
    if not isinstance(layer, ZeroPadShortcut):
        yield from (parameter.ndim for parameter in layer.parameters())


def _fits(globs: Sequence[str], layer: str) -> bool:
    paths = list(accumulate(layer.split("."), "{}.{}".format))  # a, a.b, a.b.c
    return any(fnmatchcase(path, glob) for path in paths for glob in globs)


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
