"""int8 for one network that is exported: calibrated on real images, judged where labels are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from edgeprune.deploy.artifact.facts import read
from edgeprune.deploy.devices.device import Device, Local
from edgeprune.deploy.gate import integers
from edgeprune.deploy.gate.check import Options
from edgeprune.deploy.precision.exclusion import timer
from edgeprune.deploy.precision.trials import Aim
from edgeprune.errors import InputError, PromiseError
from edgeprune.export.int8 import Int8Model, int8_for
from edgeprune.export.onnx_network import OnnxNetwork
from edgeprune.prune.images import calibration_set, datasets
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import Normalisation
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.training.evaluation import evaluate, known_answers, paired, top1
from edgeprune.target import TargetProfile

PLACING = 30.0  # seconds for timing which layers are faster in float


@dataclass(frozen=True, kw_only=True)
class Int8Request:
    """What is asked of a quantised export.

    Attributes:
        source: Images: data set name or folder; None takes the recorded one if it has a name.
        calibration: List of calibration images, by path or name; None draws them anew.
        device: Where the file is to run.
    """

    source: str | None = None
    calibration: str | None = None
    device: Device = Local()  # noqa: RUF009 - a frozen record without fields


def quantise(
    proto: ModelProto, record: Checkpoint, target: TargetProfile, request: Int8Request
) -> tuple[Int8Model, Checkpoint]:
    """Quantise a network for a target.

    Where the images are those that the checkpoint was judged by, validation images say when
    enough is won back, and the test images are answered anew; else the logits judge, and the
    file promises no accuracy.

    Args:
        proto: The network as exported in fp32.
        record: Its checkpoint; the history says what is known of its accuracy.
        target: The profile.
        request: Images and device.

    Returns:
        The int8 network, and the checkpoint whose history holds for it.

    Raises:
        InputError: no images, or another list of them.
        PromiseError: the int8 network answers otherwise than in fp32, or runs in float.
    """
    images = _images(record, request.source)
    precision = target.precision
    if request.calibration is None:
        calibration = calibration_set.drawn(images, precision.calibration_images)
    else:
        listed = calibration_set.read(request.calibration)
        calibration = listed, calibration_set.again(listed, images)
    maker = int8_for(target, request.device, calibration)
    history = record.history
    dense_right = known_answers(history.get("dense_answers"), images.fingerprint)
    known = history.get("accuracy")
    setting = replace(Options(device=request.device).setting(target), max_seconds=PLACING)
    aim = Aim(timed=timer(setting))
    if dense_right is not None and isinstance(known, Mapping) and "val_dense" in known:
        allowed = target.budget.relative.accuracy_drop
        aim = maker.aim(float(known["val_dense"]), images.val, allowed, setting)
    made = maker.proven(maker.recovered(proto, aim))
    changed: dict[str, Any] = {"accuracy_slim": None, "answers": None}
    if dense_right is not None:
        deployed = OnnxNetwork(made.quantised.proto, target.runtime)
        right = evaluate(deployed, images.test).right
        changed = {"accuracy_slim": top1(right), "answers": paired(dense_right, right)}
    return made, replace(record, history={**history, **changed})


def refuse_no_gain(path: Path, target: TargetProfile, device: Device) -> str:
    """Time an int8 file against its fp32 twin beside it.

    Returns:
        How much faster it is, in words, or that it could not be told.

    Raises:
        PromiseError: it is measurably not faster; both files stay.
    """
    candidate = read(path, target.input)
    setting = Options(device=device).setting(target, candidate.inputs, candidate.values)
    (verdict,) = integers.gain(candidate, target, setting)
    if verdict.outcome == "missed":
        raise PromiseError(
            f"{path} is not faster than the same network in fp32: {verdict.value_text}; ship "
            "the fp32 file, or see `edgeprune doctor`"
        )
    said = "measured" if verdict.outcome == "met" else "inconclusive"
    return f"{verdict.value_text} of the latency of the same network in fp32 ({said})"


def _images(record: Checkpoint, source: str | None) -> DataSet:
    named = record.history.get("data")
    found = source or (named if named in datasets.NAMES else None)
    if found is None:
        raise InputError(f"int8 needs images to calibrate on; give those of {named} with --data")
    normalisation = Normalisation(record.mean, record.std)
    images = datasets.load(found, size=record.input_shape[1:], normalisation=normalisation)
    if len(images.classes) != len(record.classes):
        raise InputError(
            f"{found} has {len(images.classes)} classes, the network {len(record.classes)}; give "
            "the images that it was made for"
        )
    return images
