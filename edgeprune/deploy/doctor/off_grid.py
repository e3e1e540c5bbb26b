"""Finds channel widths that take convolutions off the blocked layout, and those that do not.

What a width must be is asked of onnxruntime itself: a wider and a narrower graph are opened, and
their optimised graphs say whether the convolutions came back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgeprune.deploy.artifact.edits import pinned, reshaped_weights
from edgeprune.deploy.doctor.findings import Suspect, Trial
from edgeprune.deploy.doctor.layers import Layer, blocked_values
from edgeprune.deploy.doctor.look import Look
from edgeprune.deploy.doctor.widths import Group, groups_of, resized, shapes_of
from edgeprune.text import one_line

STEPS = (4, 8, 16)  # multiples to try: of any block of onnxruntime's, the smallest first
NAMED = 8  # groups that one line names
MOST = 6  # groups that are tried one by one, those with the most time first
ALONE = 0.01  # of a run: what less than that costs, timing does not tell
ROOM = 256 << 20  # bytes of edited copies

Graphs = Callable[[list[bytes]], list[bytes | None]]


@dataclass(frozen=True)
class _OffGrid:
    """A group with the plain convolutions that read it."""

    group: Group
    maker: str
    layers: tuple[Layer, ...]

    @property
    def ms(self) -> float:
        return sum(layer.ms for layer in self.layers)

    @property
    def names(self) -> str:
        return ", ".join(layer.name for layer in self.layers)


def suspects(
    seen: Look, layers: Sequence[Layer], graphs: Graphs, advice: str
) -> Iterator[Suspect]:
    """One suspect a group whose width keeps convolutions plain, and one for all of them.

    Args:
        seen: The file.
        layers: Its layers.
        graphs: Optimised graphs of edited files, on the device.
        advice: How widths are chosen.
    """
    proto = reshaped_weights(pinned(seen.file.proto, seen.file.inputs.shapes)[0])
    every = sorted(_off_grid(proto, layers), key=lambda each: -each.ms)
    found = [each for each in every if not each.group.fixed]
    yield from (_held(each) for each in every if each.group.fixed)
    wider = _brought_back(proto, found, graphs, _up)
    narrower = _brought_back(proto, list(wider), graphs, _down)
    if len(wider) > 1:
        yield _all_of(proto, wider, advice)
    run = sum(layer.ms for layer in layers)
    for each, width in list(wider.items())[: _room(proto)]:
        if len(wider) > 1 and each.ms < ALONE * run:
            continue
        trials = [_trial(proto, each, width, "answers unchanged", same=True)]
        if each in narrower:
            trials.append(_trial(proto, each, narrower[each], "", same=False))
        yield Suspect(
            cause="off-grid channels",
            layer=each.names,
            what=(
                f"{each.maker} gives {each.group.width} channels, with which "
                f"{each.names} left the blocked layout; the next that fit are "
                + " and ".join(str(w) for w in (width, narrower.get(each)) if w)
            ),
            stake_ms=each.ms,
            trials=tuple(trials),
            next=advice,
        )


def _held(each: _OffGrid) -> Suspect:
    return Suspect(
        cause="off-grid channels",
        layer=each.names,
        what=f"{each.maker} gives {each.group.width} channels, with which {each.names} left the "
        f"blocked layout; {each.group.fixed} holds the width, so no other was tried",
        stake_ms=each.ms,
        next=f"set the width to a multiple of {STEPS[-1]} where the network is defined",
    )


def _all_of(proto: Any, wider: dict[_OffGrid, int], advice: str) -> Suspect:
    content = resized(proto, [each.group for each in wider], list(wider.values()))
    change = f"all {len(wider)} groups widened to the next width that fits"
    return Suspect(
        cause="off-grid channels",
        layer=f"{sum(len(each.layers) for each in wider)} convolutions",
        what=f"left the blocked layout: {_listed(list(wider))}",
        stake_ms=sum(each.ms for each in wider),
        trials=(Trial(change=change, model=content.SerializeToString()),),
        next=advice,
    )


def _listed(every: Sequence[_OffGrid]) -> str:
    named = [f"{each.names} (reads {each.group.width} channels)" for each in every[:NAMED]]
    rest = f" and {len(every) - NAMED} groups more" if len(every) > NAMED else ""
    return ", ".join(named) + rest


def _trial(proto: Any, each: _OffGrid, width: int, said: str, *, same: bool) -> Trial:
    content = resized(proto, [each.group], [width]).SerializeToString()
    change = f"{each.group.width} -> {width} channels" + (f", {said}" if said else "")
    return Trial(change=change, model=content, same_answers=same)


def _off_grid(proto: Any, layers: Sequence[Layer]) -> Iterator[_OffGrid]:
    """Groups of widths that no block divides, with the plain convolutions that read them."""
    nodes = {output: node for node in proto.graph.node for output in node.output}
    groups = groups_of(proto, shapes_of(proto))
    reading: dict[int, list[Layer]] = {}
    for layer in layers:
        node = nodes.get(layer.value)
        if node is None or node.op_type != "Conv" or layer.blocked:
            continue
        group = groups.get(node.input[0])
        if group and group.width % (STEPS[0] if group.fixed else STEPS[-1]):
            reading.setdefault(id(group), []).append(layer)
    for identity, plain in reading.items():
        group = next(group for group in groups.values() if id(group) == identity)
        makers = [one_line(_called(name, layers)) for name in group.makers]
        yield _OffGrid(group, ", ".join(makers) or "the input", tuple(plain))


def _called(value: str, layers: Sequence[Layer]) -> str:
    return next((layer.name for layer in layers if layer.value == value), value)


def _brought_back(
    proto: Any,
    found: Sequence[_OffGrid],
    graphs: Graphs,
    rounded: Callable[[int, int], int],
) -> dict[_OffGrid, int]:
    """For each group the first width whose graph has all of its convolutions blocked."""
    back: dict[_OffGrid, int] = {}
    for step in STEPS:
        left = [each for each in found if each not in back][: _room(proto)]
        widths = [rounded(each.group.width, step) for each in left]
        tries = [
            (each, width)
            for each, width in zip(left, widths, strict=True)
            if width > 0 and width != each.group.width
        ]
        models = [resized(proto, [each.group], [width]) for each, width in tries]
        optimised = graphs([model.SerializeToString() for model in models]) if models else []
        for (each, width), model, graph in zip(tries, models, optimised, strict=True):
            values = {layer.value for layer in each.layers}
            if graph is not None and values <= blocked_values(model, graph):
                back[each] = width
    return {each: back[each] for each in found if each in back}


def _up(width: int, step: int) -> int:
    return -(-width // step) * step


def _down(width: int, step: int) -> int:
    return width // step * step


def _room(proto: Any) -> int:
    return max(1, min(MOST, ROOM // max(1, int(proto.ByteSize()))))
