"""A run's heavy work on other processes: scores, second-order statistics, the last fine-tuning."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from torch import nn

from edgeprune.files import contents, write_whole
from edgeprune.progress import Progress
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.saliency.curvature import Curvature, WaveletOptions
from edgeprune.prune.saliency.ports import Port, find_additions, find_ports
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.evaluation.scores import Answers
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace
from edgeprune.prune.training import state
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.state import Keep
from edgeprune.run.bench import PassTask, PlainStatistics, PortsTask, arrays_of, curvature_of
from edgeprune.run.portable import Portable, scoring


class Crew(Protocol):
    """Processes that can be given work; Dask's are in dask_workers.py."""

    def serve(self, what: Any, under: Any = None) -> Any:
        """Give them what tasks depend on, once; what this returns has tasks done by them."""

    def device_of(self, target: str) -> str:
        """Address of one that is a target's device; empty where there is none."""


@dataclass(frozen=True)
class Elsewhere:
    """The work of one run on other processes.

    Attributes:
        crew: Those processes.
        images: The images of the run.
        portable: Those, and the dense network.
    """

    crew: Crew
    images: DataSet
    portable: Portable

    @cached_property
    def _bench(self) -> Any:
        return self.crew.serve(self.portable)

    def answers(self, problem: Problem) -> Answers:
        """What computes the scores of a problem."""
        found: Answers = self.crew.serve(scoring(problem), self._bench)
        return found

    def curvature(self, traced: Trace, options: WaveletOptions) -> Curvature:
        """Second-order statistics, their ports dealt out; the same as in one process."""
        ports = (*find_ports(traced)[0], *find_additions(traced))
        shares = dealt(ports, self._bench.at_once // 2)
        found: dict[str, PlainStatistics] = {}
        for part in self._bench([PortsTask(share, options) for share in shares]):
            found |= part
        return curvature_of(traced, {port.node.name: found[port.node.name] for port in ports})

    def train(
        self, network: nn.Module, plan: PruningPlan, recipe: Recipe, keep: Keep, progress: Progress
    ) -> None:
        """Take a fine-tuning to its end, a pass over the images at a time.

        What it comes to is the state file of ``keep``, from which ``train_in`` gives the network.
        A worker that dies costs the pass it was at.

        Raises:
            InputError: the state file is of another training.
            DivergenceError: the loss became NaN or infinite.
            MachineError: nobody is left to train, or the disk is full.
        """
        images = self.images.train
        total, kept = recipe.steps_on(len(images)), tuple(plan.kept.items())
        while True:
            found = state.read(keep.path, keep.training(network, recipe, len(images)))
            done = len(found.losses) if found else 0
            progress("training", done, total)
            if done >= total:
                return
            task = PassTask(
                kept=kept,
                weights={} if found else arrays_of(network),
                recipe=recipe,
                task=keep.task,
                state=contents(keep.path) if found else b"",
            )
            write_whole(keep.path, next(self._bench([task])))


def dealt(ports: Sequence[Port], count: int) -> list[frozenset[str]]:
    """Nodes of the ports in at most ``count`` shares of about the same work."""
    shares, loads = [set[str]() for _ in range(count)], [0] * count
    for port in sorted(ports, key=_work, reverse=True):
        least = loads.index(min(loads))
        shares[least].add(port.node.name)
        loads[least] += _work(port)
    return [frozenset(share) for share in shares if share]


def _work(port: Port) -> int:
    """What the products of a port's Gram matrices cost, but for a common factor."""
    positions: int = port.node.meta["tensor_meta"].shape[2:].numel()
    return sum(len(part.rows) ** 2 for part in port.parts) * positions
