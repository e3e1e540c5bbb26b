"""Searches on networks of operators that nobody listed, small: how latency was known is told."""

import json

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import edgeprune
from edgeprune.export import inspection

PROFILE = """
schema = 1
name = "here"
[channels]
grid = [8, 16, 24, 32]
[measure]
max_seconds = 5
[budget.relative]
latency = 0.9
"""


class Gated(nn.Module):
    """SiLU, GroupNorm and a squeeze-and-excitation gate."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.GroupNorm(4, 32)
        self.down, self.up = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.last, self.fc = nn.Conv2d(32, 32, 3, padding=1), nn.Linear(32, 2)

    def forward(self, x):
        x = F.silu(self.norm(self.stem(x)))
        gate = F.silu(self.down(x.mean((2, 3), keepdim=True)))
        x = x * torch.sigmoid(self.up(gate))
        return self.fc(F.silu(self.last(x)).mean((2, 3)))


class Strided(nn.Module):
    """Every second channel: a slice that the graph cannot be cut at."""

    def __init__(self):
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32, 2)

    def forward(self, x):
        x = F.relu(self.stem(x))
        return self.fc(F.relu(self.last(x[:, ::2] + x[:, 1::2])).mean((2, 3)))


@pytest.fixture
def data():
    """Digits 0 and 1, float in [0, 1], (N, 3, 12, 12), and their labels."""
    scans = load_digits()
    chosen = torch.from_numpy(scans.target) < 2
    pixels = torch.from_numpy(scans.images)[chosen].float().div(16).unsqueeze(1)
    pixels, labels = F.interpolate(pixels, 12).repeat(1, 3, 1, 1), torch.from_numpy(scans.target)
    labels = labels[chosen]
    return tuple(
        TensorDataset(pixels[part], labels[part]) for part in (slice(240), slice(240, None))
    )


@pytest.mark.parametrize(
    ("network", "source"),
    [(Gated, "the sum of "), (Strided, "6 whole networks, as its graph cannot be cut (Slice")],
)
def test_a_network_is_searched_whatever_it_is_made_of(
    network, source, data, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(inspection, "LEARNT", 6)  # torch exports each of them
    (tmp_path / "here.toml").write_text(PROFILE)
    torch.manual_seed(0)
    module, (train, _) = network(), data
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(module(train.tensors[0]), train.tensors[1]).backward()
        optimizer.step()
    options = {"target": "here.toml", "strategy": "uniform", "epochs": 0, "flip": False}
    run = edgeprune.search(module, data, **options, out="run")
    (told,) = [note for note in run.notes if note.startswith("latency table: this machine")]
    if "its blocks add up to" in told:  # on a busy machine
        source = "whole networks"
    assert source in told
    events = map(json.loads, (run.folder / "events.jsonl").read_text().splitlines())
    (table,) = [event for event in events if event["event"] == "latency table"]
    assert source in table["predicted_from"]
    judged = {verdict.name: verdict for verdict in run.report.verdicts}
    assert judged["parity"].outcome == judged["seal"].outcome == "met"
    assert 0 < judged["latency"].value < 1
