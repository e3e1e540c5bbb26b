"""``search --task outputs`` by the command, on pictures without labels, then what follows it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.cli.main import main
from edgeprune.prune.models import checkpoint
from tests.run.test_several_heads import PROFILE, stripes

FACTORY = """
import torch
from torch import nn
from tests.several_heads import Heads

def segmenter():
    torch.manual_seed(0)
    return Heads("dict")
"""

SEARCH = [
    *("search", "--task", "outputs", "--target", "here.toml"),
    *("--model", "mysegmenter:segmenter", "--weights", "segmenter.pt"),
    *("--data", "pictures", "--image-size", "16", "--max-output-error", "90"),
    *("--epochs", "3", "--evaluations", "8", "--finalists", "1", "--out", "run"),
]


def command(*words: str) -> int:
    """The exit code of a command."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["edgeprune", *words])
        main()
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder: a network with two heads, its weights, pictures, and a run of them."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "mysegmenter.py").write_text(FACTORY)
    (folder / "here.toml").write_text(PROFILE)
    images = stripes(160, 0).tensors[0].permute(0, 2, 3, 1).mul(255).clamp(0, 255)
    for number, image in enumerate(images.numpy().astype(np.uint8)):
        path = folder / "pictures" / f"day{number % 3}" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.syspath_prepend(folder)
        from mysegmenter import segmenter  # type: ignore[import-not-found]

        torch.save(segmenter().state_dict(), "segmenter.pt")
        assert command(*SEARCH) in (0, 1)  # whether the clock or the error keeps it from its limit
        yield folder
    sys.modules.pop("mysegmenter", None)


def test_both_outputs_are_judged_and_no_word_of_accuracy_is_said(here: Path) -> None:
    known = json.loads((here / "run/run.json").read_text())
    assert known["status"] == "done"
    assert "accuracy" not in known["results"]
    assert known["results"]["output error"]["dense"] == 0
    verdicts = json.loads((here / "run/check.json").read_text())["verdicts"]
    (verdict,) = [each for each in verdicts if each["name"] == "output_error"]
    assert "class " in verdict["evidence"]
    assert "map " in verdict["evidence"]


def test_the_summary_has_the_error_and_how_many_classes_are_the_same(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert command(*SEARCH, "--resume") in (0, 1)  # what it came to, told again
    said = capsys.readouterr().out
    (row,) = [line for line in said.splitlines() if line.startswith("output error")]
    error = json.loads((here / "run/run.json").read_text())["results"]["output error"]["slim"]
    assert row.split() == ["output", "error", "0.00", "%", f"{error:.2f}", "%"]
    assert "note: class: the largest value is the same one as the dense network's for" in said
    assert "note: map:" not in said, "a map has no class"


def test_its_network_is_fine_tuned_exported_and_checked(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trusted = ["--data", "pictures", "--trust-factory"]
    tuned = ["--epochs", "6", "--out", "tuned.pt"]
    assert command("finetune", "run/model.pt", *trusted, *tuned) == 0
    assert "tuned.pt: output error " in capsys.readouterr().out
    history = checkpoint.read(here / "tuned.pt").history
    assert history["task"] == "outputs"
    assert 0 < history["figures"]["slim"] < 1
    assert command("export", "tuned.pt", "--output", "tuned.onnx", "--trust-factory") == 0
    asked = ["--target", "here.toml", "--baseline", "run/dense.onnx"]
    capsys.readouterr()
    limits = ["--budget", "output_error=100", "--budget", "relative.latency=2"]
    assert command("check", "tuned.onnx", *asked, *limits) == 0
    said = capsys.readouterr().out
    assert "met: output_error" in said
    assert "accuracy" not in said


def test_without_its_teacher_it_learns_nothing_and_that_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", "pictures", "--trust-factory", "--out", "alone.pt"]
    assert command("finetune", "run/model.pt", *words, "--kd-weight", "0") == 2
    assert "learns from the dense network alone: name it with --teacher" in capsys.readouterr().err
    assert not (here / "alone.pt").exists()


def test_the_run_is_listed_with_its_error_and_the_latency_that_was_judged(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = json.loads((here / "run/check.json").read_text())["verdicts"]
    (latency,) = [each["value"] for each in verdicts if each["name"] == "latency"]
    capsys.readouterr()
    assert command("runs", ".") == 0
    said = capsys.readouterr().out
    assert "output error" in said
    assert f"{latency:.3f}x" in said
