"""Causes that the graph shows, each with an edited graph that is without it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from edgeprune.deploy.artifact import edits
from edgeprune.deploy.devices.job import Variant
from edgeprune.deploy.doctor import off_grid
from edgeprune.deploy.doctor.case import WORTH, Case, names_of
from edgeprune.deploy.doctor.findings import Suspect, Trial
from edgeprune.text import one_line

GROWTH = 64 << 20  # bytes that dense forms of grouped convolutions may take


def off_grid_channels(case: Case) -> Iterator[Suspect]:
    """Convolutions that left the blocked layout, and the widths that bring them back."""
    advice = (
        f"edgeprune search --target {case.target} takes widths of the device's grid alone "
        f"(edgeprune probe --target {case.target} shows it); by hand, set that width"
    )
    yield from off_grid.suspects(case.seen, case.layers, case.graphs, advice)


def weights_as_inputs(case: Case) -> Iterator[Suspect]:
    """Weights that a caller could replace: nothing can be folded, fused or blocked."""
    edited, count = edits.weights_inside(case.proto)
    if count:
        yield Suspect(
            cause="weights as graph inputs",
            layer=f"{count} weights",
            what=f"{count} weights are inputs of the graph too: onnxruntime folds none of them",
            stake_ms=case.ms,
            trials=(_trial("weights that are weights alone", edited),),
            next=f"python -m onnxruntime.tools.remove_initializer_from_input --input {case.shown} "
            "--output fixed.onnx",
        )


def denormal_weights(case: Case) -> Iterator[Suspect]:
    """Weights below the smallest normal float32, with which processors multiply slowly."""
    edited, count = edits.without_denormals(case.proto)
    if count:
        flushed = Variant(case.path, {"denormals": False})
        option = "the session option session.set_denormal_as_zero"
        yield Suspect(
            cause="denormal weights",
            layer=f"{count} values",
            what=f"{count} weights are smaller than 1.2e-38, the smallest normal float32",
            stake_ms=case.ms,
            trials=(
                _trial("zeros in their place", edited),
                Trial(change=option, model=flushed),
            ),
            next="save the weights with zeros in their place, or open the file with "
            "add_session_config_entry('session.set_denormal_as_zero', '1')",
        )


def exporter_clutter(case: Case) -> Iterator[Suspect]:
    """Nodes that do nothing; most of them onnxruntime removes by itself."""
    edited, gone = edits.uncluttered(case.proto)
    if not gone:
        return
    left = Counter(layer.kernel for layer in case.layers if layer.kernel in gone)
    there = ", ".join(f"{count} {kind}" for kind, count in sorted(gone.items()))
    still = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items())) or "none of them"
    yield Suspect(
        cause="exporter clutter",
        layer=f"{sum(gone.values())} nodes",
        what=f"{there} that do nothing or fold into others; left as onnxruntime runs it: {still}",
        stake_ms=sum(layer.ms for layer in case.layers if layer.kernel in gone),
        trials=(_trial("without them", edited),),
        next=f"pip install onnxslim && onnxslim {case.shown} fixed.onnx",
    )


def open_axes(case: Case) -> Iterator[Suspect]:
    """Sizes that the file leaves open, so that onnxruntime cannot plan with them."""
    edited, count = edits.pinned(case.proto, case.seen.file.inputs.shapes)
    if count:
        name, shape = next(iter(case.seen.file.inputs.shapes.items()))
        sizes = ",".join(map(str, shape))
        yield Suspect(
            cause="open axes",
            layer=one_line(name),
            what=f"{count} sizes of inputs are open",
            stake_ms=WORTH * case.ms,  # memory is planned later, little else
            trials=(_trial("every size fixed", edited),),
            next="python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name "
            f"{one_line(name)} --input_shape {sizes} {case.shown} fixed.onnx",
        )


def mean_instead_of_pooling(case: Case) -> Iterator[Suspect]:
    """A ReduceMean over height and width, which the blocked layout has no kernel for."""
    edited, count = edits.pooled(case.proto)
    if count:
        kinds = ("ReduceMean", "ReorderOutput")
        yield Suspect(
            cause="mean instead of pooling",
            layer=f"{count} ReduceMean",
            what="a mean over height and width that GlobalAveragePool does on the blocked layout",
            stake_ms=sum(layer.ms for layer in case.layers if layer.kernel in kinds),
            trials=(_trial("GlobalAveragePool", edited),),
            next="write nn.AdaptiveAvgPool2d(1) in place of x.mean((2, 3)), or export with "
            "edgeprune export",
        )


def grouped_convolutions(case: Case) -> Iterator[Suspect]:
    """Convolutions of groups of several channels outside the blocked layout."""
    nodes = {node.output[0]: node for node in case.proto.graph.node if node.output}
    sizes = {tensor.name: tuple(tensor.dims) for tensor in case.proto.graph.initializer}
    slow, growth = [], 0
    for layer in case.layers:
        node = nodes.get(layer.value)
        if node is None or node.op_type != "Conv" or layer.blocked:
            continue
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        dims = sizes.get(node.input[1], ())
        if groups > 1 and len(dims) == 4 and dims[1] > 1:
            slow.append(layer)
            growth += 4 * dims[0] * dims[1] * dims[2] * dims[3] * groups
    if not slow:
        return
    trials: tuple[Trial, ...] = ()
    if growth <= GROWTH:
        edited, count = edits.undivided(case.proto, [layer.value for layer in slow])
        said = f"{count} of them as dense convolutions with zeros between the groups"
        trials = (_trial(said, edited),) if count else ()
    yield Suspect(
        cause="grouped convolutions",
        layer=names_of(slow),
        what=f"{len(slow)} grouped convolutions run outside the blocked layout",
        stake_ms=sum(layer.ms for layer in slow),
        trials=trials,
        next="take groups whose channels are a multiple of 16, or depthwise or dense convolutions",
    )


def _trial(change: str, edited: Any) -> Trial:
    return Trial(change=change, model=edited.SerializeToString())
