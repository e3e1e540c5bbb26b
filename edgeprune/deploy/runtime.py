"""Sessions that are not timed: open a model as deployed, run batches, list its operators."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.deploy.facts import resolve
from edgeprune.deploy.kernels import Layout, layout
from edgeprune.errors import EdgepruneError, InputError, MachineError
from edgeprune.target import Runtime

ELEMENTS: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}


@dataclass(frozen=True)
class Session:
    """An open model with one image input.

    Attributes:
        name: For messages.
        input_name: Of its only input.
        input_shape: As the file has it: a size, or a name where an axis is open.
        element: Type of the input's elements.
        providers: That it really runs on.
        session: The ``onnxruntime.InferenceSession``.
    """

    name: str
    input_name: str
    input_shape: tuple[int | str, ...]
    element: type[np.generic]
    providers: tuple[str, ...]
    session: Any

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The first output for a batch.

        Args:
            batch: Shape (N, C, H, W) as the model takes it; cast to its element type.

        Raises:
            InputError: the shape does not fit.
            MachineError: the runtime failed, for instance out of memory.
        """
        fits = len(batch.shape) == len(self.input_shape) and all(
            isinstance(axis, str) or axis == size
            for axis, size in zip(self.input_shape, batch.shape, strict=True)
        )
        if not fits:
            raise InputError(
                f"{self.name} takes {list(self.input_shape)}, not a batch of {list(batch.shape)}"
            )
        feed = {self.input_name: np.ascontiguousarray(batch, self.element)}
        try:
            return np.asarray(self.session.run(None, feed)[0])
        except Exception as error:
            raise MachineError(f"{self.name} does not run: {_one_line(error)}") from error

    def sizes(self, pinned: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """The input shape with every axis known: pinned by the target, batch 1 where open.

        Raises:
            InputError: an axis stays open, or the pinned shape contradicts the file.
        """
        return resolve(list(self.input_shape), pinned, self.name)


def open(model: Path | bytes, runtime: Runtime) -> Session:
    """Open an ONNX file as the target deploys it.

    Raises:
        InputError: not an ONNX file, truncated, an opset or IR newer than onnxruntime loads, or
            not exactly one input.
        MachineError: a provider that is not there or does not start; never a silent fallback.
    """
    name = model.name if isinstance(model, Path) else "the model"
    return _described(name, _session(model, name, runtime, options(runtime)))


def operators(model: Path | bytes, runtime: Runtime) -> Layout:
    """The operators of the graph as onnxruntime runs it on this machine, after its passes.

    Raises:
        InputError: as ``open``.
        MachineError: as ``open``.
    """
    name, chosen = model.name if isinstance(model, Path) else "the model", options(runtime)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        entry = "session.optimized_model_external_initializers_"
        chosen.optimized_model_filepath = str(path)
        chosen.add_session_config_entry(entry + "file_name", "weights")
        chosen.add_session_config_entry(entry + "min_size_in_bytes", "0")
        _session(model, name, runtime, chosen)
        return layout(path.read_bytes())


def options(runtime: Runtime) -> Any:
    """The ``onnxruntime.SessionOptions`` of a target: its level, its threads, no spinning."""
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    level = "DISABLE_ALL" if runtime.optimisation == "disable" else None
    level = level or f"ENABLE_{runtime.optimisation.upper()}"
    chosen.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    chosen.intra_op_num_threads = runtime.threads
    chosen.inter_op_num_threads = 1
    chosen.log_severity_level = 4
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return chosen


def _session(model: Path | bytes, name: str, runtime: Runtime, chosen: Any) -> Any:
    import onnxruntime

    if isinstance(model, Path) and not model.is_file():
        raise InputError(f"{model} does not exist")
    there, wanted = onnxruntime.get_available_providers(), list(runtime.providers)
    if lacking := set(wanted) - set(there):
        raise MachineError(
            f"{min(lacking)} is not in this onnxruntime, which has {', '.join(there)}; "
            "change runtime.providers of the target"
        )
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(source, chosen, wanted)
    except Exception as error:
        raise _refused(name, error) from error
    if lost := set(wanted) - set(session.get_providers()):
        raise MachineError(f"{min(lost)} is built in but does not start on this machine")
    return session


def _described(name: str, session: Any) -> Session:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(node.name for node in inputs) or "none"
        raise InputError(f"{name} has {len(inputs)} inputs ({names}); edgeprune takes one image")
    node = inputs[0]
    if node.type not in ELEMENTS:
        raise InputError(f"{name} takes {node.type}; edgeprune feeds images, not that")
    shape = tuple(axis if isinstance(axis, int) else str(axis or "?") for axis in node.shape)
    providers = tuple(session.get_providers())
    return Session(name, node.name, shape, ELEMENTS[node.type], providers, session)


def _refused(name: str, error: Exception) -> EdgepruneError:
    said = _one_line(error)
    if "IR version" in said or "opset" in said.lower():
        return InputError(
            f"{name} is newer than this onnxruntime loads; export it with opset 20 and IR 10, or "
            f"upgrade onnxruntime: {said}"
        )
    if "Protobuf parsing failed" in said or "INVALID_PROTOBUF" in said:
        return InputError(f"{name} is not an ONNX file, or a truncated one")
    if "bad_alloc" in said or isinstance(error, MemoryError):
        return MachineError(f"out of memory while opening {name}")
    return InputError(f"onnxruntime cannot load {name}: {said}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
