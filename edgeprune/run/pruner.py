"""Makes one pruned model under limits: searches, measures, fine-tunes, each step only once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from torch import nn

from edgeprune.deploy.timing.statistics import Interval
from edgeprune.documents import read_json, typed
from edgeprune.progress import Progress, prefixed, renamed
from edgeprune.prune.models.placement import best_device
from edgeprune.prune.search.evaluation.scores import tally
from edgeprune.prune.search.strategies import names, registry
from edgeprune.prune.search.strategies.controls import Uniform
from edgeprune.prune.slimming.compensation import Compensated, compensate
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice
from edgeprune.prune.space.plan import PruningPlan, check
from edgeprune.prune.training.distributed import Ranks
from edgeprune.prune.training.loop import Setting, train, train_in
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.state import Keep
from edgeprune.run import front_csv, layers, measured_search, tried_csv
from edgeprune.run.context import RunContext
from edgeprune.run.folder import RunFolder
from edgeprune.run.int8_recovery import quantised
from edgeprune.run.measured_search import Candidate, Search, UnreachedError
from edgeprune.run.outcome import PrunedModel, Recovered
from edgeprune.text import digest

RECOVERY = "recovery.pt"
_TIMED_STEPS = 4  # the first is slower than the others, which errs on the safe side
REFIT_STEPS = 200  # after 400 nothing of its lead is left: recovery.md has the figures


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
        self._plan_time(limits, progress)
        try:
            chosen = self._restored(folder) or self._chosen(limits, folder, progress)
            return PrunedModel(chosen, self._recovered(chosen, folder, progress))
        finally:
            self.context.time.models -= 1

    def _plan_time(self, limits: Limits, progress: Progress) -> None:
        """Set aside what comes after the search, where there is a time budget."""
        context, time = self.context, self.context.time
        if time.seconds is None:
            return
        effort, images = context.problem.effort, context.images.train
        if not time.step_seconds:
            like = Uniform(context.problem)(limits).plan(context.problem.model)
            time.step_seconds = _step_seconds(context, slim(context.problem.trace, like))
        left = effort.finalists
        distilling = 0
        for steps, survivors in effort.rungs:
            distilling += steps * left if left > survivors else 0
            left = min(left, survivors)
        recovery = context.request.recovery
        said = time.plan(recovery.steps_on(len(images)), distilling, effort.refitted)
        context.folder.event("time planned", said=said)
        progress(said, 0, 0)

    def _chosen(self, limits: Limits, folder: RunFolder, progress: Progress) -> Candidate:
        context, found = self.context, list[Candidate]()
        progress(_announced(context), 0, 0)
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
        plan = context.plan(chosen.choice)
        folder.write("plan.json", plan.to_plain())
        folder.record(chosen=_plain(chosen))
        return chosen

    def _write_front(self, found: list[Candidate], limits: Limits, *, reached: bool) -> None:
        problem, folder = self.context.problem, self.context.folder
        folder.record(time=self.context.time.to_plain())
        if evaluator := vars(problem).get("evaluator"):  # a strategy that scores has made one
            asked = problem.effort.evaluations
            counts = {"asked": asked, "scored": evaluator.evaluated}
            by_kind = {"by score": tally(evaluator.scored)} if self.context.beside else {}
            folder.record(evaluations=counts | by_kind)
        made = front_csv.Attempt(limits, tuple(found), reached, self.context.request.strategy)
        front_csv.add(folder.path, self.search, made)
        tried_csv.write(folder.path, problem)

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
        return Candidate(choice, Interval(*known.measured) if known.measured else None)

    def _recovered(self, chosen: Candidate, folder: RunFolder, progress: Progress) -> Recovered:
        """Slim, recalibrate, distil; an interrupted training goes on."""
        context, images = self.context, self.context.images
        plan = context.plan(chosen.choice)
        start = self._compensated(plan)
        before = context.validated(start.model)
        recipe = self._affordable(folder)
        task = {"plan": digest(plan.model_dump_json()), "basis": context.basis.digest}
        keep = Keep(folder.path / RECOVERY, task)
        setting = Setting(
            teacher=context.dense.model,
            progress=renamed(progress, "fine-tuning"),
            ranks=Ranks(device=best_device()),
            keep=keep,
            task=context.task,
        )
        if context.elsewhere:
            told = renamed(progress, "fine-tuning")
            context.elsewhere.train(start.model, plan, recipe, keep, told)
        trained = train_in(start.model, images.train, recipe, setting)
        accuracy = {
            "val_dense": context.origin.figure,
            "val_before_finetune": before,
            "val_slim": context.validated(trained.model),
        }
        context.folder.event("fine-tuned", **accuracy)
        network, int8 = trained.model, None
        if context.int8:
            network, int8 = quantised(context, context.int8, network, progress)
            accuracy["val_int8"] = accuracy["val_dense"] - (int8.quantised.lost or 0.0) / 100
            if network is not trained.model:
                accuracy["val_slim"] = context.validated(network)
        folder.record(validation=accuracy)
        history = {**trained.history, "compensation": start.to_plain()}
        deployed = accuracy.get("val_int8", accuracy["val_slim"])
        lost = round(context.task.lost(accuracy["val_dense"], deployed), 6)
        return Recovered(network, accuracy, history, lost, int8)

    def _affordable(self, folder: RunFolder) -> Recipe:
        """The recipe, with the steps there is time for; a resumed training keeps its own."""
        context, recipe = self.context, self.context.request.recovery
        count = len(context.images.train)
        asked = recipe.steps_on(count)
        planned = folder.read().get("finetune_steps", asked)
        if not (folder.path / RECOVERY).exists():
            one_pass = replace(recipe, epochs=1, steps=None).steps_on(count)
            planned = context.time.affordable(asked, min(asked, one_pass))
            folder.record(finetune_steps=planned)
        if planned >= asked:
            return recipe
        context.time.notes.append(
            f"the time budget shortened the fine-tuning to {planned} of {asked} steps"
        )
        return replace(recipe, steps=planned)

    def _compensated(self, plan: PruningPlan) -> Compensated:
        """Slim and recalibrate; refit what stays where it was asked for, or training is short."""
        context, images = self.context, self.context.images
        method = context.request.compensate
        if method == "auto":
            steps = context.request.recovery.steps_on(len(images.train))
            method = "refit" if steps <= REFIT_STEPS else "none"
        problem = context.problem
        start = compensate(
            problem.trace,
            plan,
            images.train,
            images.val,
            method,
            lambda: problem.folding,
            task=context.task,
        )
        if start.divergence:
            context.folder.event("compensated", **start.to_plain())
        return start


@dataclass(frozen=True)
class _Chosen:
    """What run.json keeps of a candidate that a resumed run needs."""

    scores: Mapping[str, float]
    measured: tuple[float, float, float] | None


def pruner(context: RunContext) -> Pruner:
    """The one search of a run, ready to be asked; its memory lies in the run folder."""
    return Pruner(context, registry.searcher(context.request.strategy, context.problem))


def _announced(context: RunContext) -> str:
    """What the search is going to do, before it begins."""
    effort, strategy = context.request.effort, context.request.strategy
    if strategy not in names.LEAST:
        return f"strategy {strategy} chooses without scoring networks"
    return (
        f"strategy {strategy} scores up to {effort.evaluations} networks, at least "
        f"{names.LEAST[strategy]}; the best {effort.refitted} are refitted, {effort.finalists} "
        "distilled"
    )


def _step_seconds(context: RunContext, network: nn.Module) -> float:
    """What a step of the fine-tuning takes on a network, in seconds, measured."""
    recipe = replace(context.request.recovery, steps=_TIMED_STEPS, ema=None)
    trained = train(
        network, context.images.train, recipe, teacher=context.dense.model, task=context.task
    )
    return float(trained.history["seconds"]) / _TIMED_STEPS


def _plain(candidate: Candidate) -> dict[str, object]:
    choice = candidate.choice
    return {
        "widths": choice.widths.tolist(),
        "predicted": choice.ratios.tolist(),
        "measured": list(candidate.measured) if candidate.measured else None,
        "aim": asdict(candidate.aim),
        "scores": dict(choice.scores),
    }


def _remark(candidate: Candidate, limit: float | None) -> str:
    measured = candidate.measured
    if measured is None:
        predicted = candidate.choice.ratios[0]
        return f"candidate predicted at {predicted:.3f}x, not timed: the device is not here"
    said = f"candidate measured at {measured.mid:.3f}x [{measured.low:.3f}, {measured.high:.3f}]"
    if limit is None:
        return said
    return f"{said}, {'within' if measured.high <= limit else 'not surely within'} {limit:g}x"
