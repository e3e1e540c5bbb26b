"""The model's arithmetic: how sums become milliseconds, how widths become places."""

from collections.abc import Callable

import numpy as np
import pytest

from edgeprune.deploy.table.latency_model import Fit, LatencyModel
from edgeprune.deploy.table.network import Network
from edgeprune.errors import InputError


@pytest.mark.parametrize(
    ("weights", "ms"),
    [(0.0, 46.0), (100.0, 46.0), (150.0, 53.5), (200.0, 61.0), (900.0, 61.0)],
)
def test_cold_weights_cost_more_the_less_of_them_the_cache_keeps(
    weights: float, ms: float
) -> None:
    fit = Fit(scale=2.0, more=1.5, offset=3.0, fits=100.0, spills=200.0, reference_ms=2.0)
    # (2 * 10 + 1.5 * share * 5 + 3) * 2 ms
    assert fit.apply(np.array([[10.0, 5.0, weights]])) == pytest.approx([ms])


def model_of(network: Network) -> LatencyModel:
    """Group 0 alone costs 1, 2, 3 at its three levels."""
    fit = Fit(scale=1.0, more=0.0, offset=0.0, fits=0.0, spills=1.0, reference_ms=1.0)
    costs = np.array([[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]])
    return LatencyModel(
        network=network,
        grid=(4, 8, 16),
        fit=fit,
        document=b"{}",
        tables=(((0,), costs),),
        constant=np.array([10.0, 0, 0]),
    )


def test_a_width_is_looked_up_by_its_place_among_the_levels(
    residual_net: Callable[[int], Network],
) -> None:
    network = residual_net(1)
    model = model_of(network)
    assert model.levels(0) == (4, 8, 16)
    widths = np.array([network.full] * 3)
    widths[:, 0] = (4, 8, 16)
    assert model.predict(widths).tolist() == [11.0, 12.0, 13.0]
    assert model.predict(widths[::-1]).tolist() == [13.0, 12.0, 11.0]


@pytest.mark.parametrize("wrong", [-1, 0, 5, 17, 1000])
def test_a_width_off_the_levels_is_refused_after_good_ones_too(
    residual_net: Callable[[int], Network], wrong: int
) -> None:
    network = residual_net(1)
    model = model_of(network)
    widths = np.array([network.full, network.full])
    model.predict(widths)
    widths[1, 0] = wrong
    with pytest.raises(InputError, match=f"width {wrong} of group 0 .* one of 4, 8, 16"):
        model.predict(widths)
