"""An ONNX model is evaluated like the network it came from."""

import copy

import torch
from torch import nn

from edgeprune.export.exporter import to_onnx
from edgeprune.export.onnx_network import OnnxNetwork
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.target import Runtime
from tests.images import grey_noise


def test_both_give_the_same_evaluation() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).eval()
    as_onnx = OnnxNetwork(to_onnx(network, (3, 8, 8)), Runtime())
    images = grey_noise(20)
    ours, theirs = evaluate(as_onnx, images), evaluate(network, images)
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=1e-3)
    assert ours.accuracy == theirs.accuracy
    assert copy.deepcopy(as_onnx) is as_onnx
