"""Archive of scored networks: ranking under limits, refit, successive halving, the front."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

import numpy as np

from edgeprune.arrays import Floats, Genomes, Ints
from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.evaluation.scores import Score
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.plan import PruningPlan

_NEAR = 0.05  # limits tightened after measuring move by a few percent, other limits by more
_ALIKE = 1.2  # times a limit, and its share: networks between are of about the size looked for
_LARGER = 2.0  # share of a limit: what is smaller would be of little use
_STEPS = {"refit": "refitting candidates", "F2": "distilling finalists"}
_BROKEN = 1e3  # loss of a network whose outputs are no numbers: worse than any other


@dataclass(kw_only=True)
class Archive:
    """Genomes with their F1 scores, how many more may be scored, and the best so far.

    Attributes:
        problem: The network, its costs, and the evaluator that scores.
        encoding: What genomes mean.
        scores: F1 by canonical genome, in the order in which they were asked for.
        begun: Limits that the search has begun with, in order.
        dear: Numbers of the dearer scores, ``refit loss``, ``F2 accuracy`` ..., by genome.
        allowed: Networks that may be scored for the last limits.
        before: Networks that were scored before these limits.
        seconds: Time that scoring took.
        shared: Scores that were taken over from searches for other targets.
        alike: Of those the ones of networks of about the size looked for.
    """

    problem: Problem
    encoding: Encoding
    scores: dict[tuple[int, ...], Score] = field(default_factory=dict)
    begun: list[Limits] = field(default_factory=list)
    dear: dict[tuple[int, ...], dict[str, float]] = field(default_factory=dict)
    allowed: int = 0
    before: int = 0
    seconds: float = 0.0
    shared: int = 0
    alike: int = 0
    _best: tuple[float, float] | None = None  # loss and predicted latency within the limits

    def losses(self, genomes: Genomes) -> Floats:
        """F1 loss of a population (P, 2 G), shape (P,)."""
        asked = [(tuple(genome.tolist()), genome) for genome in self.encoding.canonical(genomes)]
        new = {key: genome for key, genome in asked if key not in self.scores}
        if new:
            plans = [self.encoding.plan(genome) for genome in new.values()]
            answers, began = self.problem.evaluator.score_many(plans), monotonic()
            for (key, genome), score in zip(new.items(), answers, strict=True):
                self.scores[key] = score
                self.seconds += monotonic() - began
                self._tell(genome)
                began = monotonic()
        return _comparable([self.scores[key].loss for key, _ in asked])

    def adopt(self, limits: Limits) -> None:
        """Take over networks that searches for other targets have scored, as they cost nothing.

        Those that are not much larger than some limits allow, nor half as small, at most half as
        many as the effort, best first. What is of about the size looked for counts as scored for
        the first limits, so that less is left to score; the others only show the way.
        """
        if not self.problem.known:
            return
        widths = np.array(self.problem.known, np.int64)  # (N, G)
        genomes = self.encoding.genomes(widths)
        ours = (self.encoding.widths(genomes) == widths).all(1)  # on the grid of this device
        within = self.excess(genomes, limits.loosened(_ALIKE)) == 0
        # Without limits none is taken: nothing is larger than half of none.
        large = self.excess(genomes, limits.loosened(1 / _LARGER)) > 0
        known = np.unique(genomes[ours & within & large], axis=0)  # (M, 2 G)
        over = self.excess(known, limits) > 0
        found = []
        for genome, misses in zip(known, over, strict=True):
            score = self.problem.evaluator.remembered(self.encoding.plan(genome))
            if score is not None and tuple(genome.tolist()) not in self.scores:
                found.append((bool(misses), score.loss, tuple(genome.tolist())))
        best = sorted(found)[: self.problem.effort.evaluations // 2]
        taken = np.array([genome for *_, genome in best], np.int64).reshape(-1, genomes.shape[1])
        self.losses(taken)
        self.shared += len(taken)
        self.alike += int((self.excess(taken, limits.loosened(1 / _ALIKE)) > 0).sum())

    def begin(self, limits: Limits) -> int:
        """Begin with other limits: how many networks may be scored for them.

        The first limits have all that is left of the effort, others a quarter of it, and those
        that are only tightened a little a tenth.
        """
        effort = self.problem.effort.evaluations
        earlier = self.begun[-1] if self.begun else None
        self.begun.append(limits)
        self.before = len(self.scores)
        if earlier is None:
            own = len(self.scores) - self.shared
            self.allowed = max(effort - own - self.alike, effort // 5)
        else:
            near = np.allclose(limits.vector(), earlier.vector(), rtol=_NEAR)
            self.allowed = effort // (10 if near else 4)
        self._best = None
        for genome in self.genomes:
            self._note(genome)
        return self.allowed

    @property
    def room(self) -> int:
        """How many more networks may be scored for these limits, in number and in time."""
        more = max(0, self.before + self.allowed - len(self.scores))
        left = self.problem.left()
        computed = len(self.scores) - self.shared
        if math.isinf(left) or not (self.seconds and computed):
            return more
        return max(0, min(more, int(left * computed / self.seconds)))

    def _tell(self, genome: Ints) -> None:
        """Progress after one more score, with the best network so far."""
        self._note(genome)
        done = len(self.scores) - self.before
        total = max(self.allowed, done)
        best = ""
        if self._best:
            best = f"best {self._best[1]:.3f}x (predicted), loss {self._best[0]:.3f}"
        self.problem.progress("scoring networks", done, total, best)

    def _note(self, genome: Ints) -> None:
        """Remember a scored network that is the best within the limits."""
        if not self.begun:
            return
        loss, ratios = self.scores[tuple(genome.tolist())].loss, self.ratios(genome[None])
        within = self.begun[-1].excess(ratios)[0] == 0
        if within and (self._best is None or loss < self._best[0]):
            self._best = loss, float(ratios[0, 0])

    @property
    def genomes(self) -> Genomes:
        """All genomes that were scored, shape (N, 2 G)."""
        return np.array(list(self.scores), np.int64).reshape(-1, 2 * self.encoding.groups)

    def excess(self, genomes: Genomes, limits: Limits) -> Floats:
        """Summed relative violation of the limits, 0 where all hold, shape (P,)."""
        return limits.excess(self.ratios(genomes))

    def ranked(self, limits: Limits, among: Genomes | None = None) -> Genomes:
        """Scored genomes that keep the limits, least F1 loss first.

        Where none keeps them, the one that comes closest.
        """
        genomes = self.genomes if among is None else among
        excess = self.excess(genomes, limits)
        if (excess > 0).all():
            return genomes[[int(excess.argmin())]]
        within = genomes[excess == 0]
        ordered: Genomes = within[np.argsort(self.losses(within), kind="stable")]
        return ordered

    def decided(self, candidates: Genomes) -> Choice:
        """The best of candidates (P, 2 G), best first by F1: refitted, then distilled (F2).

        The refit in closed form ranks networks more like they end than F1 does, and picks the
        finalists. Then successive halving: all are distilled, the best of them for longer. What
        was distilled as long as the best goes along.

        References:
            K. Jamieson, A. Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter
            Optimization, AISTATS 2016.
        """
        effort, evaluator, left = self.problem.effort, self.problem.evaluator, candidates
        if effort.refitted and len(left) > 1:
            left = left[: effort.refitted]
            left = self._ordered("refit", left, evaluator.refitted_many)
        left = last = left[: effort.finalists]
        for steps, survivors in effort.rungs:
            if len(left) > survivors:
                score = partial(evaluator.distilled_many, steps=steps)
                last = self._ordered("F2", left, score)
                left = last[:survivors]
        best, *others = [self.choice(genome) for genome in last]
        return replace(best, others=tuple(others))

    def _ordered(
        self,
        name: str,
        genomes: Genomes,
        score: Callable[[Sequence[PruningPlan]], Iterator[Score]],
    ) -> Genomes:
        """The genomes by a dearer score, best first; its numbers are put down.

        Those that there is no time for come behind, in the order that they had.
        """
        step, losses, longest = _STEPS[name], list[float](), 0.0
        answers = score([self.encoding.plan(genome) for genome in genomes])
        for done, genome in enumerate(genomes):
            began = monotonic()
            if self.problem.left_to_choose() <= longest:
                break
            self.problem.progress(step, done, len(genomes))
            found = next(answers)
            losses.append(found.loss)
            numbers = self.dear.setdefault(tuple(genome.tolist()), {})
            numbers |= {f"{name} {what}": number for what, number in _known(found).items()}
            longest = max(longest, monotonic() - began)
        else:
            self.problem.progress(step, len(genomes), len(genomes))
        scored = genomes[np.argsort(_comparable(losses), kind="stable")]
        return np.concatenate([scored, genomes[len(losses) :]])

    def ratios(self, genomes: Genomes) -> Floats:
        """Predicted shares of latency, MACs and params, shape (P, 3)."""
        return self.problem.costs.ratios(self.encoding.widths(genomes))

    def macs(self, genomes: Genomes) -> Floats:
        """Share of the MACs that is kept, shape (P,)."""
        return self.ratios(genomes)[:, 1]

    def choice(self, genome: Ints) -> Choice:
        """One scored genome as a choice, with all of its scores."""
        key = tuple(genome.tolist())
        scores = {**_known(self.scores[key]), **self.dear.get(key, {})}
        return self.encoding.choice(genome, self.problem.costs, **scores)

    def front(self) -> tuple[Choice, ...]:
        """Networks that none scored so far beats in both predicted latency and F1 loss.

        Those that were refitted or distilled come too, beaten or not: by their dearer scores
        the choice was made.
        """
        genomes = self.genomes
        if not len(genomes):
            return ()
        losses = self.losses(genomes)
        latency = self.ratios(genomes)[:, 0]
        best, front = _BROKEN, []
        for row in np.lexsort((losses, latency)):  # fastest first, then least loss
            dear = tuple(genomes[row].tolist()) in self.dear and losses[row] < _BROKEN
            if losses[row] < best or dear:
                front.append(self.choice(genomes[row]))
            best = min(best, losses[row])
        return tuple(front)


def _known(score: Score) -> dict[str, float]:
    """Its numbers, less an accuracy that nobody measured."""
    return {name: number for name, number in vars(score).items() if number is not None}


def _comparable(losses: Sequence[float]) -> Floats:
    """Losses to 4 decimals, so that the noise of their last bits decides nothing."""
    finite: Floats = np.nan_to_num(np.array(losses), nan=_BROKEN, posinf=_BROKEN).round(4)
    return finite
