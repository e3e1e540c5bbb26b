"""ONNX files in Python: ``edgeprune.check`` and ``edgeprune.doctor``; neither needs torch."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.errors import InputError

if TYPE_CHECKING:
    from edgeprune.deploy.doctor.diagnosis import Diagnosis
    from edgeprune.deploy.gate.verdicts import Policy, Report

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
