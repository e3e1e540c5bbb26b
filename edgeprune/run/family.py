"""Makes a family: one model for each of several latency ratios, all from one search."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from edgeprune.errors import PromiseError
from edgeprune.run.delivery import deliver
from edgeprune.run.folder import RunFolder, member_name
from edgeprune.run.measured_search import UnreachedError
from edgeprune.run.outcome import Outcome, PrunedModel, recall
from edgeprune.run.pruner import Pruner

Found = TypeVar("Found")


@dataclass(frozen=True)
class Member:
    """One model of a family.

    Attributes:
        latency: Ratio to the dense latency that was asked for.
        folder: Folder of the model.
        outcome: What it came to; None where it could not be had.
        reason: Why not.
    """

    latency: float
    folder: Path
    outcome: Outcome | None
    reason: str = ""

    @property
    def exit_code(self) -> int:
        """Exit code of its verdict; 1 where it could not be had."""
        return self.outcome.exit_code if self.outcome else PromiseError.exit_code

    def to_plain(self) -> dict[str, Any]:
        """A line of run.json."""
        plain = {"latency": self.latency, "folder": self.folder.name, "exit_code": self.exit_code}
        if self.outcome is None:
            return plain | {"verdict": "not reached", "reason": self.reason}
        results = {row.name: {"dense": row.dense, "slim": row.slim} for row in self.outcome.rows}
        return plain | {"verdict": self.outcome.report.outcome, "results": results}


@dataclass(frozen=True)
class Family:
    """What a run with several latencies came to."""

    folder: Path
    members: tuple[Member, ...]

    @property
    def exit_code(self) -> int:
        """The worst of the members': 0 only when every one was met."""
        return max(member.exit_code for member in self.members)


def make_family(pruner: Pruner) -> Family:
    """Make every model, and judge them when all are made, so that no test image comes earlier.

    A model that cannot be had is named and costs the others nothing. Models that an earlier,
    interrupted run finished are not judged again.
    """
    request, folder = pruner.context.request, pruner.context.folder
    models: dict[float, PrunedModel] = {}
    finished = [recall(folder.member(member_name(latency))) for latency in request.family]
    pruner.context.time.models = finished.count(None)
    for latency in request.family:
        if recall(folder.member(member_name(latency))) is None:
            limits = request.within(latency).limits
            step = partial(pruner.prune, limits, member_name(latency))
            model = _unless_refused(pruner, latency, step)
            if model is not None:
                models[latency] = model
    for latency, model in models.items():
        _unless_refused(pruner, latency, partial(_judge, pruner, latency, model))
    members = tuple(_member(folder, latency) for latency in request.family)
    result = Family(folder.path, members)
    folder.record(
        status="done", exit_code=result.exit_code, family=[member.to_plain() for member in members]
    )
    return result


def recall_family(folder: RunFolder) -> Family | None:
    """What a finished run came to, from its files; None where it is no finished family."""
    known = folder.read()
    if known.get("status") != "done" or "family" not in known:
        return None
    members = tuple(_member(folder, line["latency"]) for line in known["family"])
    return Family(folder.path, members)


def _unless_refused(pruner: Pruner, latency: float, step: Callable[[], Found]) -> Found | None:
    """What a step gives; a promise that it cannot keep is recorded and ends this model alone."""
    try:
        return step()
    except PromiseError as error:
        reason = str(error)
        if isinstance(error, UnreachedError) and error.cost == "latency":
            reason = f"{error.found}; raise the {latency:g} of --family"
        folder = pruner.context.folder
        folder.event("not reached", latency=latency, reason=reason)
        member = folder.member(member_name(latency))
        member.record(status="failed", latency=latency, reason=reason)
        return None


def _judge(pruner: Pruner, latency: float, model: PrunedModel) -> Outcome:
    context = pruner.context
    budget = context.request.within(latency).judged_by()
    return deliver(context, model, budget, context.folder.member(member_name(latency)))


def _member(folder: RunFolder, latency: float) -> Member:
    own = folder.member(member_name(latency))
    return Member(latency, own.path, recall(own), own.read().get("reason", ""))
