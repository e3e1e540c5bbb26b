"""Traces a named network with random weights and measures the latency table of its blocks."""

from dataclasses import replace

import torch

from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.table.bench import Probe
from edgeprune.deploy.table.probe import ProbeReport, probe
from edgeprune.export.slim_export import SlimExport, slim_export
from edgeprune.progress import Progress
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build, input_channels
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.space.macs import CostModel
from edgeprune.prune.tracing.trace import Trace
from edgeprune.target import TargetProfile

LEARNT = 24  # networks that torch exports one by one, some seconds each


def traced(spec: ModelSpec, size: tuple[int, int]) -> Trace:
    """The channel groups of a network with random weights; ``size`` of its input in pixels.

    The input has as many channels as the network's first convolution reads.

    Raises:
        InputError: the network cannot be built, or does not accept such an input.
    """
    model = rewrite_shortcuts(build(spec)).eval()
    return proven(model, torch.zeros(1, input_channels(model), *size))


def probed(
    spec: ModelSpec,
    size: tuple[int, int],
    target: TargetProfile,
    device: str,
    *,
    rebuild: bool,
    progress: Progress,
) -> ProbeReport:
    """Measure what the latency table of a device lacks for a network."""
    options = Probe(device=connect(device), rebuild=rebuild, progress=progress)
    export = slim_export(traced(spec, size))
    return probe(export.network(), target, with_whole(export, options))


def with_whole(export: SlimExport, options: Probe) -> Probe:
    """Options that say how whole networks of an export are timed, and their work counted."""
    options = replace(options, work=CostModel(export.traced).macs)
    if export.opened is None:
        reason = f"its graph cannot be cut ({export.reason})"
        options = replace(options, whole=export.whole, uncut=reason, learnt=LEARNT, held_out=8)
    return options
