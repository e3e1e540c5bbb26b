"""The one file copied to a device: opens and times onnxruntime sessions, returns raw samples.

It needs the standard library, numpy and onnxruntime, and nothing of edgeprune. A job is one line
of JSON on stdin, an answer lines of JSON on stdout; a closed stdin ends it at once. It holds no
statistics: what is measured, in which order and when to stop is the caller's to decide.

Job::

    {"models": ["/tmp/x/0.onnx", ...],  paths here, or how many bytes of it follow the job's line
     "names": ["a.onnx", ...],           for errors
     "values": {"scale": 1.0},           what all elements of an input are; else random ones
     "shapes": [null | [1, 3, 32, 32] | {"x": [1, 3]}],  per model, for inputs of open shape
     "options": [{"arena": false}, {}],  per model, in place of the options below; see options()
     "threads": 1, "providers": ["CPUExecutionProvider"], "optimisation": "all",
     "clock": "cpu" | "wall", "seed": 0,
     "graphs": [0], "memory": [0],       models whose graph, or load time and memory, is wanted
     "profiles": [0, 1], "profile_seconds": 2.0,  models that are timed node by node, in turn
     "outputs": [0],                     models whose outputs' shapes are wanted
     "batches": [{"model": 0, "shape": [4, 3, 32, 32], "data": base64 of float32}],  to answer
     "most_bytes": 8589934592,           of address space, for a model that may ask for any; null
     "epochs": [{"open": [0, 1],         models opened afresh, in this order; repeats are copies
                 "sequence": [1, 0],     one round: positions in "open", run one after another
                 "rounds": 8, "burst": 2, "warmup": 3, "lead_in": 1}]}

Lines: one ``machine``, then ``graph``, ``memory``, ``profile``, ``outputs``, ``logits`` and
``epoch`` lines as asked for, then ``end``; or ``error`` with a code: ``missing``, ``provider``,
``model``, ``memory`` or ``machine``.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gc
import json
import math
import os
import platform
import re
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

# In onnxruntime's errors: its number, its own source line, the file's temporary place.
NOISE = r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+:\d+ .*\) (?=[A-Z])|Load model from .* failed:"
# What its allocators say where the system gives no more memory.
LACKING = ("bad_alloc", "Failed to allocate memory", "Unable to allocate", "out of memory")
FLAGS = "avx avx2 fma avx512f avx512_vnni avx_vnni amx_int8 asimd asimdhp asimddp i8mm sve"

FOLDERS: list[Path] = []  # temporary ones, made so far
MOST_OF_A_MAP = 1024  # values of an output with height and width that are answered, evenly spread
MAKING = threading.Lock()  # held while one is made, and for good once the job is given up


class JobError(Exception):
    """The job cannot be done here; ``code`` says why in one word."""

    def __init__(self, code: str, message: str, subject: str = "") -> None:
        super().__init__(f"{subject}: {message}" if subject else message)
        self.code, self.said, self.subject = code, message, subject  # a model's name


def main() -> None:
    """Read one job from stdin, answer it line by line, leave."""
    job = json.loads(sys.stdin.buffer.readline())
    for model, given in enumerate(job["models"]):
        if isinstance(given, int):
            job["models"][model] = sys.stdin.buffer.read(given)
    gc.disable()  # a collection inside a timed run would be charged to the model
    threading.Thread(target=_leave_when_stdin_closes, daemon=True).start()
    try:
        die_first()
        _use_fastest_cores()
        for line in answers(job):
            _say(line)
        _say({"kind": "end"})
    except JobError as refusal:
        said = {"message": str(refusal), "subject": refusal.subject}
        _say({"kind": "error", "code": refusal.code, **said})
    except (MemoryError, OSError) as error:
        _say({"kind": "error", "code": "machine", "message": _one_line(error) or "MemoryError"})
    os._exit(0)  # a normal exit would wait for the thread that reads stdin


def answers(job: dict[str, Any]) -> Any:
    """Yield every line of the answer to ``job``, the machine's facts first."""
    runtime = import_runtime()
    yield {"kind": "machine", "machine": machine_facts(runtime)}
    sessions = Sessions(runtime, job)
    limit_memory(job.get("most_bytes"))
    for model in job.get("graphs", []):
        graph = base64.b64encode(sessions.optimised_graph(model)).decode()
        yield {"kind": "graph", "model": model, "onnx": graph}
    for model in job.get("memory", []):
        yield {"kind": "memory", "model": model, **sessions.footprint(model)}
    for line in sessions.profiled(job.get("profiles", [])):
        yield {"kind": "profile", **line}
    for model in job.get("outputs", []):
        yield {"kind": "outputs", "model": model, "shapes": sessions.output_shapes(model)}
    for batch in job.get("batches", []):
        yield {"kind": "logits", "model": batch["model"], **sessions.logits(batch)}
    for number, epoch in enumerate(job.get("epochs", [])):
        timed = partial(sessions.timed_epoch, epoch)
        # A process keeps an offset of 1 to 2 % between two networks, as a pair of sessions does.
        found = in_child(timed) if sessions.forks else timed()
        yield {"kind": "epoch", "epoch": number, **found}


class Sessions:
    """Opens the models of one job, all with the same options, and times them."""

    def __init__(self, runtime: Any, job: dict[str, Any]) -> None:
        """Refuse a provider that this onnxruntime was not built with."""
        self.runtime, self.job = runtime, job
        self.clock = time.thread_time_ns if job["clock"] == "cpu" else time.perf_counter_ns
        self.finite = dict[int, bool]()  # by model: its first run gave neither NaN nor infinity
        self.names = job.get("names") or [Path(path).name for path in job["models"]]
        self.there = there = runtime.get_available_providers()
        if lacking := set(job["providers"]) - set(there):
            raise JobError("provider", f"{min(lacking)} is not in this build, which has {there}")

    @property
    def forks(self) -> bool:
        """Whether a forked process can run sessions: elsewhere, or on a GPU, it may hang."""
        return sys.platform == "linux" and set(self.job["providers"]) == {"CPUExecutionProvider"}

    def options(self, model: int) -> Any:
        """Session options as deployed: the profile's level and threads, and no spinning."""
        options = self.runtime.SessionOptions()
        each = self.job.get("options")
        own = {**self.job, **(each[model] if each else {})}
        options.intra_op_num_threads = own["threads"]
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        levels = self.runtime.GraphOptimizationLevel.__members__
        level = "ORT_ENABLE_" + own["optimisation"].upper()
        options.graph_optimization_level = levels.get(level, levels["ORT_DISABLE_ALL"])
        options.enable_cpu_mem_arena = own.get("arena", True)
        options.enable_mem_pattern = own.get("memory_pattern", True)
        spinning, as_zero = own.get("spinning", False), not own.get("denormals", True)
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        options.add_session_config_entry("session.set_denormal_as_zero", str(int(as_zero)))
        if "CPUExecutionProvider" not in self.job["providers"]:  # what they lack would run there
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        return options

    def open(self, model: int, options: Any = None) -> Any:
        """A new session; one that silently fell back to another provider is refused."""
        source, wanted = self.job["models"][model], self.job["providers"]
        try:
            session = self.runtime.InferenceSession(source, options or self.options(model), wanted)
        except Exception as error:
            if "CPU EP" in str(error):
                said = f"none of {wanted} runs all of {self.names[model]}; there is {self.there}"
                raise JobError("provider", said) from error
            raise self._refusal(model, error) from error
        if lost := set(wanted) - set(session.get_providers()):
            raise JobError("provider", f"{min(lost)} is built in but does not start here")
        return session

    def call(self, model: int, session: Any) -> Any:
        """A function without arguments that runs the session once on seeded random input."""
        names, feed = [node.name for node in session.get_outputs()], dict[str, Any]()
        run = partial(session.run, names, feed)
        try:
            feed |= {node.name: self._array(node, model) for node in session.get_inputs()}
            self.finite[model] = all(_is_finite(output) for output in run())
        except Exception as error:  # also an input type that numpy does not have
            raise self._refusal(model, error) from error
        return run

    def _refusal(self, model: int, error: Exception) -> JobError:
        lacking = isinstance(error, MemoryError) or any(words in str(error) for words in LACKING)
        code = "memory" if lacking else "model"
        return JobError(code, _one_line(error), self.names[model])

    def _array(self, node: Any, model: int, seed: int | None = None) -> Any:
        import numpy as np

        shapes = self.job.get("shapes")
        given = shapes and shapes[model]
        named = given.get(node.name) if isinstance(given, dict) else given
        shape: Any = node.shape if named is None else named
        kind = _kind(node)
        if node.type[:7] != "tensor(" or not re.fullmatch(r"bool|u?int\d+|float\d\d", kind):
            raise ValueError(f"input {node.name} is {node.type}, which cannot be fed")
        if node.name in (self.job.get("values") or {}):
            return np.full(shape, self.job["values"][node.name]).astype(kind)
        random = np.random.default_rng(self.job.get("seed", 0) if seed is None else seed)
        if kind.startswith("float"):
            return np.asarray(random.standard_normal(shape)).astype(kind)
        bits: Any = random.integers(0, 2, shape)  # a plain number where the shape is []
        return np.asarray(bits).astype(kind)

    def timed_epoch(self, epoch: dict[str, Any]) -> dict[str, Any]:
        """Open, warm up, drop the lead-in, then time every run of every round.

        ``samples`` is nested (rounds, positions in the sequence, burst), in nanoseconds of the
        job's clock.
        """
        gc.collect()
        opened, runs = [], []
        for model in epoch["open"]:
            start = time.perf_counter_ns()
            session = self.open(model)
            opened.append(time.perf_counter_ns() - start)
            runs.append(self.call(model, session))
        for run in runs * (epoch.get("warmup", 3) - 1):  # the first one was made by call()
            run()
        order = [runs[position] for position in epoch["sequence"]]
        burst = range(epoch.get("burst", 2))
        for _ in range(epoch.get("lead_in", 1)):
            self._round(order, burst)
        before = counters()
        samples = [self._round(order, burst) for _ in range(epoch["rounds"])]
        after = counters()
        spent = {name: after[name] - before[name] for name in after if name != "load"}
        finite = [self.finite[model] for model in epoch["open"]]
        first = {"opened_ns": opened, "finite": finite, "samples": samples}
        return {**first, "load": after["load"], **spent}

    def _round(self, order: list[Any], burst: range) -> list[list[int]]:
        clock, row = self.clock, list[list[int]]()
        for run in order:
            row.append([])
            for _ in burst:
                start = clock()
                run()
                row[-1].append(clock() - start)
        return row

    def footprint(self, model: int) -> dict[str, int]:
        """Load time, and how far opening and running the model raises peak memory, in bytes.

        Honest only in a fresh process: memory that an earlier session gave back is used again.
        """
        with contextlib.suppress(OSError):  # Linux: not from the peak of the imports on
            Path("/proc/self/clear_refs").write_text("5")
        before = _number("/proc/self/status", "VmRSS")
        start = time.perf_counter_ns()
        session = self.open(model)
        loaded = time.perf_counter_ns() - start
        self.call(model, session)
        return {"load_ns": loaded, "peak_bytes": _number("/proc/self/status", "VmHWM") - before}

    def output_shapes(self, model: int) -> dict[str, list[int]]:
        """Shapes of the outputs that are tensors and have one shape on two random inputs."""
        session = self.open(model)
        names, found = [node.name for node in session.get_outputs()], list[Any]()
        for seed in (0, 1):
            feed = {node.name: self._array(node, model, seed) for node in session.get_inputs()}
            try:
                arrays = session.run(names, feed)
            except Exception as error:
                raise self._refusal(model, error) from error
            shapes = [getattr(array, "shape", None) for array in arrays]
            found.append(dict(zip(names, shapes, strict=True)))
        first, second = found
        same = (name for name in names if first[name] is not None and first[name] == second[name])
        return {name: list(first[name]) for name in same}

    def logits(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What is answered to a batch of images, see :func:`rows`, as float32 in base64."""
        import numpy as np

        session, pixels = self.open(batch["model"]), base64.b64decode(batch["data"])
        node = session.get_inputs()[0]
        images = np.frombuffer(pixels, "<f4").reshape(batch["shape"])
        try:
            found = session.run(None, {node.name: np.ascontiguousarray(images, _kind(node))})
        except Exception as error:
            raise self._refusal(batch["model"], error) from error
        values = np.ascontiguousarray(rows(found, MOST_OF_A_MAP), "<f4")
        return {"shape": values.shape, "data": base64.b64encode(values.tobytes()).decode()}

    def optimised_graph(self, model: int) -> bytes:
        """The graph as this machine runs it, weights left out, as an ONNX file."""
        with _folder() as folder:
            path, options = folder / "graph.onnx", self.options(model)
            entry = "session.optimized_model_external_initializers_"
            options.optimized_model_filepath = str(path)
            options.add_session_config_entry(entry + "file_name", "weights")
            options.add_session_config_entry(entry + "min_size_in_bytes", "0")
            self.open(model, options)
            return path.read_bytes()

    def profiled(self, models: list[int], most: int = 40) -> Any:
        """The time of each node, as onnxruntime's profiler has it, of models that run in turn."""
        with _folder() as folder:
            sessions, runs, count = [], [], 1  # call() makes the first run
            for model in models:
                options = self.options(model)
                options.enable_profiling = True
                options.profile_file_prefix = str(folder / str(model))
                sessions.append(self.open(model, options))
                runs.append(self.call(model, sessions[-1]))
            end = time.monotonic() + self.job.get("profile_seconds", 2.0)
            for number in range(most):
                if number > 1 and time.monotonic() > end:  # the first two warm up
                    break
                count += 1
                for run in runs:
                    run()
            for model, session in zip(models, sessions, strict=True):
                events = json.loads(Path(session.end_profiling()).read_text(errors="replace"))
                yield {"model": model, "nodes": node_times(events, count)}


def node_times(events: list[dict[str, Any]], runs: int) -> list[dict[str, Any]]:
    """Mean time a run of each node, from the events of onnxruntime's profiler.

    Its clock ticks in microseconds, so a mean tells more than a median; of the longer half of
    the runs none counts, since preemption only ever adds time, nor does the first.
    """
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        about, name = event.get("args", {}), event.get("name", "")
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            key = about.get("node_index", name) + name
            first = {"name": name[: -len("_kernel_time")], "op": about.get("op_name", "")}
            first["provider"] = about.get("provider", "")
            node = found.setdefault(key, {**first, "us": []})
            node["us"].append(event["dur"])
    for node in found.values():
        every = node.pop("us")
        counted = sorted(every[1:] or every)
        fast = counted[: (len(counted) + 1) // 2]
        often = len(every) / runs  # a node of a loop's body runs several times
        node["ns"] = round(1000 * often * sum(fast) / len(fast))
        node["name"] = node["name"][:500]
    return list(found.values())


def in_child(work: Any) -> Any:
    """What ``work`` returns in a forked process, which dies with this one."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Of the thread that waits for stdin to close: it holds nothing.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        answer: dict[str, Any] = {}
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            answer["found"] = work()
        except JobError as refusal:
            answer = {"code": refusal.code, "message": refusal.said, "subject": refusal.subject}
        except Exception as error:
            said = f"{type(error).__name__} {_one_line(error)}"
            answer = {"code": "machine", "message": said}
        finally:
            with os.fdopen(write, "w") as answering:
                json.dump(answer, answering)
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answered:
        text = answered.read()
    status = os.waitpid(child, 0)[1]
    answer = json.loads(text or "{}")
    if "found" in answer:
        return answer["found"]
    died = f"measuring was killed by signal {os.WTERMSIG(status)}" if status else "it said nothing"
    told = answer.get("code", "machine"), answer.get("message", died), answer.get("subject", "")
    raise JobError(*told)


def machine_facts(runtime: Any) -> dict[str, Any]:
    """What this machine is, as far as it can be read without special rights."""
    info = _text("/proc/cpuinfo")
    words = set((re.findall(r"^(?:flags|Features)\s*:\s*(.*)$", info, re.M) or [""])[0].split())
    return {
        "arch": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu_name(info),
        "cores": os.cpu_count() or 1,
        "allowed_cores": len(_allowed()) or os.cpu_count() or 1,
        "isa": [flag for flag in FLAGS.split() if flag in words],
        "memory_bytes": _number("/proc/meminfo", "MemTotal"),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        "cgroup_quota": _text("/sys/fs/cgroup/cpu.max").strip() or None,
        "python": platform.python_version(),
        "onnxruntime": runtime.__version__,
        "providers": runtime.get_available_providers(),
        "emulated": _emulator(),
    }


def counters() -> dict[str, Any]:
    """What an epoch reads before and after: its growth says how quiet the machine was."""
    ticks = [int(word) for word in _text("/proc/stat").partition("\n")[0].split()[1:9]] or [0] * 8
    throttled = re.search(r"throttled_usec (\d+)", _text("/sys/fs/cgroup/cpu.stat"))
    return {
        "cpu_ns": time.thread_time_ns(),
        "wall_ns": time.perf_counter_ns(),
        "ticks": sum(ticks),
        "steal_ticks": ticks[7],
        "throttled_us": int(throttled[1]) if throttled else 0,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
    }


def import_runtime() -> Any:
    """onnxruntime, without its telemetry: that calls home and leaves a file on the device."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import numpy  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise JobError("missing", f"{error} ({sys.executable}, {platform.machine()})") from error
    return onnxruntime


def _cpu_name(info: str) -> str:
    keys = ("model name|Hardware", "cpu family", "model")
    found = (re.search(rf"^(?:{key})\s*:\s*(.+)$", info, re.M) for key in keys)
    name = " ".join(match[1] for match in found if match)
    return _text("/proc/device-tree/model").strip("\0\n ") or name or platform.processor()


def _emulator() -> str | None:
    """The program that runs this process in place of a processor: QEMU's user mode."""
    # It answers with the program it was given for the first name, and not for the second.
    names = "/proc/self/exe", f"/proc/self/task/{threading.get_native_id()}/exe"
    try:
        given, real = map(os.readlink, names)
    except OSError:  # no Linux
        return None
    return None if given == real else Path(real).name


def _use_fastest_cores() -> None:
    # On big.LITTLE phones a run that lands on a small core measures another machine.
    file = "/sys/devices/system/cpu/cpu{}/cpufreq/cpuinfo_max_freq"
    top = {cpu: int(_text(file.format(cpu)) or 0) for cpu in _allowed()}
    fast = {cpu for cpu, speed in top.items() if speed >= 0.8 * max(top.values())}
    if fast != set(top):
        os.sched_setaffinity(0, fast)


def die_first() -> None:
    """A model that asks for more memory than there is takes nobody else's process with it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def limit_memory(most: int | None) -> None:
    """Allow this process so many bytes of address space, where there are limits."""
    if most:
        with contextlib.suppress(ImportError, OSError, ValueError):  # where there are no limits
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _number(path: str, key: str) -> int:
    found = re.search(rf"^{key}:\s*(\d+) kB", _text(path), re.M)
    return int(found[1]) * 1024 if found else 0


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _kind(node: Any) -> str:
    """The type of an input's elements, as numpy calls it."""
    name: str = node.type[7:-1]
    return {"float": "float32", "double": "float64"}.get(name, name)


def rows(outputs: Any, most_of_a_map: int | None = None) -> Any:
    """The values of all outputs of each image, those of one output after another, (N, D).

    Of outputs with more than two axes at most ``most_of_a_map`` values an image, evenly spread.
    """
    import numpy as np

    found = []
    for output in map(np.asarray, outputs):
        flat = output.reshape(len(output), -1)
        size = flat.shape[1]
        if most_of_a_map and output.ndim > 2 and size > most_of_a_map:
            flat = flat[:, np.arange(most_of_a_map) * size // most_of_a_map]
        found.append(flat)
    return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


def _is_finite(output: Any) -> bool:
    # Extremes are NaN where one element is; an array of answers would raise the peak memory.
    floats = getattr(getattr(output, "dtype", None), "kind", "") == "f" and output.size
    return not floats or all(map(math.isfinite, (output.min(), output.max())))


def _one_line(error: BaseException) -> str:
    return re.sub(NOISE, "", " ".join(str(error).split()))[:500]


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line, separators=(",", ":")), flush=True)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder, which goes too when the job is given up in the middle of it."""
    path = _place() / f"edgeprune-{os.urandom(8).hex()}"
    with MAKING:  # there is no moment at which nobody knows of it
        FOLDERS.append(path)
        path.mkdir(0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _place() -> Path:
    """Where temporary folders are made."""
    # tempfile.gettempdir() first writes a file to see whether it can: a job that is given up just
    # then would leave it behind.
    named = [os.environ.get(key) for key in ("TMPDIR", "TEMP", "TMP")]
    for place in map(Path, filter(None, [*named, "/tmp", "/var/tmp"])):
        if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
            return place
    return Path()


def _leave_when_stdin_closes() -> None:
    while os.read(0, 4096):
        pass
    MAKING.acquire()  # no folder is made after the last look
    _remove_folders()
    os._exit(0)


def _remove_folders() -> None:
    for _ in range(100):  # a session may still be writing into one
        if not any(folder.exists() for folder in FOLDERS):
            return
        for folder in FOLDERS:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
