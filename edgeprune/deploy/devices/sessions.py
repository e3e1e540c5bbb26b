"""Onnxruntime sessions that are not timed: opens a model as deployed and runs batches."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.deploy.devices import runner
from edgeprune.deploy.devices.reply import refused
from edgeprune.errors import InputError, MachineError
from edgeprune.target import Runtime
from edgeprune.text import one_line

ELEMENTS: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}


@dataclass(frozen=True, kw_only=True)
class Session:
    """An open model with one image input.

    Attributes:
        name: Name of the file, for messages.
        input_name: Name of its only input.
        input_shape: Shape in the file: a size, or a name where an axis is open.
        element: Type of the input's elements.
        providers: Execution providers that it really runs on.
        session: The ``onnxruntime.InferenceSession``.
    """

    name: str
    input_name: str
    input_shape: tuple[int | str, ...]
    element: type[np.generic]
    providers: tuple[str, ...]
    session: Any

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The values of all outputs for a batch (N, C, H, W), see :func:`runner.rows`, (N, D).

        Raises:
            InputError: the shape does not fit.
            MachineError: the runtime failed, for instance out of memory.
        """
        found: NDArray[Any] = runner.rows(self.outputs(batch))
        return found

    def outputs(self, batch: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """The outputs for a batch, which is cast to the element type; as :meth:`run`."""
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
            return tuple(map(np.asarray, self.session.run(None, feed)))
        except Exception as error:  # onnxruntime's errors share no class of their own
            said = one_line(error)[:300]
            raise MachineError(f"{self.name} does not run: {said}") from error

    def answers(self, batches: Iterable[NDArray[Any]]) -> NDArray[Any]:
        """The values for batches, one after another, joined; see :meth:`run`."""
        return np.concatenate([self.run(batch) for batch in batches])


def open(model: Path | bytes, runtime: Runtime) -> Session:
    """Open an ONNX file as the target deploys it.

    Raises:
        InputError: not an ONNX file, truncated, an opset or IR newer than onnxruntime loads, or
            not exactly one input.
        MachineError: a provider that is not there or does not start; never a silent fallback.
    """
    if isinstance(model, Path) and not model.is_file():
        raise InputError(f"{model} does not exist")
    name = model.name if isinstance(model, Path) else "the model"
    source = model if isinstance(model, bytes) else str(model)
    # The runner opens it, so that it is opened exactly as where it is timed.
    job = {**runtime.model_dump(), "models": [source], "names": [name], "clock": ""}
    try:
        session = runner.Sessions(runner.import_runtime(), job).open(0)
    except runner.JobError as refusal:
        raise refused(refusal.code, str(refusal), "this machine", refusal.subject) from refusal
    return _described(name, session)


def _described(name: str, session: Any) -> Session:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = one_line(", ".join(node.name for node in inputs)) or "none"
        raise InputError(f"{name} has {len(inputs)} inputs ({names}); edgeprune takes one image")
    node = inputs[0]
    if node.type not in ELEMENTS:
        raise InputError(f"{name} takes {node.type}; edgeprune feeds images, not that")
    return Session(
        name=name,
        input_name=node.name,
        input_shape=tuple(a if isinstance(a, int) else str(a or "?") for a in node.shape),
        element=ELEMENTS[node.type],
        providers=tuple(session.get_providers()),
        session=session,
    )
