"""A classifier with a second head, searched from Python: both heads arrive in the file."""

from pathlib import Path

import onnx
import pytest
import torch
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.prune.models.outputs import first, tensors
from tests.several_heads import Heads

PROFILE = """
schema = 1
name = "here"
[channels]
grid = [16, 32, 48]
[measure]
max_seconds = 2
[budget.relative]
latency = 0.8
"""


def stripes(count: int, seed: int) -> TensorDataset:
    """Noise with stripes that lie or stand: (count, 3, 16, 16), two classes."""
    drawn = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    wave = (torch.arange(16) % 4 < 2).float()
    lying, standing = wave.view(1, 16, 1), wave.view(1, 1, 16)
    images = torch.where(labels.view(-1, 1, 1, 1) == 0, lying, standing).expand(-1, 3, 16, 16)
    noise = 0.3 * torch.rand(count, 3, 16, 16, generator=drawn)
    return TensorDataset(0.7 * images + noise, labels)


def trained(network: torch.nn.Module, data: TensorDataset) -> torch.nn.Module:
    images, labels = data.tensors
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(first(network(images)), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return network.eval()


def test_a_classifier_with_two_heads_is_searched_to_a_file_with_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "here.toml").write_text(PROFILE)
    torch.manual_seed(0)
    train, test = stripes(200, 0), stripes(120, 1)
    network = trained(Heads("dict"), train)
    run = edgeprune.search(
        network,
        (train, test),
        target=str(tmp_path / "here.toml"),
        flip=False,
        evaluations=8,
        finalists=1,
        epochs=1,
        out=tmp_path / "run",
    )
    (accuracy,) = (row for row in run.rows if row.name == "accuracy")
    assert accuracy.dense > 90
    answer = run.model(torch.zeros(2, 3, 16, 16))
    assert {name: tuple(value.shape) for name, value in answer.items()} == {
        "class": (2, 2),
        "map": (2, 3, 8, 8),
    }
    assert len(tensors(answer)) == 2
    for name in ("model.onnx", "dense.onnx"):
        file = onnx.load(tmp_path / "run" / name)
        assert [output.name for output in file.graph.output] == ["class", "map"]
    verdicts = {verdict.name: verdict for verdict in run.report.verdicts}
    assert verdicts["parity"].outcome == verdicts["seal"].outcome == "met"
    assert "of the classes agree" in verdicts["parity"].evidence
