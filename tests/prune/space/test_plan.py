"""Pruning plans: plain JSON, and what is no plan for a network is refused in one line."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.errors import InputError
from edgeprune.prune.space.plan import PruningPlan, check, kept_by, whole
from tests.models import group_of


def group(name, block=None):
    return group_of(name, 4, block=block)


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(
    model=names, kept=st.dictionaries(names, st.sets(st.integers(0, 200)).map(tuple), max_size=5)
)
def test_plans_are_plain_json(model, kept):
    plan = PruningPlan(model=model, kept=kept)
    plain = plan.to_plain()
    assert plain["schema"] == 1
    assert PruningPlan.from_plain(json.loads(json.dumps(plain))) == plan


def test_a_plan_says_what_its_user_left_whole():
    plan = PruningPlan(model="m", kept={"a": (0,)}, left_whole={"a": "keep names a"})
    plain = json.loads(json.dumps(plan.to_plain()))
    assert plain["left_whole"] == {"a": "keep names a"}
    assert PruningPlan.from_plain(plain) == plan
    assert "left_whole" not in PruningPlan(model="m", kept={"a": (0,)}).to_plain()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": "m", "kept": {}, "schema": 2}, "schema"),
        ({"kept": {}}, "model"),
        ({"model": "m", "kept": {"a": [1.5]}}, r"kept\.a\.0"),
        ({"model": "m", "kept": {"a": [True]}}, r"kept\.a\.0"),
        ({"model": "m", "kept": {"a": [-1]}}, r"kept\.a\.0"),
        ({"model": "m", "kept": {}, "extra": 1}, "extra"),
        ("nonsense", "plan"),
    ],
)
def test_content_that_is_no_plan_is_one_line(content, message):
    with pytest.raises(InputError, match=message) as caught:
        PruningPlan.from_plain(content)
    assert "\n" not in str(caught.value)


def test_checked_indices_are_ascending_and_emptied_branches_are_empty():
    groups = [group("s"), group("a", "x"), group("b", "x")]
    plan = PruningPlan(model="m", kept={"s": (3, 0), "a": (1,), "b": ()})
    assert [k.tolist() for k in check(plan, groups)] == [[0, 3], [], []]
    assert [k.tolist() for k in check(whole(groups, "m"), groups)] == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"s": (0,), "t": (0,)}, "group 't', not in this model"),
        ({}, "lacks group 's'"),
        ({"s": (1, 1)}, "channel of group 's' twice"),
        ({"s": (4,)}, "channel 4 of group 's', which has channels 0 to 3"),
        ({"s": ()}, "nothing of group 's', which cannot be dropped"),
    ],
)
def test_a_plan_that_does_not_fit_the_network_names_the_group(kept, message):
    with pytest.raises(InputError, match=message):
        check(PruningPlan(model="m", kept=kept), [group("s")])


def test_masks_say_what_is_kept():
    masks = [torch.tensor([True, False, False, True]), torch.zeros(4, dtype=torch.bool)]
    assert kept_by([group("s"), group("a", "x")], masks) == {"s": (0, 3), "a": ()}
