"""An int8 file has to run on integers and to be faster than its fp32 twin."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from edgeprune.deploy.artifact.facts import read
from edgeprune.deploy.gate import integers
from edgeprune.deploy.gate.check import Options, check
from edgeprune.target import TargetProfile

Record = Callable[..., Any]
Net = Callable[..., bytes]
INT8 = TargetProfile.model_validate({"schema": 1, "name": "t", "precision": {"mode": "int8"}})
FP32 = TargetProfile.model_validate({"schema": 1, "name": "t"})


def graph(integer: int, floats: int) -> bytes:
    """An optimised graph with so many convolutions of each kind."""
    nodes = [helper.make_node("QLinearConv", [f"q{n}", "w"], [f"i{n}"]) for n in range(integer)]
    nodes += [helper.make_node("Conv", [f"x{n}", f"w{n}"], [f"y{n}"]) for n in range(floats)]
    made: bytes = helper.make_model(helper.make_graph(nodes, "g", [], [])).SerializeToString()
    return made


@pytest.fixture
def pair(net: Net, tmp_path: Path) -> Path:
    """A file that records being int8, and its twin beside it."""
    twin = net(8)
    (tmp_path / "model-fp32.onnx").write_bytes(twin)
    record = json.dumps({"twin_sha256": hashlib.sha256(twin).hexdigest()})
    path = tmp_path / "model.onnx"
    path.write_bytes(net(8, precision="int8", quantisation=record))
    return path


@pytest.mark.parametrize(
    ("integer", "floats", "outcome"),
    [(20, 0, "met"), (19, 1, "met"), (18, 2, "missed"), (0, 0, "met")],
)
def test_the_share_in_float_is_judged_on_the_device(
    record: Record, net: Net, tmp_path: Path, integer: int, floats: int, outcome: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(net(8))
    report = check(path, INT8, Options(device=record(graphs=[graph(integer, floats)])))
    (verdict,) = [v for v in report.verdicts if v.name == "float_convolutions"]
    assert verdict.outcome == outcome
    assert verdict.evidence.startswith(f"{integer} of {integer + floats} convolutions")


@pytest.mark.parametrize(
    ("ratios", "outcome"), [([0.5], "met"), ([1.2], "missed"), ([1.0], "inconclusive")]
)
def test_an_int8_file_is_timed_against_its_twin(
    record: Record, pair: Path, ratios: list[float], outcome: str
) -> None:
    device = record(ratios=ratios, graphs=[graph(2, 0)])
    candidate = read(pair)
    setting = Options(device=device).setting(INT8, candidate.inputs)
    (verdict,) = integers.gain(candidate, INT8, setting)
    assert (verdict.name, verdict.outcome, verdict.limit) == ("int8_gain", outcome, 1.0)
    assert "model-fp32.onnx" in verdict.evidence


@pytest.mark.parametrize("damage", ["gone", "other", "unreadable record"])
def test_without_the_recorded_twin_nothing_is_promised(
    record: Record, net: Net, pair: Path, damage: str
) -> None:
    twin = pair.with_name("model-fp32.onnx")
    if damage == "gone":
        twin.unlink()
    if damage == "other":
        twin.write_bytes(net(4))
    if damage == "unreadable record":
        proto = onnx.load(pair)
        for entry in proto.metadata_props:
            if entry.key == "edgeprune.quantisation":
                entry.value = "[1"
        pair.write_bytes(proto.SerializeToString())
    candidate = read(pair)
    setting = Options(device=record()).setting(INT8, candidate.inputs)
    assert integers.gain(candidate, INT8, setting) == []


def test_what_the_target_or_the_file_says_decides(net: Net, pair: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(net(8))
    assert integers.wanted(read(pair), FP32)
    assert integers.wanted(read(plain), INT8)
    assert not integers.wanted(read(plain), FP32)
