"""Sessions that are not timed: runs, and one clear line for what cannot be opened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeprune.deploy.devices import sessions
from edgeprune.errors import InputError, MachineError
from edgeprune.target import Runtime

Net = Callable[..., bytes]


def test_run_gives_the_first_output(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(net(8, ("n", 3, 8, 8)))
    session = sessions.open(path, Runtime())
    batch = np.random.default_rng(0).standard_normal((3, 3, 8, 8))
    rows = [session.run(batch[n : n + 1])[0] for n in range(3)]
    assert session.providers == ("CPUExecutionProvider",)
    assert session.input_shape == ("n", 3, 8, 8)
    np.testing.assert_allclose(session.run(batch), rows, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 9, 8), (2, 3, 8, 8), (3, 8, 8)])
def test_a_batch_that_does_not_fit(net: Net, shape: tuple[int, ...]) -> None:
    session = sessions.open(net(8), Runtime())
    with pytest.raises(InputError, match=r"takes \[1, 3, 8, 8\], not a batch of"):
        session.run(np.zeros(shape))


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
        (newer_ir, r"the model: it is of IR 99, the newest it takes is \d+; export it with"),
        (newer_opset, r"the model: it is of opset 99, the newest it takes is \d+; export it with"),
        (unknown_operator, "No Op registered for Convolve"),
    ],
)
def test_what_onnxruntime_does_not_load(net: Net, change: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        sessions.open(changed(net(8), change), Runtime())
    assert "\n" not in str(caught.value)
    assert ".cc:" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("cut", [0, 5, 400])
def test_not_an_onnx_file(net: Net, cut: int) -> None:
    with pytest.raises(InputError, match=r"not an ONNX file|No graph was found"):
        sessions.open(net(8)[:cut], Runtime())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        sessions.open(tmp_path / "m.onnx", Runtime())


def test_a_provider_that_is_not_there_is_never_replaced(net: Net) -> None:
    with pytest.raises(MachineError, match="QNNExecutionProvider is not in this build, which has"):
        sessions.open(net(8), Runtime(providers=("QNNExecutionProvider", "CPUExecutionProvider")))


def test_the_processor_never_stands_in_for_another_provider(net: Net) -> None:
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this build has no second provider")
    with pytest.raises(MachineError, match=r"runs all of the model; there is \[.*CPUExecution"):
        sessions.open(net(8), Runtime(providers=("AzureExecutionProvider",)))
    both = Runtime(providers=("AzureExecutionProvider", "CPUExecutionProvider"))
    assert sessions.open(net(8), both).providers == both.providers


def test_names_of_inputs_stay_on_one_line(net: Net) -> None:
    def two(model: Any) -> None:
        extra = model.graph.input.add()
        extra.CopyFrom(model.graph.input[0])
        extra.name = "b\n::warning::c"

    with pytest.raises(InputError, match=r"2 inputs \(input, b ::warning::c\)"):
        sessions.open(changed(net(8), two), Runtime())
