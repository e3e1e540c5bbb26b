"""ORT format loads from its bytes alone; what onnxruntime does not take is one line."""

import numpy as np
import onnxruntime
import pytest

from edgeprune.errors import InputError
from edgeprune.export.ort_format import ort_format
from tests.graphs import answers, chain


def test_it_loads_and_answers_as_the_file_does() -> None:
    proto = chain(22, 30)
    made = ort_format(proto.SerializeToString())
    assert made[4:8] == b"ORTM"
    given = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    found = onnxruntime.InferenceSession(made).run(None, {"input": given})[0]
    np.testing.assert_allclose(found, answers(proto, input=given), rtol=1e-4, atol=1e-5)


def test_it_is_not_of_this_processor_alone() -> None:
    made = ort_format(chain(16, 16).SerializeToString())
    assert b"FusedConv:1" in made  # kernels by domain, operator and version
    assert b"nchwc:" not in made


def test_what_does_not_load_is_refused() -> None:
    with pytest.raises(InputError, match="no ORT format"):
        ort_format(b"nothing")
