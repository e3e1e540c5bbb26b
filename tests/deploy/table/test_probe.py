"""The latency table predicts networks of a simulated device."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeprune.deploy.table.assemble import assemble
from edgeprune.deploy.table.bench import Probe, draw
from edgeprune.deploy.table.fitting import rank_correlation
from edgeprune.deploy.table.probe import probe
from edgeprune.errors import InputError
from edgeprune.target import Channels, Runtime, TargetProfile

Make = Callable[..., Any]
EIGHTS = (8, 16, 24, 32, 40, 48, 56, 64)
PROFILE = TargetProfile(schema=1, name="sim")
PINNED = PROFILE.model_copy(update={"channels": Channels(grid=(8, 16, 32))})  # probes faster


def test_other_networks_of_the_space_are_predicted(simulated: Make, residual_net: Make) -> None:
    device, network = simulated(), residual_net(2)
    model = probe(network, PROFILE, Probe(device=device)).model
    widths = np.array(draw(network, EIGHTS, 200, seed=99))
    predicted, true = model.predict(widths), device.true(network, widths)
    errors = np.abs(predicted / true - 1)
    assert errors.mean() < 0.01
    assert errors.max() < 0.04
    assert rank_correlation(predicted, true) > 0.995
    assert model.error == pytest.approx(errors.mean(), abs=0.01)
    assert model.fit.rank > 0.99
    assert model.fit.scale == pytest.approx(1, abs=0.02)


def test_dense_is_slower_than_all_else_and_a_dropped_branch_costs_nothing_more(
    simulated: Make, residual_net: Make
) -> None:
    network = residual_net(2)
    model = probe(network, PINNED, Probe(device=simulated())).model
    dense = np.array([network.full])
    widths = np.array(draw(network, (8, 16, 32), 50, seed=3))
    assert (model.predict(widths) <= model.predict(dense) * 1.001).all()
    for group in network.droppable:
        gone, small = dense.copy(), dense.copy()
        gone[0, group], small[0, group] = 0, 8
        assert model.predict(gone) < model.predict(small) < model.predict(dense)


def test_weights_that_do_not_fit_the_cache_are_paid_for(
    simulated: Make, residual_net: Make
) -> None:
    """The same blocks cost more in a network that is larger than the cache."""
    device, network = simulated(cache_bytes=320_000.0), residual_net(2)
    model = probe(network, PROFILE, Probe(device=device)).model
    widths = np.array(draw(network, EIGHTS, 100, seed=5))
    errors = np.abs(model.predict(widths) / device.true(network, widths) - 1)
    assert model.fit.more == pytest.approx(1, abs=0.3)
    assert errors.mean() < 0.03


def test_bytes_of_weights_are_exact(
    simulated: Make, residual_net: Make, weight_bytes: Callable[[bytes], float]
) -> None:
    network = residual_net(2)
    model = probe(network, PINNED, Probe(device=simulated())).model
    widths = np.array(draw(network, (8, 16, 32), 30, seed=8))
    expected = [weight_bytes(assemble(network.at(row.tolist()))) for row in widths]
    assert model.sums(widths)[:, 2] == pytest.approx(expected)


def test_a_pinned_grid_is_not_probed(simulated: Make, residual_net: Make) -> None:
    device = simulated()
    profile = PROFILE.model_copy(update={"channels": Channels(grid=(12, 24, 36))})
    report = probe(residual_net(1), profile, Probe(device=device))
    assert report.grid == (12, 24, 36)
    assert report.costs == {}
    assert report.model.levels(2) == (12, 24, 36, 48, 60, 64)
    assert report.model.levels(4) == (0, 12, 24, 32)
    assert len(device.jobs[1].models) < 300


def test_unoptimised_blocks_are_refused(simulated: Make, residual_net: Make) -> None:
    profile = PINNED.model_copy(update={"runtime": Runtime(optimisation="disable")})
    with pytest.raises(InputError, match=r"runtime\.optimisation"):
        probe(residual_net(1), profile, Probe(device=simulated()))


def test_progress_names_the_steps_and_ends_at_one(simulated: Make, residual_net: Make) -> None:
    seen: list[tuple[str, int, int]] = []
    probe(
        residual_net(1),
        PROFILE,
        Probe(device=simulated(), progress=lambda *step: seen.append(step)),
    )
    assert list(dict.fromkeys(what for what, *_ in seen)) == [
        "measuring channel grid",
        "measuring blocks",
        "measuring whole networks",
    ]
    assert all(0 < done <= total for _, done, total in seen)
    assert seen[-1][1] == seen[-1][2]


@pytest.mark.parametrize(
    ("place", "wrong", "said"),
    [(0, 7, "width 7 of group 0"), (2, 72, "width 72"), (0, 0, "width 0"), (1, -8, "width -8")],
)
def test_a_width_that_was_not_measured_is_refused(
    place: int, wrong: int, said: str, simulated: Make, residual_net: Make
) -> None:
    network = residual_net(1)
    model = probe(network, PINNED, Probe(device=simulated())).model
    widths = np.array([network.full, network.full])
    widths[1, place] = wrong
    with pytest.raises(InputError, match=said):
        model.predict(widths)
    with pytest.raises(InputError, match="widths for"):
        model.predict(widths[:, 1:])


def test_no_networks_no_predictions(simulated: Make, residual_net: Make) -> None:
    model = probe(residual_net(1), PINNED, Probe(device=simulated())).model
    assert model.predict(np.empty((0, 6), np.int64)).shape == (0,)


def test_the_blocks_and_what_is_beyond_them_add_up_to_the_network(
    simulated: Make, residual_net: Make
) -> None:
    network = residual_net(2)
    model = probe(network, PROFILE, Probe(device=simulated(cache_bytes=1e5))).model
    slim = np.array(network.full)
    slim[[0, 3, 5]] = (8, 0, 16)
    for widths in (np.array(network.full), slim):
        own = model.by_block(widths)
        assert len(own) == len(network.blocks) + 1
        assert own.sum() == pytest.approx(model.predict(widths)[0])
    # The branch of block 0.0 is group 3, which is dropped.
    before, after = model.by_block(np.array(network.full)), model.by_block(slim)
    names = [block.name for block in network.blocks]
    assert after[names.index("0.0")] < before[names.index("0.0")]
