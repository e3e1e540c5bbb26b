"""Traces a named network with random weights and measures the latency table of its blocks."""

import torch

from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.table import probe
from edgeprune.deploy.table.probe import Probe, ProbeReport
from edgeprune.export import blocks
from edgeprune.progress import Progress
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build, input_channels
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.tracing.trace import Trace
from edgeprune.target import TargetProfile


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
    network = blocks.to_network(traced(spec, size))
    return probe.probe(network, target, options)
