"""A file examined on another machine: what the findings say was tried there."""

import json
from pathlib import Path

import pytest

import edgeprune
from benchmarks import loopback
from edgeprune.errors import MachineError
from tests.deploy.doctor.test_examine import denormal, saved
from tests.graphs import chain


def test_causes_are_found_and_tried_on_the_device(tmp_path: Path) -> None:
    slim = saved(denormal(), tmp_path / "slim.onnx")
    dense = saved(chain(32, 64, side=32), tmp_path / "dense.onnx")
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
    path = saved(chain(16, side=16), tmp_path / "m.onnx")
    with pytest.raises(MachineError) as caught:
        edgeprune.doctor(path, device="ssh://nobody@127.0.0.1:1", max_seconds=5)
    assert "\n" not in str(caught.value)
