"""Observes the ranges of a network's tensors on calibration images, for their int8 scales."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from edgeprune.arrays import Floats32
from edgeprune.deploy.precision.qdq import Ranges, quantiser, silent
from edgeprune.errors import InputError, MachineError
from edgeprune.text import one_line

Method = Literal["minmax", "entropy", "percentile"]
# Bins of a histogram; with onnxruntime's 128, as many as levels, entropy cuts nothing, and its
# time grows with the square.
BINS = {"percentile": 2048, "entropy": 512}
PERCENTILE = 99.999  # a tensor of 32x32x16 has 16 values beyond 99.9


def observed(proto: onnx.ModelProto, images: Iterable[Floats32], method: Method) -> Ranges:
    """Lowest and highest value of every float tensor that is worth a level.

    Images go one by one, and of each tensor only its extremes or a histogram are kept: the
    activations of any number of images fit in memory.

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
    kept = list(images)
    if not kept:
        raise InputError("calibration needs at least one image")
    library = quantiser()
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder, silent():
        try:
            path = Path(folder) / "model.onnx"
            path.write_bytes(proto.SerializeToString())
            extremes = _collected(library, library.calibrate.MinMaxCalibrater, path, kept)
            if method == "minmax":
                return extremes
            return _cut(library, method, path, kept, extremes)
        except (OSError, RuntimeError, ValueError) as error:
            raise MachineError(f"the model cannot be calibrated: {one_line(error)}") from None


def _cut(
    library: Any, method: Method, path: Path, images: Sequence[Floats32], extremes: Ranges
) -> Ranges:
    """Ranges that leave outliers out, by histograms over the extremes, which are known."""
    collector = library.calibrate.HistogramCollector(
        method=method,
        symmetric=False,
        num_bins=BINS[method],
        num_quantized_bins=128,
        percentile=PERCENTILE,
        scenario="same",
    )
    kinds = {
        "percentile": library.calibrate.PercentileCalibrater,
        "entropy": library.calibrate.EntropyCalibrater,
    }
    for name, (low, high) in extremes.items():
        # Else the first image would set the width of the bins, and a tensor that is nearly zero
        # there would take millions of them.
        reach = float(np.float32(max(-low, high)))
        empty, edges = np.histogram(np.zeros(0, np.float32), BINS[method], range=(-reach, reach))
        collector.histogram_dict[name] = (
            empty,
            edges.astype(np.float32),
            *map(np.float32, (low, high, reach)),
        )

    def calibrator(model: Path, **more: Any) -> Any:
        made = kinds[method](model, **more)
        made.collector = collector
        return made

    return _collected(library, calibrator, path, images)


def _collected(
    library: Any, make: Callable[..., Any], path: Path, images: Sequence[Floats32]
) -> Ranges:
    calibrator = make(path, augmented_model_path=str(path.with_name("augmented.onnx")))
    calibrator.augment_graph()
    calibrator.create_inference_session()
    name = calibrator.infer_session.get_inputs()[0].name
    for image in images:
        calibrator.collect_data(_one(library, name, image))
    return {
        tensor: (float(np.min(span.range_value[0])), float(np.max(span.range_value[1])))
        for tensor, span in calibrator.compute_data().data.items()
    }


def _one(library: Any, name: str, image: Floats32) -> Any:
    """A reader of one image: the library keeps what a reader gives until it is empty."""

    class Reader(library.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{name: image}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    return Reader()
