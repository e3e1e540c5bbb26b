"""How blocks add up: known factors are found again, ranks are Spearman's."""

import numpy as np
import pytest

from edgeprune.deploy.table.fitting import _best_fit, rank_correlation
from edgeprune.deploy.table.latency_model import Fit


class Sums:
    """A model that knows the sums of networks, one a width."""

    fit = Fit(scale=1.0, more=1.0, offset=0.0, fits=0.0, spills=1.0, reference_ms=2.0)

    def __init__(self, sums: np.ndarray) -> None:
        self.all = sums

    def sums(self, widths: np.ndarray) -> np.ndarray:
        return self.all[widths[:, 0]]


@pytest.mark.parametrize("true", [(1.0, 1.0, 0.0), (1.04, 0.8, 0.05)])
def test_factors_are_found_in_the_times_of_whole_networks(true: tuple[float, ...]) -> None:
    random = np.random.default_rng(0)
    weights = np.linspace(0, 1e6, 16)
    sums = np.stack([random.uniform(2, 9, 16), random.uniform(1, 3, 16), weights], axis=1)
    scale, more, offset = true
    times = scale * sums[:, 0] + more * (weights / 1e6) * sums[:, 1] + offset
    timed = [((network,), float(time)) for network, time in enumerate(times)]
    fit = _best_fit(Sums(sums), timed)  # type: ignore[arg-type]
    predicted = fit.apply(sums) / fit.reference_ms
    assert predicted == pytest.approx(times, rel=0.01)
    assert fit.scale == pytest.approx(scale, abs=0.02)
    assert (fit.fits, fit.spills) == (0.0, 1e6)


def test_rank_correlation_is_spearmans() -> None:
    left = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    # 1 - 6 * (0 + 0 + 1 + 1 + 0) / (5 * 24)
    assert rank_correlation(left, np.array([0.1, 0.2, 9.0, 8.0, 99.0])) == pytest.approx(0.9)
    assert rank_correlation(left, -left) == pytest.approx(-1)
    assert rank_correlation(left, np.ones(5)) == 1.0
