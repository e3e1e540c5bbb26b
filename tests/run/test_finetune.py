"""A real model.pt fine-tuned by the command: alone, after a kill, and in two processes."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.cli.main import main
from edgeprune.errors import InputError
from edgeprune.prune.models import checkpoint
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.slimming.reload import load_slim
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import trace
from edgeprune.prune.training.recipe import Recipe
from edgeprune.run import pipeline

FACTORY = """
from torch import nn

def net(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""
HISTORY = {
    "data": "data",
    "target": {"name": "here"},
    "macs": 5,
    "params": 6,
    "accuracy_dense": 0.9,
    "accuracy_slim": 0.5,
    "accuracy": {"dense": 0.9, "slim": 0.5},
    "finetune": {"steps": 0},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a user's network, two classes of images, a slim and a dense model.pt."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.py").write_text(FACTORY)
    generator = np.random.default_rng(0)
    for label, bright in enumerate((60, 150)):
        for split, count in (("train", 80), ("test", 20)):
            for number in range(count):
                path = folder / "data" / split / f"class{label}" / f"{number:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = generator.integers(0, 100, (8, 8, 3)) + bright
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
            patch.delenv(name, raising=False)
        _write_models(folder)
        yield folder
    sys.modules.pop("tiny", None)


def _write_models(folder):
    dense = rewrite_shortcuts(build(ModelSpec("tiny:net", 2))).eval()
    traced = trace(dense, torch.zeros(1, 3, 8, 8))
    kept = {group.name: tuple(range(6)) for group in traced.groups}
    plan = PruningPlan(model="tiny:net", kept=kept)
    record = Checkpoint(
        model="tiny:net",
        kwargs={"num_classes": 2},
        plan=plan.to_plain(),
        state_dict=slim(traced, plan).state_dict(),
        input_shape=(3, 8, 8),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        classes=("class0", "class1"),
        history=HISTORY,
        images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
    )
    (folder / "run").mkdir()
    checkpoint.write(folder / "run/model.pt", record)
    dense_record = replace(record, plan=None, state_dict=dense.state_dict())
    checkpoint.write(folder / "run/dense.pt", dense_record)


@pytest.fixture
def run(here, monkeypatch, capsys):
    """Fine-tune by the command; returns exit code, stdout and stderr."""

    def command(*words, model="run/model.pt"):
        base = ["edgeprune", "finetune", model, "--trust-factory", *map(str, words)]
        monkeypatch.setattr(sys, "argv", base)
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return command


def weights(path):
    return checkpoint.read(path).state_dict


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left | right)


ASKED = ("--data", "data", "--batch", "16", "--epochs", "6", "--lr", "0.1")
"""9 steps a pass over the 144 images that are not held out, 54 in all."""


@pytest.fixture(scope="module")
def whole(here):
    """What the command writes when nothing interrupts it."""
    words = [sys.executable, "-m", "edgeprune", "finetune", "run/model.pt", "--trust-factory"]
    subprocess.run([*words, *ASKED, "--out", "whole.pt"], check=True, capture_output=True)
    return here / "whole.pt"


def test_it_learns_and_the_history_tells(whole, here):
    before, after = (checkpoint.read(path) for path in (here / "run/model.pt", whole))
    history = dict(after.history)
    assert history["accuracy"]["val_slim"] == history["accuracy_slim"] == 1.0
    assert history["accuracy"]["dense"] == 0.9
    assert history["accuracy"]["val_before_finetune"] < 0.9
    assert history["finetune"]["steps"] == 54
    assert history["finetune"]["teacher"] is True
    assert history["finetuned_from"]["finetune"] == {"steps": 0}
    assert {name: history[name] for name in ("target", "macs", "params")} == {
        name: HISTORY[name] for name in ("target", "macs", "params")
    }
    assert after.plan == before.plan
    assert load_slim(whole, trust_factory=True)[0] is not None
    assert sorted(path.name for path in here.glob("whole*")) == ["whole.pt"]


def test_a_killed_training_goes_on_bit_by_bit(whole, here, run):
    words = [sys.executable, "-m", "edgeprune", "finetune", "run/model.pt", "--trust-factory"]
    slow = f"import time, edgeprune.prune.training.loop as f; {SLOW}"
    asked = [*ASKED, "--out", "killed.pt", "--save-every", "3"]
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *words[3:], *asked],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert any(line == "step 20\n" for line in process.stdout)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert not (here / "killed.pt").exists()
    assert (here / "killed.pt.state").exists()
    code, out, err = run(*asked)
    assert (code, out) == (2, "")
    assert "killed.pt.state holds an interrupted training; pass --resume" in err
    code, _, err = run(*asked[:-2], "--kd-weight", "0.5", "--resume")
    assert code == 2
    assert "alpha was 0.7, now it is 0.5" in err
    assert run(*asked, "--resume")[0] == 0
    assert same(weights(here / "killed.pt"), weights(whole))
    assert not (here / "killed.pt.state").exists()


SLOW = """
step = f._Run._step
def told(self, done, *batch):
    print("step", done, flush=True)
    time.sleep(0.1 if done > 19 else 0)
    return step(self, done, *batch)
f._Run._step = told
from edgeprune.errors import InputError
from edgeprune.cli.main import main
main()
""".strip()


def test_torchrun_trains_with_the_same_command(whole, here):
    base = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    base += ["--nproc-per-node", "2", "-m", "edgeprune", "finetune", "run/model.pt"]
    asked = [*ASKED, "--out", "two.pt", "--trust-factory"]
    done = subprocess.run(
        [*base, *asked],
        capture_output=True,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("two.pt: ") == 1
    assert done.stdout.count("\n") == 1
    history = checkpoint.read(here / "two.pt").history
    assert history["finetune"]["processes"] == 2
    assert history["accuracy_slim"] == 1.0
    assert sorted(path.name for path in here.glob("two*")) == ["two.pt"]


def test_the_teacher_is_who_one_says(here, run):
    torch.save(weights(here / "run/dense.pt"), here / "bare.pt")
    short = ("--data", "data", "--steps", "3", "--overwrite", "--out", "taught.pt")
    found = {}
    for name in ("run/dense.pt", "bare.pt", "run/model.pt", None):
        code, out, err = run(*short, *(("--teacher", name) if name else ("--kd-weight", "0")))
        assert code == 0, err
        assert (f"distilled from {name}" if name else "without a teacher") in out
        found[name] = weights(here / "taught.pt")
    assert same(found["run/dense.pt"], found["bare.pt"])
    assert not same(found["run/dense.pt"], found["run/model.pt"])
    assert not same(found["run/dense.pt"], found[None])


def test_a_dense_network_learns_without_itself_as_teacher(here, run):
    short = ("--data", "data", "--steps", "3", "--out", "denser.pt")
    code, out, _ = run(*short, model="run/dense.pt")
    assert code == 0
    assert "without a teacher" in out
    history = checkpoint.read(here / "denser.pt").history
    assert history["accuracy_dense"] == history["accuracy"]["dense"] != 0.9


def test_a_network_that_was_only_slimmed_is_recalibrated(here, run):
    record = checkpoint.read(here / "run/model.pt")
    history = {name: value for name, value in HISTORY.items() if name != "finetune"}
    checkpoint.write(here / "raw.pt", replace(record, history=history))
    nothing = ("--data", "data", "--steps", "0", "--overwrite", "--out", "out.pt")
    mean = "1.running_mean"
    for model, asked, moved in (
        ("raw.pt", [], True),
        ("run/model.pt", [], False),
        ("run/model.pt", ["--recalibrate"], True),
    ):
        assert run(*nothing, *asked, model=model)[0] == 0
        assert torch.equal(weights(here / "out.pt")[mean], record.state_dict[mean]) != moved


def test_answers_are_paired_anew_where_the_images_are_the_same(here, run):
    record = checkpoint.read(here / "run/model.pt")
    stale = {"both": 1, "dense": 0, "slim": 0, "neither": 0}
    nothing = ("--data", "data", "--steps", "0", "--overwrite")
    assert run(*nothing, "--out", "dense2.pt", model="run/dense.pt")[0] == 0
    kept = checkpoint.read(here / "dense2.pt").history["dense_answers"]
    for answers, known in ((kept, True), ({**kept, "images": "others"}, False), (None, False)):
        history = {**HISTORY, "answers": stale, "dense_answers": answers}
        checkpoint.write(here / "before.pt", replace(record, history=history), overwrite=True)
        assert run(*nothing, "--out", "after.pt", model="before.pt")[0] == 0
        found = checkpoint.read(here / "after.pt").history
        assert ("answers" in found) == known
        if known:
            assert sum(found["answers"].values()) == len(kept["right"]) == 40
            right = found["answers"]["both"] + found["answers"]["slim"]
            assert right / 40 == found["accuracy_slim"]


def test_shares_of_other_images_are_not_kept(here, run):
    if not (here / "again").exists():
        (here / "again").symlink_to(here / "data")
    assert run("--data", "again", "--steps", "0", "--out", "again.pt")[0] == 0
    history = checkpoint.read(here / "again.pt").history
    assert history["data"] == "again"
    assert "accuracy_dense" not in history
    assert "dense" not in history["accuracy"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "with --data"),
        (["--data", "digits"], "has 2 classes (class0, class1), --data digits has 10"),
        (["--data", "data", "--out", "no/where.pt"], "there is no folder no"),
        (["--data", "data", "--out", "run"], "model.pt exists; pass --overwrite"),
        (["--data", "data", "--teacher", "none.pt"], "none.pt does not exist"),
        (["--data", "data", "--kd-weight", "1.5"], "--kd-weight cannot be 1.5"),
        (["--data", "data", "--kd-temperature", "nan"], "--kd-temperature cannot be nan"),
        (["--data", "data", "--label-smoothing", "1"], "--label-smoothing cannot be 1"),
        (["--data", "data", "--lr", "0"], "--lr cannot be 0"),
        (["--data", "data", "--batch", "1"], "--batch cannot be 1"),
        (["--data", "data", "--ema", "1"], "--ema cannot be 1"),
        (["--data", "data", "--seed", "-1"], "Invalid value for '--seed'"),
        (["--data", "data", "--lr", "1e30"], "smaller learning rate than 1e+30"),
        (["--data", "data", "--teacher", "other.pt"], "has other mean than the model"),
    ],
)
def test_what_cannot_be_is_one_line(here, run, words, said):
    other = replace(checkpoint.read(here / "run/dense.pt"), mean=(0.1, 0.5, 0.5))
    checkpoint.write(here / "other.pt", other, overwrite=True)
    code, out, err = run(*words)
    assert (code, out) == (1 if "1e30" in words else 2, "")  # a divergence is no wrong request
    assert said in err.splitlines()[-1]
    assert err.count("edgeprune: ") == 1
    (here / "run/model-finetuned.pt.state").unlink(missing_ok=True)
    assert not (here / "run/model-finetuned.pt").exists()


def test_a_damaged_state_and_a_file_without_trust_are_refused(here, run, monkeypatch, capsys):
    (here / "bad.pt.state").write_bytes(b"PK no")
    code, _, err = run("--data", "data", "--out", "bad.pt", "--resume")
    assert code == 2
    assert "bad.pt.state is no state of a training" in err
    assert run("--data", "data", "--out", "bad.pt", "--overwrite", "--steps", "1")[0] == 0
    assert not (here / "bad.pt.state").exists()
    monkeypatch.setattr(sys, "argv", ["edgeprune", "finetune", "run/model.pt", "--data", "data"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "--trust-factory" in capsys.readouterr().err


def test_a_search_takes_the_same_recipe(here, monkeypatch):
    asked = []

    def remember(request, progress):
        asked.append(request.recovery)
        raise InputError("enough")

    monkeypatch.setattr(pipeline, "run_search", remember)
    given = ["--kd-temperature", "2", "--kd-weight", "0.3", "--label-smoothing", "0.1"]
    given += ["--ema", "0.99", "--lr", "0.02", "--batch", "32", "--seed", "4", "--epochs", "7"]
    for words in ([], ["--data", "data"], given):
        monkeypatch.setattr(sys, "argv", ["edgeprune", "search", *words])
        with pytest.raises(SystemExit):
            main()
    assert asked == [
        Recipe(batch=64),
        Recipe(),
        Recipe(
            epochs=7,
            batch=32,
            lr=0.02,
            temperature=2.0,
            alpha=0.3,
            label_smoothing=0.1,
            ema=0.99,
            seed=4,
        ),
    ]


def test_the_module_is_the_command_and_starts_without_torch():
    blocked = "import sys, runpy; sys.modules['torch'] = None; sys.argv[1:] = ['--help']; "
    blocked += "runpy.run_module('edgeprune', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "finetune" in done.stdout
