"""What edgeprune's own strategies choose: each is asked once for all limits of a network."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import nn

from contest.bitmask import Bitmask
from contest.network import DenseNetwork
from contest.schedule import search_seed, strategy
from edgeprune.errors import PromiseError
from edgeprune.prune.saliency.transform import PIXELS
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies import gwcs, registry
from edgeprune.prune.search.strategies.joint import Joint
from edgeprune.prune.slimming.compensation import unlabelled
from edgeprune.prune.slimming.refit import refit
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.run import measured_search
from edgeprune.run.measured_search import Candidate

REFIT_IMAGES = 512


def _plain(problem: Problem) -> Problem:
    """No compensation: networks are just cut."""
    return replace(problem, fold=False)


def _l1(problem: Problem) -> Problem:
    return replace(problem, criteria_names=("l1",))


def _pixels(problem: Problem) -> Problem:
    """The metric of plain positions in place of the wavelet's."""
    return replace(problem, wavelet=replace(problem.wavelet, wavelet=PIXELS))


def _bits(problem: Problem) -> Problem:
    return replace(problem, genome="bits")


def _on_macs(problem: Problem) -> Problem:
    """MACs stand where latency stood; what comes out is measured all the same."""
    _, macs, params = problem.costs.predictors
    return replace(problem, costs=replace(problem.costs, predictors=(macs, macs, params)))


# What is changed of the problem, and the search of it, by the ablation's name.
ABLATIONS: dict[str, tuple[Callable[[Problem], Problem], Callable[[Problem], registry.Searcher]]]
ABLATIONS = {
    "joint-plain": (_plain, Joint),
    "joint-l1": (_l1, Joint),
    "joint-pixels": (_pixels, Joint),
    "joint-macs": (_on_macs, Joint),
    "joint-bitmask": (lambda problem: problem, Bitmask),
    "gwcs-bits": (_bits, lambda problem: partial(gwcs.search, problem)),
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
    """One strategy, or an ablation of one, on one network.

    Attributes:
        dense: The network that it is judged on.
        arm: Its name; behind a ``#`` the seed of the search, which is 0 without.
        folder: Where its unfinished search keeps what it knows.
        effort: What its scores may cost.
    """

    dense: DenseNetwork
    arm: str
    folder: Path
    effort: Effort = field(default_factory=Effort)

    def reach(self, limits: Limits) -> Reached:
        """Search, measure, and search again with a tighter aim where the measurement misses."""
        measured = []
        try:
            for candidate in measured_search.settle(
                self._problem, self.dense.timing, self._searcher, limits, self.arm
            ):
                measured.append(candidate)
        except PromiseError as error:
            return Reached(None, None, _lowest(measured), str(error))
        last = measured[-1]
        plan = last.choice.plan(self.dense.name)
        return Reached(plan.to_plain(), [round(value, 4) for value in last.measured])

    @property
    def scored(self) -> int:
        """Networks that F1 has scored so far, the dense one included."""
        return self._problem.evaluator.evaluated if "evaluator" in vars(self._problem) else 0

    @cached_property
    def _problem(self) -> Problem:
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = self.dense.problem(
            effort=self.effort,
            folder=self.folder,
            settings=Settings(seed=search_seed(self.arm)),
        )
        return ABLATIONS[self.arm][0](plain) if self.arm in ABLATIONS else plain

    @cached_property
    def _searcher(self) -> registry.Searcher:
        if self.arm in ABLATIONS:
            return ABLATIONS[self.arm][1](self._problem)
        return registry.searcher(strategy(self.arm), self._problem)


def slimmed(dense: DenseNetwork, plan: PruningPlan) -> nn.Module:
    """The network that a plan describes."""
    return slim(dense.trace, plan)


def refitted(dense: DenseNetwork, plan: PruningPlan) -> nn.Module:
    """The same with the layers that stay solved for on unlabelled training images."""
    pixels = unlabelled(dense.images.train, dense.trace, REFIT_IMAGES)
    return refit(slimmed(dense, plan), dense.trace, plan, pixels).model


def _lowest(measured: list[Candidate]) -> float | None:
    return min((round(candidate.measured.mid, 4) for candidate in measured), default=None)
