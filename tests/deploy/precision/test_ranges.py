"""Ranges of tensors on calibration images."""

from typing import Any

import numpy as np
import onnx
import pytest

from edgeprune.deploy.precision.layers import layer_outputs
from edgeprune.deploy.precision.ranges import observed
from edgeprune.errors import InputError


def test_the_extremes_are_those_of_the_tensors(proto: onnx.ModelProto, images: list[Any]) -> None:
    found = observed(proto, images, "minmax")
    outputs = np.concatenate([outputs[0] for outputs in layer_outputs(proto, ["conv1"], images)])
    assert found["c1"] == pytest.approx((outputs.min(), outputs.max()), rel=1e-5)
    assert found["input"] == pytest.approx((np.min(images), np.max(images)))


def test_a_percentile_cuts_an_outlier_off(proto: onnx.ModelProto, images: list[Any]) -> None:
    images[3] = images[3].copy()
    images[3][0, 0, 0, 0] = 1000.0
    cut, extreme = (observed(proto, images, how)["input"] for how in ("percentile", "minmax"))
    assert extreme[1] == 1000.0
    # 24 * 192 values are fewer than a hundred thousand: the cut is within the last bin.
    assert cut[1] <= 1000.0
    assert observed(proto, iter(images), "entropy")["input"][1] <= 1000.0


def test_no_images_is_one_line(proto: onnx.ModelProto) -> None:
    with pytest.raises(InputError, match="at least one image"):
        observed(proto, [], "minmax")
