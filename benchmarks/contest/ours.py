"""What do edgeprune's own strategies choose? Each is asked once for all limits of a scene."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from contest.bitmask import Bitmask
from contest.scene import Scene
from contest.schedule import search_seed, strategy
from edgeprune.errors import PromiseError
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.evaluator import Effort
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies import registry
from edgeprune.prune.search.strategies.joint import Joint
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.run import measured_search
from edgeprune.run.measured_search import Candidate, Field


def _without_wavelet(problem: Problem) -> Problem:
    names = tuple(name for name in problem.criteria_names if name != "wavelet")
    return replace(problem, criteria_names=names)


def _flat(problem: Problem) -> Problem:
    return replace(problem, effort=replace(problem.effort, stage_generations=0))


def _on_macs(problem: Problem) -> Problem:
    """MACs stand where latency stood; what comes out is measured all the same."""
    _, macs, params = problem.costs.predictors
    return replace(problem, costs=replace(problem.costs, predictors=(macs, macs, params)))


# What is changed of the problem, and the search that then stands on it, by the ablation's name.
ABLATIONS: dict[str, tuple[Callable[[Problem], Problem], Callable[[Problem], registry.Searcher]]]
ABLATIONS = {
    "joint-no-wavelet": (_without_wavelet, Joint),
    "joint-macs": (_on_macs, Joint),
    "joint-flat": (_flat, Joint),
    "joint-bitmask": (lambda problem: problem, Bitmask),
}


@dataclass(frozen=True)
class Reached:
    """A plan that keeps a limit as measured, or the reason why there is none."""

    plan: dict[str, Any] | None
    measured: list[float] | None
    lowest: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Own:
    """One strategy, or an ablation of one, on a scene.

    Attributes:
        scene: What it is judged on.
        arm: Its name; behind a ``#`` the seed of the search, which is 0 without.
        folder: Where its unfinished search keeps what it knows.
        effort: What its scores may cost.
    """

    scene: Scene
    arm: str
    folder: Path
    effort: Effort = field(default_factory=Effort)

    def reach(self, limits: Limits) -> Reached:
        """Search, measure, and search again with a tighter aim where the measurement misses."""
        measured = []
        try:
            for candidate in measured_search.settle(self._field, self._searcher, limits):
                measured.append(candidate)
        except PromiseError as error:
            return Reached(None, None, _lowest(measured), str(error))
        last = measured[-1]
        plan = last.choice.plan(self.scene.name)
        return Reached(plan.to_plain(), [round(value, 4) for value in last.measured])

    @property
    def scored(self) -> int:
        """Networks that F1 has scored so far, the dense one included."""
        return self._problem.evaluator.evaluated if "evaluator" in vars(self._problem) else 0

    @cached_property
    def _problem(self) -> Problem:
        arena = self.scene.field
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = Problem(
            trace=arena.trace,
            space=arena.space,
            costs=arena.costs,
            images=self.scene.images,
            effort=self.effort,
            folder=self.folder,
            settings=Settings(seed=search_seed(self.arm)),
        )
        return ABLATIONS[self.arm][0](plain) if self.arm in ABLATIONS else plain

    @cached_property
    def _field(self) -> Field:
        return replace(self.scene.field, costs=self._problem.costs)

    @cached_property
    def _searcher(self) -> registry.Searcher:
        if self.arm in ABLATIONS:
            return ABLATIONS[self.arm][1](self._problem)
        return registry.searcher(strategy(self.arm), self._problem)


def slimmed(scene: Scene, plan: dict[str, Any]) -> nn.Module:
    """The network that a plan describes."""
    return slim(scene.trace, PruningPlan.from_plain(plan))


def _lowest(measured: list[Candidate]) -> float | None:
    return min((round(candidate.measured.mid, 4) for candidate in measured), default=None)
