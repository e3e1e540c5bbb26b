"""Judges slim networks: the same recalibration, images and training for everybody."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from contest.ledger import Ledger
from contest.network import DenseNetwork
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import train
from edgeprune.prune.training.recipe import Recipe

Judges = Literal["test", "val"]


@dataclass(frozen=True)
class Entrant:
    """A slim network that keeps its limit, made when it is needed."""

    arm: str
    limit: str
    network: Callable[[], nn.Module]


@dataclass(frozen=True)
class Judge:
    """Who is judged on which images, and how networks recover.

    Attributes:
        dense: The dense network and the images.
        ledger: Where results go.
        base: Fields of every row: schedule, model, weights.
        images: What accuracy before fine-tuning is read on.
        recipe: Fine-tuning; None for none.
        seeds: Seeds of the fine-tuning.
    """

    dense: DenseNetwork
    ledger: Ledger
    base: dict[str, Any]
    images: Judges = "val"
    recipe: Recipe | None = None
    seeds: Sequence[int] = (0, 1, 2)

    def before(self, network: nn.Module) -> float:
        """Accuracy after BatchNorm recalibration, before any fine-tuning."""
        recalibrated = recalibrate(network, self.dense.images.train)
        images = self.dense.images.test if self.images == "test" else self.dense.images.val
        return round(evaluate(recalibrated, images).accuracy, 4)

    def recovered(self, entrants: Sequence[Entrant]) -> None:
        """Fine-tune all, seed by seed; what is in the ledger is not run again.

        A run that is cut off so has every arm with fewer seeds, not fewer arms. The accuracy
        is that of the last step, on the test images.
        """
        for seed in self.seeds if self.recipe else ():
            for entrant in entrants:
                self._recovered(entrant, seed)

    def _recovered(self, entrant: Entrant, seed: int) -> None:
        key = {**self.base, "kind": "run", "arm": entrant.arm, "limit": entrant.limit}
        key |= {"seed": seed}
        if self.recipe and not self.ledger.find(**key):
            start = time.monotonic()
            images = self.dense.images
            trained = train(
                recalibrate(entrant.network(), images.train),
                images.train,
                replace(self.recipe, seed=seed),
                teacher=self.dense.model,
            )
            accuracy = round(evaluate(trained.model, images.test).accuracy, 4)
            steps = trained.history["steps"]
            self.ledger.append(time.monotonic() - start, **key, accuracy=accuracy, steps=steps)
