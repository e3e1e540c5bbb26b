"""Weights of a slim network: widths read off them, BatchNorm folded into them."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from edgeprune.deploy.table.graph import Width
from edgeprune.export.cut_weights import CutWeights
from edgeprune.export.onnx_rules import CannotCutError
from edgeprune.export.open_network import open_network
from edgeprune.prune.tracing.trace import trace
from tests.models import lively

A, B, BOTH = Width(0, ((0, 1),)), Width(0, ((1, 2),)), Width(1, ((0, 1), (1, 2)))


def weights() -> CutWeights:
    given = {"both": (BOTH, Width(3)), "a": (A,)}
    return CutWeights(
        given=given, aliases={"a": ("c",)}, fills={}, folded=(), folds=(), full=(8, 4)
    )


def module(**tensors: tuple[int, ...]) -> nn.Module:
    made = nn.Module()
    for name, sizes in tensors.items():
        made.register_parameter(name, nn.Parameter(torch.ones(sizes)))
    return made


def test_widths_are_read_off_the_weights() -> None:
    widths, values = weights().of(module(both=(1 + 5 + 6, 3), a=(5,)))
    assert widths == (5, 3)
    assert values["both"].shape == (12, 3)


def test_a_tensor_may_go_by_another_of_its_names() -> None:
    assert weights().of(module(both=(12, 3), c=(5,)))[0] == (5, 3)


def test_what_no_weight_shows_was_dropped() -> None:
    assert weights().of(module(a=(5,)))[0] == (5, 0)


def test_weights_that_fit_no_widths_are_refused() -> None:
    with pytest.raises(CannotCutError, match="both has 12 channels, not"):
        weights().of(module(both=(12, 3), a=(6,)))


def test_weights_of_another_make_are_refused() -> None:
    with pytest.raises(CannotCutError, match="both has 1 axes, not 2"):
        weights().of(module(both=(12,)))


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 8, 3, bias=True), nn.BatchNorm2d(8)],
        [nn.ConvTranspose2d(3, 8, 2, 2), nn.BatchNorm2d(8, eps=0.1)],
        [nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.BatchNorm2d(8)],
    ],
    ids=["conv", "transposed", "not-behind"],
)
def test_batch_norm_goes_into_the_layer_before_it(layers: list[nn.Module]) -> None:
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6), nn.BatchNorm1d(6)]
    model = lively(nn.Sequential(*layers, *tail)).eval()
    images = torch.randn(2, 3, 8, 8)
    made = open_network(trace(model, images)).exported(model)
    kinds = [node.op_type for node in made.graph.node]
    assert kinds.count("BatchNormalization") == int(len(layers) == 3)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    (found,) = session.run(None, {"input": images.numpy()})
    with torch.inference_mode():
        assert found == pytest.approx(model(images).numpy(), abs=1e-5)
    assert np.isfinite(found).all()
