import torch
from torch import nn

from edgeprune.cli import console
from edgeprune.prune.space.selection import LeftWhole
from edgeprune.prune.tracing.trace import trace


def test_a_table_without_rows_shows_its_headings(capsys):
    console.table(("group", "width"), [])
    assert capsys.readouterr().out.split() == ["group", "width"]


def test_numbers_are_aligned_right_and_words_left(capsys):
    console.table(("name", "count"), [("a", "1"), ("longer", "1,000")])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "name    count",
        "a           1",
        "longer  1,000",
    ]


def test_a_model_without_prunable_channels_is_an_empty_table_and_the_reasons(capsys):
    class Opaque(nn.Module):
        def forward(self, x):
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    console.show_channels(trace(Opaque(), torch.zeros(1, 3, 4, 4)), LeftWhole(), ())
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == [
        "group", "width", "stage", "block", "droppable", "tensors"
    ]  # fmt: skip
    assert "kept whole: " in out
    assert out.endswith("nothing of this model can be pruned\n")


def test_a_model_whose_channels_are_all_outputs_says_so(capsys):
    console.show_channels(trace(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 4, 4)), LeftWhole(), ())
    assert "can be pruned: its channels are those of its inputs and outputs" in (
        capsys.readouterr().out
    )
