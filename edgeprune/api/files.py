"""ONNX files in Python: ``check`` and ``doctor`` without torch, and ``export_onnx``."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeprune.errors import InputError
from edgeprune.requirements import needs_search

if TYPE_CHECKING:
    from torch import nn

    from edgeprune.deploy.doctor.diagnosis import Diagnosis
    from edgeprune.deploy.gate.verdicts import Policy, Report
    from edgeprune.export.sealed_file import Shipped

LEAST_SECONDS = 5  # of an examination, as of the command


def check(
    model: str | PathLike[str],
    *,
    target: str = "mobile-cpu",
    baseline: str | PathLike[str] | None = None,
    max_ratio: float | None = None,
    budget: Sequence[str] = (),
    on_inconclusive: "Policy" = "warn",
    max_seconds: float | None = None,
    device: str | None = None,
) -> "Report":
    """Judge an ONNX file by every budget of its target, as ``edgeprune check``; without torch.

    Args:
        model: The ONNX file.
        target: Name or path of a target profile.
        baseline: ONNX file of the dense model; by default the dense.onnx beside the model,
            where it is the one that the model records.
        max_ratio: Highest share of the dense latency; the target's by default.
        budget: Budgets in place of the target's, each ``NAME=VALUE`` such as ``p90_ms=6``.
        on_inconclusive: What an undecided budget means for ``exit_code``.
        max_seconds: Longest time for each timed budget in seconds; the target's by default.
        device: Where to measure: ``local://``, ``ssh://user@host[:port]`` or ``exec:COMMAND``;
            the target's by default, else here.

    Returns:
        The report: ``outcome``, ``verdicts``, ``exit_code``; a missed budget raises nothing.

    Raises:
        InputError: a file, a target or a budget that cannot be judged.
        MachineError: the device cannot measure.
    """
    from edgeprune.deploy.devices.device import connect
    from edgeprune.deploy.gate import check as gate
    from edgeprune.target import load_target
    from edgeprune.target_overrides import with_budgets

    profile = load_target(target)
    options = gate.Options(
        baseline=None if baseline is None else Path(baseline),
        max_ratio=max_ratio,
        on_inconclusive=on_inconclusive,
        max_seconds=max_seconds,
        device=connect(device or profile.device.uri),
    )
    return gate.check(Path(model), with_budgets(profile, budget), options)


def doctor(
    model: str | PathLike[str],
    *,
    baseline: str | PathLike[str] | None = None,
    target: str = "mobile-cpu",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    device: str | None = None,
    max_seconds: float = 60.0,
) -> "Diagnosis":
    """Examine why an ONNX file, anybody's, is not faster, as ``edgeprune doctor``; without torch.

    Args:
        model: The ONNX file.
        baseline: ONNX file that this one should be faster than.
        target: Name or path of a target profile.
        shapes: Shapes of inputs by name, where the file leaves them open.
        device: Where to measure: ``local://``, ``ssh://user@host[:port]`` or ``exec:COMMAND``;
            the target's by default, else here.
        max_seconds: Longest time in seconds, 5 or more; what fits is tried.

    Returns:
        The diagnosis: ``findings``, the most promising first, each with what trying it saved
        here in ms; ``to_text()`` and ``to_json()`` are what the command gives.

    Raises:
        InputError: a file or a target that is not as it should be, or too short a time.
        MachineError: the device cannot measure.
    """
    from edgeprune.deploy.devices.device import connect
    from edgeprune.deploy.doctor.examine import Options, examine
    from edgeprune.target import load_target

    if not max_seconds >= LEAST_SECONDS:
        raise InputError(
            f"max_seconds = {max_seconds:g} is too short to examine a file; give "
            f"{LEAST_SECONDS} or more"
        )
    profile = load_target(target)
    options = Options(
        baseline=None if baseline is None else Path(baseline),
        shapes=dict(shapes or {}),
        max_seconds=max_seconds,
        device=connect(device or profile.device.uri),
    )
    return examine(Path(model), profile, options)


def export_onnx(
    checkpoint: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    target: str | None = None,
    into: "nn.Module | None" = None,
    data: str | PathLike[str] | None = None,
    dynamic_batch: bool = False,
    opset: int = 20,
    ort: bool = False,
    parity_images: int | None = None,
    licence: str | None = None,
    model_version: int = 0,
    precision: Literal["fp32", "int8"] | None = None,
    calibration: str | None = None,
    calibration_images: int | None = None,
    calibration_method: Literal["auto", "minmax", "percentile", "entropy"] | None = None,
    exclude: str | Sequence[str] | None = None,
    device: str | None = None,
    overwrite: bool = False,
    trust_factory: bool = False,
) -> "Shipped":
    """Export a model.pt to a sealed ONNX file that gives torch's answers.

    What ``edgeprune export`` does with a model.pt; dense weights by name are exported by the
    command. It is not called ``export``, because ``edgeprune.export`` is a package of this one.

    Args:
        checkpoint: A model.pt that a search or a fine-tuning wrote.
        output: ONNX file to write; model.onnx beside it by default.
        target: Name or path of a target profile; the checkpoint's by default.
        into: The dense network, as of ``edgeprune.load``.
        data: Name or folder of images that int8 is calibrated on.
        dynamic_batch: Let the file take any number of images.
        opset: Version of the operators, 7 or more; 18 to 20 are proven.
        ort: Write ORT format for mobile builds beside the file, too.
        parity_images: Real images that travel inside the file; 4 by default, 0 for none.
        licence: Licence to record, such as Apache-2.0.
        model_version: Number of the release to record, 0 or more.
        precision: Number format in place of the target's.
        calibration: List of calibration images, by path or name; drawn anew by default.
        calibration_images: Images to draw for int8, 8 to 1024.
        calibration_method: How the ranges of the activations are found in int8.
        exclude: Layers to leave in float, or ``auto`` or ``none``.
        device: Where an int8 file is to run, as of ``edgeprune.check``.
        overwrite: Replace ``output``.
        trust_factory: Run the code of the ``module:factory`` that the file names.

    Returns:
        The file: ``path``, ``sha256``, ``bytes``, ``input_shape`` (1, C, H, W) and ``parity``, the
        comparison with torch.

    Raises:
        InputError: the checkpoint, the target or ``output`` is not as it should be.
        PromiseError: the file does not give torch's answers, or int8 is not faster.
        MachineError: a package is missing, or the disk or the device refuses.
    """
    needs_search("edgeprune.export_onnx")
    from edgeprune.deploy.devices.device import Local, connect
    from edgeprune.export.checkpoint_file import export_checkpoint
    from edgeprune.export.file_options import FileOptions
    from edgeprune.export.int8_request import Int8Request

    options = FileOptions(
        dynamic_batch=dynamic_batch,
        opset=opset,
        ort=ort,
        parity_images=parity_images,
        licence=licence,
        model_version=model_version,
        precision={
            "mode": precision,
            "calibration_images": calibration_images,
            "calibration_method": calibration_method,
            "exclude": exclude if exclude is None or isinstance(exclude, str) else tuple(exclude),
        },
        int8=Int8Request(
            source=None if data is None else str(data),
            calibration=calibration,
            device=connect(device or Local.uri),
        ),
    )
    return export_checkpoint(
        Path(checkpoint),
        None if output is None else Path(output),
        target,
        overwrite=overwrite,
        trust_factory=trust_factory,
        into=into,
        options=options,
    )
