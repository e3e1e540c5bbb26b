"""Sessions that are not timed: runs, and one clear line for what cannot be opened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeprune.deploy import runtime
from edgeprune.errors import InputError, MachineError
from edgeprune.target import Runtime

Net = Callable[..., bytes]


def test_run_gives_the_first_output(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(net(8, ("n", 3, 8, 8)))
    session = runtime.open(path, Runtime())
    batch = np.random.default_rng(0).standard_normal((3, 3, 8, 8))
    rows = [session.run(batch[n : n + 1])[0] for n in range(3)]
    assert session.providers == ("CPUExecutionProvider",)
    assert session.sizes() == (1, 3, 8, 8)
    np.testing.assert_allclose(session.run(batch), rows, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 9, 8), (2, 3, 8, 8), (3, 8, 8)])
def test_a_batch_that_does_not_fit(net: Net, shape: tuple[int, ...]) -> None:
    session = runtime.open(net(8), Runtime())
    with pytest.raises(InputError, match=r"takes \[1, 3, 8, 8\], not a batch of"):
        session.run(np.zeros(shape))


def test_operators_are_those_of_the_optimised_graph(net: Net) -> None:
    fused = runtime.operators(net(8), Runtime())
    plain = runtime.operators(net(8), Runtime(optimisation="disable"))
    assert "Relu" in plain.operators
    assert "Relu" not in fused.operators
    assert plain.plain == ("conv1", "conv2")
    assert plain.blocked == ()


def test_a_width_that_cannot_be_blocked_is_named(net: Net) -> None:
    aligned, odd = (runtime.operators(net(w), Runtime()) for w in (16, 13))
    if not aligned.blocked:
        pytest.skip("onnxruntime has no blocked layout for this processor")
    assert aligned.plain == ()
    assert odd.left(aligned) == ("conv2",)


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    model = onnx.ModelProto.FromString(content)
    change(model)
    return bytes(model.SerializeToString())


def newer_ir(model: Any) -> None:
    model.ir_version = 99


def newer_opset(model: Any) -> None:
    model.opset_import[0].version = 99


def unknown_operator(model: Any) -> None:
    model.graph.node[0].op_type = "Convolve"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (newer_ir, "Unsupported model IR version.*opset 20 and IR 10"),
        (newer_opset, "Opset 99.*opset 20 and IR 10"),
        (unknown_operator, "No Op registered for Convolve"),
    ],
)
def test_what_onnxruntime_does_not_load(net: Net, change: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        runtime.open(changed(net(8), change), Runtime())
    assert "\n" not in str(caught.value)
    assert ".cc:" not in str(caught.value)


@pytest.mark.parametrize("cut", [0, 5, 400])
def test_not_an_onnx_file(net: Net, cut: int) -> None:
    with pytest.raises(InputError, match=r"not an ONNX file|No graph was found"):
        runtime.open(net(8)[:cut], Runtime())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        runtime.open(tmp_path / "m.onnx", Runtime())


def test_a_provider_that_is_not_there_is_never_replaced(net: Net) -> None:
    with pytest.raises(MachineError, match="QNNExecutionProvider is not in this build, which has"):
        runtime.open(net(8), Runtime(providers=("QNNExecutionProvider", "CPUExecutionProvider")))
