"""Additive surfaces: what was timed comes back, what was not follows the convolutions."""

import itertools

import numpy as np
import pytest

from edgeprune.deploy.table.surface import NOISE, Shape, learn

GRID = np.arange(8, 65, 8)
SHAPE = Shape((64, 64, 64), ((0, 1), (1, 2), (0, 2)))


def staircase(widths: np.ndarray) -> np.ndarray:
    """Two convolutions and a shortcut on a device with steps of 16 channels."""
    a, b, c = np.ceil(widths.T / 16)
    return 20.0 + 3 * a + 9 * a * b + 9 * b * c + a * c


@pytest.fixture(scope="module")
def everything() -> np.ndarray:
    return np.array(list(itertools.product(GRID, GRID, GRID)), np.int64)


def test_timed_points_come_back(everything: np.ndarray) -> None:
    times = staircase(everything[::5])
    surface = learn(SHAPE, everything[::5], times)
    assert surface.at(everything[::5]) == pytest.approx(times, rel=0.01)


def test_a_tenth_of_the_points_tell_the_others(everything: np.ndarray) -> None:
    chosen = list(SHAPE.most_informative(everything, 40))
    surface = learn(SHAPE, everything[chosen], staircase(everything[chosen]))
    errors = np.abs(surface.at(everything) / staircase(everything) - 1)
    assert errors.mean() < 0.03
    assert len(set(chosen)) == 40


def test_chosen_points_beat_random_ones(everything: np.ndarray) -> None:
    def error(chosen: list[int]) -> float:
        surface = learn(SHAPE, everything[chosen], staircase(everything[chosen]))
        return float(np.abs(surface.at(everything) / staircase(everything) - 1).mean())

    random = np.random.default_rng(0)
    by_chance = [error(random.choice(len(everything), 24, False).tolist()) for _ in range(9)]
    assert error(list(SHAPE.most_informative(everything, 24))) < np.median(by_chance)


def test_the_choice_covers_every_width_and_is_always_the_same(everything: np.ndarray) -> None:
    chosen = list(SHAPE.most_informative(everything, 32))
    assert chosen == list(SHAPE.most_informative(everything, 32))
    for column in everything[chosen].T:
        assert {8, 64} < set(column.tolist())


def test_noise_is_not_followed(everything: np.ndarray) -> None:
    points = everything[::3]
    clean = staircase(points)
    noisy = clean * (1 + 0.05 * np.random.default_rng(1).standard_normal(len(clean)))
    smooth = learn(SHAPE, points, noisy, noise=0.05).at(points)
    exact = learn(SHAPE, points, noisy, noise=NOISE / 10).at(points)
    assert np.abs(smooth / clean - 1).mean() < 0.7 * np.abs(exact / clean - 1).mean()


def test_parts_add_up(everything: np.ndarray) -> None:
    surface = learn(SHAPE, everything[::7], staircase(everything[::7]))
    rows = everything[::11]
    total = np.full(len(rows), surface.constant)
    for d in range(3):
        total += surface.curve(d, rows[:, d])
    for a, b in SHAPE.pairs:
        total += np.diagonal(surface.joint((a, b), rows[:, a], rows[:, b]))
    assert total == pytest.approx(surface.at(rows), rel=1e-9)


def test_a_block_without_groups_is_a_constant() -> None:
    surface = learn(Shape((), ()), np.empty((1, 0), np.int64), np.array([7.0]))
    assert surface.constant == pytest.approx(7.0, rel=1e-3)


def test_the_variance_is_the_diagonal_of_the_covariance(everything: np.ndarray) -> None:
    rows = everything[::50]
    expected = np.diagonal(SHAPE.covariance(rows, rows))
    assert SHAPE.variance(rows) == pytest.approx(expected)
