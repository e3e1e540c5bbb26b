"""A description of an ONNX file: what it records about itself, its counts, its layers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeprune.deploy.artifact.provenance import Provenance
from edgeprune.text import one_line

SCHEMA = "edgeprune.inspect/1"
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Width:
    """A convolution or product of the file.

    Attributes:
        name: The module its weight is of, or the node.
        kind: Its operator.
        inputs: Channels that it reads.
        outputs: Channels that it makes.
        dense: Channels that it made before slimming; None where the file does not record it.
        groups: Groups of a convolution.
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    dense: int | None
    groups: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """What an ONNX file is; None stands for what it does not have or cannot be told.

    Attributes:
        path: The file.
        sha256: Its hash.
        file_bytes: Its size.
        producer: Who wrote it, and the model's version there.
        opsets: Versions of the operator sets, by domain.
        ir_version: Version of the file format.
        inputs: Shape of each input, names for open sizes.
        outputs: The same of each output.
        precision: Number format of the weights.
        provenance: What edgeprune recorded.
        seal: ``intact``, what is broken, or None without one.
        measured: Measurements that were added after the export.
        macs: Multiply-accumulates, counted from the graph.
        params: Weights and biases, counted from the graph.
        uncounted: Why there is no count; empty where there is one.
        operators: How many nodes of each kind.
        widths: Its layers.
        kernels: Where its convolutions run here.
    """

    path: Path
    sha256: str
    file_bytes: int
    producer: str
    opsets: dict[str, int]
    ir_version: int
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    precision: str
    provenance: Provenance | None
    seal: str | None
    measured: dict[str, str]
    macs: int | None
    params: int | None
    uncounted: str
    operators: dict[str, int]
    widths: tuple[Width, ...]
    kernels: str

    def to_json(self) -> str:
        """All of it; images for parity are left out, their number stays."""
        recorded = None
        if self.provenance:
            recorded = self.provenance.model_dump(mode="json", by_alias=True, exclude={"parity"})
            recorded["parity_images"] = _images(self.provenance)
        body = {
            "schema": SCHEMA,
            **{key: value for key, value in vars(self).items() if key != "provenance"},
            "path": str(self.path),
            "widths": [asdict(width) for width in self.widths],
            "provenance": recorded,
        }
        return json.dumps(body, indent=2) + "\n"

    def to_text(self) -> str:
        """One fact a line, then one layer a line."""
        rows = {
            "file": str(self.path),
            "sha256": self.sha256,
            "size": f"{self.file_bytes:,} bytes",
            "producer": self.producer or "not recorded",
            "opsets": ", ".join(f"{name} {number}" for name, number in self.opsets.items())
            + f" (IR {self.ir_version})",
            "inputs": _tensors(self.inputs),
            "outputs": _tensors(self.outputs),
            "precision": self.precision,
            "MACs": UNKNOWN if self.macs is None else f"{self.macs:,}, counted from the graph",
            "params": UNKNOWN
            if self.params is None
            else f"{self.params:,}, counted from the graph",
            "not counted": self.uncounted,
            "operators": ", ".join(f"{count} {kind}" for kind, count in self.operators.items()),
            "kernels here": self.kernels,
            **self._recorded(),
            **{f"measured {key}": value for key, value in self.measured.items()},
        }
        lines = [f"{name:14} {one_line(value)}" for name, value in rows.items() if value]
        return "\n".join([*lines, "", *self._layers()]) + "\n"

    def _recorded(self) -> dict[str, str]:
        """What the file says about itself, or that it says nothing."""
        known = self.provenance
        if known is None:
            said = "none: edgeprune did not export this file"
            return {"provenance": said, "seal": self.seal or "none"}
        accuracies = {"dense": known.accuracy_dense, "slim": known.accuracy_slim}
        shown = [f"{name} {value:.2%}" for name, value in accuracies.items() if value is not None]
        if known.outputs:
            worst = max(one.error for one in known.outputs.errors.values())
            shown = [f"not measured; output error {worst:.2%}"]
        if known.score:
            pair = known.score
            shown = [f"not measured; {pair.name} dense {pair.dense:.4g}, slim {pair.slim:.4g}"]
        plan = known.plan["kept"] if known.plan and "kept" in known.plan else {}
        return {
            "seal": self.seal or "none",
            "model": known.model,
            "plan": f"{len(plan)} channel groups" if plan else "none: this is the dense model",
            "target": f"{known.target} ({known.target_sha256[:16]})",
            "recorded": f"{known.precision}, {known.macs:,} MACs, {known.params:,} params",
            "accuracy": ", ".join(shown) or "not recorded",
            "parity": f"{_images(known)} images travel inside" if known.parity else "no images",
            "classes": (
                f"{len(known.classes)}: {', '.join(known.classes[:8])}" if known.classes else ""
            ),
            "input pixels": f"mean {_numbers(known.mean)}, std {_numbers(known.std)}",
            "checkpoint": known.checkpoint_sha256 or "not recorded",
            "dense file": known.dense_sha256 or "not recorded",
            "exported by": ", ".join(
                f"{name} {version}"
                for name, version in {"edgeprune": known.version, **known.versions}.items()
            ),
        }

    def _layers(self) -> list[str]:
        longest = max((len(width.name) for width in self.widths), default=0)
        return [
            f"  {width.name:{longest}}  {width.kind}  {width.inputs} -> "
            + (f"{width.dense} -> " if width.dense not in (None, width.outputs) else "")
            + f"{width.outputs}"
            + (f", {width.groups} groups" if width.groups > 1 else "")
            for width in self.widths
        ]


def _count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}, counted from the graph"


def _tensors(shapes: dict[str, list[int | str]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, axes))}" for name, axes in shapes.items())


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _images(provenance: Provenance) -> int:
    return len(provenance.parity.logits) if provenance.parity else 0
