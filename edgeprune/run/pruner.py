"""How does one model of a run come about: chosen, measured, fine-tuned, and each only once?"""

import json
from dataclasses import dataclass, replace

import numpy as np

from edgeprune.deploy.timing.statistics import Interval
from edgeprune.progress import Progress, renamed
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.search.evaluation.problem import Problem
from edgeprune.prune.search.strategies import registry
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.plan import PruningPlan, check
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.distributed import Ranks
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import Setting, train_in
from edgeprune.prune.training.state import Keep
from edgeprune.run import front_csv, measured_search
from edgeprune.run.folder import RunFolder
from edgeprune.run.measured_search import Candidate, Search
from edgeprune.run.outcome import Made, Recovered
from edgeprune.run.setup import Scene
from edgeprune.text import digest

RECOVERY = "recovery.pt"


@dataclass
class Teller:
    """Puts the name of the model that is worked on before the name of every step."""

    progress: Progress
    name: str = ""

    def __call__(self, step: str, done: int, total: int) -> None:
        """Tell how far a step is."""
        self.progress(f"{self.name} {step}".strip(), done, total)


@dataclass(frozen=True)
class Workshop:
    """What all models of a run share: one scene, one search with its memory.

    Attributes:
        scene: What is looked at.
        search: One strategy; what it finds out for one model serves the next.
        folder: Of the run.
        tell: Progress.
    """

    scene: Scene
    search: Search
    folder: RunFolder
    tell: Teller

    def make(self, limits: Limits, name: str = "") -> Made:
        """One model.

        Args:
            limits: What it must keep as measured; MACs and parameters as counted.
            name: Of its own folder and of its steps; none for the run's only model.

        Raises:
            UnreachedError: nothing keeps the limits.
        """
        self.tell.name = name
        folder = self.folder.member(name) if name else self.folder
        chosen = _restored(self.scene, folder) or self._chosen(limits, folder)
        return Made(chosen, self._recovered(chosen, folder))

    def _chosen(self, limits: Limits, folder: RunFolder) -> Candidate:
        field = self.scene.field
        who = f"strategy {self.scene.request.strategy}"
        told: dict[str, object] = {}
        try:
            for candidate in measured_search.settle(field, self.search, limits, who):
                told = _plain(candidate)
                self.folder.event("candidate", limit=limits.latency, **told)
                self.tell(_remark(candidate, limits.latency), 0, 0)
        except measured_search.UnreachedError:
            if told:  # what was searched in vain still shows what can be had
                self._survey(None)
            raise
        self._survey(candidate.choice)
        folder.write("plan.json", candidate.choice.plan(field.model).to_plain())
        folder.record(chosen=told)
        return candidate

    def _survey(self, chosen: Choice | None) -> None:
        front_csv.add(self.folder.path, self.search, chosen, self.scene.request.strategy)

    def _recovered(self, chosen: Candidate, folder: RunFolder) -> Recovered:
        """Slim, recalibrate, distil; an interrupted training goes on."""
        scene, images = self.scene, self.scene.images
        plan = chosen.choice.plan(scene.field.model)
        shrunk = recalibrate(slim(scene.field.trace, plan), images.train)
        before = evaluate(shrunk, images.val).accuracy
        setting = Setting(
            teacher=scene.dense.model,
            progress=renamed(self.tell, "fine-tuning"),
            ranks=Ranks(device=best_device()),
            keep=Keep(folder.path / RECOVERY, {"plan": _digest(plan), "basis": scene.basis}),
        )
        trained = train_in(shrunk, images.train, scene.request.recovery, setting)
        accuracy = {
            "val_dense": scene.origin.accuracy,
            "val_before_finetune": before,
            "val_slim": evaluate(trained.model, images.val).accuracy,
        }
        self.folder.event("fine-tuned", **accuracy)
        return Recovered(trained.model, accuracy, trained.history)


def workshop(scene: Scene, folder: RunFolder, tell: Teller) -> Workshop:
    """The one search of a run, ready to be asked; its memory lies in the run folder."""
    field, request = scene.field, scene.request
    problem = Problem(
        trace=field.trace,
        space=field.space,
        costs=field.costs,
        images=scene.images,
        settings=request.search,
        effort=replace(request.effort, recipe=request.recovery),
        wavelet=request.wavelet,
        folder=folder.search(),
        progress=tell,
    )
    return Workshop(scene, registry.searcher(request.strategy, problem), folder, tell)


def _plain(candidate: Candidate) -> dict[str, object]:
    choice = candidate.choice
    return {
        "widths": choice.widths.tolist(),
        "predicted": choice.ratios.tolist(),
        "measured": list(candidate.measured),
        "scores": dict(choice.scores),
    }


def _remark(candidate: Candidate, limit: float | None) -> str:
    measured = candidate.measured
    said = f"candidate measured at {measured.mid:.3f}x [{measured.low:.3f}, {measured.high:.3f}]"
    if limit is None:
        return said
    return f"{said}, {'within' if measured.high <= limit else 'not surely within'} {limit:g}x"


def _restored(scene: Scene, folder: RunFolder) -> Candidate | None:
    """What a run that is gone on with had chosen and measured, if it came so far."""
    found, plan = folder.read().get("chosen"), folder.path / "plan.json"
    if not found or not plan.exists():
        return None
    kept = PruningPlan.from_plain(json.loads(plan.read_text("utf-8")))
    stay = check(kept, scene.field.space.groups)
    widths = np.array([len(indices) for indices in stay], np.int64)
    ratios = scene.field.costs.ratios(widths[None])[0]
    choice = Choice(kept.kept, widths, ratios, found["scores"])
    return Candidate(choice, Interval(*found["measured"]))


def _digest(plan: PruningPlan) -> str:
    return digest(plan.model_dump_json())
