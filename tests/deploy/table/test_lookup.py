"""Tables looked up for a population give what the blocks add up to, one by one."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from edgeprune.deploy.table.bench import draw
from edgeprune.deploy.table.footprint import Footprint
from edgeprune.deploy.table.latency_model import Fit, LatencyModel
from edgeprune.deploy.table.lookup import tables_of
from edgeprune.deploy.table.network import Network
from edgeprune.deploy.table.units import Family, variants

GRID = (8, 16, 32)
FIT = Fit(scale=1.0, more=0.0, offset=0.0, fits=0.0, spills=1.0, reference_ms=1.0)


def random_form(family: Family, random: np.random.Generator) -> Footprint:
    """A quantity of a block with a constant, a curve a group and a part a pair."""
    groups = range(len(family.groups))
    places = [(), *((g,) for g in groups), *((g, g) for g in groups), *family.shape.pairs]
    return Footprint({place: float(random.uniform(1, 9)) for place in places})


def by_hand(families: Sequence[Family], forms: Sequence[Footprint], widths: np.ndarray) -> float:
    """What one block adds to a network with widths (G,)."""
    gone = len(families) == 2 and not all(widths[group] for group in families[1].dropped)
    family, form = families[gone], forms[gone]
    local = [widths[[group]] for group in family.groups]
    total = form.constant + sum(form.curve(place, own)[0] for place, own in enumerate(local))
    joint = (form.joint((a, b), local[a], local[b])[0, 0] for a, b in family.shape.pairs)
    return float(total + sum(joint))


@pytest.mark.parametrize("depth", [1, 2])
def test_tables_are_the_sum_over_the_blocks(
    residual_net: Callable[[int], Network], depth: int
) -> None:
    network, random = residual_net(depth), np.random.default_rng(0)
    blocks = variants(network, GRID)
    forms = [[[random_form(f, random) for _ in range(3)] for f in block] for block in blocks]
    tables, constant = tables_of(
        network,
        [list(zip(block, own, strict=True)) for block, own in zip(blocks, forms, strict=True)],
    )
    model = LatencyModel(
        network=network, grid=GRID, fit=FIT, document=b"", tables=tables, constant=constant
    )
    widths = np.array(draw(network, GRID, 40, seed=1))
    expected = [
        [
            sum(
                by_hand(block, [pieces[piece] for pieces in own], row)
                for block, own in zip(blocks, forms, strict=True)
            )
            for piece in range(3)
        ]
        for row in widths
    ]
    assert model.sums(widths) == pytest.approx(np.array(expected))
    assert model.predict(widths) == pytest.approx(np.array(expected)[:, 0])
