"""Searches with a module or images that were passed in Python in place of their names."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from edgeprune.errors import InputError
from edgeprune.progress import Progress
from edgeprune.prune.images.held import IMAGENET, completed, usual
from edgeprune.prune.images.in_memory import Source, hold
from edgeprune.prune.models.zoo import input_channels, instance
from edgeprune.prune.slimming.reload import load_slim
from edgeprune.prune.training.own_score import ScoreFunction, takes_targets
from edgeprune.run.family import Family
from edgeprune.run.outcome import Outcome
from edgeprune.run.pipeline import run_search
from edgeprune.run.request import Passed
from edgeprune.run.search_options import SearchOptions


def search(
    options: SearchOptions,
    module: nn.Module | None,
    splits: Sequence[Source] | None,
    *,
    score: ScoreFunction | None = None,
    flip: bool,
    progress: Progress,
) -> tuple[Outcome, nn.Module]:
    """Run a search, and load the slim network that it wrote.

    Args:
        options: What is asked for; the name of a module and of images are set here.
        module: The dense network in place of the model that is named.
        splits: The images in place of those that are named; see :func:`in_memory.hold`.
        score: Judges networks in place of the task; ``options`` has its name.
        flip: Whether a mirrored image of ``splits`` still shows its class.
        progress: Called as each step goes on.

    Returns:
        The outcome, and the slim network in evaluation mode, on the CPU.

    Raises:
        InputError: what was passed and what was asked for do not fit together.
    """
    if score is not None:
        takes_targets(score)
    if module is not None:
        options = _of_module(options, module)
    options.request()  # what is wrong is said before all images are read
    passed = Passed(module=module, score=score)
    if splits is not None:
        options, passed = _of_images(options, passed, splits, flip=flip)
    elif not flip:
        raise InputError("flip= goes with images that are passed; those of a name know it")
    outcome = run_search(options.request(), progress, passed)
    if isinstance(outcome, Family):
        raise InputError("a family is made by the command: edgeprune search --family")
    # A factory was named in this very call.
    model, _ = load_slim(outcome.folder / "model.pt", trust_factory=True, into=module)
    return outcome, model


def _of_module(options: SearchOptions, module: nn.Module) -> SearchOptions:
    if not isinstance(module, nn.Module):
        raise InputError(
            f"model is a {type(module).__name__}; give a name such as 'resnet20', or a "
            "torch.nn.Module"
        )
    for name in ("weights", "new_head", "model_arg", "baseline_epochs"):
        if getattr(options, name):
            raise InputError(f"{name}= goes with a model that is named; a module has its weights")
    options = replace(options, model=instance(module).name)
    channels = input_channels(module)
    if channels != IMAGENET.channels and options.mean is options.std is None:
        known = usual(channels)
        options = replace(options, mean=known.mean, std=known.std)
    return options


def _of_images(
    options: SearchOptions, passed: Passed, splits: Sequence[Source], *, flip: bool
) -> tuple[SearchOptions, Passed]:
    stated = None
    if options.mean or options.std:
        channels = len(options.mean or options.std or ())
        stated = completed(channels, options.mean, options.std)
    images = hold(splits, stated, flip=flip, labelled=options.task == "classification")
    size = images.input_shape[1], images.input_shape[2]
    if options.image_size not in (None, size):
        raise InputError(
            f"image_size = {options.image_size}, but the images that were passed have "
            f"{size[0]}x{size[1]} pixels; leave it out, or resize them"
        )
    options = replace(
        options,
        data=images.name,
        image_size=size,
        mean=images.normalisation.mean,
        std=images.normalisation.std,
    )
    return options, replace(passed, images=images)
