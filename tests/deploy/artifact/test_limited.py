"""onnx's passes over foreign models: a crash, an endless one, one that takes all memory."""

import os
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgeprune.deploy.artifact import limited
from edgeprune.deploy.artifact.counting.count import count_macs

BROKEN = """
import os, time
from edgeprune.deploy.artifact import limited

class Half:
    def SerializeToString(self): return b"\\x0a\\x05a"

def crash(model): os.abort()
def endless(model): time.sleep(1000)
def greedy(model): return b"0" * limited.MOST_BYTES
def loud(model): print("eHh4" * 100, flush=True); return limited._infer(model)
def broken(model): return Half()
def plain(model): return limited._infer(model)

limited.PASSES = {"infer": %s, "inline": limited._inline}
limited.main()
"""


def product() -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], [0.0] * 6)
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    result = helper.make_empty_tensor_value_info("y")
    graph = helper.make_graph(nodes, "g", [given], [result], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the passes done by a program of the test's own; gives what that program shall do."""
    process, start = limited._Process(), limited.Conversation
    monkeypatch.setattr(limited, "_PROCESS", process)

    def as_told(what: str) -> None:
        process.close()
        (tmp_path / "passes.py").write_text(BROKEN % what)
        program = [sys.executable, os.fspath(tmp_path / "passes.py")]
        monkeypatch.setattr(limited, "Conversation", lambda command, *more: start(program, *more))

    yield as_told
    process.close()


@pytest.mark.parametrize("what", ["plain", "loud"])
def test_one_process_answers_all(what: str, answering: Any) -> None:
    answering(what)
    for _ in range(3):
        assert {value.name for value in limited.infer(product())} == {"x", "a", "y"}
        assert limited._PROCESS.talk is not None
        assert limited._PROCESS.talk.process.poll() is None


@pytest.mark.parametrize(
    ("what", "left"), [("crash", 60), ("endless", 1), ("greedy", 60), ("broken", 60)]
)
def test_a_pass_that_does_not_end_well(
    what: str, left: float, answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited, "SECONDS", left)
    answering(what)
    with pytest.raises(limited.PassError):
        limited.infer(product())
    assert count_macs(product(), {"x": (1, 3)}).lacking == "1 MatMul of unknown shape"
    monkeypatch.setattr(limited, "SECONDS", 60.0)
    answering("plain")
    assert count_macs(product(), {"x": (1, 3)}).total == 6


def test_a_module_of_the_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnx.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(limited, "_PROCESS", limited._Process())
    assert limited.infer(product())
    limited._PROCESS.close()
