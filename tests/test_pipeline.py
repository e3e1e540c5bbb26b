"""One real search, small: image folders in, run folder out; nothing is replaced by a stand-in."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from edgeprune import pipeline
from edgeprune.deploy import artifact, gate
from edgeprune.errors import PromiseError
from edgeprune.files import write_whole
from edgeprune.pipeline import Request, run_search
from edgeprune.prune.evolution import Settings
from edgeprune.prune.finetune import Recipe
from edgeprune.prune.models import ModelSpec, load_slim
from edgeprune.ship import export_checkpoint
from edgeprune.target import RelativeBudget, TargetProfile

FACTORY = """
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)

    def forward(self, x):
        return (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()

def net(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        Block(), nn.MaxPool2d(2), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, num_classes),
    )
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A working folder with a user's own network, digits 0 and 1 as PNG files, and a cache."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "mynets.py").write_text(FACTORY)
    scans = load_digits()
    for label in (0, 1):
        images = scans.images[scans.target == label]
        for number, image in enumerate(images):
            split = "test" if number % 4 == 0 else "train"
            path = folder / "data" / split / f"digit{label}" / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.repeat((image * 15).astype(np.uint8)[:, :, None], 3, 2)
            Image.fromarray(pixels).resize((16, 16)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder
    sys.modules.pop("mynets", None)


@pytest.fixture(scope="module")
def request_(here):
    profile = {
        "schema": 1,
        "name": "here",
        "channels": {"grid": [8, 16]},
        "measure": {"max_seconds": 5},
        "budget": {"relative": {"latency": 0.97}},
    }
    (here / "targets").mkdir()
    text = 'schema = 1\nname = "here"\n[channels]\ngrid = [8, 16]\n[measure]\nmax_seconds = 5\n'
    write_whole(
        here / "targets" / "here.toml", (text + "[budget.relative]\nlatency = 0.97").encode()
    )
    return Request(
        target=TargetProfile.model_validate(profile),
        model=ModelSpec("mynets:net"),
        budget=RelativeBudget(latency=0.97),
        source="data",
        size=16,
        out=Path("run"),
        baseline=Recipe(epochs=4, batch=32, lr=0.1),
        recovery=Recipe(epochs=1, batch=32),
        search=Settings(population=8, generations=4),
    )


@pytest.fixture(scope="module")
def outcome(request_):
    steps = []
    found = run_search(request_, lambda step, done, total: steps.append(step))
    return found, list(dict.fromkeys(steps))


def test_every_step_is_told(outcome):
    _, steps = outcome
    assert steps[:2] == ["decoding images", "training the dense model"]
    assert steps[-2:] == ["searching", "fine-tuning"]


def test_the_run_folder_holds_everything(outcome, here):
    names = {path.name for path in (here / "run").iterdir()}
    assert names == {
        "run.json", "events.jsonl", "latency.json", "plan.json", "model.pt", "dense.onnx",
        "model.onnx", "check.json",
    }  # fmt: skip
    record = json.loads((here / "run" / "run.json").read_text())
    assert record["status"] == "done"
    assert record["results"]["MACs"]["slim"] < record["results"]["MACs"]["dense"]


def test_the_summary_names_what_was_promised(outcome):
    found, _ = outcome
    assert [row.name for row in found.rows if row.dense] == [
        "accuracy", "MACs", "params", "file size", "latency",
    ]  # fmt: skip
    assert {verdict.name for verdict in found.report.verdicts} >= {"seal", "parity", "latency"}


def test_the_files_say_where_they_come_from_and_hold_no_path(outcome, here):
    slim = artifact.verify(here / "run" / "model.onnx")
    dense = artifact.verify(here / "run" / "dense.onnx")
    assert slim.dense_sha256 == artifact.file_sha256(here / "run" / "dense.onnx")
    assert slim.checkpoint_sha256 == artifact.file_sha256(here / "run" / "model.pt")
    assert (slim.target, slim.classes, slim.input_shape) == (
        "here",
        ("digit0", "digit1"),
        (3, 16, 16),
    )
    assert slim.macs < dense.macs
    assert slim.accuracy_slim is not None and dense.accuracy_dense == slim.accuracy_dense
    for name in ("model.onnx", "dense.onnx", "model.pt", "run.json"):
        assert str(here).encode() not in (here / "run" / name).read_bytes()


def test_model_pt_rebuilds_the_network_that_was_exported(outcome, here):
    model, record = load_slim(here / "run" / "model.pt", trust_factory=True)
    kept = json.loads((here / "run" / "plan.json").read_text())["kept"]
    assert model.get_submodule("0").out_channels == len(kept[next(iter(kept))])
    proto = onnx.load(here / "run" / "model.onnx")
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in proto.graph.initializer}
    linear = next(
        w for w in weights.values() if w.shape == tuple(model.get_submodule("8").weight.shape)
    )
    assert np.array_equal(linear, model.get_submodule("8").weight.detach().numpy())
    assert torch.is_tensor(record.images)


def test_exporting_again_gives_the_same_bytes(outcome, here):
    again = here / "again.onnx"
    export_checkpoint(here / "run" / "model.pt", again, trust_factory=True)
    assert again.read_bytes() == (here / "run" / "model.onnx").read_bytes()


def test_a_file_with_other_weights_under_a_new_seal_fails_its_own_images(outcome, request_, here):
    proto = artifact.load(here / "run" / "model.onnx")
    weight = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    changed = onnx.numpy_helper.to_array(weight) * 1.5
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    provenance = artifact.read(here / "run" / "model.onnx")
    artifact.write(here / "forged.onnx", proto, provenance)
    options = gate.Options(baseline=here / "run" / "dense.onnx")
    verdicts = {
        v.name: v for v in gate.check(here / "forged.onnx", request_.judged, options).verdicts
    }
    assert verdicts["seal"].outcome == "met"
    assert verdicts["parity"].outcome == "missed"
    assert "wrongly" in verdicts["parity"].message


def test_a_budget_out_of_reach_keeps_the_run_folder_and_says_the_best(outcome, request_, here):
    wanted = replace(request_, budget=RelativeBudget(latency=0.01), out=Path("tight"))
    with pytest.raises(PromiseError, match="best that can be had"):
        run_search(wanted)
    record = json.loads((here / "tight" / "run.json").read_text())
    assert record["status"] == "failed"
    assert "best that can be had" in record["reason"]


def test_an_interrupted_run_leaves_a_readable_folder(outcome, request_, here, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_search(replace(request_, out=Path("broken")))
    assert json.loads((here / "broken" / "run.json").read_text())["status"] == "interrupted"
    events = (here / "broken" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events][-1] == "interrupted"
    assert (here / "broken" / "plan.json").exists()
