"""Layers by name: what is coupled with a kept one stays, and nothing that was not named goes."""

import pytest
from torch import nn

from edgeprune.errors import InputError
from edgeprune.prune.space.selection import Selection, left_whole, refuse_unmatched
from edgeprune.prune.space.widths import build
from edgeprune.prune.tracing.trace import trace
from tests.models import tiny


@pytest.fixture(scope="module")
def resnet():
    """Groups 0.0, 2.branch.0.0, 3 (of 3.branch.2.0, 3.shortcut.0, 4.branch.2.0) and so on."""
    return trace(*tiny("resnet"))


def left(traced, **globs):
    return left_whole(traced, Selection(**{name: tuple(of) for name, of in globs.items()}))


def stream(traced, layer):
    """The group that carries the outputs of a layer."""
    return next(
        group.name
        for group in traced.groups
        for part in group.slices
        if part.tensor == f"{layer}.weight" and part.axis == 0
    )


def test_without_names_nothing_stays(resnet):
    found = left(resnet)
    assert (found.groups, found.branches, found.notes(Selection(), 6)) == ({}, {}, ())


@pytest.mark.parametrize("glob", ["2.branch.0.0", "2.branch.0", "2.branch.0.1", "2.b*.0.?"])
def test_a_kept_layer_keeps_its_group_and_its_branch(resnet, glob):
    found = left(resnet, keep=[glob])
    assert list(found.groups) == ["2.branch.0.0"]
    assert bool(found.partly) == (glob == "2.branch.0.1")  # the norm's channels are another's
    assert list(found.branches) == [next(b.name for b in resnet.blocks if b.name.startswith("2"))]


def test_what_is_coupled_with_a_kept_layer_stays_and_is_named(resnet):
    found = left(resnet, keep=["4.branch.2.0"])
    name = stream(resnet, "4.branch.2.0")
    assert list(found.groups) == [name] == list(found.partly)
    assert "coupled with" in found.groups[name] and "3.shortcut.0" in found.groups[name]
    assert [b.name for b in resnet.blocks if b.name not in found.branches]  # 2 may be dropped
    (first, second) = found.notes(Selection(keep=("4.branch.2.0",)), len(resnet.groups))
    assert first.startswith("keep 4.branch.2.0: left whole 1 of 5 channel groups")
    assert second.startswith(f"{name} stays whole: keep names 4.branch.2.0")


def test_only_leaves_a_group_whole_unless_all_that_make_it_are_named(resnet):
    name = stream(resnet, "4.branch.2.0")
    part = left(resnet, only=["4"])
    assert "3.shortcut.0" in part.groups[name] and part.partly == (name,)
    whole = left(resnet, only=["3", "4"])
    assert name not in whole.groups and "0.0" in whole.groups
    free = [group.name for group in resnet.groups if group.name not in whole.groups]
    assert all(layer.startswith(("3", "4")) for layer in free)


def test_only_drops_a_branch_where_all_that_it_takes_are_named(resnet):
    assert len(left(resnet, only=["*.branch.0.0"]).branches) == len(resnet.blocks)
    dropped = {b.name for b in resnet.blocks} - set(left(resnet, only=["3", "4"]).branches)
    assert dropped == {"3.branch", "4.branch"}


def test_keep_wins_over_only(resnet):
    found = left(resnet, only=["3", "4"], keep=["4.branch.0.0"])
    assert found.groups["4.branch.0.0"].startswith("keep names")


def test_norms_and_depthwise_layers_keep_a_group_and_need_not_be_named():
    traced = trace(*tiny("mobilenet"))
    depthwise, expand = "2.branch.2.0", "2.branch.0.0"
    assert expand in left(traced, keep=[depthwise]).groups
    # Of the two layers that make them, the second is the gate's.
    assert expand not in left(traced, only=[expand, "2.branch.4.fc2"]).groups
    with pytest.raises(InputError, match=r"coupled with 2\.branch\.4\.fc2"):
        left(traced, only=[expand])
    with pytest.raises(InputError, match="leave nothing to prune"):
        left(traced, only=[depthwise])


def test_transposed_and_shared_layers_are_found_by_what_they_make():
    traced = trace(*tiny("awkward"))
    assert stream_of_up(traced) in left(traced, keep=["up"]).groups


def stream_of_up(traced):
    return next(
        group.name
        for group in traced.groups
        if any(part.tensor == "up.weight" and part.axis == 1 for part in group.slices)
    )


def test_nothing_to_prune_is_refused_with_the_reason(resnet):
    with pytest.raises(InputError, match=r"coupled with .*which it does not name"):
        left(resnet, only=["4.branch.2.0"])
    with pytest.raises(InputError, match="all 5 channel groups stay whole"):
        left(resnet, keep=["*"])


def test_a_glob_that_fits_nothing_is_answered_with_near_names(resnet):
    model = nn.Sequential()
    model.add_module("layer1", nn.Linear(2, 2))
    model.add_module("relu", nn.ReLU())
    for glob in ("layr1", "relu", "layer1.weight"):
        with pytest.raises(InputError, match=r"names no layer of net; near it: layer1 \("):
            refuse_unmatched(Selection(only=(glob,)), model, "net")
    refuse_unmatched(Selection(keep=("lay*",)), model, "net")


def test_the_space_holds_what_stays(resnet):
    found = left(resnet, keep=["2.branch.0.0", "4.branch.2.0"])
    space = build(resnet.groups, [4, 8], found)
    for group, grid in zip(space.groups, space.grids, strict=True):
        if group.name in found.groups:
            assert grid == (group.width,)
        assert (grid[0] == 0) == group.droppable
        assert group.droppable == (group.block is not None and group.block not in found.branches)
