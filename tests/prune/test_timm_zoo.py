"""Networks of timm, one or two a family: no crash, no other answer, exact counts.

``pytest -m zoo tests/prune/test_timm_zoo.py``, about 15 minutes on 2 quiet cores; ``-k NAME``
runs one network. It needs ``pip install "edgeprune[zoo]"``.
"""

import warnings

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import zoo
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.space.plan import check
from edgeprune.prune.tracing.trace import trace
from tests.models import draw_plan

pytestmark = pytest.mark.zoo
pytest.importorskip("timm", reason='networks of timm: pip install "edgeprune[zoo]"')

_LAYERS = ("convolution", "addmm", "mm")
"""Operators of convolutions and linear layers; products of activations are not counted."""


@pytest.mark.parametrize("name", [name for names in zoo.FAMILIES.values() for name in names])
def test_slim_networks_answer_as_the_masked_one(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's own, about names that it gave up
        row = zoo.judged(name)
    assert row.error < zoo.EXACT


@pytest.mark.parametrize(
    "name", ["mobilenetv3_small_100", "tf_efficientnet_lite0", "resnetblur50"]
)
def test_counts_are_those_of_the_slim_network(name: str) -> None:
    model, x = zoo.network(name)
    traced = trace(model, x)
    plan = draw_plan(traced, 3)
    thin = slim(traced, plan)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        thin(x)
    counts = counter.get_flop_counts()["Global"]
    flops = sum(n for op, n in counts.items() if str(op).removeprefix("aten.") in _LAYERS)
    widths = np.array([[len(kept) for kept in check(plan, traced.groups)]])
    assert CostModel(traced).macs(widths) == flops // 2 // len(x)
    assert CostModel(traced).params(widths) == sum(p.numel() for p in thin.parameters())
