"""A small network with real weights, quantised as onnxruntime does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

Net = Callable[..., bytes]


@pytest.fixture
def proto(net: Net) -> onnx.ModelProto:
    """Two convolutions and a classifier; input (1, 3, 8, 8)."""
    return onnx.ModelProto.FromString(net(8))


@pytest.fixture
def images() -> list[Any]:
    """Calibration images, each (1, 3, 8, 8)."""
    random = np.random.default_rng(1)
    return [random.standard_normal((1, 3, 8, 8)).astype(np.float32) for _ in range(24)]
