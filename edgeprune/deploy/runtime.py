"""Sessions that are not timed: open a model as deployed, run batches, list its operators."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.deploy import runner
from edgeprune.deploy.facts import resolve
from edgeprune.deploy.job import refused
from edgeprune.deploy.kernels import Layout, layout
from edgeprune.errors import InputError, MachineError
from edgeprune.target import Runtime

T = TypeVar("T")
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
            said = " ".join(str(error).split())[:300]
            raise MachineError(f"{self.name} does not run: {said}") from error

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
    return _described(_name(model), _refusals(lambda: _sessions(model, runtime).open(0)))


def operators(model: Path | bytes, runtime: Runtime) -> Layout:
    """The operators of the graph as onnxruntime runs it on this machine, after its passes.

    Raises:
        InputError: as ``open``.
        MachineError: as ``open``.
    """
    return layout(_refusals(lambda: _sessions(model, runtime).optimised_graph(0)))


def _sessions(model: Path | bytes, runtime: Runtime) -> runner.Sessions:
    if isinstance(model, Path) and not model.is_file():
        raise InputError(f"{model} does not exist")
    source = model if isinstance(model, bytes) else str(model)
    job = {**runtime.model_dump(), "models": [source], "clock": ""}
    return runner.Sessions(runner.import_runtime(), job)


def _refusals(act: Callable[[], T]) -> T:
    try:
        return act()
    except runner.Refusal as refusal:
        raise refused(refusal.code, str(refusal), "this machine") from refusal


def _name(model: Path | bytes) -> str:
    return model.name if isinstance(model, Path) else "the model"


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
