"""From the words on a command line to the records that the library takes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from edgeprune.deploy.devices import device as devices
from edgeprune.deploy.gate.relative import check_limit
from edgeprune.deploy.table import probe as table
from edgeprune.deploy.table.probe import ProbeReport
from edgeprune.errors import InputError
from edgeprune.export import blocks
from edgeprune.progress import Progress
from edgeprune.prune.images.held import IMAGENET, Normalisation
from edgeprune.prune.models import zoo
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.saliency.wavelet import WaveletOptions
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.evaluator import FEW_IMAGES, Effort
from edgeprune.prune.search.strategies import registry
from edgeprune.prune.tracing.trace import Trace, trace
from edgeprune.prune.training.dense import DIGITS, FROM_SCRATCH
from edgeprune.prune.training.recipe import Recipe
from edgeprune.run.request import Request
from edgeprune.target import RelativeBudget, TargetProfile, load_target

Three = tuple[float, float, float]
RECIPE_FLAGS = {"temperature": "kd-temperature", "alpha": "kd-weight"}
"""Fields of the recipe that are options under another name."""


@dataclass(frozen=True)
class Flags:
    """Options of ``edgeprune search``, grouped.

    Attributes:
        target: Name or path of the profile.
        model: Name of the network.
        arguments: ``NAME=VALUE`` texts for its constructor.
        data: Name or folder.
        image_size: Side of the input, if given.
        normalisation: Mean and standard deviation, each if given.
        limits: Latency, MACs and params as shares of the dense model's, points of accuracy;
            infinity drops the profile's.
        latency_ms: Median latency on the device, if given.
        family: Latency shares, falling, separated by commas, if given.
        training: Epochs of fine-tuning, epochs of the baseline if given, seed.
        device: Where to measure.
        strategy: How channels are chosen, if given.
        resume: Go on with an unfinished run.
        judging: Networks scored per search, those distilled, and the wavelet of its criterion,
            each if given.
        recipe: How the slim model is fine-tuned; see :func:`recipe`.
    """

    target: str
    model: str
    arguments: list[str]
    data: str
    image_size: int | None
    normalisation: tuple[Three | None, Three | None]
    limits: tuple[float | None, float | None, float | None, float | None]
    latency_ms: float | None
    family: str | None
    training: tuple[int, int | None, int]
    device: str
    strategy: str | None
    resume: bool
    judging: tuple[int | None, int | None, str | None] = (None, None, None)
    recipe: Mapping[str, Any] = field(default_factory=dict)


def request(flags: Flags, weights: Path | None, out: Path | None, *, overwrite: bool) -> Request:
    """A search request; flags win over the profile.

    Raises:
        InputError: a value that cannot be meant.
    """
    target = load_target(flags.target)
    if flags.resume and (overwrite or out is None):
        raise InputError("--resume goes on with the run in --out DIR, without --overwrite")
    strategy = flags.strategy or registry.DEFAULT
    registry.refuse_unknown(strategy)
    devices.connect(flags.device)  # a wrong address is told before anything is trained
    epochs, baseline_epochs, seed = flags.training
    mean, std = flags.normalisation
    chosen = DIGITS if flags.data == "digits" else FROM_SCRATCH
    dense = replace(chosen, epochs=baseline_epochs or chosen.epochs, seed=seed)
    request = Request(
        target=target,
        model=spec(flags.model, 10, flags.arguments),
        budget=_budget(target, flags),
        weights=weights,
        source=flags.data,
        size=_size(flags.model, flags.image_size, target),
        normalisation=Normalisation(mean or IMAGENET.mean, std or IMAGENET.std),
        out=out,
        overwrite=overwrite,
        resume=flags.resume,
        baseline=dense,
        recovery=recipe(flags.data, {**flags.recipe, "epochs": epochs, "seed": seed}),
        search=Settings(seed=seed),
        effort=_effort(flags),
        wavelet=WaveletOptions(wavelet=flags.judging[2] or "haar"),
        device=flags.device,
        strategy=strategy,
        family=_family(flags),
        latency_ms=_milliseconds(flags.latency_ms),
    )
    request.refuse_aimless()
    return request


def _effort(flags: Flags) -> Effort:
    usual = FEW_IMAGES if flags.data == "digits" else Effort()
    evaluations = flags.judging[0] or usual.evaluations
    # Who asks for less gets shorter stages, too: they would not fit.
    share = min(1.0, evaluations / usual.evaluations)
    return replace(
        usual,
        evaluations=evaluations,
        stage_generations=int(share * usual.stage_generations),
        finalists=flags.judging[1] or usual.finalists,
    )


def recipe(source: str, given: Mapping[str, Any]) -> Recipe:
    """The recovery recipe, one for ``search`` and ``finetune``.

    Args:
        source: Name or folder of the images; the digits are few and take smaller batches.
        given: Fields of :class:`Recipe`; None leaves its default.

    Raises:
        InputError: a value that cannot be meant.
    """
    usual = Recipe(batch=DIGITS.batch) if source == "digits" else Recipe()
    for name, value in given.items():
        if value is not None:
            try:
                usual = replace(usual, **{name: value})
            except InputError:
                flag = RECIPE_FLAGS.get(name, name.replace("_", "-"))
                raise InputError(f"--{flag} cannot be {value:g}") from None
    return usual


def spec(model: str, classes: int, arguments: list[str]) -> ModelSpec:
    """A network from its name and ``NAME=VALUE`` texts."""
    pairs = [argument.partition("=") for argument in arguments]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise InputError(f"--model-arg wants NAME=VALUE, not {name!r}")
    return ModelSpec(model, classes, {name: _value(text) for name, _, text in pairs})


def channel_rows(
    model: str, classes: int, image_size: int | None, arguments: list[str]
) -> tuple[list[tuple[str, ...]], list[str]]:
    """One row a channel group, and one line for each place that could not be followed."""
    traced = _traced(spec(model, classes, arguments), _size(model, image_size, None))
    rows: list[tuple[str, ...]] = [
        (
            group.name,
            str(group.width),
            str(group.stage),
            group.block or "",
            "yes" if group.droppable else "",
            str(len(group.slices)),
        )
        for group in traced.groups
    ]
    return rows, [f"{u.node} ({u.source}): {u.reason}" for u in traced.unfollowed]


def probe(
    wanted: ModelSpec,
    image_size: int | None,
    target: str,
    device: str,
    *,
    rebuild: bool,
    progress: Progress,
) -> ProbeReport:
    """Measure what the latency table of a device lacks for a network."""
    profile = load_target(target)
    traced = _traced(wanted, _size(wanted.name, image_size, profile))
    options = table.Probe(
        device=devices.connect(device),
        rebuild=rebuild,
        progress=progress,
    )
    return table.probe(blocks.to_network(traced), profile, options)


def _traced(wanted: ModelSpec, size: int) -> Trace:
    dense = zoo.rewrite_shortcuts(zoo.build(wanted)).eval()
    return trace(dense, torch.zeros(1, 3, size, size))


def _size(model: str, given: int | None, target: TargetProfile | None) -> int:
    """Pixels a side: as given, as the target pins it, else what the family was made for.

    Raises:
        InputError: the target pins what no search can use, or another size than was given.
    """
    pinned = target.input.shape if target else None
    if pinned is None:
        return given or (32 if model in zoo.CIFAR or ":" in model else 224)
    batch, colours, height, width = pinned
    if (batch, colours) != (1, 3) or height != width or given not in (None, height):
        wanted = f" and --image-size {given}" if given not in (None, height) else ""
        raise InputError(
            f"the target pins input.shape = {list(pinned)}{wanted}; a search takes one square "
            "RGB image, (1, 3, side, side)"
        )
    return height


def _budget(target: TargetProfile, flags: Flags) -> RelativeBudget:
    names = ("latency", "macs", "params", "accuracy_drop")
    given = {n: limit for n, limit in zip(names, flags.limits, strict=True) if limit is not None}
    for name, limit in given.items():
        try:
            RelativeBudget.model_validate({name: None if limit == math.inf else limit})
        except ValidationError as error:
            flag = "accuracy-drop" if name == "accuracy_drop" else f"{name}-ratio"
            raise InputError(f"--max-{flag} {limit:g}: {error.errors()[0]['msg']}") from None
    # Another way to limit the latency takes the place of the profile's.
    free = {"latency": None} if flags.family or flags.latency_ms else {}
    plain = {name: None if limit == math.inf else limit for name, limit in given.items()}
    budget = target.budget.relative.model_copy(update=free | plain)
    if budget.latency is not None:
        check_limit(budget.latency, "the latency limit")
    return budget


def _family(flags: Flags) -> tuple[float, ...]:
    """Latency shares, each below the one before.

    Raises:
        InputError: no such list, or another limit of the latency beside it.
    """
    if flags.family is None:
        return ()
    wanted = f"--family {flags.family!r}: latency ratios from the slowest down, such as 0.7,0.5"
    if flags.limits[0] is not None or flags.latency_ms is not None:
        raise InputError("--family limits the latency; leave --max-latency-ratio and -ms out")
    try:
        shares = tuple(float(part) for part in flags.family.split(","))
    except ValueError:
        raise InputError(wanted) from None
    for share in shares:
        check_limit(share, "a ratio of --family")
    if any(after >= before for before, after in pairwise(shares)):
        raise InputError(f"{wanted}, each once")
    return shares


def _milliseconds(limit: float | None) -> float | None:
    if limit is not None and not 0 < limit < math.inf:
        raise InputError(f"--max-latency-ms {limit:g} is not a positive number of milliseconds")
    return limit


def _value(text: str) -> str | int | float | bool:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
