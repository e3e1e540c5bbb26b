"""A file examined on another machine: what the findings say was tried there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgeprune
from benchmarks import loopback
from edgeprune.errors import MachineError
from tests.graphs import chain


def denormal() -> Any:
    """A file whose second layer has weights too small for the fast path."""
    proto = chain(16, 16, 16, side=32)
    weight = numpy_helper.to_array(proto.graph.initializer[2])
    tiny = (np.sign(weight) * 1e-39).astype(np.float32)
    proto.graph.initializer[2].CopyFrom(numpy_helper.from_array(tiny, "conv1.weight"))
    return proto


def test_causes_are_found_and_tried_on_the_device(tmp_path: Path) -> None:
    slim, dense = tmp_path / "slim.onnx", tmp_path / "dense.onnx"
    onnx.save(denormal(), slim)
    onnx.save(chain(32, 64, side=32), dense)
    with loopback.serving() as uri:
        found = edgeprune.doctor(slim, baseline=dense, device=uri, max_seconds=15)
    body = json.loads(found.to_json())
    assert body["machine"]["device"].startswith("ssh://")
    assert body["latency"]["median_ms"] > 0
    assert body["baseline"]["epochs"] > 0
    finding = next(each for each in found.findings if each.cause == "denormal weights")
    assert finding.tried
    assert found.options  # session options were swept there


def test_a_device_that_is_not_there_ends_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(chain(16, side=16), path)
    with pytest.raises(MachineError) as caught:
        edgeprune.doctor(path, device="ssh://nobody@127.0.0.1:1", max_seconds=5)
    assert "\n" not in str(caught.value)
