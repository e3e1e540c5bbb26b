"""Control strategies that a search has to beat: pruning rules, random search, depth alone."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgeprune.prune.search.evaluation.archive import Archive
from edgeprune.prune.search.evaluation.encoding import Encoding
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies import one_shot
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice

_REDRAWS = 20  # what was drawn before does not count again; a small space has no more to give


@dataclass
class Uniform:
    """One share of all widths; the L1 criterion ranks the channels."""

    problem: Problem

    def __call__(self, limits: Limits) -> Choice:
        """The widest network under the limits."""
        encoding = Encoding(self.problem.space, (self.problem.criterion("l1"),))
        widths = one_shot.uniform(self.problem.space, self.problem.costs, limits)
        return encoding.choice(encoding.genomes(widths[None])[0], self.problem.costs)


@dataclass
class Ranked:
    """One threshold on a criterion over all groups, brought onto the grid."""

    problem: Problem
    criterion: str

    def __call__(self, limits: Limits) -> Choice:
        """The highest threshold that the limits demand."""
        saliencies = self.problem.criterion(self.criterion)
        relative = self.criterion not in one_shot.ABSOLUTE
        space, costs = self.problem.space, self.problem.costs
        widths = one_shot.ranked(space, costs, limits, saliencies, relative=relative)
        encoding = Encoding(space, (saliencies,))
        return encoding.choice(encoding.genomes(widths[None])[0], costs)


@dataclass
class Depth:
    """Whole branches dropped by the harm that each does alone, everything else at full width."""

    problem: Problem

    def __call__(self, limits: Limits) -> Choice:
        """The deepest network under the limits."""
        space, costs = self.problem.space, self.problem.costs
        widths = one_shot.depth(space, costs, limits, self._harms)
        return self._encoding.choice(self._encoding.genomes(widths[None])[0], costs)

    @cached_property
    def _encoding(self) -> Encoding:
        return Encoding(self.problem.space, (self.problem.criterion("l1"),))

    @cached_property
    def _harms(self) -> dict[str, float]:
        blocks = {g.block: i for i, g in enumerate(self.problem.space.groups) if g.droppable}
        archive = Archive(problem=self.problem, encoding=self._encoding, allowed=len(blocks))
        alone = np.repeat(self.problem.space.full[None], len(blocks), 0)
        alone[np.arange(len(blocks)), list(blocks.values())] = 0
        losses = archive.losses(self._encoding.genomes(self.problem.space.settle(alone)))
        return {str(name): float(loss) for name, loss in zip(blocks, losses, strict=True)}


@dataclass
class Random:
    """As many random networks just under the limits as ``joint`` scores, the best distilled."""

    problem: Problem

    def __call__(self, limits: Limits) -> Choice:
        """The best of them."""
        archive, encoding = self._archive, self._archive.encoding
        archive.begin(limits)
        for attempt in range(_REDRAWS):
            room = archive.room if archive.scores else max(1, archive.room)
            if not room:
                break
            drawn = one_shot.random_walks(
                encoding.choices,
                lambda genomes: archive.excess(genomes, limits),
                encoding.full,
                room,
                np.random.default_rng([self.problem.settings.seed, len(archive.scores), attempt]),
            )
            together = self.problem.evaluator.at_once
            for start in range(0, len(drawn), together):
                if archive.room or not archive.scores:
                    archive.losses(drawn[start : start + together])
        return archive.decided(archive.ranked(limits))

    def front(self) -> tuple[Choice, ...]:
        """As :meth:`Archive.front`."""
        return self._archive.front()

    @cached_property
    def _archive(self) -> Archive:
        encoding = Encoding(self.problem.space, tuple(self.problem.criteria.values()))
        return Archive(problem=self.problem, encoding=encoding)
