"""Makes one pruned model under limits: searches, measures, fine-tunes, each step only once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from edgeprune.deploy.timing.statistics import Interval
from edgeprune.documents import read_json, typed
from edgeprune.progress import Progress, prefixed, renamed
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.search.strategies import registry
from edgeprune.prune.slimming.compensation import Compensated, compensate
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.plan import PruningPlan, check
from edgeprune.prune.training.distributed import Ranks
from edgeprune.prune.training.evaluation import evaluate
from edgeprune.prune.training.loop import Setting, train_in
from edgeprune.prune.training.state import Keep
from edgeprune.run import front_csv, layers, measured_search, tried_csv
from edgeprune.run.folder import RunFolder
from edgeprune.run.int8_recovery import quantised
from edgeprune.run.measured_search import Candidate, Search, UnreachedError
from edgeprune.run.outcome import PrunedModel, Recovered
from edgeprune.run.setup import RunContext
from edgeprune.text import digest

RECOVERY = "recovery.pt"
REFIT_STEPS = 200  # after 400 nothing of its lead is left: docs/recovery.md has the figures


@dataclass(frozen=True)
class Pruner:
    """What all models of a run share: one context, one search with its memory.

    Attributes:
        context: Context of the run.
        search: One strategy; what it finds out for one model serves the next.
    """

    context: RunContext
    search: Search

    def prune(self, limits: Limits, name: str = "") -> PrunedModel:
        """Make one model.

        Args:
            limits: What it must keep as measured; MACs and parameters as counted.
            name: Name of its own folder and of its steps; none for the run's only model.

        Raises:
            UnreachedError: nothing keeps the limits.
        """
        run = self.context.folder
        folder = run.member(name) if name else run
        progress = prefixed(self.context.progress, name)
        chosen = self._restored(folder) or self._chosen(limits, folder, progress)
        return PrunedModel(chosen, self._recovered(chosen, folder, progress))

    def _chosen(self, limits: Limits, folder: RunFolder, progress: Progress) -> Candidate:
        context, found = self.context, list[Candidate]()
        candidates = measured_search.settle(
            context.problem, context.timing, self.search, limits, context.request.strategy
        )
        try:
            for candidate in candidates:
                found.append(candidate)
                context.folder.event("candidate", limit=limits.latency, **_plain(candidate))
                progress(_remark(candidate, limits.latency), 0, 0)
        except UnreachedError:
            if found:  # what was searched in vain still shows what can be had
                self._write_front(found, limits, reached=False)
            raise
        chosen = found[-1]
        self._write_front(found, limits, reached=True)
        layers.write(context, folder, chosen.choice.widths)
        plan = chosen.choice.plan(context.problem.model)
        folder.write("plan.json", plan.to_plain())
        folder.record(chosen=_plain(chosen))
        return chosen

    def _write_front(self, found: list[Candidate], limits: Limits, *, reached: bool) -> None:
        made = front_csv.Attempt(limits, tuple(found), reached, self.context.request.strategy)
        front_csv.add(self.context.folder.path, self.search, made)
        tried_csv.write(self.context.folder.path, self.context.problem)

    def _restored(self, folder: RunFolder) -> Candidate | None:
        """What a resumed run had chosen and measured, if it came so far."""
        found, plan = folder.read().get("chosen"), folder.path / "plan.json"
        if not found or not plan.exists():
            return None
        known = typed(_Chosen, found, str(folder.path / "run.json"))
        problem = self.context.problem
        kept = PruningPlan.from_plain(read_json(plan))
        stay = check(kept, problem.space.groups)
        widths = np.array([len(indices) for indices in stay], np.int64)  # (G,)
        ratios = problem.costs.ratios(widths[None])[0]
        choice = Choice(kept.kept, widths, ratios, known.scores)
        return Candidate(choice, Interval(*known.measured))

    def _recovered(self, chosen: Candidate, folder: RunFolder, progress: Progress) -> Recovered:
        """Slim, recalibrate, distil; an interrupted training goes on."""
        context, images = self.context, self.context.images
        plan = chosen.choice.plan(context.problem.model)
        start = self._compensated(plan)
        before = evaluate(start.model, images.val).accuracy
        task = {"plan": digest(plan.model_dump_json()), "basis": context.basis}
        setting = Setting(
            teacher=context.dense.model,
            progress=renamed(progress, "fine-tuning"),
            ranks=Ranks(device=best_device()),
            keep=Keep(folder.path / RECOVERY, task),
        )
        trained = train_in(start.model, images.train, context.request.recovery, setting)
        accuracy = {
            "val_dense": context.origin.accuracy,
            "val_before_finetune": before,
            "val_slim": evaluate(trained.model, images.val).accuracy,
        }
        context.folder.event("fine-tuned", **accuracy)
        network, int8 = trained.model, None
        if context.int8:
            network, int8 = quantised(context, network, progress)
            accuracy["val_int8"] = context.val_int8(int8.quantised.proto)
            if network is not trained.model:
                accuracy["val_slim"] = evaluate(network, images.val).accuracy
        folder.record(validation=accuracy)
        history = {**trained.history, "compensation": start.to_plain()}
        return Recovered(network, accuracy, history, int8)

    def _compensated(self, plan: PruningPlan) -> Compensated:
        """Slim and recalibrate; refit what stays where it was asked for, or training is short."""
        context, images = self.context, self.context.images
        method = context.request.compensate
        if method == "auto":
            steps = context.request.recovery.steps_on(len(images.train))
            method = "refit" if steps <= REFIT_STEPS else "none"
        problem = context.problem
        start = compensate(
            problem.trace, plan, images.train, images.val, method, lambda: problem.folding
        )
        if start.divergence:
            context.folder.event("compensated", **start.to_plain())
        return start


@dataclass(frozen=True)
class _Chosen:
    """What run.json keeps of a candidate that a resumed run needs."""

    scores: Mapping[str, float]
    measured: tuple[float, float, float]


def pruner(context: RunContext) -> Pruner:
    """The one search of a run, ready to be asked; its memory lies in the run folder."""
    return Pruner(context, registry.searcher(context.request.strategy, context.problem))


def _plain(candidate: Candidate) -> dict[str, object]:
    choice = candidate.choice
    return {
        "widths": choice.widths.tolist(),
        "predicted": choice.ratios.tolist(),
        "measured": list(candidate.measured),
        "aim": asdict(candidate.aim),
        "scores": dict(choice.scores),
    }


def _remark(candidate: Candidate, limit: float | None) -> str:
    measured = candidate.measured
    said = f"candidate measured at {measured.mid:.3f}x [{measured.low:.3f}, {measured.high:.3f}]"
    if limit is None:
        return said
    return f"{said}, {'within' if measured.high <= limit else 'not surely within'} {limit:g}x"
