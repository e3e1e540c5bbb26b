"""Searches by outputs, without labels: two heads, a segmentation network, a score of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.errors import InputError
from tests.run.test_outputs_command import command
from tests.run.test_several_heads import PROFILE, stripes
from tests.run.test_several_heads import trained as taught
from tests.several_heads import Heads
from tests.shapes import fcn, mean_iou, shapes, trained

QUICK = {"evaluations": 8, "finalists": 1, "strategy": "joint"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "here.toml").write_text(PROFILE + "accuracy_drop = 1.0\n")
    return tmp_path


def pictures(*parts: TensorDataset) -> tuple[TensorDataset, ...]:
    """The images alone."""
    return tuple(TensorDataset(part.tensors[0]) for part in parts)


def test_every_output_counts_and_no_word_of_accuracy_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    train, test = stripes(200, 0), stripes(120, 1)
    network = taught(Heads("dict"), train)
    run = edgeprune.search(
        network,
        pictures(train, test),
        task="outputs",
        target=str(here / "here.toml"),
        flip=False,
        epochs=5,
        max_output_error=40,
        out=here / "run",
        **QUICK,
    )
    rows = {row.name: row for row in run.rows}
    assert "accuracy" not in rows
    assert (rows["output error"].dense, rows["output error"].unit) == (0, "%")
    known = json.loads((here / "run/run.json").read_text())
    values = known["validation"]
    assert 0 < values["val_slim"] < values["val_before_finetune"]
    verdicts = {verdict.name: verdict for verdict in run.report.verdicts}
    assert "accuracy_drop" not in verdicts
    assert verdicts["output_error"].value == pytest.approx(rows["output error"].slim)
    assert verdicts["output_error"].interval is not None
    for name in ("class", "map"):
        assert f"{name} " in verdicts["output_error"].evidence
    with torch.no_grad():
        images = test.tensors[0] * 255
        pixels = images.round() / 255
        found, wanted = run.model(pixels), network(pixels)
    errors = [
        float((found[k] - wanted[k]).square().sum().sqrt() / wanted[k].square().sum().sqrt())
        for k in wanted
    ]
    assert rows["output error"].slim == pytest.approx(100 * max(errors), rel=1e-3)
    page = (here / "run/report.html").read_text()
    assert "Output error against latency" in page
    assert "with an output error of" in page
    assert "Test accuracy" not in page
    # The profile asks for accuracy_drop, which does not apply to this file.
    file = str(here / "run/model.onnx")
    assert command("check", file, "--target", str(here / "here.toml")) == 0
    said = capsys.readouterr().out
    assert "accuracy_drop does not apply" in said
    assert "inconclusive" not in said
    assert command("inspect", file) == 0
    assert "not measured; output error" in capsys.readouterr().out


def test_a_segmentation_network_is_searched_at_a_measured_latency(here: Path) -> None:
    train, test = shapes(160, 0, 32), shapes(60, 1, 32)
    network = trained(fcn(), train, steps=60)
    run = edgeprune.search(
        network,
        (train, test),
        task="outputs",
        score=mean_iou,
        target=str(here / "here.toml"),
        epochs=8,
        max_score_drop=1.0,
        out=here / "run",
        **QUICK,
    )
    rows = {row.name: row for row in run.rows}
    verdicts = {verdict.name: verdict for verdict in run.report.verdicts}
    assert verdicts["latency"].outcome == "met"
    assert verdicts["parity"].outcome == verdicts["score_drop"].outcome == "met"
    images, masks = test.tensors
    with torch.no_grad():
        pixels = (images * 255).round() / 255
        assert rows["score"].dense == pytest.approx(mean_iou(network, pixels, masks), abs=1e-6)
        assert rows["score"].slim == pytest.approx(mean_iou(run.model, pixels, masks), abs=1e-3)
    page = (here / "run/report.html").read_text()
    assert "score=mean_iou" in page
    assert "Score against latency" in page


def test_a_score_that_fails_ends_in_one_line(here: Path) -> None:
    def score(model: nn.Module, images: Tensor) -> float:
        raise KeyError("nothing")

    data = pictures(stripes(40, 0), stripes(40, 1))
    target = str(here / "here.toml")
    with pytest.raises(InputError, match="score= failed: KeyError: 'nothing'"):
        edgeprune.search(Heads(), data, task="outputs", score=score, target=target, **QUICK)
    with pytest.raises(InputError, match="score= returned nan"):
        edgeprune.search(
            Heads(), data, task="outputs", score=lambda m, x: float("nan"), target=target, **QUICK
        )


def test_an_integer_output_ends_in_one_line(here: Path) -> None:
    class Counted(Heads):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x)["class"].argmax(1)

    data = pictures(stripes(40, 0), stripes(40, 1))
    with pytest.raises(InputError, match=r"the output of the model is of torch\.int64"):
        edgeprune.search(Counted(), data, task="outputs", target=str(here / "here.toml"), **QUICK)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--task outputs needs --weights"),
        (["--max-accuracy-drop", "1"], "it has --max-output-error"),
        (["--kd-weight", "0.5"], "with --task outputs the loss is the distance of the outputs"),
        (
            ["--weights", "W", "--strategy", "taylor"],
            "--strategy taylor ranks channels by",
        ),
        (["--weights", "W", "--precision", "int8"], "takes --precision fp32"),
        (["--weights", "W", "--new-head"], "--new-head trains a classifier on labels"),
    ],
)
def test_what_needs_labels_is_refused_by_the_command(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    (here / "W").write_bytes(b"")
    words = [str(here / "W") if word == "W" else word for word in words]
    code = command("search", "--task", "outputs", "--data", "digits", *words)
    output = capsys.readouterr().err
    assert code == 2
    assert said in output
    assert len(output.strip().splitlines()) == 1


def test_an_empty_folder_is_refused_by_the_command(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeprune.prune.models.zoo import ModelSpec, build

    torch.save(build(ModelSpec("resnet20")).state_dict(), here / "w.pt")
    (here / "empty").mkdir()
    given = ["--weights", str(here / "w.pt"), "--data", str(here / "empty")]
    words = ["search", "--task", "outputs", *given, "--out", str(here / "run")]
    assert command(*words) == 2
    assert "empty holds no pictures" in capsys.readouterr().err
    assert not (here / "run").exists()
