"""Observes the ranges of a network's tensors on calibration images, for their int8 scales."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from edgeprune.arrays import Floats32
from edgeprune.deploy.precision.qdq import Ranges, quantiser
from edgeprune.errors import InputError, MachineError
from edgeprune.text import one_line

Method = Literal["minmax", "entropy", "percentile"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy")
BINS = 2048  # of a histogram; with onnxruntime's 128, as many as levels, entropy cuts nothing
PERCENTILE = 99.999  # a tensor of 32x32x16 has 16 values beyond 99.9


def observed(proto: onnx.ModelProto, images: Iterable[Floats32], method: Method) -> Ranges:
    """Lowest and highest value of every float tensor that is worth a level.

    Images go one by one, and of each tensor only its extremes or a histogram are kept, so any
    number of them fits in memory.

    Args:
        proto: fp32; one image input.
        images: Each of shape (1, C, H, W), as the network takes it.
        method: ``minmax`` takes the extremes; ``percentile`` cuts 0.001 % off; ``entropy``
            keeps the divergence from the histogram lowest (Migacz, 8-bit inference with
            TensorRT, 2017), both as onnxruntime implements them.

    Raises:
        InputError: there are no images.
        MachineError: onnxruntime cannot run the model, or the disk is full.
    """
    library = quantiser()
    kind = getattr(library.CalibrationMethod, "MinMax" if method == "minmax" else method.title())
    options: dict[str, Any] = {}
    if method != "minmax":
        options = {"num_bins": BINS, "percentile": PERCENTILE, "num_quantized_bins": 128}
    count = 0
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder, _quiet():
        plain, augmented = Path(folder) / "model.onnx", Path(folder) / "augmented.onnx"
        try:
            plain.write_bytes(proto.SerializeToString())
            calibrator = library.create_calibrator(
                plain,
                augmented_model_path=str(augmented),
                calibrate_method=kind,
                extra_options=options,
            )
            for image in images:
                calibrator.collect_data(_one(library, proto.graph.input[0].name, image))
                count += 1
            found = calibrator.compute_data() if count else None
        except (OSError, RuntimeError, ValueError) as error:
            raise MachineError(f"the model cannot be calibrated: {one_line(error)}") from None
    if found is None:
        raise InputError("calibration needs at least one image")
    return {
        name: (float(np.min(span.range_value[0])), float(np.max(span.range_value[1])))
        for name, span in found.data.items()
    }


def _one(library: Any, name: str, image: Floats32) -> Any:
    """A reader of one image: the library keeps what a reader gives until it is empty."""

    class Reader(library.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{name: image}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library prints how it goes; our own progress says that."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.getLogger().setLevel(level)
