"""Several models in one run: a family at several latencies, or a walk down to the lowest."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from edgeprune.errors import PromiseError
from edgeprune.run.delivery import deliver
from edgeprune.run.folder import RunFolder, name
from edgeprune.run.measured_search import UnreachedError
from edgeprune.run.outcome import Made, Outcome, recall
from edgeprune.run.pruner import Workshop

Found = TypeVar("Found")


@dataclass(frozen=True)
class Member:
    """One model of a family.

    Attributes:
        latency: Share of the dense latency that was asked for.
        folder: Where it lies.
        outcome: What it came to; None where it could not be had.
        reason: Why not.
    """

    latency: float
    folder: Path
    outcome: Outcome | None
    reason: str = ""

    @property
    def exit_code(self) -> int:
        """Of its verdict; 1 where it could not be had."""
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


def family(shop: Workshop) -> Family:
    """Make every model, and judge them when all are made, so that no test image comes earlier.

    A model that cannot be had is told and costs the others nothing. Models that an earlier,
    interrupted run finished are not judged again.
    """
    request = shop.scene.request
    made: dict[float, Made] = {}
    for share in request.family:
        if recall(shop.folder.member(name(share))) is None:
            aim = request.within(share).limits
            found = _unless_refused(shop, share, partial(shop.make, aim, name(share)))
            made |= {share: found} if found else {}
    for share, each in made.items():
        _unless_refused(shop, share, partial(_judge, shop, share, each))
    members = tuple(_member(shop.folder, share) for share in request.family)
    result = Family(shop.folder.path, members)
    shop.folder.record(
        status="done",
        exit_code=result.exit_code,
        family=[member.to_plain() for member in members],
    )
    return result


def recall_family(folder: RunFolder) -> Family | None:
    """What a finished run came to, from its files; None where it is no finished family."""
    known = folder.read()
    if known.get("status") != "done" or "family" not in known:
        return None
    members = tuple(_member(folder, line["latency"]) for line in known["family"])
    return Family(folder.path, members)


def _unless_refused(shop: Workshop, share: float, step: Callable[[], Found]) -> Found | None:
    """What a step gives; a promise that it cannot keep is told and ends this model alone."""
    try:
        return step()
    except PromiseError as error:
        reason = str(error)
        if isinstance(error, UnreachedError) and error.cost == "latency":
            reason = f"{error.found}; raise the {share:g} of --family"
        told = {"latency": share, "reason": reason}
        shop.folder.event("not reached", **told)
        shop.folder.member(name(share)).record(status="failed", **told)
        return None


def _judge(shop: Workshop, share: float, made: Made) -> Outcome:
    profile = shop.scene.request.within(share).judged
    return deliver(shop.scene, made, profile, shop.folder.member(name(share)))


def _member(folder: RunFolder, share: float) -> Member:
    own = folder.member(name(share))
    return Member(share, own.path, recall(own), own.read().get("reason", ""))
