"""The Python interface: load, slim and check with the words and defaults of the commands."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeprune.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeprune.deploy.gate.verdicts import Policy, Report

__all__ = ["check", "load", "slim"]


def load(path: str | PathLike[str], *, trust_factory: bool = False) -> "nn.Module":
    """The network of a model.pt, slim or dense, in evaluation mode, on the CPU.

    Args:
        path: A model.pt or dense.pt that a search or a fine-tuning wrote.
        trust_factory: Run the code of the ``module:factory`` that the file names.

    Raises:
        InputError: missing, damaged, no such file, or it names code that was not trusted.
    """
    from edgeprune.prune.slimming.reload import load_slim

    return load_slim(Path(path), trust_factory)[0]


def slim(
    model: "nn.Module",
    example: "Tensor",
    *,
    widths: Mapping[str, int] | None = None,
    ratio: float | None = None,
    images: "Tensor | None" = None,
    order: Literal["wavelet", "l1"] | None = None,
) -> "nn.Module":
    """A slim copy of a network, to be trained further by the caller; nothing is measured.

    Which channels of a group stay is decided by the wavelet order where ``images`` are given,
    by the L1 order where there are none. BatchNorm is not recalibrated.

    Args:
        model: The network; it is left as it is.
        example: An input, batch first, as the network takes it.
        widths: Channels that stay, by group name as ``edgeprune channels`` lists them; groups
            that are not named stay whole, 0 drops a residual branch.
        ratio: Share of every group's channels that stays, above 0 and at most 1, rounded up
            to a multiple of 8; no branch is dropped. One of ``widths`` and ``ratio`` is needed.
        images: Some hundred images (N, C, H, W) as the network takes them; labels are not used.
        order: ``wavelet`` or ``l1``, whatever there is.

    Returns:
        The slim network, on the device and in the mode of ``model``; nothing is shared with it.

    Raises:
        InputError: neither or both of ``widths`` and ``ratio``, or one that cannot be.
    """
    from edgeprune.prune.slimming.by_widths import slim_to

    wanted = ratio if widths is None else widths
    if wanted is None or (widths is not None and ratio is not None):
        raise InputError("slim takes one of widths= (by group) and ratio= (share of channels)")
    return slim_to(model, example, wanted, images, order)


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
