"""Torch-Pruning at its strongest, and FastNAS, brought to a measured latency.

Used as its documentation says: ``BasePruner`` on the dependency graph, classifier ignored,
default normalisation of each importance, ratio raised until the *measured* latency fits. It is
given the network with rewritten shortcuts: it cannot follow padded ones.

Reference:
    G. Fang et al., DepGraph: towards any structural pruning, CVPR 2023 (Torch-Pruning).
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch_pruning as tp
from torch import Tensor, nn

from contest import fastnas
from contest.climbing import Climb
from contest.fastnas import FastNas, Pruning
from contest.network import DenseNetwork
from contest.resizing import resized
from edgeprune.deploy.timing import protocol
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.prune.images.datasets import sample
from edgeprune.prune.images.held import Images
from edgeprune.prune.models.shortcuts import ZeroPadShortcut
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan, kept_by

SCREENING = 5  # epochs of a climb; what is reported is measured with the usual number
GRADIENT_IMAGES = 2048
_IMPORTANCE: dict[str, Callable[[], tp.importance.Importance]] = {
    "l1": lambda: tp.importance.MagnitudeImportance(p=1),
    "bn": tp.importance.BNScaleImportance,
    "taylor": tp.importance.GroupTaylorImportance,
}


@dataclass(frozen=True)
class Arm:
    """One way to use Torch-Pruning.

    Attributes:
        importance: ``l1``, ``bn`` or ``taylor``.
        everywhere: One threshold for the whole network (global) instead of one ratio each.
        stream: Prune what the residual streams carry, too.
        round_to: Widths are multiples of it; None is as published.
    """

    importance: str
    everywhere: bool
    stream: bool
    round_to: int | None

    @property
    def name(self) -> str:
        """Such as ``tp-taylor-global-aligned16`` or ``tp-l1-uniform-published-stream``."""
        scope = "global" if self.everywhere else "uniform"
        widths = "published" if self.round_to is None else f"aligned{self.round_to}"
        return "-".join(["tp", self.importance, scope, widths] + ["stream"] * self.stream)


def arms(dense: nn.Module, step: int) -> list[Arm | FastNas]:
    """Every arm, the strongest kinds first.

    Args:
        dense: A network without residual streams has no arms that prune them.
        step: Step of the device's width grid; its half and its quarter are tried as well.
    """
    streams = (False, True) if _shortcuts(dense) else (False,)
    roundings = (step, step // 2, None, step // 4)
    others = [FastNas(divisor) for divisor in (step, step // 4)] if fastnas.is_installed() else []
    return others + [
        Arm(importance, everywhere, stream, rounding)
        for stream, rounding, everywhere, importance in itertools.product(
            streams, roundings, (True, False), _IMPORTANCE
        )
    ]


def gradients(dense: nn.Module, images: Images) -> dict[str, Tensor]:
    """Gradient of the cross-entropy of training images by parameter, for ``taylor``."""
    network = copy.deepcopy(dense).eval().requires_grad_(True)
    for pixels, labels in sample(images, GRADIENT_IMAGES).batches(128):
        nn.functional.cross_entropy(network(pixels), labels).backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad for name, p in network.named_parameters()}
    return {name: grad for name, grad in found.items() if grad is not None}


def pruned(dense: nn.Module, arm: Arm, ratio: float, grads: dict[str, Tensor]) -> nn.Module:
    """A slim copy of the dense network, in evaluation mode; ``ratio`` is Torch-Pruning's own."""
    network = copy.deepcopy(dense).eval().requires_grad_(True)
    for name, parameter in network.named_parameters():
        parameter.grad = grads[name].clone()
    pruner = tp.pruner.BasePruner(
        network,
        torch.zeros(1, 3, 32, 32),
        importance=_IMPORTANCE[arm.importance](),
        global_pruning=arm.everywhere,
        pruning_ratio=ratio,
        ignored_layers=_ignored(network, arm),
        round_to=arm.round_to,
    )
    pruner.step()
    network.zero_grad(set_to_none=True)
    for shortcut in _shortcuts(network):
        shortcut.requires_grad_(False)
    return network.eval()


def _ignored(network: nn.Module, arm: Arm) -> list[nn.Module]:
    """The classifier; and, to keep the residual streams, the layers that begin one."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shortcuts = _shortcuts(network)
    return [layers[-1], *([] if arm.stream or not shortcuts else [layers[0], *shortcuts])]


def _shortcuts(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, ZeroPadShortcut)]


class Peers:
    """All arms on one network; a latency is measured once for each set of widths.

    Args:
        dense: The network.
        folder: Where arms keep what they find out.
    """

    def __init__(self, dense: DenseNetwork, folder: Path) -> None:
        self.dense = dense
        self.folder = folder
        self.searches: dict[FastNas, Pruning] = {}
        self.grads = gradients(dense.model, dense.images.train)
        self.timed: dict[tuple[tuple[int, ...], bool], Interval] = {}

    def pruned(self, arm: Arm | FastNas, ratio: float) -> nn.Module:
        """The slim network of an arm."""
        if isinstance(arm, FastNas):
            model, images = self.dense.model, self.dense.images
            search = self.searches.setdefault(arm, Pruning(model, images, arm, self.folder))
            return rebuilt(model, search.pruned(ratio))
        return pruned(self.dense.model, arm, ratio, self.grads)

    def climb(
        self, arm: Arm | FastNas, limits: Sequence[float]
    ) -> Iterator[tuple[float, float | None, Climb]]:
        """For each limit, loosest first: it, the ratio that fits, and all that was measured."""
        climb = Climb(lambda ratios, final: self._latencies(arm, ratios, final))
        climb.up_to(min(limits))
        for limit in sorted(limits, reverse=True):
            yield limit, climb.fit(limit), climb

    def _latencies(
        self, arm: Arm | FastNas, ratios: Sequence[float], final: bool
    ) -> list[Interval]:
        networks = [self.pruned(arm, ratio) for ratio in ratios]
        keys = [(widths(network), final) for network in networks]
        new = {k: n for k, n in zip(keys, networks, strict=True) if k not in self.timed}
        if new:
            files = [self._file(network, final) for network in new.values()]
            epochs = protocol.EPOCHS if final else SCREENING
            found = self.dense.latencies(files, epochs=epochs)
            self.timed.update(zip(new, found, strict=True))
        return [self.timed[key] for key in keys]

    def _file(self, network: nn.Module, final: bool) -> bytes:
        return self.dense.exported(network) if final else resized(self.dense.proto, network)


def plan_of(dense: DenseNetwork, network: nn.Module) -> PruningPlan | None:
    """The plan that slims the dense network to a peer's, so that it can be refitted like ours.

    A peer keeps the values of the channels that stay: each is found by its running variance.

    Returns:
        The plan; None where what it makes is not that network, tensor for tensor.
    """
    whole, state = dense.model.state_dict(), network.state_dict()
    masks = []
    for index in range(len(dense.trace.groups)):
        name = next(
            name
            for (name, _), layout in dense.trace.tensors.items()
            if name.endswith(".running_var") and bool((layout.group == index).all())
        )
        masks.append(torch.isin(whole[name], state.get(name, torch.empty(0))))
    plan = PruningPlan(model=dense.name, kept=kept_by(dense.trace.groups, masks))
    made = slim(dense.trace, plan, fold_constants=False).state_dict()
    same = all(name in made and torch.equal(made[name], tensor) for name, tensor in state.items())
    return plan if same else None


def widths(network: nn.Module) -> tuple[int, ...]:
    """Channels that each convolution and linear layer puts out: what the latency depends on."""
    layers = (m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    return tuple(layer.weight.shape[0] for layer in layers)


def rebuilt(dense: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """A slim network from the dense one and its own tensors, whose shapes say the widths."""
    network = copy.deepcopy(dense)
    for name, module in network.named_modules():
        for kind in (module._parameters, module._buffers):
            for key in [k for k, tensor in kind.items() if tensor is not None]:
                tensor = state[f"{name}.{key}" if name else key]
                learnt = isinstance(kind[key], nn.Parameter)
                grows = learnt and kind[key].requires_grad
                kind[key] = nn.Parameter(tensor, grows) if learnt else tensor
        _told_widths(module)
    return network.eval()


def _told_widths(module: nn.Module) -> None:
    """A layer's own record of its widths, which follows its tensors."""
    if isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = module.weight.shape[:2]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = len(module.weight)
