"""Networks by name: CIFAR, torchvision, timm and users' own factories, with their weights."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from edgeprune.errors import InputError, MachineError
from edgeprune.prune.models import weights
from edgeprune.prune.models.cifar import RESNET_DEPTHS, VGG_CONVOLUTIONS, CifarResNet, CifarVGG
from edgeprune.prune.models.copying import deep_copy
from edgeprune.prune.models.factory import Plain, imported, working_directory_importable
from edgeprune.prune.models.names import INSTANCE, PREFIX, TORCHVISION, model_names
from edgeprune.prune.models.state_dicts import read_weights
from edgeprune.text import did_you_mean, error_line

CIFAR: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(CifarResNet, depth) for depth in RESNET_DEPTHS},
    **{f"vgg{depth}": partial(CifarVGG, depth) for depth in VGG_CONVOLUTIONS},
}
_TIMM = "timm/"
_DOWNLOADS = frozenset(
    ("pretrained", "weights", "weights_backbone", "checkpoint_path", "pretrained_cfg")
)
"""Arguments that make a library fetch weights; ours come from a file that the user names."""


@dataclass(frozen=True)
class ModelSpec:
    """Everything that is needed to build a dense network again.

    Attributes:
        name: A CIFAR name (``resnet20``), a torchvision name (``resnet18``, or any classifier of
            it as ``torchvision/NAME``), ``timm/NAME``, ``package.module:factory``, or ``instance
            of CLASS`` for a module that was passed in Python, which no name builds again.
        num_classes: Width of the last layer; None leaves it to the constructor.
        kwargs: Further plain arguments, e.g. ``{"shortcut": "A-conv"}``.
    """

    name: str
    num_classes: int | None = 10
    kwargs: Mapping[str, Plain] = field(default_factory=dict)

    @property
    def is_factory(self) -> bool:
        """Whether the name points at a user's own code."""
        return ":" in self.name

    @property
    def is_instance(self) -> bool:
        """Whether it stands for a module that was passed in Python."""
        return self.name.startswith(INSTANCE)


def instance(module: nn.Module) -> ModelSpec:
    """What stands for a module that was passed in Python."""
    return ModelSpec(f"{INSTANCE}{type(_uncompiled(module)).__qualname__}")


def copied(module: nn.Module) -> nn.Module:
    """A float32 copy of a user's network, in evaluation mode, on the CPU.

    Raises:
        InputError: it cannot be copied.
    """
    try:
        return deep_copy(_uncompiled(module)).cpu().float().eval()
    except Exception as error:  # whatever a user's module holds
        raise InputError(
            f"the module {type(module).__name__} cannot be copied: {error_line(error)}"
        ) from error


def build(spec: ModelSpec, *, seed: int = 0) -> nn.Module:
    """Build the dense network with random weights, in training mode, on the CPU.

    Torch's global generator is left as it was; a factory's network is returned as it was made.

    Raises:
        InputError: Unknown name or argument, or the factory cannot be imported or called.
    """
    if spec.num_classes is not None and spec.num_classes < 1:
        raise InputError(f"{spec.name} needs at least 1 class, not {spec.num_classes}")
    factory = _factory(spec.name)
    fetching = sorted(_DOWNLOADS.intersection(spec.kwargs)) if not spec.is_factory else []
    if fetching:
        raise InputError(f"{fetching[0]!r} would download weights; give a file with --weights")
    arguments = _arguments(factory, spec)
    with torch.random.fork_rng(devices=[]), working_directory_importable():
        torch.manual_seed(seed)
        try:
            model = factory(**arguments)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"model {spec.name} with {arguments} cannot be built: {error_line(error)}"
            ) from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{spec.name} returned {type(model).__name__}, not a torch.nn.Module; "
            "name a function that returns the network"
        )
    return _uncompiled(model)


def input_channels(model: nn.Module) -> int:
    """Channels of a network's input: as many as its first convolution reads, else 3."""
    first = next((m for m in model.modules() if isinstance(m, _ConvNd)), None)
    return 3 if first is None else first.in_channels


def _uncompiled(model: nn.Module) -> nn.Module:
    """A compiled network cannot be traced; what it was compiled from can, and has its names."""
    found: nn.Module = getattr(model, "_orig_mod", model)
    return found


@dataclass(frozen=True)
class LoadedNetwork:
    """A dense network with the weights of a file.

    Attributes:
        model: In evaluation mode, on the CPU.
        recognised: One line: what kind of checkpoint it was, and how many tensors it had.
        new_head: Names of the layers that the file had no weights for, random as built.
    """

    model: nn.Module
    recognised: str
    new_head: tuple[str, ...] = ()


def load_dense(spec: ModelSpec, path: Path, *, new_head: bool = False) -> LoadedNetwork:
    """Build a dense network and load weights of any common layout into it.

    Args:
        spec: The network.
        path: A checkpoint as people save them, see :mod:`state_dicts`, or a dense model.pt.
        new_head: Accept a classifier of another size, or none; the network's stays random.

    Raises:
        InputError: The file is missing, damaged or needs code to be read, or its weights do
            not fit; the first names that differ are given, with a hint where one is known.
        MachineError: safetensors without the library that reads them.
    """
    model = build(spec)
    own = model.state_dict()
    found = read_weights(path, own)
    candidates = {name: partial(_built, name) for name in model_names()}
    source = f"{path} ({found.kind})"
    head = weights.load_into(model, found.state, source, candidates, new_head=new_head)
    return LoadedNetwork(model.eval(), found.describe(own), head)


def _built(name: str, classes: int) -> nn.Module:
    return build(ModelSpec(name, classes))


def _arguments(factory: Callable[..., object], spec: ModelSpec) -> dict[str, Plain]:
    """Classes and kwargs; a user's factory without ``num_classes`` is called without it."""
    arguments: dict[str, Plain] = dict(spec.kwargs)
    if spec.num_classes is not None:
        arguments = {"num_classes": spec.num_classes, **arguments}
    accepted = _accepted(factory)
    if accepted is None:
        return arguments
    unknown = [name for name in spec.kwargs if name not in accepted]
    if unknown:
        known = ", ".join(sorted(accepted)) or "none"
        raise InputError(f"model {spec.name} has no argument {unknown[0]!r}; it takes: {known}")
    return {name: value for name, value in arguments.items() if name in accepted}


def _accepted(factory: Callable[..., object]) -> frozenset[str] | None:
    """Names a call may carry, or None where any name goes."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(p.name for p in parameters if p.kind in kinds)


def _factory(name: str) -> Callable[..., object]:
    if ":" in name:
        return imported(name)
    if name in CIFAR:
        return CIFAR[name]
    if name.startswith(_TIMM):
        return _timm(name.removeprefix(_TIMM))
    if name in TORCHVISION or name.startswith(PREFIX):
        return _torchvision(name.removeprefix(PREFIX))
    hint = did_you_mean(name, model_names(), otherwise=f"; known: {', '.join(model_names())}.")
    raise InputError(
        f"unknown model {name!r}{hint} Others: timm/NAME, torchvision/NAME, package.module:factory"
    )


def _torchvision(name: str) -> Callable[..., object]:
    try:
        from torchvision import models
    except ImportError as error:
        raise MachineError(
            f'model {name} needs torchvision; pip install "edgeprune[search]"'
        ) from error
    known = models.list_models()
    if name not in known:
        raise InputError(f"torchvision has no model {name!r}{did_you_mean(name, known)}")
    made = partial(models.get_model, name, weights=None)
    backbones = name not in models.list_models(models)  # as those of segmentation, not classifiers
    return partial(made, weights_backbone=None) if backbones else made


def _timm(name: str) -> Callable[..., object]:
    try:
        import timm
    except ImportError as error:
        raise MachineError(
            f'model timm/{name} needs timm; pip install "edgeprune[timm]"'
        ) from error
    known = timm.list_models()
    if name not in known:
        raise InputError(f"timm has no model {name!r}{did_you_mean(name, known)}")
    return partial(timm.create_model, name, pretrained=False)
