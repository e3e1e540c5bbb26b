"""Every reader of edgeprune with the inputs that it is given."""

import io
import json
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image

from edgeprune.cli import project_file
from edgeprune.cli.main import main as command_line
from edgeprune.deploy.artifact import facts, provenance, seal
from edgeprune.deploy.devices.reply import parsed
from edgeprune.deploy.gate import formats
from edgeprune.deploy.gate.verdicts import Report
from edgeprune.deploy.table import storage
from edgeprune.documents import read_json
from edgeprune.prune.images import calibration_set
from edgeprune.prune.images.datasets import load as load_images
from edgeprune.prune.images.decoding import open_image
from edgeprune.prune.models.checkpoint import is_record
from edgeprune.prune.models.zoo import ModelSpec, load_dense
from edgeprune.prune.search.evaluation.memo import Memo
from edgeprune.prune.search.strategies.replay import Replaying
from edgeprune.prune.slimming.reload import load_slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.training import state
from edgeprune.run import front_csv, outcome
from edgeprune.run.folder import RunFolder, reopen
from edgeprune.target import data_folder, load_target
from fuzzing import written
from fuzzing.mutations import (
    WORDS,
    damaged_bytes,
    damaged_json,
    damaged_plain,
    damaged_proto,
    damaged_toml,
    shortened,
    to_toml,
)
from fuzzing.reader import Maker, Reader


def all_of(run: Path, work: Path) -> list[Reader]:
    """Every reader, its inputs made from a finished run folder."""
    made = Maker(work)
    return [
        *documents(made, run),
        *run_folder(made, run),
        *models(made, run),
        *devices(made),
        *images(made),
        *reports(made, run),
        commands(made),
    ]


def documents(made: Maker, run: Path) -> list[Reader]:
    profile = (data_folder("targets") / "mobile-cpu.toml").read_text()
    project = '[check]\nmax-seconds = 9.5\ninput = ["x=1x3"]\n[search]\nseed = 3\n'
    known = {"check": {"max_seconds", "input", "max_ratio"}, "search": {"seed", "out", "model"}}
    plain = shortened(json.loads((run / "latency.json").read_text()))

    def set_by(path: Path) -> list[str]:
        found, name = project_file.defaults(known, path.parent)
        return [project_file.told(name, table) for table in found.values()]

    listed = {
        "schema": "edgeprune.calibration/1",
        "data": "digits",
        "seed": 0,
        "indices": [1, 5, 9],
        "sha256": 64 * "0",
    }
    return [
        made.file(
            "calibration list",
            10,
            damaged_json(listed),
            lambda path: _none(calibration_set.read(str(path))),
        ),
        made.file(
            "target profile",
            30,
            damaged_toml(profile, to_toml, tomllib.loads(profile)),
            lambda path: _none(load_target(str(path))),
            file="input.toml",
        ),
        made.file(
            "edgeprune.toml",
            20,
            damaged_toml(project, to_toml, tomllib.loads(project)),
            set_by,
            file="edgeprune.toml",
        ),
        made.file(
            "latency table", 20, damaged_json(plain), lambda path: _none(storage.read(path))
        ),
    ]


def run_folder(made: Maker, run: Path) -> list[Reader]:
    record = shortened(json.loads((run / "run.json").read_text()))
    judged = shortened(json.loads((run / "check.json").read_text()), 2)
    plan = shortened(json.loads((run / "plan.json").read_text()), 5)
    limits: list[dict[str, Any]] = [{"latency": 0.5, "macs": None, "params": None}] * 2
    scores = [{"key": f"F1 {n}", "loss": 0.5, "accuracy": 0.9} for n in range(3)]
    lines = "\n".join(json.dumps(line) for line in scores)
    left = made.work / "recovery.pt"
    weights = {"w": torch.arange(3.0)}
    state.write(
        left,
        {"plan": "a"},
        state.State(losses=[0.5], seconds=1.0, model=weights, average=None, optimizer={}),
    )

    def recall(path: Path) -> list[str]:
        folder = RunFolder(path.parent)
        reopen(path.parent)
        found = outcome.recall(folder)
        return formats.to_text(found.report).splitlines() if found else []

    def reported(path: Path) -> list[str]:
        return _formats(Report.from_plain(read_json(path, finite=False), str(path)))

    return [
        made.file(
            "run.json",
            20,
            damaged_json(record),
            recall,
            file="run.json",
            beside={"check.json": json.dumps(judged).encode()},
        ),
        made.file("check.json", 20, damaged_json(judged), reported),
        made.file(
            "plan.json",
            10,
            damaged_json(plan),
            lambda path: _none(PruningPlan.from_plain(read_json(path))),
        ),
        made.file(
            "limits answered", 5, damaged_json(limits), lambda path: _none(Replaying(_never, path))
        ),
        made.file("scores kept", 10, damaged_bytes(lines.encode()), lambda p: _none(Memo(p))),
        made.file(
            "front.csv",
            10,
            damaged_bytes((run / front_csv.NAME).read_bytes()),
            lambda path: _none(front_csv.read(path)),
        ),
        made.file(
            "training state",
            5,
            damaged_bytes(left.read_bytes()),
            lambda path: _none(state.read(path, {"plan": "a"})),
        ),
    ]


def models(made: Maker, run: Path) -> list[Reader]:
    sealed = (run / "model.onnx").read_bytes()
    record = torch.load(run / "model.pt", weights_only=True)
    plain = {name: value for name, value in record.items() if name not in ("state_dict", "images")}
    rest = {name: record[name] for name in ("state_dict", "images")}
    entries = seal.entries_of(seal.load(run / "model.onnx"))
    covered = {
        key: value
        for key, value in entries.items()
        if not key.startswith((seal.SEAL, seal.MEASURED))
    }

    def counted(path: Path) -> list[str]:
        found = facts.read(path)
        seal.read(path)
        lines = [found.macs.lacking, found.params.lacking, found.sha256]
        seal.verify(path, found.proto)
        return lines

    def rebuilt(path: Path) -> None:
        if is_record(path):
            load_slim(path)
        else:
            load_dense(ModelSpec("resnet20"), path)

    def saved(content: Any) -> bytes:
        buffer = io.BytesIO()
        try:
            torch.save({**content, **rest} if isinstance(content, dict) else content, buffer)
        except RecursionError:  # too deep for torch to write, so no such file comes from it
            return b""
        return buffer.getvalue()

    def parsed_entries(content: Any) -> None:
        if isinstance(content, dict):
            texts = {str(key): str(value) for key, value in content.items()}
            provenance.paired_counts(
                {key.removeprefix("edgeprune."): v for key, v in texts.items()}
            )
            provenance.parse(texts)

    inside = {key: _plain(value) for key, value in covered.items()}
    return [
        made.file("onnx bytes", 15, damaged_bytes(sealed), counted, file="model.onnx"),
        made.file("onnx messages", 25, damaged_proto(sealed), counted, file="model.onnx"),
        made.values(
            "provenance",
            15,
            st.one_of(damaged_plain(covered), damaged_plain(inside).map(_as_texts)),
            parsed_entries,
        ),
        made.file(
            "model.pt", 5, damaged_bytes((run / "model.pt").read_bytes()), rebuilt, file="model.pt"
        ),
        made.file(
            "model.pt values",
            5,
            damaged_plain(plain).map(saved).filter(bool),
            rebuilt,
            file="model.pt",
        ),
    ]


def devices(made: Maker) -> list[Reader]:
    refused = written.answer()
    lines = [line for line in refused if line["kind"] != "error"]

    def answered(texts: list[bytes]) -> list[str]:
        seen = list(parsed(texts, "the device", lambda: WORDS[1], written.JOB))
        facts = [value for line in seen for value in line.get("machine", {}).values()]
        # They are printed and reported as they are.
        return [str(each) for value in facts for each in _listed(value)]

    def spoken(content: Any) -> list[bytes]:
        return [json.dumps(line).encode() for line in _listed(content)]

    whole = b"\n".join(spoken(lines))
    return [
        made.values(
            "device answers",
            30,
            st.one_of(
                damaged_plain(lines).map(spoken),
                damaged_plain(refused).map(spoken),
                damaged_bytes(whole).map(lambda text: text.split(b"\n")),
            ),
            answered,
        )
    ]


def images(made: Maker) -> list[Reader]:
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    seeds = []
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        seeds.append(damaged_bytes(buffer.getvalue()))
    foreign = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        b"\x89HDF\r\n\x1a\n",
    )
    folder = made.work / "images"
    for split in ("train", "test"):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
            for number in range(2):
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")
    load_images(str(folder), cache=made.work / "cache")
    cached = next((made.work / "cache").iterdir())
    stored = cached.read_bytes()

    def again(content: bytes) -> None:
        cached.write_bytes(content)
        load_images(str(folder), cache=made.work / "cache")

    return [
        made.file(
            "image files",
            15,
            st.one_of(*seeds, st.sampled_from(foreign)),
            lambda path: _none(open_image(path)),
            file="input.jpg",
        ),
        made.values("image cache", 3, damaged_bytes(stored), again),
    ]


def reports(made: Maker, run: Path) -> list[Reader]:
    plain = shortened(json.loads((run / "check.json").read_text()), 2)

    def written_out(content: Any) -> list[str]:
        return _formats(Report.from_plain(content, "a report"))

    return [made.values("report formats", 10, damaged_plain(plain), written_out)]


def commands(made: Maker) -> Reader:
    options = ("--target", "--max-ratio", "--budget", "--device", "--baseline", "--max-seconds")
    pair = st.tuples(st.sampled_from(options), st.sampled_from(WORDS))
    words = st.tuples(
        st.sampled_from(
            (["check", "missing.onnx"], ["export", "missing.pt"], ["targets", "show"])
        ),
        st.lists(pair, max_size=4),
        st.lists(st.sampled_from(WORDS), max_size=2),
    )

    def run(given: Any) -> list[str]:
        first, pairs, more = given
        line = [*first, *more, *(word for each in pairs for word in each)]
        return _ended(line)

    return made.values("command lines", 5, words, run)


def _ended(line: list[str]) -> list[str]:
    """Run a command as the shell does; whatever it prints is looked at by who called."""
    with patch.object(sys, "argv", ["edgeprune", *line]):
        try:
            command_line()
        except SystemExit as error:
            if error.code not in (0, 1, 2, 3, 4, None):
                raise RuntimeError(f"exit code {error.code} of {line}") from None
    return []


def _formats(report: Report) -> list[str]:
    """Every line of every format of a report."""
    lines = [*formats.to_text(report).splitlines(), *formats.to_markdown(report).splitlines()]
    lines += formats.to_annotations(report).splitlines()
    ElementTree.fromstring(formats.to_junit(report).split("\n", 1)[1])
    return lines


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _as_texts(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in content.items()}


def _never(limits: Any) -> Any:
    raise AssertionError(f"nothing is searched here: {limits}")


def _none(_: object) -> None:
    """Nothing of it is shown."""
