"""The dense model: loaded from a checkpoint, or trained from scratch once and kept in a cache."""

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import nn

from edgeprune import __version__
from edgeprune.errors import EdgepruneError, InputError, MachineError
from edgeprune.files import contents
from edgeprune.progress import Progress, renamed, silent
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.models import checkpoint, zoo
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.training.loop import train
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.task import Task
from edgeprune.prune.training.tasks import CLASSIFICATION
from edgeprune.text import digest

_log = logging.getLogger(__name__)

DIGITS = Recipe(epochs=12, batch=64, lr=0.1, warmup=0.15)  # recovery.md has what it reads
FROM_SCRATCH = Recipe(epochs=30, lr=0.1)


def usual_recipe(source: str) -> Recipe:
    """How a dense model is trained on images of this name; the digits are few and need less."""
    return DIGITS if source == "digits" else FROM_SCRATCH


@dataclass(frozen=True)
class DenseModel:
    """The dense model as it came.

    Attributes:
        model: In evaluation mode, on the CPU, shortcuts as published.
        figure: That of its task on the held-out validation images: top-1, 0..1, of a classifier.
        origin: ``checkpoint``, ``trained``, ``cached`` or ``instance``.
        seen_validation: Whether training may have seen the validation images.
        recognised: What kind of checkpoint it came from, one line; empty where it was trained.
    """

    model: nn.Module
    figure: float
    origin: str
    seen_validation: bool
    recognised: str = ""


def obtain(  # noqa: PLR0913  what it is made of, and options by name
    spec: ModelSpec,
    data: DataSet,
    weights: Path | None,
    recipe: Recipe | None = None,
    progress: Progress = silent,
    *,
    new_head: bool = False,
    task: Task = CLASSIFICATION,
) -> DenseModel:
    """Load the dense model, or train it on the training images and keep it for the next time.

    A network with a new head is trained too, from the weights that it came with.

    Args:
        spec: The network to build.
        data: Images; only ``train`` is trained on.
        weights: A checkpoint; without one the model is trained.
        recipe: How to train; a short one for the digits, 30 epochs elsewhere by default.
        progress: Called after every training step.
        new_head: Accept weights without a classifier of this size.
        task: What it is for.

    Raises:
        InputError: the checkpoint does not fit, or the model answers no better than chance.
    """
    recipe, recognised = recipe or usual_recipe(data.name), ""
    if weights is None:
        start = zoo.build(spec, seed=recipe.seed)
        _refuse_outputs(start, spec, data, task)
        model, origin = _trained(start, spec, data, recipe, progress)
    else:
        loaded = zoo.load_dense(spec, weights, new_head=new_head)
        model, origin, recognised = loaded.model, "checkpoint", loaded.recognised
        _refuse_outputs(model, spec, data, task)
        if loaded.new_head:
            # Weights that are good already are tuned at the rate of the recovery.
            tuning = replace(recipe, lr=Recipe().lr)
            model, origin = _trained(
                model, spec, data, tuning, progress, digest(contents(weights))
            )
            recognised += f"; {' and '.join(loaded.new_head)} new, {origin} on {data.name}"
    seen = weights is not None
    figure = task.measured(model, model, data.val)
    task.refuse_untrained(figure, data, has_weights=seen)
    return DenseModel(model.eval(), figure, origin, seen_validation=seen, recognised=recognised)


def given(
    module: nn.Module, spec: ModelSpec, data: DataSet, task: Task = CLASSIFICATION
) -> DenseModel:
    """A module that was passed in Python as the dense model: a copy of it, with its weights.

    Raises:
        InputError: it does not fit the images, or answers no better than chance.
    """
    model = zoo.copied(module)
    _refuse_outputs(model, spec, data, task)
    figure = task.measured(model, model, data.val)
    task.refuse_untrained(figure, data, has_weights=True)
    said = f"{spec.name}, passed in Python with its weights"
    return DenseModel(model, figure, "instance", seen_validation=True, recognised=said)


def _trained(
    model: nn.Module,
    spec: ModelSpec,
    data: DataSet,
    recipe: Recipe,
    progress: Progress,
    begun_with: str = "",
) -> tuple[nn.Module, str]:
    """``model`` trained, or as it was kept; ``begun_with`` is the digest of its first weights."""
    path = (
        user_cache_path("edgeprune") / "baselines" / f"{_key(spec, data, recipe, begun_with)}.pt"
    )
    if path.exists():
        try:
            model.load_state_dict(checkpoint.read(path).state_dict)
            return model, "cached"
        except (EdgepruneError, RuntimeError):
            pass  # a damaged cache is no reason to stop: train again and replace it
    trained = train(
        model, data.train, recipe, progress=renamed(progress, "training the dense model")
    )
    _keep(path, dense_record(spec, data, trained.model))
    return trained.model, "trained"


def _keep(path: Path, trained: Checkpoint) -> None:
    """For the next time; a cache that cannot be written costs time then, no more."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write(path, trained, overwrite=True)
    except (OSError, MachineError) as error:
        _log.warning("the trained dense model was not kept for the next time: %s", error)


def dense_record(spec: ModelSpec, data: DataSet, model: nn.Module) -> Checkpoint:
    """What a model.pt holds of a dense network; its history is empty."""
    return Checkpoint(
        model=spec.name,
        kwargs={**spec.kwargs, **({"num_classes": len(data.classes)} if data.classes else {})},
        plan=None,
        state_dict=model.state_dict(),
        input_shape=data.input_shape,
        mean=data.normalisation.mean,
        std=data.normalisation.std,
        classes=data.classes,
    )


def _key(spec: ModelSpec, data: DataSet, recipe: Recipe, begun_with: str) -> str:
    """Name of the cached file: all that decides the weights, the code and the device included."""
    images = [data.fingerprint, data.input_shape, asdict(data.normalisation)]
    made_by = [__version__, torch.__version__, best_device().type]
    parts = [asdict(spec), *images, asdict(recipe), *made_by]
    parts += [begun_with] if begun_with else []
    text = json.dumps(parts, sort_keys=True, default=dict)
    return f"{spec.name.replace(':', '-')}-{digest(text)}"


def _refuse_outputs(model: nn.Module, spec: ModelSpec, data: DataSet, task: Task) -> None:
    """Refuse a model that cannot do the task, before anything is trained."""
    was_training = model.training
    try:
        task.refuse(model.eval(), spec.name, data)
    except InputError as error:
        named = str(error).startswith(spec.name)
        raise InputError(str(error) if named else f"{spec.name}: {error}") from None
    finally:
        model.train(was_training)
