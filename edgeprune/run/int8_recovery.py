"""Quantises a fine-tuned network of a run; trains it under the rounding if too much is lost."""

from dataclasses import asdict

from torch import nn

from edgeprune.deploy.precision.recovery import Quantised
from edgeprune.errors import EdgepruneError
from edgeprune.export.int8 import Int8, Int8Model
from edgeprune.progress import Progress, renamed
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.training.distributed import Ranks
from edgeprune.prune.training.loop import Setting
from edgeprune.prune.training.quantisation_aware import train_rounded
from edgeprune.run.context import RunContext


def quantised(
    context: RunContext, int8: Int8, network: nn.Module, progress: Progress
) -> tuple[nn.Module, Int8Model]:
    """A network in int8 that keeps the accuracy asked for, or comes nearest to it.

    The steps without training come first; where more than the budget is still lost on the
    validation images, or the logits are still too far from those in fp32, the network is distilled
    under the rounding and quantised again. What is better stays.

    Returns:
        The network in fp32, trained anew or as it was given, and in int8.

    Raises:
        PromiseError: it answers otherwise in int8, or too much of it runs in float, here or on
            the emulated core of the target.
    """
    export, aim = context.export, context.aim(int8)
    steps = renamed(progress, "quantising")
    made = int8.recovered(export(network), aim, steps)
    context.folder.event("quantised", lost=made.lost, steps=[asdict(s) for s in made.steps])
    parity = context.request.target.parity

    def rank(one: Quantised) -> tuple[bool, float]:  # the lower the better
        return not one.fidelity.near(parity), one.lost or 0.0

    if made.lost is not None and rank(made) > (False, aim.allowed):
        trained = _trained(context, int8, network, progress)
        if trained is not None:
            again = int8.recovered(export(trained), aim, steps)
            kept = rank(again) < rank(made)
            plain = [asdict(step) for step in again.steps]
            context.folder.event("trained under rounding", lost=again.lost, kept=kept, steps=plain)
            if kept:
                network, made = trained, again
    return network, int8.verified(int8.proven(made))


def _trained(
    context: RunContext, int8: Int8, network: nn.Module, progress: Progress
) -> nn.Module | None:
    """The network distilled under the rounding; None, and an event, where that cannot be."""
    setting = Setting(
        teacher=context.dense.model,
        progress=renamed(progress, "training under rounding"),
        ranks=Ranks(device=best_device()),
        task=context.task,
    )
    recipe, images = context.request.recovery, context.images.train
    try:
        return train_rounded(network, images, int8.rounding(), recipe, setting)
    except EdgepruneError as error:  # the network as it was is still a result
        context.folder.event("not trained under rounding", reason=str(error))
        return None
