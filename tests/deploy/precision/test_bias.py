"""Bias correction: means of layers come back."""

from functools import partial
from typing import Any

import numpy as np
import onnx

from edgeprune.deploy.precision.bias import corrected
from edgeprune.deploy.precision.layers import layer_outputs
from edgeprune.deploy.precision.qdq import quantised
from edgeprune.deploy.precision.ranges import observed
from edgeprune.deploy.precision.scheme import Scheme


def test_the_mean_of_every_corrected_layer_is_that_of_the_float_one(
    proto: onnx.ModelProto, images: list[Any]
) -> None:
    # Ranges that clip: quantisation then shifts the means a lot.
    ranges = {
        n: (low / 2, high / 2) for n, (low, high) in observed(proto, images, "minmax").items()
    }
    make = partial(quantised, ranges=ranges, scheme=Scheme())

    def means(network: onnx.ModelProto) -> Any:
        outputs = [outputs[0] for outputs in layer_outputs(network, ["linear"], images)]
        return np.mean(outputs, axis=(0, 1))

    before = np.abs(means(make(proto)) - means(proto)).max()
    after = np.abs(means(make(corrected(proto, make, images))) - means(proto)).max()
    assert after < 0.1 * before
    # conv2 has no bias: it stays, and its error goes into the bias of the layer behind.
    names = {tensor.name for tensor in corrected(proto, make, images).graph.initializer}
    assert names == {tensor.name for tensor in proto.graph.initializer}
