"""The knapsack against every combination there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.prune.search.engine.knapsack import fitted, pick

BINS = 2000


def drawn(seed):
    """Up to 5 kinds; one option of each costs and saves nothing, some cost latency."""
    generator = np.random.default_rng(seed)
    losses, savings = [], []
    for _ in range(generator.integers(1, 6)):
        options = generator.integers(1, 5)
        losses.append(np.r_[generator.random(options), 0.0])
        savings.append(np.r_[generator.uniform(-0.2, 1.0, options), 0.0])
    return losses, savings


def total(values, chosen):
    return sum(v[i] for v, i in zip(values, chosen, strict=True))


def every(losses):
    return itertools.product(*(range(len(loss)) for loss in losses))


@given(st.integers(0, 10_000), st.floats(0.01, 0.99))
def test_enough_is_saved_and_nothing_that_saves_a_hair_more_loses_less(seed, share):
    losses, savings = drawn(seed)
    most = sum(s.max() for s in savings)
    need = share * most
    slack = len(losses) / BINS
    reachable = (1 + slack) * need <= most
    chosen = pick(losses, savings, need)
    if reachable:
        assert total(savings, chosen) >= need * (1 - 1e-9)
    enough = [c for c in every(losses) if total(savings, c) >= need * (1 + slack)]
    if enough:
        assert total(losses, chosen) <= min(total(losses, c) for c in enough) + 1e-9


@given(st.integers(0, 10_000), st.floats(1.0, 3.0))
def test_where_the_need_is_out_of_reach_as_much_is_saved_as_can_be(seed, beyond):
    losses, savings = drawn(seed)
    most = sum(s.max() for s in savings)
    chosen = pick(losses, savings, beyond * most + 1e-3)
    assert total(savings, chosen) >= most * (1 - len(losses) / BINS) - 1e-9


def test_savings_that_nearly_suffice_do_not():
    losses = [np.array([0.1, 0.5, 0.0])] * 5
    savings = [np.array([0.19999, 0.21, 0.0])] * 5
    chosen = pick(losses, savings, 1.0)
    assert total(savings, chosen) >= 1.0
    assert sorted(chosen) == [0, 0, 0, 0, 1]


def test_the_cheapest_way_to_save_a_little():
    losses = [np.array([0.5, 0.0]), np.array([0.2, 0.0])]
    savings = [np.array([0.4, 0.0]), np.array([0.3, 0.0])]
    assert pick(losses, savings, 0.2) == [1, 0]
    assert pick(losses, savings, 0.35) == [0, 1]
    assert pick(losses, savings, 0.5) == [0, 0]


def test_nan_losses_are_never_taken():
    losses = [np.array([np.nan, 0.3, 0.0]), np.array([0.9, np.nan, 0.0])]
    savings = [np.array([0.9, 0.5, 0.0])] * 2
    assert pick(losses, savings, 0.5) == [1, 2]
    assert pick(losses, savings, 1.0) == [1, 0]


@pytest.mark.parametrize("limit", [0.3, 0.6, 0.9, 1.0])
def test_fitted_asks_for_the_least_need_that_keeps_the_limit(limit):
    """Every unit asked for saves 0.8 only."""
    asked = fitted(lambda need: np.array([need]), lambda need: 1 - 0.8 * float(need[0]), limit)
    assert 1 - 0.8 * asked[0] <= limit
    assert asked[0] == pytest.approx((1 - limit) / 0.8, abs=1e-3)


def test_fitted_asks_for_less_where_savings_more_than_add_up():
    asked = fitted(lambda need: np.array([need]), lambda need: 1 - 2 * float(need[0]), 0.5)
    assert asked[0] == pytest.approx(0.25, abs=1e-3)


def test_fitted_gives_the_most_it_tried_where_the_limit_is_out_of_reach():
    tried = []

    def solve(need):
        tried.append(need)
        return np.array([need])

    found = fitted(solve, lambda need: 1.0, 0.5)
    assert found[0] == max(tried)
    assert max(tried) > 0.5
