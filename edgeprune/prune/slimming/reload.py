"""Rebuilds the slim network of a model.pt: dense model, plan, weights."""

from pathlib import Path

import torch
from torch import nn

from edgeprune.errors import InputError
from edgeprune.prune.models import checkpoint, weights
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build, copied
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan

_MOST_CLASSES = 1_000_000


def load_slim(
    path: Path, trust_factory: bool = False, into: nn.Module | None = None
) -> tuple[nn.Module, Checkpoint]:
    """Rebuild what a model.pt holds: build the dense network, apply the plan, load the weights.

    Args:
        path: The model.pt.
        trust_factory: Run the ``module:factory`` that it names.
        into: The dense network, in place of building it by name; it is copied.

    Returns:
        The network with rewritten shortcuts, in evaluation mode, on the CPU; and the record.

    Raises:
        InputError: The file cannot be read or does not fit, or names code that was not trusted.
    """
    record = checkpoint.read(path)
    built = _dense(path, record, trust_factory) if into is None else copied(into)
    model = rewrite_shortcuts(built)
    if record.plan is not None:
        plan = PruningPlan.from_plain(record.plan)
        if plan.model != record.model:
            raise InputError(
                f"{path} holds a plan for {plan.model}, but its model is {record.model}"
            )
        example = torch.zeros(1, *record.input_shape)
        traced = proven(model.eval(), example)
        model = slim(traced, plan, fold_constants=False)  # its weights come next
    weights.load_into(model, record.state_dict, str(path), {})
    return model.eval(), record


def _dense(path: Path, record: Checkpoint, trust_factory: bool) -> nn.Module:
    """The dense network by its name, with random weights."""
    kwargs = dict(record.kwargs)
    classes = kwargs.pop("num_classes", len(record.classes) or None)
    if classes is not None and (type(classes) is not int or not 0 < classes <= _MOST_CLASSES):
        raise InputError(f"{path}: num_classes = {classes!r} is no number of classes")
    spec = ModelSpec(record.model, classes, kwargs)
    if spec.is_factory and not trust_factory:
        raise InputError(
            f"{path} was made with your own code, {spec.name}; pass --trust-factory to run it"
        )
    if spec.is_instance:
        raise InputError(
            f"{path} was made from a module that was passed in Python ({spec.name}); it holds the "
            "weights, not the code: pass the same module, edgeprune.load(path, into=module) or "
            "edgeprune.export_onnx(path, into=module)"
        )
    return build(spec)
