"""onnx's passes over foreign models: a crash, an endless one, one that takes all memory."""

import os
import signal
import sys
import time
from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from edgeprune.deploy.artifact import limited as limits
from edgeprune.deploy.artifact.counting.count import count_macs
from edgeprune.deploy.artifact.limited import limited
from edgeprune.deploy.devices.runner import JobError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process is forked on Linux")


def crash(*_: object, **__: object) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def endless(*_: object, **__: object) -> bytes:
    while True:
        time.sleep(1)


def greedy(*_: object, **__: object) -> bytes:
    return b"0" * (2 * limits.MOST_BYTES)


def test_what_it_gives_and_what_it_raises() -> None:
    assert limited(lambda: b"\0\xff") == b"\0\xff"
    with pytest.raises(JobError, match="ZeroDivisionError"):
        limited(lambda: bytes([1 // 0]))


@pytest.mark.parametrize(
    ("work", "said"), [(crash, "signal 9"), (endless, "signal 14"), (greedy, "MemoryError")]
)
def test_a_pass_that_does_not_end_well(
    work: Callable[..., bytes], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SECONDS", 1 if work is endless else 60)
    with pytest.raises(JobError, match=said):
        limited(work)
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", work)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], [0.0] * 6)
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    result = helper.make_empty_tensor_value_info("y")
    graph = helper.make_graph(nodes, "g", [given], [result], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    assert count_macs(model, {"x": (1, 3)}).lacking == "1 MatMul of unknown shape"
