import math

import pytest

from edgeprune.errors import InputError
from edgeprune.run.search_options import SearchOptions, requests_of


def test_what_is_left_open_is_as_of_the_target_and_the_data():
    request = SearchOptions().request()
    assert (request.source, request.size, request.strategy) == ("digits", (32, 32), "joint")
    assert request.budget == request.target.budget.relative
    assert request.recovery.epochs == 10
    assert request.recovery.batch == 64  # the digits are few


def test_limits_take_the_place_of_the_targets():
    request = SearchOptions(max_latency_ratio=0.7, max_accuracy_drop=math.inf).request()
    assert (request.budget.latency, request.budget.accuracy_drop) == (0.7, None)
    assert SearchOptions(family=(0.7, 0.5)).request().budget.latency is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "w.pt"}, "--weights without --data"),
        ({"family": (0.7,), "max_latency_ms": 3}, "--family limits"),
        ({"max_latency_ratio": 70}, "max_latency_ratio = 70 is no ratio"),
        ({"max_macs_ratio": 0}, "max_macs_ratio = 0 is no ratio"),
        ({"max_accuracy_drop": -1}, "max_accuracy_drop = -1 is no loss"),
        ({"max_latency_ms": math.nan}, "max_latency_ms = nan is not above 0"),
        ({"time_budget": 0}, "time_budget = 0 is not above 0"),
        ({"finalists": 0}, "finalists = 0 is below 1"),
        ({"baseline_epochs": 0}, "baseline_epochs = 0 is below 1"),
        ({"genome": "bit"}, "genome = 'bit' is none of widths, bits"),
        ({"compensate": "all"}, "compensate = 'all' is none of auto, refit, fold, none"),
    ],
)
def test_what_cannot_be_meant_is_one_line(options, said):
    with pytest.raises(InputError, match=said):
        SearchOptions(**options)


TWO = ("mobile-cpu", "x86-gateway")


@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ((), ("local://", "local://")),
        (("ssh://a@b",), ("ssh://a@b", "ssh://a@b")),
        (("x86-gateway=ssh://a@b",), ("local://", "ssh://a@b")),
        (("ssh://a@b", "mobile-cpu=exec:sh -c A=1"), ("exec:sh -c A=1", "ssh://a@b")),
        (("exec:env A=1 python3",), ("exec:env A=1 python3", "exec:env A=1 python3")),
    ],
)
def test_each_of_several_targets_has_its_device(devices, found):
    requests = requests_of(SearchOptions(seed=3), TWO, devices)
    assert tuple(request.device for request in requests) == found
    assert tuple(request.target.name for request in requests) == TWO
    assert [request.budget.latency for request in requests] == [0.5, 0.6]
    assert {request.search.seed for request in requests} == {3}


@pytest.mark.parametrize(
    ("targets", "devices", "said"),
    [
        (("mobile-cpu", "mobile-cpu"), (), "mobile-cpu is given twice"),
        (TWO, ("mobile=local://",), "no target 'mobile' is asked for, did you mean 'mobile-cpu'"),
        (TWO, ("local://", "ssh://a@b"), "give one address, or one for each"),
        (TWO, ("mobile-cpu=local://", "mobile-cpu=ssh://a@b"), "give one address, or one for"),
        (TWO, ("mobile-cpu=",), "give one address"),
        (TWO, ("mobile-cpu=ftp://b",), "neither local:// nor ssh://"),
        (("mobile-cpu", "x86"), (), "did you mean"),
    ],
)
def test_targets_and_devices_that_do_not_fit_are_one_line(targets, devices, said):
    with pytest.raises(InputError, match=said):
        requests_of(SearchOptions(), targets, devices)
