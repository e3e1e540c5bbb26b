"""Orders and damages against the direct Schur complement and brute force."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgeprune.prune.saliency import surgeon
from edgeprune.prune.saliency.curvature import Curvature, Statistics
from edgeprune.prune.saliency.ports import Part, Port

CHANNELS, TAPS = 5, 2


def toy(seed=0, alike=False):
    """Two ports that read one group of five channels, two rows each."""
    generator = np.random.default_rng(seed)
    ports, statistics = [], {}
    for number in range(2):
        rows = generator.normal(size=(CHANNELS * TAPS, 40))
        if alike:
            rows[2:4] = rows[0:2]
        weight = torch.from_numpy(generator.normal(size=(3, len(rows))))
        part = Part(np.arange(len(rows)), np.arange(3), weight)
        ports.append(
            Port(
                name=f"p{number}",
                node=SimpleNamespace(name=f"p{number}"),
                sources=(),
                parts=(part,),
                group=np.zeros(len(rows), np.int64),
                member=np.repeat(np.arange(CHANNELS), TAPS),
            )
        )
        statistics[f"p{number}"] = Statistics(
            fisher=torch.from_numpy(generator.uniform(0.5, 2, 3)),
            grams=(torch.from_numpy(rows @ rows.T / 40),),
            mean=torch.zeros(len(rows), dtype=torch.float64),
        )
    return Curvature(ports=tuple(ports), additions=(), statistics=statistics, left={})


def kept(channels):
    return np.isin(np.arange(CHANNELS), channels)


def order_of(curvature):
    return surgeon.orders(curvature, (SimpleNamespace(width=CHANNELS),))[0]


@pytest.mark.parametrize("seed", range(4))
def test_the_running_damage_is_that_of_the_schur_complement_at_every_width(seed):
    curvature = toy(seed)
    order = order_of(curvature)
    direct = [
        surgeon.damage(curvature, 0, kept(order.channels[:width])) for width in range(CHANNELS + 1)
    ]
    assert order.damage == pytest.approx(direct, rel=1e-8, abs=1e-10)
    assert (np.diff(order.damage) <= 0).all()
    assert order.damage[-1] == 0


@pytest.mark.parametrize("seed", range(4))
def test_the_first_channel_to_go_is_the_one_brute_force_finds(seed):
    curvature = toy(seed)
    best = min(
        surgeon.damage(curvature, 0, kept(stay))
        for stay in combinations(range(CHANNELS), CHANNELS - 1)
    )
    assert order_of(curvature).damage[-2] == pytest.approx(best)


def test_a_channel_twice_there_costs_next_to_nothing():
    order = order_of(toy(alike=True))
    assert order.channels[-1] in {0, 1}
    assert order.damage[-2] < 0.05 * order.damage[-3]


def test_without_compensation_damage_is_a_quadratic_form():
    curvature = toy()
    form = surgeon.interactions(curvature, 0, CHANNELS)
    for gone in ([0], [1, 3], [0, 1, 2, 3, 4]):
        mask = torch.zeros(CHANNELS, dtype=torch.float64)
        mask[gone] = 1
        rows = np.isin(np.repeat(np.arange(CHANNELS), TAPS), gone)
        direct = 0.0
        for port in curvature.ports:
            known = curvature.statistics[port.name]
            weight, gram = port.parts[0].weight.numpy()[:, rows], known.grams[0].numpy()
            lost = weight @ gram[np.ix_(rows, rows)] @ weight.T
            direct += 0.5 * float(known.fisher.numpy() @ np.diag(lost))
        assert float(mask @ form @ mask) == pytest.approx(direct)


def test_ranks_are_all_different_and_follow_the_order():
    order = order_of(toy())
    assert order.saliency.argsort(descending=True).tolist() == order.channels.tolist()
    assert sorted(order.saliency.tolist()) == [1, 2, 3, 4, 5]
