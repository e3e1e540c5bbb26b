import onnx
import pytest

import edgeprune
from edgeprune.errors import InputError
from tests.graphs import chain


def test_a_check_is_refused_in_one_line():
    with pytest.raises(InputError, match="cannot be read"):
        edgeprune.check("none.onnx")
    with pytest.raises(InputError, match="did you mean 'mobile-cpu'"):
        edgeprune.check("none.onnx", target="mobil-cpu")


def test_a_doctor_examines_or_refuses_in_one_line(tmp_path):
    path = tmp_path / "small.onnx"
    onnx.save(chain(8, 8, 8), path)
    found = edgeprune.doctor(path, max_seconds=5)
    assert found.file == "small.onnx"
    assert found.latency.median_ms > 0
    with pytest.raises(InputError, match="max_seconds = 1 is too short"):
        edgeprune.doctor(path, max_seconds=1)
    with pytest.raises(InputError, match="cannot be read"):
        edgeprune.doctor("none.onnx")
