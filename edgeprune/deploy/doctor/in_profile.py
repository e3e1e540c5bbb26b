"""Causes that the profile shows, which no edit of the graph takes away."""

from collections.abc import Iterator, Sequence

import onnx

from edgeprune.deploy.doctor.case import NAMED, WORTH, Case, names_of
from edgeprune.deploy.doctor.findings import Suspect
from edgeprune.deploy.doctor.layers import CONVOLUTIONS, INTEGER, QUANTISED
from edgeprune.text import one_line

DOMINANT = 0.3  # of a run: a layer with so much of it is named
LAYERS = 4  # in a network of fewer one always has a large share


def layout_reorders(case: Case) -> Iterator[Suspect]:
    """Changes between the blocked and the plain layout."""
    reorders = [layer for layer in case.layers if layer.kernel.startswith("Reorder")]
    spent = sum(layer.ms for layer in reorders)
    if spent < WORTH * case.ms:
        return
    readers = _readers(case.seen.optimised)
    named = [
        f"{layer.name}{_read_by(readers.get(layer.name.partition(' ')[2], []))}"
        for layer in sorted(reorders, key=lambda layer: -layer.ms)[:NAMED]
    ]
    yield Suspect(
        cause="layout reorders",
        layer=f"{len(reorders)} reorders",
        what=f"{spent / case.ms:.0%} of a run: {', '.join(named)}",
        stake_ms=spent,
        next="replace the operators named by ones that the blocked layout has (convolution, "
        "pooling, ReLU, sigmoid, add), or move them to the end",
    )


def float_islands(case: Case) -> Iterator[Suspect]:
    """Convolutions and products of an int8 file that run in float."""
    if not any(node.op_type in QUANTISED for node in case.proto.graph.node):
        return
    floats = [each for each in case.layers if each.weighted and each.kernel not in INTEGER]
    casts = [layer for layer in case.layers if layer.kernel in QUANTISED[:3]]
    if not floats:
        return
    spent = sum(layer.ms for layer in (*floats, *casts))
    integer = sum(layer.weighted for layer in case.layers) - len(floats)
    yield Suspect(
        cause="float islands",
        layer=names_of(sorted(floats, key=lambda layer: -layer.ms)),
        what=f"{len(floats)} of {len(floats) + integer} layers run in float, between "
        f"{len(casts)} conversions: {spent / case.ms:.0%} of a run",
        stake_ms=spent,
        next="quantise them too: uint8 activations and int8 weights per channel on x86 "
        "(quantize_static, QDQ), without nodes_to_exclude",
    )


def another_provider(case: Case) -> Iterator[Suspect]:
    """Nodes that the first provider does not run."""
    first = case.runtime.providers[0]
    fallen = [each for each in case.layers if each.provider and each.provider != first]
    if fallen:
        spent = sum(layer.ms for layer in fallen)
        kinds = ", ".join(sorted({layer.kernel for layer in fallen})[:NAMED])
        yield Suspect(
            cause="another provider",
            layer=names_of(sorted(fallen, key=lambda layer: -layer.ms)),
            what=f"{len(fallen)} nodes fell from {first} to {fallen[0].provider} ({kinds}): "
            f"{spent / case.ms:.0%} of a run, copies not counted",
            stake_ms=spent,
            next=f"list {first} alone in runtime.providers: edgeprune check then says what it "
            "lacks",
        )


def dominant_layer(case: Case) -> Iterator[Suspect]:
    """A first convolution or a classifier that takes most of the time."""
    weighted = [layer for layer in case.layers if layer.weighted]
    if len(weighted) < LAYERS:
        return
    ends = {"the first layer": weighted[0], "the classifier": weighted[-1]}
    if weighted[-1].kernel in CONVOLUTIONS:
        del ends["the classifier"]
    for which, layer in ends.items():
        if layer.share >= DOMINANT:
            advice = {
                "the first layer": "a larger stride or fewer channels there saves most; pruning "
                "the layers behind it cannot",
                "the classifier": "pool before it, or prune the channels that it reads",
            }[which]
            yield Suspect(
                cause="one layer dominates",
                layer=layer.name,
                what=f"{which} takes {layer.share:.0%} of a run",
                stake_ms=layer.ms,
                next=advice,
            )


def _readers(optimised: bytes) -> dict[str, list[str]]:
    readers: dict[str, list[str]] = {}
    for node in onnx.ModelProto.FromString(optimised).graph.node:
        for name in node.input:
            readers.setdefault(one_line(name), []).append(node.op_type)
    return readers


def _read_by(kinds: Sequence[str]) -> str:
    named = sorted({kind for kind in kinds if not kind.startswith("Reorder")})
    return f" (for {', '.join(named)})" if named else ""
