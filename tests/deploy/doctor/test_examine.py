"""Whole examinations on this machine: what is named, never how fast it is by little."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeprune.deploy.doctor.diagnosis import Diagnosis
from edgeprune.deploy.doctor.examine import Options, examine
from edgeprune.errors import InputError
from edgeprune.target import load_target
from tests.graphs import chain


def saved(proto: Any, path: Path) -> Path:
    onnx.save(proto, path)
    return path


def diagnosed(path: Path, **options: Any) -> Diagnosis:
    asked = Options(**{"max_seconds": 8.0, **options})
    return examine(path, load_target("mobile-cpu"), asked)


def denormal() -> Any:
    """A file whose second layer has weights too small for the fast path."""
    proto = chain(16, 16, 16, side=32)
    weight = numpy_helper.to_array(proto.graph.initializer[2])
    tiny = (np.sign(weight) * 1e-39).astype(np.float32)
    proto.graph.initializer[2].CopyFrom(numpy_helper.from_array(tiny, "conv1.weight"))
    return proto


def test_denormal_weights_are_found_and_their_change_helps(tmp_path: Path) -> None:
    proto = denormal()
    weight = numpy_helper.to_array(proto.graph.initializer[2])
    found = diagnosed(saved(proto, tmp_path / "m.onnx"))
    finding = next(each for each in found.findings if each.cause == "denormal weights")
    assert finding.layer == f"{weight.size} values"
    assert finding.tried[0].status != "costs"
    assert "denormal" not in " ".join(found.free_of)
    body = json.loads(found.to_json())
    assert body["schema"] == "edgeprune.doctor/1"
    assert body["latency"]["median_ms"] > 0
    assert {each["cause"] for each in body["findings"]} >= {"denormal weights"}


@pytest.mark.usefixtures("blocks")
def test_a_baseline_is_compared_first_and_layer_by_layer(tmp_path: Path) -> None:
    slim = saved(chain(22, 32, side=32), tmp_path / "slim.onnx")
    dense = saved(chain(32, 64, side=32), tmp_path / "dense.onnx")
    start = time.monotonic()
    found = diagnosed(slim, baseline=dense, max_seconds=10.0)
    assert time.monotonic() - start < 30  # 10 s were given; a loaded machine may be late
    assert found.comparison is not None
    text = found.to_text()
    assert text.partition("\n")[0].endswith("ms)")
    assert "the time of dense.onnx" in text.partition("\n")[0]
    assert "1. off-grid channels: conv1" in text or "off-grid channels: conv1" in text
    layers = text.partition("layer by layer")[2]
    assert all(name in layers for name in ("conv0", "conv1", "head"))
    assert json.loads(found.to_json())["baseline"]["epochs"] > 0


def test_a_clean_file_has_nothing_that_its_graph_shows(tmp_path: Path) -> None:
    found = diagnosed(saved(chain(16, 32, 32, side=32), tmp_path / "m.onnx"), max_seconds=6.0)
    measured = {"session options", "one layer dominates", "layout reorders"}
    assert {each.cause for each in found.findings} <= measured
    assert "every convolution that could be on the blocked layout is" in found.free_of
    assert len(found.options) >= 4
    assert "not the cause:" in found.to_text()


def test_a_baseline_with_other_inputs_is_refused(tmp_path: Path) -> None:
    slim = saved(chain(16, side=16), tmp_path / "slim.onnx")
    dense = saved(chain(16, side=32), tmp_path / "dense.onnx")
    with pytest.raises(InputError, match="a baseline takes the same"):
        diagnosed(slim, baseline=dense)


def test_a_file_that_does_not_run_is_refused(tmp_path: Path) -> None:
    proto = chain(16)
    proto.graph.node[0].input[1] = "nowhere"
    with pytest.raises(InputError, match="cannot take"):
        diagnosed(saved(proto, tmp_path / "m.onnx"))
