"""The runner on its own: what it answers, what it refuses, when it leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from edgeprune.deploy.devices import runner
from edgeprune.deploy.gate.kernel_layout import layout

Net = Callable[..., bytes]


def job(*paths: Path, **changes: Any) -> dict[str, Any]:
    return {
        "models": [str(path) for path in paths],
        "threads": 1,
        "providers": ["CPUExecutionProvider"],
        "optimisation": "all",
        "clock": "cpu",
    } | changes


def epoch(**changes: Any) -> dict[str, Any]:
    return {"open": [0], "sequence": [0], "rounds": 2} | changes


def test_an_epoch_runs_the_sequence(files: tuple[Path, Path]) -> None:
    asked = epoch(open=[0, 1, 0], sequence=[0, 1, 0, 2], rounds=3, burst=4)
    lines = list(runner.answers(job(*files, epochs=[asked, asked])))
    assert [line["kind"] for line in lines] == ["machine", "epoch", "epoch"]
    line = lines[1]
    assert [[len(burst) for burst in row] for row in line["samples"]] == [[4, 4, 4, 4]] * 3
    assert all(ns > 0 for row in line["samples"] for burst in row for ns in burst)
    assert len(line["opened_ns"]) == 3
    assert line["finite"] == [True] * 3
    assert line["wall_ns"] > 0


def test_models_are_profiled_node_by_node(files: tuple[Path, Path]) -> None:
    _, *lines = runner.answers(job(*files, profiles=[0, 1], profile_seconds=0.1))
    assert [(line["kind"], line["model"]) for line in lines] == [("profile", 0), ("profile", 1)]
    for line in lines:
        assert {"Conv", "Gemm"} <= {node["op"] for node in line["nodes"]}
        assert all(node["provider"] == "CPUExecutionProvider" for node in line["nodes"])


def test_a_node_takes_the_mean_of_its_faster_runs() -> None:
    def event(name: str, duration: int, index: str) -> dict[str, Any]:
        about = {"op_name": "Conv", "provider": "P", "node_index": index}
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": duration, "args": about}

    runs = [90, 10, 20, 80, 90]  # the first one is not counted, nor the slower half of the rest
    events = [event("a", ns, "0") for ns in runs]
    looped = [event("b", 5, "1")] * 10  # twice a run
    session = {"cat": "Session", "name": "model_run", "dur": 200}
    found = runner.node_times([*events, *looped, session], 5)
    assert [(node["name"], node["ns"]) for node in found] == [("a", 15_000), ("b", 10_000)]


def test_a_variant_is_opened_with_its_own_options(files: tuple[Path, Path]) -> None:
    own = {"threads": 2, "optimisation": "basic", "arena": False, "memory_pattern": False}
    each = [{}, {**own, "spinning": True, "denormals": False}]
    sessions = runner.Sessions(onnxruntime, job(*files, options=each))
    usual, other = sessions.options(0), sessions.options(1)
    assert (usual.intra_op_num_threads, other.intra_op_num_threads) == (1, 2)
    assert usual.graph_optimization_level != other.graph_optimization_level
    assert (usual.enable_cpu_mem_arena, other.enable_cpu_mem_arena) == (True, False)
    assert (usual.enable_mem_pattern, other.enable_mem_pattern) == (True, False)
    for entry in ("session.intra_op.allow_spinning", "session.set_denormal_as_zero"):
        assert usual.get_session_config_entry(entry) == "0"
        assert other.get_session_config_entry(entry) == "1"


def test_inputs_take_their_shapes_by_name(net: Net, tmp_path: Path) -> None:
    (path := tmp_path / "open.onnx").write_bytes(net(shape=("n", 3, "h", "w")))
    asked = job(path, shapes=[{"input": [2, 3, 8, 8]}], epochs=[epoch()])
    assert [line["kind"] for line in runner.answers(asked)] == ["machine", "epoch"]


@pytest.mark.parametrize(
    ("output", "finite"),
    [
        (np.array([1.0, 2.0], np.float16), True),
        (np.array([1.0, np.nan]), False),
        (np.array([-np.inf, 1.0], np.float32), False),
        (np.array([3e38, 3e38], np.float32), True),
        (np.zeros((0, 4), np.float32), True),
        (np.array([1, 2]), True),
        (np.array(["a"]), True),
        ([{"a": 1.0}], True),  # a sequence of maps
    ],
)
def test_what_is_finite(output: Any, finite: bool) -> None:
    assert runner._is_finite(output) is finite


def test_a_child_answers_or_says_why_not() -> None:
    def refuse() -> None:
        raise runner.JobError("model", "no such operator")

    def confuse() -> None:
        raise ZeroDivisionError("n/0")

    assert runner.in_child(lambda: {"a": [1, 2.5, True]}) == {"a": [1, 2.5, True]}
    assert runner.in_child(os.getpid) != os.getpid()
    for work, code, words in (
        (refuse, "model", "no such operator"),
        (confuse, "machine", "ZeroDivisionError n/0"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "machine", "was killed by signal 9"),
    ):
        with pytest.raises(runner.JobError, match=words) as refused:
            runner.in_child(work)
        assert refused.value.code == code


def test_only_processors_are_forked_for(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = runner.Sessions(onnxruntime, job(*files))
    assert sessions.forks == (sys.platform == "linux")
    sessions.job["providers"] = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert not sessions.forks
    monkeypatch.setattr(sys, "platform", "darwin")
    lines = list(runner.answers(job(*files, epochs=[epoch()])))
    assert [line["kind"] for line in lines] == ["machine", "epoch"]


def test_sessions_are_opened_anew_in_every_epoch(files: tuple[Path, Path]) -> None:
    opened: list[int] = []
    sessions = runner.Sessions(onnxruntime, job(*files))
    original = sessions.open

    def counting(model: int, options: Any = None) -> Any:
        opened.append(model)
        return original(model, options)

    sessions.open = counting  # type: ignore[method-assign]
    for order in ([1, 0], [0, 1]):
        sessions.timed_epoch(epoch(open=order, sequence=[0, 1]))
    assert opened == [1, 0, 0, 1]


@pytest.mark.parametrize(("warmup", "lead_in", "runs"), [(3, 1, 3 + 2 + 4), (5, 0, 5 + 4)])
def test_only_the_rounds_are_timed(
    files: tuple[Path, Path], warmup: int, lead_in: int, runs: int
) -> None:
    ran: list[int] = []

    class Spying(runner.Sessions):
        def call(self, model: int, session: Any) -> Any:
            run = super().call(model, session)
            ran.append(model)  # call() itself runs once

            def spied() -> None:
                ran.append(model)
                run()

            return spied

    sessions = Spying(onnxruntime, job(*files))
    asked = epoch(warmup=warmup, lead_in=lead_in, burst=2)
    samples = sessions.timed_epoch(asked)["samples"]
    assert sum(len(burst) for row in samples for burst in row) == 4
    assert len(ran) == runs


def test_graphs_and_memory(files: tuple[Path, Path]) -> None:
    sessions = runner.Sessions(onnxruntime, job(*files))
    found = layout(sessions.optimised_graph(0))
    assert len(found.blocked) + len(found.plain) == 2
    footprint = sessions.footprint(1)
    assert footprint["load_ns"] > 0
    assert footprint["peak_bytes"] >= 0


@pytest.mark.parametrize("element", ["float", "float16", "double", "uint8", "int64"])
def test_input_is_made_for_every_type(files: tuple[Path, Path], element: str) -> None:
    class Node:
        name, type, shape = "x", f"tensor({element})", [2, 3]

    sessions = runner.Sessions(onnxruntime, job(*files))
    array = sessions._array(Node, 0)
    assert array.shape == (2, 3)
    kinds = {"float": "float32", "double": "float64"}
    assert array.dtype == kinds.get(element, element)
    assert (array == sessions._array(Node, 0)).all()


def test_open_axes_take_the_size_in_the_job(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(net(8, ("n", 3, "h", "w")))
    sessions = runner.Sessions(onnxruntime, job(path, shapes=[[1, 3, 8, 8]]))
    assert sessions.timed_epoch(epoch())["samples"]
    with pytest.raises(runner.JobError, match=r"m\.onnx: "):
        runner.Sessions(onnxruntime, job(path, shapes=[[1, 5, 8, 8]])).timed_epoch(epoch())


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"providers": ["QNNExecutionProvider"]}, "provider", "QNN.*which has"),
        ({"models": ["nowhere.onnx"], "graphs": [0]}, "model", "nowhere.onnx"),
    ],
)
def test_refusals(changes: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(runner.JobError, match=words) as caught:
        list(runner.answers(job(**changes)))
    assert caught.value.code == code


def test_a_provider_that_does_not_start_is_refused(files: tuple[Path, Path]) -> None:
    class Fallen:
        GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel
        SessionOptions = onnxruntime.SessionOptions

        def get_available_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def InferenceSession(self, path: str, options: Any, _: Any) -> Any:
            return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with pytest.raises(runner.JobError, match=r"CUDA.*does not start here"):
        runner.Sessions(Fallen(), job(*files, providers=wanted)).open(0)


@pytest.mark.parametrize("element", [onnx.TensorProto.BFLOAT16, onnx.TensorProto.STRING])
def test_an_input_that_numpy_has_no_type_for_is_refused(tmp_path: Path, element: int) -> None:
    ends = [helper.make_tensor_value_info(name, element, [1, 2]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:]
    )
    opset = [helper.make_opsetid("", 17)]
    path = tmp_path / "0.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    with pytest.raises(runner.JobError, match=r"^mine\.onnx: ") as caught:
        sessions = runner.Sessions(onnxruntime, job(path, names=["mine.onnx"]))
        sessions.call(0, sessions.open(0))
    assert caught.value.code == "model"


def test_a_provider_that_leaves_work_to_the_processor_is_refused(
    files: tuple[Path, Path],
) -> None:
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this build has no second provider")
    sessions = runner.Sessions(onnxruntime, job(*files, providers=["AzureExecutionProvider"]))
    with pytest.raises(runner.JobError, match=r"runs all of model\.onnx; there is") as caught:
        sessions.open(0)
    assert caught.value.code == "provider"


def test_telemetry_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    runner.import_runtime()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_it_leaves_when_stdin_closes(files: tuple[Path, Path]) -> None:
    endless = job(*files, epochs=[epoch()] * 10_000)
    with subprocess.Popen(
        [sys.executable, runner.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(endless) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["kind"] == "machine"
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux only")
def test_where_memory_ends_it_is_the_first_to_go(files: tuple[Path, Path]) -> None:
    with subprocess.Popen(
        [sys.executable, runner.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(job(*files, epochs=[epoch()] * 10_000)) + "\n")
        process.stdin.flush()
        process.stdout.readline()
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"
        process.stdin.close()


def test_it_needs_nothing_of_edgeprune(files: tuple[Path, Path]) -> None:
    script = (
        "import runpy, sys; sys.modules['edgeprune'] = None; sys.modules['onnx'] = None; "
        "sys.modules['torch'] = None; sys.argv = ['runner']; "
        f"runpy.run_path({runner.__file__!r}, run_name='__main__')"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(json.dumps(job(*files, epochs=[epoch()])) + "\n")
        process.stdin.flush()
        kinds = [json.loads(line)["kind"] for line in process.stdout]
        assert process.stderr.read() == ""
    assert kinds == ["machine", "epoch", "end"]


def test_nothing_but_its_own_folders_is_made(tmp_path: Path) -> None:
    script = (
        "import sys; from edgeprune.deploy.devices import runner\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, given: event == 'open' and opened.append(given[0]))\n"
        "with runner._folder() as folder: assert folder.is_dir() and not opened, opened\n"
    )
    environment = {**os.environ, "TMPDIR": os.fspath(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert not list(tmp_path.iterdir())


def test_no_folder_is_made_once_the_job_is_given_up(tmp_path: Path) -> None:
    script = (
        "import threading, time; from edgeprune.deploy.devices import runner\n"
        "looked, leave = threading.Event(), runner.os._exit\n"
        "runner.os._exit = lambda code: (looked.set(), time.sleep(1), leave(code))\n"
        "threading.Thread(target=runner._leave_when_stdin_closes, daemon=True).start()\n"
        "looked.wait()\n"
        "with runner._folder(): leave(1)\n"
    )
    environment, nothing = {**os.environ, "TMPDIR": os.fspath(tmp_path)}, subprocess.DEVNULL
    subprocess.run([sys.executable, "-c", script], env=environment, stdin=nothing, check=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("named", ["", "/nowhere", __file__])
def test_a_place_for_folders_that_is_none(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    for key in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(key, named)
    assert runner._place() in (Path("/tmp"), Path("/var/tmp"), Path())


def test_a_folder_that_is_still_written_to_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, plain = tmp_path / "edgeprune-x", shutil.rmtree
    made.mkdir()
    written = iter(range(3))

    def interrupted(folder: Path, ignore_errors: bool) -> None:
        """As if a session wrote a file after those that were there were listed."""
        if next(written, None) is None:
            plain(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(runner, "FOLDERS", [made])
    monkeypatch.setattr(shutil, "rmtree", interrupted)
    runner._remove_folders()
    assert not made.exists()
