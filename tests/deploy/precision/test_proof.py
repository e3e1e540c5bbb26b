"""An int8 network that answers otherwise, or runs in float, does not pass."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeprune.deploy.artifact.parity import compare
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.deploy.precision.integer_kernels import IntegerKernels
from edgeprune.deploy.precision.proof import refuse_float, refuse_unfaithful
from edgeprune.deploy.precision.recovery import Quantised, recovered
from edgeprune.deploy.precision.scheme import Scheme
from edgeprune.deploy.precision.trials import Quantiser
from edgeprune.errors import PromiseError
from edgeprune.target import Parity, Precision, Runtime


@pytest.fixture
def made(proto: onnx.ModelProto, images: list[Any]) -> Quantised:
    precision = Precision(mode="int8")
    return recovered(
        proto,
        Quantiser(images=images, precision=precision, scheme=Scheme(), runtime=Runtime()),
    )


def test_a_faithful_one_passes(made: Quantised, images: list[Any]) -> None:
    refuse_unfaithful(made, images[0], Parity())


def test_a_poked_weight_is_named(made: Quantised, images: list[Any]) -> None:
    weight = next(t for t in made.proto.graph.initializer if t.name == "w2_quantized")
    turned = -numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(turned, weight.name))
    answers = [
        np.concatenate([open_session(m.SerializeToString(), Runtime()).run(i) for i in images])
        for m in (made.float_proto, made.proto)
    ]
    fidelity = compare(*answers, atol=np.inf, rtol=0.0)
    with pytest.raises(PromiseError, match=r"from fp32 to int8.*worst at layer w2"):
        refuse_unfaithful(replace(made, fidelity=fidelity), images[0], Parity())


def test_too_little_on_integers_is_refused_by_name() -> None:
    kernels = IntegerKernels(9, (("layer1.conv1", "no integer kernel for these types here"),))
    with pytest.raises(PromiseError, match=r"9 of 10 .* in float: layer1\.conv1 \(no integer"):
        refuse_float(kernels, Precision(mode="int8"))
    refuse_float(kernels, Precision(mode="int8", min_integer_conv_fraction=0.9))
