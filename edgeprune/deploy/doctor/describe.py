"""Reads an ONNX file, anybody's, and describes it: record, seal, counts, layers, kernels."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from edgeprune.deploy.artifact import facts, seal
from edgeprune.deploy.artifact.counting.count import Count, count_params
from edgeprune.deploy.artifact.model_file import read_model
from edgeprune.deploy.artifact.provenance import Provenance
from edgeprune.deploy.doctor.description import UNKNOWN, Description, Width
from edgeprune.deploy.doctor.diagnosis import few
from edgeprune.deploy.doctor.layers import FORMS, QUANTISED, layer_name, sources, weight_of
from edgeprune.deploy.doctor.look import optimised_graphs
from edgeprune.deploy.gate.kernel_layout import layout
from edgeprune.deploy.timing.setting import Setting
from edgeprune.errors import InputError, PromiseError
from edgeprune.text import one_line


def describe(path: Path) -> Description:
    """Read an ONNX file, anybody's, and say what it is.

    Raises:
        InputError: not an ONNX file, or one of a newer edgeprune.
    """
    file = read_model(path)
    content, proto = file.content, file.proto
    provenance, sealed = _provenance(path, proto)
    macs, params, uncounted = _counts(path, proto, content)
    entries = seal.entries_of(proto)
    return Description(
        path=path,
        sha256=file.sha256,
        file_bytes=file.bytes,
        producer=_producer(proto),
        opsets={entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        ir_version=proto.ir_version,
        inputs=_shapes(proto.graph.input, proto),
        outputs=_shapes(proto.graph.output, proto),
        precision=_precision(proto),
        provenance=provenance,
        seal=sealed,
        measured={
            one_line(key.removeprefix(seal.MEASURED)): one_line(value)
            for key, value in entries.items()
            if key.startswith(seal.MEASURED)
        },
        macs=macs,
        params=params,
        uncounted=uncounted,
        operators=dict(Counter(one_line(n.op_type) for n in proto.graph.node).most_common()),
        widths=widths_of(proto, _dense(path, provenance)),
        kernels=_kernels(file.whole),
    )


def _provenance(path: Path, proto: Any) -> tuple[Provenance | None, str | None]:
    """What the file records, and the state of its seal; a broken seal is told, not raised."""
    if not seal.entries_of(proto):
        return None, None
    try:
        return seal.verify(path, proto), "intact"
    except PromiseError as error:
        try:
            return seal.read(path, proto), one_line(error)
        except PromiseError as unread:
            return None, one_line(unread)


def _counts(path: Path, proto: Any, content: bytes) -> tuple[int | None, int | None, str]:
    try:
        known = facts.read(path, content=content)
        macs, params = known.macs, known.params
    except InputError as error:
        # Parameters need no shape; several or open inputs leave the MACs unknown.
        return None, _complete(count_params(proto)), f"MACs: {one_line(error)}"
    lacking = {"MACs": macs.lacking, "params": params.lacking}
    words = "; ".join(f"{name}: {what}" for name, what in lacking.items() if what)
    return _complete(macs), _complete(params), words


def _complete(count: Count) -> int | None:
    return None if count.lacking else count.total


def _producer(proto: Any) -> str:
    parts = [proto.producer_name, proto.producer_version]
    if proto.model_version:
        parts.append(f"model version {proto.model_version}")
    return one_line(" ".join(filter(None, parts)))


def _shapes(values: Any, proto: Any) -> dict[str, list[int | str]]:
    weights = {tensor.name for tensor in proto.graph.initializer}
    return {
        one_line(value.name): [
            axis.dim_value if axis.dim_value > 0 else one_line(axis.dim_param) or "?"
            for axis in value.type.tensor_type.shape.dim
        ]
        for value in values
        if value.name not in weights
    }


def _precision(proto: Any) -> str:
    """Types of the weights by their share of the values, the largest first."""
    kinds = Counter[str]()
    for tensor in proto.graph.initializer:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        kinds[kind] += math.prod(tensor.dims)
    total = sum(kinds.values())
    shown = [f"{kind} {count / total:.0%}" for kind, count in kinds.most_common(3) if count]
    said = f"weights {', '.join(shown)}" if shown else "no weights"
    quantised = sum(node.op_type in QUANTISED for node in proto.graph.node)
    return f"{said}; {quantised} operators of quantisation" if quantised else said


def widths_of(proto: Any, dense: Mapping[str, int]) -> tuple[Width, ...]:
    """The layers of a model, with the channels that each made in the dense one, by its name."""
    sizes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
            sizes[node.output[0]] = tuple(tensor.dims) if tensor is not None else ()
    stored = sources(proto, [form for form in FORMS if form != "Transpose"])  # axes stay in place
    found = []
    for node in proto.graph.node:
        weight = stored.get(weight_of(node), "")
        if len(sizes.get(weight, ())) >= 2:
            found.append(_width(node, sizes[weight], weight, dense))
    return tuple(found)


def _width(node: Any, dims: tuple[int, ...], weight: str, dense: Mapping[str, int]) -> Width:
    about = {attribute.name: attribute.i for attribute in node.attribute}
    groups = about.get("group", 1)
    inputs, outputs = dims[1] * groups, dims[0]
    if node.op_type == "ConvTranspose":
        inputs, outputs = dims[0], dims[1] * groups
    elif "MatMul" in node.op_type or (node.op_type == "Gemm" and not about.get("transB")):
        inputs, outputs = dims[-2], dims[-1]
    name = one_line(layer_name(node, weight))
    return Width(
        name=name,
        kind=one_line(node.op_type),
        inputs=inputs,
        outputs=outputs,
        dense=dense.get(name),
        groups=groups,
    )


def _dense(path: Path, provenance: Provenance | None) -> dict[str, int]:
    """Channels that each layer made in the dense model: as recorded, or of its file beside."""
    if provenance is None or provenance.dense_widths:
        return dict(provenance.dense_widths or {}) if provenance else {}
    beside = path.with_name("dense.onnx")
    if provenance.dense_sha256 is None or not beside.is_file():
        return {}
    if seal.file_sha256(beside) != provenance.dense_sha256:
        return {}
    return {width.name: width.outputs for width in widths_of(seal.load(beside), {})}


def _kernels(content: bytes) -> str:
    """Where the convolutions run on this machine, or why that cannot be told."""
    (graph,) = optimised_graphs([content], Setting(), {})
    if graph is None:
        return f"{UNKNOWN}: onnxruntime does not take the file"
    found = layout(graph)
    return few(found) if found.blocked or found.plain else "no convolution"
