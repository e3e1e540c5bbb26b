"""Fills in what a command leaves open: image size, budget, search effort and training recipes."""

import math
from dataclasses import replace
from typing import Any, get_args

from edgeprune.deploy.gate.relative import check_limit
from edgeprune.errors import InputError
from edgeprune.prune.images.held import IMAGENET, Normalisation, completed
from edgeprune.prune.models import zoo
from edgeprune.prune.models.names import INSTANCE
from edgeprune.prune.search.evaluation.effort import FEW_IMAGES, Effort
from edgeprune.prune.search.strategies import names
from edgeprune.prune.training.dense import DIGITS, usual_recipe
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.task import Budget
from edgeprune.target import RelativeBudget, TargetProfile

OPTIONS = {"temperature": "kd-temperature", "alpha": "kd-weight"}
"""Fields of the recipe that are options under another name."""


def size_of(
    model: str, given: tuple[int, int] | None, target: TargetProfile | None = None
) -> tuple[int, int]:
    """Height and width: as given, as the target pins them, else what the family was made for.

    Raises:
        InputError: the target pins more than one image, or another size than was given.
    """
    pinned = target.input.shape if target else None
    if pinned is None:
        small = model in zoo.CIFAR or model.startswith(INSTANCE) or ":" in model
        return given or ((32, 32) if small else (224, 224))
    batch, _, *size = pinned
    if batch != 1 or given not in (None, tuple(size)):
        wanted = f" and --image-size {given[0]}x{given[1]}" if given else ""
        raise InputError(
            f"the target pins input.shape = {list(pinned)}{wanted}; a search takes one image, "
            "(1, channels, height, width)"
        )
    return size[0], size[1]


def normalisation_of(
    spec: zoo.ModelSpec,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    target: TargetProfile | None = None,
) -> Normalisation:
    """Mean and deviation as given, else the usual ones; the network says how many channels.

    Raises:
        InputError: another number of channels was given, or the target pins another.
    """
    channels = int(spec.kwargs.get("in_chans", 3))  # timm's word for it
    if spec.is_instance:  # its images, or its first convolution, were looked at before
        channels = len(mean or std or IMAGENET.mean)
    elif spec.is_factory:
        channels = zoo.input_channels(zoo.build(spec))
    pinned = target.input.shape if target else None
    if pinned and pinned[1] != channels:
        raise InputError(
            f"the target pins input.shape = {list(pinned)}, {spec.name} takes {channels} channels"
        )
    found = completed(channels, mean, std)
    if found.channels != channels:
        raise InputError(
            f"{spec.name} takes images of {channels} channels, --mean and --std are for "
            f"{found.channels}"
        )
    return found


def budget(
    target: TargetProfile,
    *,
    latency_elsewhere: bool,
    limited_by: Budget = "accuracy_drop",
    **limits: float | None,
) -> RelativeBudget:
    """The profile's relative budget, with what the options changed.

    Args:
        target: The profile.
        latency_elsewhere: Another way to limit the latency takes the place of the profile's.
        limited_by: The one budget that holds of those that limit what is lost; the profile may
            have others for other tasks.
        limits: By their names in the profile; infinity drops one, None leaves it.

    Raises:
        InputError: a latency limit too near to 1 to be timed.
    """
    changed = {name: limit for name, limit in limits.items() if limit is not None}
    if latency_elsewhere:
        changed.setdefault("latency", math.inf)
    changed |= {name: math.inf for name in get_args(Budget) if name != limited_by}
    plain = {name: None if limit == math.inf else limit for name, limit in changed.items()}
    found = target.budget.relative.model_copy(update=plain)
    if found.latency is not None:
        check_limit(found.latency, "the latency limit")
    return found


def effort(
    source: str, evaluations: int | None, finalists: int | None, strategy: str = names.DEFAULT
) -> Effort:
    """How much a search may cost; who asks for fewer evaluations gets fewer refits, too.

    Raises:
        InputError: fewer evaluations than the strategy needs, or for one that scores nothing.
    """
    usual = FEW_IMAGES if source == "digits" else Effort()
    _refuse_effort(strategy, evaluations, finalists)
    evaluations = evaluations or usual.evaluations
    share = min(1.0, evaluations / usual.evaluations)
    finalists = finalists or min(usual.finalists, evaluations)
    return replace(
        usual,
        evaluations=evaluations,
        refitted=max(finalists, round(share * usual.refitted)),
        finalists=finalists,
    )


def _refuse_effort(strategy: str, evaluations: int | None, finalists: int | None) -> None:
    """Refuse what a strategy cannot keep, before anything is made ready for it."""
    given = {"--evaluations": evaluations, "--finalists": finalists}
    if strategy in names.NAMES and strategy not in names.LEAST:
        for option, value in given.items():
            if value is not None:
                scoring = ", ".join(names.LEAST)
                raise InputError(
                    f"{option} has no meaning for --strategy {strategy}, which chooses without "
                    f"scoring networks; leave it out, or take one of {scoring}"
                )
    least = names.LEAST.get(strategy, 1)
    if evaluations is not None and evaluations < least:
        raise InputError(
            f"--evaluations {evaluations} is less than the {least} networks that strategy "
            f"{strategy} scores in any case, what the pruning rules make of the budget; take "
            f"{least} or more, or --strategy uniform, which scores none"
        )
    if evaluations is not None and finalists is not None and finalists > evaluations:
        raise InputError(
            f"--finalists {finalists} is more than the {evaluations} networks that --evaluations "
            "lets be scored"
        )


def dense_recipe(source: str, epochs: int | None, seed: int) -> Recipe:
    """How a dense model without weights is trained; None leaves the usual number of epochs."""
    usual = usual_recipe(source)
    return replace(usual, epochs=epochs or usual.epochs, seed=seed)


def recovery_recipe(source: str, **given: Any) -> Recipe:
    """The recovery recipe, one for ``search`` and ``finetune``.

    Args:
        source: Name or folder of the images; the digits are few and take smaller batches.
        given: Fields of :class:`Recipe`; None leaves its default.

    Raises:
        InputError: a value that cannot be meant.
    """
    recipe = Recipe(batch=DIGITS.batch) if source == "digits" else Recipe()
    for name, value in given.items():
        if value is None:
            continue
        try:
            recipe = replace(recipe, **{name: value})
        except InputError:
            option = OPTIONS.get(name, name.replace("_", "-"))
            raise InputError(f"--{option} cannot be {value:g}") from None
    return recipe
