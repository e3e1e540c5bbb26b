from dataclasses import replace
from pathlib import Path

import pytest

from edgeprune.errors import InputError
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.run.request import Request, refuse_other
from edgeprune.target import RelativeBudget, load_target


def asked(**changes):
    budget = RelativeBudget(latency=0.5, accuracy_drop=1.0)
    given = {"target": load_target("mobile-cpu"), "model": ModelSpec("resnet20"), "budget": budget}
    return Request(**given | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resume": True}, "--out DIR, without --overwrite"),
        ({"resume": True, "out": Path("r"), "overwrite": True}, "without --overwrite"),
        ({"strategy": "jiont"}, "did you mean 'joint'"),
        ({"device": "ftp://host"}, "neither local:// nor ssh://"),
        ({"device": "emulate://pentium"}, "no core that is emulated"),
        ({"budget": RelativeBudget()}, "needs a budget"),
        ({"workers": 2, "scheduler": "tcp://host:8786"}, "give one"),
        ({"scheduler": "host:8786"}, "is not tcp://HOST:PORT"),
    ],
)
def test_what_excludes_each_other_is_refused(changes, said):
    with pytest.raises(InputError, match=said):
        asked(**changes)


def test_accuracy_alone_leaves_the_latency_free():
    free = RelativeBudget(accuracy_drop=1.0)
    assert asked(budget=free).only_loss
    assert not asked(budget=free, latency_ms=3.0).only_loss
    assert not asked(budget=free, family=(0.5,)).only_loss
    assert not asked().only_loss


def test_milliseconds_are_judged_on_their_device_alone():
    request = asked(latency_ms=3.0)
    assert request.judged_by().absolute.p50_ms is None
    absolute = request.judged_by("this-one").absolute
    assert (absolute.p50_ms, absolute.fingerprint) == (3.0, "this-one")
    assert request.judged_by().relative == request.budget


def test_a_member_of_a_family_is_limited_by_its_own_latency():
    member = asked(family=(0.7, 0.3)).within(0.3)
    assert (member.limits.latency, member.budget.accuracy_drop) == (0.3, 1.0)


def test_a_run_goes_on_with_the_same_layers_alone(tmp_path):
    earlier = asked(keep=("conv1",)).to_plain()
    refuse_other(asked(keep=("conv1",)), earlier, tmp_path)
    for other in ({}, {"keep": ("conv1", "fc")}, {"keep": ("conv1",), "only": ("layer1",)}):
        with pytest.raises(InputError, match=r"another request: (keep|only) was"):
            refuse_other(asked(**other), earlier, tmp_path)
    del earlier["keep"]  # of a version that knew no such option
    refuse_other(asked(), earlier, tmp_path)


def test_another_request_is_named_by_its_innermost_difference(tmp_path):
    earlier = asked(out=Path("a/b")).to_plain()
    refuse_other(asked(out=Path("elsewhere"), overwrite=True, workers=2), earlier, tmp_path)
    other = replace(asked(), recovery=replace(asked().recovery, epochs=3))
    with pytest.raises(InputError, match=r"recovery\.epochs was 10, now it is 3"):
        refuse_other(other, earlier, tmp_path)
