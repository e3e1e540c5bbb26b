from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.deploy.devices.fingerprint import check_device
from edgeprune.deploy.timing import protocol
from edgeprune.deploy.timing.setting import Setting
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.errors import PromiseError
from edgeprune.export.exporter import to_onnx
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.space.budget import Costs, Limits
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.widths import build
from edgeprune.prune.tracing.trace import trace
from edgeprune.run.measured_search import PairedTiming, UnreachedError, floor, settle


@pytest.fixture
def problem():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    ).eval()
    traced = trace(net, torch.zeros(1, 3, 8, 8))
    space = build(traced.groups, [2, 4, 6, 8])
    counts = CostModel(traced)
    costs = Costs(space.full, (counts.macs, counts.macs, counts.params))
    return Problem(
        trace=traced, space=space, costs=costs, images=None, model="net", latency_error=0.02
    )


def greedy(problem, asked):
    """The widest net under the aim, and a list of the aims it was given."""

    def search(aim):
        asked.append(aim.latency)
        width = max(w for w in problem.space.grids[0] if w / 8 <= (aim.latency or 1) or w == 2)
        widths = np.array([width])
        kept = {problem.space.groups[0].name: tuple(range(width))}
        return Choice(kept, widths, problem.costs.ratios(widths[None])[0])

    return search


class Clock:
    """A clock that finds every network ``factor`` times as slow as predicted."""

    def __init__(self, factor):
        self.factor = factor

    def ratio(self, network, limit):
        ratio = network.get_submodule("0").out_channels / 8 * self.factor
        return Interval(ratio * 0.99, ratio, ratio * 1.01)


def settled(problem, factor, search, limits):
    return list(settle(problem, Clock(factor), search, limits, "uniform"))


def test_a_candidate_that_keeps_the_budget_is_the_last(problem):
    asked = []
    found = settled(problem, 1.0, greedy(problem, asked), Limits(latency=0.8))
    assert [c.choice.widths.tolist() for c in found] == [[6]]
    assert asked == [pytest.approx(0.8 * 0.97)]


def test_a_hopeful_table_is_answered_with_a_tighter_aim(problem):
    asked = []
    found = settled(problem, 1.3, greedy(problem, asked), Limits(latency=0.8))
    assert [c.choice.widths.tolist() for c in found] == [[6], [4]]
    assert asked[1] < asked[0]


class Odd:
    """A clock by width: the table is wrong about some networks only."""

    def __init__(self, highs):
        self.highs, self.timed = highs, []

    def ratio(self, network, limit):
        width = network.get_submodule("0").out_channels
        self.timed.append(width)
        return Interval(0.9 * self.highs[width], 0.95 * self.highs[width], self.highs[width])


def with_other(problem, asked, width):
    """As ``greedy``, with a network of another width that was judged nearly as good."""
    search = greedy(problem, asked)

    def both(aim):
        other = greedy(problem, [])(Limits(latency=width / 8))
        return replace(search(aim), others=(other,))

    return both


@pytest.mark.parametrize(
    ("highs", "timed", "searches"),
    [
        ({6: 0.75, 4: 0.5}, [6], 1),
        ({6: 0.81, 4: 0.5}, [6, 4], 1),  # the first missed, the other keeps the limit
        ({6: 0.9, 4: 0.85, 2: 0.4}, [6, 4, 4, 4, 2], 3),  # only tighter limits help
    ],
)
def test_what_is_nearly_as_good_is_measured_before_limits_are_tightened(
    problem, highs, timed, searches
):
    asked, clock = [], Odd(highs)
    found = list(
        settle(problem, clock, with_other(problem, asked, 4), Limits(latency=0.8), "uniform")
    )
    assert clock.timed == timed
    assert len(asked) == searches
    assert found[-1].measured.high <= 0.8
    assert found[-1].choice.widths.tolist() == [timed[-1]]


@pytest.mark.parametrize(
    ("highs", "kept"),
    [
        ([0.80, 0.79], 6),  # the second reading keeps the limit too
        ([0.80, 0.81, 0.6], 4),  # it does not: luck was taken for speed
        ([0.79], 6),  # a whole percent below: one reading is enough
    ],
)
def test_what_only_just_keeps_the_limit_is_timed_once_more(problem, highs, kept):
    readings = iter(highs)

    class Reading:
        def ratio(self, network, limit):
            high = next(readings)
            return Interval(0.9 * high, 0.95 * high, high)

    found = list(settle(problem, Reading(), greedy(problem, []), Limits(latency=0.8), "uniform"))
    assert found[-1].choice.widths.tolist() == [kept]
    assert next(readings, None) is None


def test_another_that_misses_a_count_is_not_measured(problem):
    clock, choose = Odd({6: 0.3, 4: 0.55, 2: 0.4}), greedy(problem, [])
    narrow, middle, wide = (choose(Limits(latency=width / 8)) for width in (2, 4, 6))
    turns = iter([replace(middle, others=(wide,)), narrow])
    found = list(
        settle(problem, clock, lambda _: next(turns), Limits(latency=0.52, macs=0.6), "uniform")
    )
    assert clock.timed == [4, 2]  # 6 would have been fast enough
    assert found[-1].choice is narrow


def in_int8(problem, dense):
    return replace(problem, costs=replace(problem.costs, dense_latency=dense))


@pytest.mark.parametrize(
    ("factor", "widths"),
    [
        (0.5, [[6]]),  # as predicted: int8 halves the latency
        (0.35, [[6], [8]]),  # int8 gains more than was measured: a larger network fits
        (0.45, [[6], [6]]),  # there is room, and nothing on the grid to fill it
    ],
)
def test_an_int8_network_is_as_large_as_the_limit_lets(problem, factor, widths):
    asked, problem = [], in_int8(problem, 0.5)

    def search(aim):
        asked.append(aim.latency)
        return greedy(problem, [])(Limits(latency=aim.latency / 0.5))

    found = settled(problem, factor, search, Limits(latency=0.4))
    assert [c.choice.widths.tolist() for c in found] == widths
    assert len(asked) == len(widths)


def test_a_larger_int8_network_that_is_too_slow_gives_way_to_the_first(problem):
    class Jump:
        def ratio(self, network, limit):
            ratio = {6: 0.3, 8: 0.9}[network.get_submodule("0").out_channels]
            return Interval(ratio, ratio, ratio)

    problem, aims = in_int8(problem, 0.5), iter([0.75, 1.0])
    choose = greedy(problem, [])
    found = list(
        settle(
            problem, Jump(), lambda _: _half(choose, next(aims)), Limits(latency=0.4), "uniform"
        )
    )
    assert [c.choice.widths.tolist() for c in found] == [[6], [8], [6]]


def _half(choose, share):
    choice = choose(Limits(latency=share))
    return replace(choice, ratios=choice.ratios * np.array([0.999, 1, 1]))


def test_without_a_latency_budget_one_measurement_is_enough(problem):
    assert len(settled(problem, 5.0, greedy(problem, []), Limits())) == 1


def test_a_budget_below_the_floor_is_refused_before_any_search(problem):
    asked = []
    with pytest.raises(PromiseError, match=r"best that can be had is 0\.2\d+x \(predicted\)"):
        settled(problem, 1.0, greedy(problem, asked), Limits(macs=0.1))
    assert asked == []


def test_a_budget_that_measuring_shows_out_of_reach_names_the_best_found(problem):
    with pytest.raises(PromiseError, match=r"best that can be had is 0\.5\d*x \(measured\)"):
        settled(problem, 2.0, greedy(problem, []), Limits(latency=0.3))


def test_the_aim_leaves_room_for_a_reading_a_minute_later(problem):
    for error, margin in ((0.0, 0.03), (0.04, 0.04), (0.4, 0.05)):
        asked = []
        doubtful = replace(problem, latency_error=error)
        settled(doubtful, 1.0, greedy(problem, asked), Limits(0.8))
        assert asked[0] == pytest.approx(0.8 * (1 - margin))


def test_a_latency_within_the_error_of_the_floor_is_tried(problem):
    # the table is 10 % too pessimistic: 0.25 predicted, 0.225 measured
    doubtful = replace(problem, latency_error=0.1)
    limit = float(floor(problem)[0]) * 0.95
    found = settled(doubtful, 0.9, greedy(problem, []), Limits(latency=limit))
    assert [c.choice.widths.tolist() for c in found] == [[2]]
    with pytest.raises(PromiseError, match="predicted"):
        settled(problem, 0.9, greedy(problem, []), Limits(latency=limit))


def test_the_narrowest_network_is_measured_once(problem):
    asked = []
    with pytest.raises(PromiseError, match="measured"):
        settled(problem, 2.0, greedy(problem, asked), Limits(latency=0.27))
    assert len(asked) == 1


def test_a_strategy_with_a_floor_of_its_own_names_the_lowest_it_had(problem):
    asked = []

    def stubborn(aim):
        asked.append(aim.latency)
        widths = np.array([4])
        kept = {problem.space.groups[0].name: (0, 1, 2, 3)}
        return Choice(kept, widths, problem.costs.ratios(widths[None])[0])

    said = r"strategy uniform does not reach latency 0.4x: the best that can be had is 0\.505x \(m"
    with pytest.raises(UnreachedError, match=said) as caught:
        settled(problem, 1.0, stubborn, Limits(latency=0.4))
    assert (caught.value.cost, caught.value.best) == ("latency", pytest.approx(0.505))
    assert len(asked) == 1  # a tighter aim would find the same


def test_the_dense_model_is_timed_in_ms_of_wall_time_on_the_device(problem, monkeypatch):
    proto = to_onnx(problem.trace.model, (3, 8, 8))
    clocks, measure = [], protocol.measure

    def measured(model, setting):
        clocks.append(setting.used_clock)
        return measure(model, setting, epochs=2)

    monkeypatch.setattr(protocol, "measure", measured)
    timing = PairedTiming(proto.SerializeToString(), Setting(), lambda network: proto)
    milliseconds, fingerprint = timing.dense_ms()
    assert 0 < milliseconds < 1000
    assert clocks == ["wall"]
    assert fingerprint == check_device("local://").fingerprint


@pytest.mark.parametrize("limits", [Limits(macs=0.5), Limits(latency=0.9, params=0.5)])
def test_a_choice_that_misses_a_count_is_not_even_measured(problem, limits):
    def wasteful(aim):
        widths = np.array([6])
        return Choice({}, widths, problem.costs.ratios(widths[None])[0])

    with pytest.raises(PromiseError, match=r"best that can be had is 0\.7\d+x .*raise --max-"):
        settled(problem, 1.0, wasteful, limits)
