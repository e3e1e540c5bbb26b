"""Files of kinds that nobody here makes: counted, pinned and run as they were read, or undecided.

Most are judged by their counts alone; the gate opens and runs each once on this machine.
"""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.devices.device import Local
from edgeprune.deploy.devices.job import Job, Line, Loaded
from edgeprune.deploy.gate.check import Options, check
from edgeprune.deploy.gate.formats import to_markdown, to_text
from edgeprune.deploy.gate.verdicts import Report
from edgeprune.errors import InputError, MachineError
from edgeprune.target import TargetProfile
from edgeprune.target_overrides import with_inputs

Net = Callable[..., bytes]
Record = Callable[..., Any]
CONV = 8 * 32 * 32 * 27  # macs of 8 channels at 32 x 32 over 3 channels of 3 x 3


def profile(*inputs: str, **budget: Any) -> TargetProfile:
    content = {"schema": 1, "name": "t", "budget": budget}
    return with_inputs(TargetProfile.model_validate(content), inputs)


def weight(name: str, *dims: int) -> Any:
    values = np.random.default_rng(0).standard_normal(dims).astype(np.float32)
    return numpy_helper.from_array(values, name)


def conv(into: str = "x", out: str = "y", kernel: str = "w") -> Any:
    return helper.make_node("Conv", [into, kernel], [out], pads=[1] * 4)


def write(path: Path, nodes: list[Any], stored: list[Any], **inputs: Any) -> Path:
    """A model of float inputs by shape; None leaves the shape out."""
    values = []
    for name, dims in (inputs or {"x": (1, 3, 32, 32)}).items():
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims or ()))
        if dims is None:
            values[-1].type.tensor_type.ClearField("shape")
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", values, [result], stored)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def counted(path: Path, *inputs: str, macs: int = 10**9, **more: Any) -> Report:
    target = profile(*inputs, absolute={"macs": macs, "params": 10**9}, **more)
    return check(path, target)


def values(report: Report) -> dict[str, Any]:
    return {verdict.name: (verdict.outcome, verdict.value) for verdict in report.verdicts}


def branch(number: int) -> Any:
    result = [helper.make_tensor_value_info(f"o{number}", TensorProto.FLOAT, None)]
    kernel = [weight(f"v{number}", 8, 3, 3, 3)]
    return helper.make_graph([conv("x", f"o{number}", f"v{number}")], "b", [], result, kernel)


def test_weights_in_constants_and_branches(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["w"], value=weight("", 8, 3, 3, 3))
    found = values(counted(write(tmp_path / "c.onnx", [constant, conv()], [])))
    assert found == {"macs": ("met", CONV), "params": ("met", 216)}
    chosen = helper.make_node("If", ["t"], ["y"], then_branch=branch(0), else_branch=branch(1))
    yes = numpy_helper.from_array(np.array(True), "t")
    found = values(counted(write(tmp_path / "i.onnx", [chosen], [yes])))
    assert found == {"macs": ("met", CONV), "params": ("met", 432)}


def test_shapes_that_inference_does_not_reach(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Abs", ["s"], ["t"]),
        helper.make_node("Reshape", ["x", "t"], ["r"]),
        conv("r"),
    ]
    path = write(tmp_path / "m.onnx", nodes, [weight("w", 8, 3, 3, 3)])
    report = counted(path, macs=CONV - 1)
    assert values(report)["macs"] == ("missed", CONV)
    assert "shapes as a run on random input has them" in report.verdicts[0].message


@pytest.fixture
def det(tmp_path: Path) -> Path:
    """A file with an operator that nobody counts, small enough to run."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Det", ["h"], ["y"])]
    return write(tmp_path / "m.onnx", nodes, [weight("w", 8, 8)], x=(1, 8, 8))


@pytest.mark.parametrize(("policy", "code"), [("warn", 0), ("fail", 4)])
def test_what_cannot_be_counted_is_undecided_by_name(det: Path, policy: Any, code: int) -> None:
    target = profile(absolute={"macs": 10**9}, relative={"macs": 0.9})
    report = check(det, target, Options(baseline=det, on_inconclusive=policy))
    found = {verdict.name: verdict for verdict in report.verdicts}
    assert found["macs"].outcome == found["macs_ratio"].outcome == "inconclusive"
    assert "not counted: 1 Det; the rest is 512" in found["macs"].message
    assert (
        "not counted: 1 Det of the model and 1 Det of the baseline" in found["macs_ratio"].message
    )
    assert report.exit_code == code
    for text in (to_text(report), to_markdown(report), report.to_json()):
        assert "1 Det" in text


def test_counts_come_before_the_clock(record: Record, files: tuple[Path, Path], net: Net) -> None:
    device = record()
    files[1].write_bytes(net(8, macs="0"))
    files[0].write_bytes(net(4, macs="1"))
    target = profile(relative={"macs": 0.5, "latency": 0.7})
    with pytest.raises(InputError, match="has no macs to compare with"):
        check(files[0], target, Options(baseline=files[1], device=device))
    assert device.jobs == []


@pytest.mark.parametrize(
    ("shape", "inputs"),
    [
        ((-1, 3, 32, 32), []),
        (("n", 3, None, -1), ["x=1x3x32x32"]),
        (None, ["x=1x3x32x32"]),
    ],
)
def test_open_images_are_pinned(tmp_path: Path, shape: Any, inputs: list[str]) -> None:
    path = write(tmp_path / "m.onnx", [conv()], [weight("w", 8, 3, 3, 3)], x=shape)
    assert values(counted(path, *inputs))["macs"] == ("met", CONV)


def test_an_input_of_two_axes_is_pinned(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = write(tmp_path / "m.onnx", nodes, [weight("w", 64, 8)], x=("n", "k"))
    assert values(counted(path, "x=4x64"))["macs"] == ("met", 4 * 64 * 8)
    with pytest.raises(InputError, match=r"set input\.shape .* or --input x=1x3x224x224"):
        counted(path)


def test_inputs_of_every_type_are_fed_and_values_are_taken(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Cast", ["half"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["table", "index"], ["b"]),
        helper.make_node("Where", ["flag", "a", "b"], ["c"]),
        helper.make_node("Add", ["h", "c"], ["y"]),
    ]
    given: dict[str, tuple[int, tuple[int | str, ...]]] = {
        "x": (TensorProto.FLOAT, (1, 8)),
        "half": (TensorProto.FLOAT16, ("n", 4)),
        "index": (TensorProto.INT64, ()),
        "flag": (TensorProto.BOOL, (1, 4)),
    }
    inputs = [helper.make_tensor_value_info(name, *kind) for name, kind in given.items()]
    result = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(
        nodes, "g", inputs, result, [weight("w", 8, 4), weight("table", 9, 4)]
    )
    opset = [helper.make_opsetid("", 17)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    assert values(counted(path))["params"] == ("met", 32 + 36)
    assert values(counted(path, "index=:7", "half=2x4"))["macs"] == ("met", 32)
    with pytest.raises(InputError, match="indices element out of data bounds"):
        counted(path, "index=:70")


def test_several_inputs_are_compared_by_name(record: Record, tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    ours = write(tmp_path / "m.onnx", nodes, [], a=(1, 2), b=(1, 2))
    nodes = [helper.make_node("Add", ["a", "c"], ["y"])]
    theirs = write(tmp_path / "b.onnx", nodes, [], a=(1, 2), c=(1, 2))
    target, device = profile(relative={"latency": 0.7}), record()
    with pytest.raises(InputError, match=r"takes a \[1, 2\], c \[1, 2\].*cannot be compared"):
        check(ours, target, Options(baseline=theirs, device=device))
    check(ours, target, Options(baseline=ours, device=device))
    assert device.jobs[0].shapes == ({"a": (1, 2), "b": (1, 2)},) * 2


class Swapping:
    """This machine, on which somebody replaces the file as soon as it was read."""

    uri = Local.uri

    def __init__(self, *paths: Path) -> None:
        self.paths, self.jobs = paths, list[Job]()

    def run(self, job: Job) -> Generator[Line]:
        self.jobs.append(job)
        for path in self.paths:
            path.write_bytes(b"not a model any more")
        yield from Local().run(job)


def test_what_is_hashed_is_what_is_run(files: tuple[Path, Path]) -> None:
    contents = [path.read_bytes() for path in files]
    device = Swapping(*files)
    limits = {"macs": 10**6, "load_ms": 1e6, "p50_ms": 1e6}
    target = profile(absolute=limits, relative={"latency": 5.0})
    report = check(files[0], target, Options(baseline=files[1], device=device, max_seconds=20))
    assert values(report)["latency"][0] == "met"
    run = {
        model.content for job in device.jobs for model in job.models if isinstance(model, Loaded)
    }
    assert run == set(contents)
    assert all(isinstance(model, Loaded) for job in device.jobs for model in job.models)


def test_no_memory_for_a_run_is_no_fault_of_the_file(tmp_path: Path) -> None:
    nodes = [helper.make_node("Expand", ["x", "s"], ["y"])]
    size = numpy_helper.from_array(np.array([1 << 22, 1 << 22]), "s")  # 64 terabytes
    path = write(tmp_path / "m.onnx", nodes, [size], x=(1, 1))
    with pytest.raises(MachineError, match="out of memory"):
        counted(path)


def test_a_name_that_is_no_utf8(tmp_path: Path, net: Net) -> None:
    path = tmp_path / "m\udcff.onnx"
    path.write_bytes(net(8))
    report = counted(path)
    assert values(report)["params"][0] == "met"
    assert to_text(report).encode()
