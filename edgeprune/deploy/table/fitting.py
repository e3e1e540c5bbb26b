"""Fits how block latencies add up to a network's, by least squares on whole timed networks."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeprune.arrays import Floats
from edgeprune.deploy.table.latency_model import Fit, LatencyModel
from edgeprune.deploy.table.lookup import Pieces, tables_of
from edgeprune.deploy.table.network import Network
from edgeprune.deploy.table.records import Table, Timed
from edgeprune.deploy.table.units import Family

# Blocks timed in context should simply add up, and pay what a cold cache costs when they do not
# fit: scale 1, more 1, offset 0. The networks say how far that is off; a share of 1 % of a
# network's time is what their own times are worth.
EXPECTED = np.array([1.0, 1.0, 0.0])
SPREAD = np.array([0.05, 0.3, 0.1])
NOISE = 0.01
STEPS = 9  # quantiles of the networks' weights among which the cache's two sizes are sought


def fitted(
    network: Network,
    grid: tuple[int, ...],
    blocks: Sequence[Sequence[tuple[Family, Pieces]]],
    measured: Table,
) -> LatencyModel:
    """Fit how the blocks of a network add up, on the whole networks that were timed.

    ``measured`` holds the units of these blocks and the timed networks of this network alone;
    ``blocks`` is as for :func:`tables_of`.
    """
    (nets,) = measured.networks.values()
    tables, constant = tables_of(network, blocks)
    model = LatencyModel(
        network=network,
        grid=grid,
        fit=Fit(reference_ms=nets.reference_ms),
        document=measured.to_json(),
        tables=tables,
        constant=constant,
        blocks=tuple(tables_of(network, [families]) for families in blocks),
    )
    model = replace(model, fit=_best_fit(model, nets.fitted))
    return replace(model, fit=judged(model.fit, model.predict, nets.held_out))


def _best_fit(model: LatencyModel, timed: Sequence[Timed]) -> Fit:
    """Try where the cache may fit and spill, and keep what leaves least."""
    sums = model.sums(np.array([widths for widths, _ in timed]))  # (N, 3)
    times = np.array([time for _, time in timed])
    sizes = np.unique(np.append(0.0, np.quantile(sums[:, 2], np.linspace(0, 1, STEPS))))
    if len(sizes) == 1:
        sizes = np.array([0.0, 1.0])
    found = [
        _solved(replace(model.fit, fits=float(fits), spills=float(spills)), sums, times)
        for fits, spills in itertools.combinations(sizes, 2)
    ]
    return min(found, key=lambda pair: pair[0])[1]


def _solved(fit: Fit, sums: Floats, times: Floats) -> tuple[float, Fit]:
    """Least relative squares around what is expected, and what they leave."""
    unit = replace(fit, reference_ms=1.0)
    columns = [replace(unit, scale=a, more=c, offset=b).apply(sums) for a, c, b in np.eye(3)]
    # The times (N,) and, below them, one row for each of the three priors: (N + 3, 3).
    rows = np.vstack([np.stack(columns, 1) / times[:, None] / NOISE, np.diag(1 / SPREAD)])
    goal = np.append(np.full(len(times), 1 / NOISE), EXPECTED / SPREAD)
    answer = np.linalg.lstsq(rows, goal, rcond=None)[0]
    left = float(((rows @ answer - goal) ** 2).sum())
    scale, more, offset = answer.tolist()
    return left, replace(fit, scale=scale, more=more, offset=offset)


def judged(
    fit: Fit, predict: Callable[[NDArray[np.integer]], Floats], timed: Sequence[Timed]
) -> Fit:
    """A fit with the errors of what it predicts, in ms, on networks it has not seen."""
    predicted = predict(np.array([widths for widths, _ in timed])) / fit.reference_ms
    times = np.array([time for _, time in timed])
    errors = np.abs(predicted / times - 1)
    return replace(
        fit,
        mean_error=float(errors.mean()),
        max_error=float(errors.max()),
        rank=rank_correlation(predicted, times),
        held_out=len(timed),
    )


def rank_correlation(left: Floats, right: Floats) -> float:
    """Spearman's rank correlation of two series (N,); 1.0 where one of them is constant."""
    series = (left, right)
    ranks = np.array([[np.mean(s < v) + np.mean(s <= v) for v in s] for s in series])
    if np.ptp(ranks, axis=1).min() == 0:
        return 1.0
    return float(np.corrcoef(ranks)[0, 1])
