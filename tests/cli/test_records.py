"""What commands print as plain content: nothing that a table shows is missing."""

import json

import torch
from torch import nn

from edgeprune.cli import records
from edgeprune.prune.space.selection import LeftWhole
from edgeprune.prune.tracing.trace import trace


def test_channels_name_what_was_kept_whole_and_why():
    class Opaque(nn.Module):
        def forward(self, x):
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    found = records.channels(trace(Opaque(), torch.zeros(1, 3, 4, 4)), LeftWhole())
    assert found["groups"] == []
    assert set(found["kept_whole"][0]) == {"node", "source", "reason"}


def test_an_export_names_its_file_and_its_parity(run, tmp_path):
    from edgeprune.prune.models.zoo import ModelSpec, build

    torch.save(build(ModelSpec("resnet20", 3)).state_dict(), tmp_path / "w.pt")
    words = ("--model", "resnet20", "--classes", 3, "--json", "e.json", "-o", "d.onnx")
    assert run("export", "w.pt", *words)[0] == 0

    found = json.loads((tmp_path / "e.json").read_text())
    assert found["file"] == "d.onnx"
    assert found["bytes"] == (tmp_path / "d.onnx").stat().st_size
    assert found["parity"]["top1_agreement"] == 1.0
