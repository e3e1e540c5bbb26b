"""Damage of cut channels by masking: output error and divergence without slimming a network.

The channels that go are zeroed where layers make them, a dropped branch is left out, and only the
layers from the first change on are run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from edgeprune.prune.images.held import Images, stratified
from edgeprune.prune.models.outputs import squares, tensors
from edgeprune.prune.models.placement import best_device, working_copy
from edgeprune.prune.slimming.rewriting import Kept
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan, check, kept_by
from edgeprune.prune.tracing.producers import producing_layers
from edgeprune.prune.tracing.residual import Block, through
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.task import Task
from edgeprune.prune.training.tasks import CLASSIFICATION

IMAGES = 256
CALIBRATION_IMAGES = 1024
_LARGEST_MAP = 2**28  # bytes of the largest map of all images together: 256 MiB
_FEWEST_IMAGES = 16
_Norm = nn.modules.batchnorm._BatchNorm

Masks = Sequence[Tensor]


@dataclass(frozen=True)
class Span:
    """The part of a graph that some groups make a sub-network of.

    Attributes:
        start: The first node whose channels may be cut.
        end: The first node behind all that carries these channels, on which alone the rest of
            the network depends.
    """

    start: fx.Node
    end: fx.Node


class MaskedNetwork:
    """A traced network whose channels are cut without building a smaller one.

    Args:
        trace: The dense network.
        images: Held-out images that are run; :data:`IMAGES` of them, fewer where maps are large.
        seed: Seed of their choice.
        device: Where to compute; CUDA where there is one.
        task: Says how far answers are from each other.
    """

    def __init__(
        self,
        trace: Trace,
        images: Images,
        *,
        seed: int = 0,
        device: torch.device | None = None,
        task: Task = CLASSIFICATION,
    ) -> None:
        self.trace, self._task = trace, task
        self._device = device or best_device()
        self._dense = working_copy(trace.graph, self._device).eval()
        self._network = working_copy(trace.graph, self._device).eval()
        self._nodes = list(trace.graph.graph.nodes)
        self._places = {node: place for place, node in enumerate(self._nodes)}
        self._made = _made(trace)
        self._pixels = _served(trace, images, seed, self._device)

    def run(
        self,
        masks: Masks,
        *,
        known: Mapping[fx.Node, Tensor] | None = None,
        want: Sequence[fx.Node] = (),
        fresh: bool = False,
    ) -> dict[fx.Node, Tensor]:
        """Values of the nodes in ``want``, and of the output, with these channels kept.

        Args:
            masks: Kept channels per group, each (C,), bool, on the CPU; a branch that loses
                one of its groups must have lost them all.
            known: Values to go on from; what lies before them is not computed.
            want: Nodes to return.
            fresh: BatchNorm takes the statistics of these very images, not the stored ones.
        """
        stay = Kept(self.trace, [mask.nonzero().flatten().numpy() for mask in masks])
        dropped = {block.join: block for block in self.trace.blocks if stay.dropped(block)}
        run = _Run(self._network, self.trace.graph.graph, self._scales(stay), dropped)
        run.fresh = fresh
        return run.values(self._pixels, known or {}, want)

    def dense(self, want: Sequence[fx.Node]) -> dict[fx.Node, Tensor]:
        """Values of the dense network at the nodes in ``want``, and of the output."""
        return _Run(self._dense, self.trace.graph.graph, {}, {}).values(self._pixels, {}, want)

    def span(self, members: Sequence[int]) -> Span:
        """The sub-network that these groups make up, given their indices."""
        layouts = self.trace.layouts
        carriers = [node for node in layouts if np.isin(layouts[node].group, members).any()]
        first = min(self._places[node] for node in carriers if node in self._made)
        last = max(self._places[node] for node in carriers)
        behind = [n for n in through(self._nodes) if self._places[n] > last]
        return Span(self._nodes[first], behind[0])

    def damage(self, span: Span, standing: Masks) -> "Damage":
        """A measure of cuts inside ``span`` while the rest stays as it stands."""
        start = self._places[span.start]
        before = self._nodes[:start]
        needed = [
            node
            for node in before
            if node.op != "get_attr" and any(self._places[u] >= start for u in node.users)
        ]
        values = self.run(standing, want=needed)
        # What lies before and is not needed is never read: an empty tensor stands for it.
        passed = {node: torch.empty(0) for node in before if node.op != "get_attr"}
        known = {**passed, **{node: values[node] for node in needed if node in values}}
        return Damage(self, span.end, known, self.dense([span.end]), self._task)

    def recalibrate(self, masks: Masks, images: Images) -> None:
        """Estimate BatchNorm's stored statistics anew for the network with these channels."""
        plan = PruningPlan(model="masked", kept=kept_by(self.trace.groups, masks))
        stay = Kept(self.trace, check(plan, self.trace.groups))
        small = slim(self.trace, plan, fold_constants=False)
        small = recalibrate(small, images, count=CALIBRATION_IMAGES, device=self._device)
        for name, norm in small.named_modules():
            if isinstance(norm, _Norm):
                self._take(name, norm, stay)

    def _take(self, name: str, norm: _Norm, stay: Kept) -> None:
        for statistic in ("running_mean", "running_var"):
            found, own = getattr(norm, statistic), f"{name}.{statistic}"
            layout = self.trace.tensors.get((own, 0))
            if found is not None:
                stored = self._network.get_buffer(own)
                at = slice(None) if layout is None else torch.from_numpy(stay.positions(layout))
                stored[at] = found.to(stored)  # what is cut keeps its old statistics

    def _scales(self, kept: Kept) -> dict[fx.Node, Tensor]:
        """What to multiply the values of a node by where channels are gone."""
        scales = {}
        for node in self._made:
            layout = self.trace.layouts[node]
            stay = torch.from_numpy(kept.positions(layout))
            if not stay.all():
                shape = [1] * len(node.meta["tensor_meta"].shape)
                shape[layout.axis] = -1
                dtype = node.meta["tensor_meta"].dtype
                scales[node] = stay.to(self._device, dtype).view(shape)  # (1, .., C, .., 1)
        return scales


@dataclass(frozen=True)
class Damage:
    """How far cuts inside a sub-network throw its output and the network's answer off.

    Attributes:
        network: The network as it stands.
        end: Output of the sub-network.
        known: Values before the sub-network.
        dense: Values of the dense network at ``end`` and at the output.
        task: Says how far answers are from each other.
    """

    network: MaskedNetwork
    end: fx.Node
    known: Mapping[fx.Node, Tensor]
    dense: Mapping[fx.Node, Tensor]
    task: Task = CLASSIFICATION

    def __call__(self, masks: Masks) -> float:
        """Relative squared error of the output plus the distance of the answer.

        Both are taken against the dense network, on the same held-out images; BatchNorm from
        the sub-network on takes the statistics of these images, as recalibration would repair
        what a cut shifts. The sum is our reconstruction: SMOEA's abstract names no formula.

        Args:
            masks: Kept channels of all groups, each (C,), bool, on the CPU.

        Returns:
            0 where nothing changed; NaN where the network gives NaN.
        """
        values = self.network.run(masks, known=self.known, want=[self.end], fresh=True)
        cut, dense = values[self.end], self.dense[self.end]
        off = squares([c - d for c, d in zip(tensors(cut), tensors(dense), strict=True)])
        off = off / squares(tensors(dense)).clamp_min(1e-12)
        return float(off + self.task.distance(_answer(values), _answer(self.dense)))


def _answer(values: Mapping[fx.Node, Any]) -> Any:
    return next(value for node, value in values.items() if node.op == "output")


class _Run(fx.Interpreter):
    """One pass over the graph, from what is known on.

    Args:
        network: Holds the layers.
        graph: Its graph.
        scales: What to multiply the values of nodes by.
        dropped: Branches that are left out, by their additions.
    """

    fresh = False

    def __init__(
        self,
        network: nn.Module,
        graph: fx.Graph,
        scales: Mapping[fx.Node, Tensor],
        dropped: Mapping[fx.Node, Block],
    ) -> None:
        super().__init__(network, graph=graph)
        self._scales, self._dropped = scales, dropped
        self._found: dict[fx.Node, Tensor | None] = {}

    def values(
        self, pixels: Tensor, known: Mapping[fx.Node, Tensor], want: Sequence[fx.Node]
    ) -> dict[fx.Node, Tensor]:
        """What the nodes in ``want`` and the output come to."""
        self._found = dict.fromkeys(want)
        # Copies: what follows may write into its input.
        given = {node: value.clone() for node, value in known.items()}
        gone = [node for block in self._dropped.values() for node in block.branch]
        skipped = {node: None for node in gone if node.op != "get_attr"}
        with torch.inference_mode():
            self.run(pixels, initial_env={**given, **skipped}, enable_io_processing=False)
        return {node: value for node, value in self._found.items() if value is not None}

    def run_node(self, n: fx.Node) -> Any:
        """A node's value, less what is cut; noted where it is wanted."""
        block = self._dropped.get(n)
        value = super().run_node(n) if block is None else self.env[block.kept].clone()
        if n in self._scales:
            value = value * self._scales[n]
        if n in self._found or n.op == "output":
            self._found[n] = tree_map(torch.clone, value)
        return value

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A layer's value; BatchNorm's from the statistics of its input where they are fresh."""
        norm = self.submodules[target]
        # A variance needs more than one value of each channel.
        if self.fresh and isinstance(norm, _Norm) and args[0].numel() > args[0].shape[1]:
            scale, shift = norm.weight, norm.bias
            return F.batch_norm(args[0], None, None, scale, shift, training=True, eps=norm.eps)
        return super().call_module(target, args, kwargs)


def _made(trace: Trace) -> list[fx.Node]:
    """Nodes where channels of groups are made, or get a constant: those that must be cut."""
    layers = {
        id(module) for group in trace.groups for module, _ in producing_layers(trace.graph, group)
    }
    made = [node for node in trace.layouts if _makes(node, trace, layers)]
    return [node for node in made if not set(node.users) <= set(made)]


def _makes(node: fx.Node, trace: Trace, layers: set[int]) -> bool:
    own = trace.layouts[node].group
    if node.op == "get_attr" or not (own >= 0).any():
        return False
    if node.op == "call_module" and id(trace.graph.get_submodule(str(node.target))) in layers:
        return True
    sources = node.all_input_nodes
    carried = {int(g) for s in sources if s in trace.layouts for g in trace.layouts[s].group}
    return any(s.op == "get_attr" for s in sources) or not set(own.tolist()) <= carried | {-1}


def _served(trace: Trace, images: Images, seed: int, device: torch.device) -> Tensor:
    shapes = [
        node.meta["tensor_meta"].shape
        for node in trace.graph.graph.nodes
        if hasattr(node.meta.get("tensor_meta"), "shape")
    ]
    largest = max(shape[1:].numel() for shape in shapes)
    count = min(IMAGES, max(_FEWEST_IMAGES, _LARGEST_MAP // (4 * largest)))
    chosen = images.subset(stratified(images.labels, count, seed)).to(device)
    pixels, _ = next(iter(chosen.batches(count)))
    return pixels.contiguous(memory_format=torch.channels_last)
