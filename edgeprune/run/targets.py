"""Searches for several targets: a run folder each, all else shared, scores too."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeprune import __version__
from edgeprune.documents import typed
from edgeprune.errors import EdgepruneError, InputError, MachineError, PromiseError
from edgeprune.interrupt import interrupt
from edgeprune.progress import Progress, prefixed, silent
from edgeprune.report.command import write_report
from edgeprune.run import folder as run_folder
from edgeprune.run.basis import Earlier, Shared
from edgeprune.run.family import Family, Member
from edgeprune.run.folder import RunFolder
from edgeprune.run.outcome import Outcome
from edgeprune.run.pipeline import run_search
from edgeprune.run.request import Request, refuse_other


@dataclass(frozen=True, kw_only=True)
class TargetRun:
    """What the search for one target of several came to.

    Attributes:
        request: What was asked for, with its folder.
        found: One model or a family; None where it failed.
        reason: Why it failed.
        failed: Exit code of the failure.
        shared: What it has from the searches before it, a line each.
    """

    request: Request
    found: Outcome | Family | None
    reason: str = ""
    failed: int = 0
    shared: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the target, and of its folder."""
        return self.request.target.name

    @property
    def members(self) -> tuple[Member, ...]:
        """Its models, one or a family; none where it failed."""
        if isinstance(self.found, Family):
            return self.found.members
        if self.found is None:
            return ()
        limit = self.request.budget.latency
        return (Member(math.inf if limit is None else limit, self.found.folder, self.found),)

    @property
    def exit_code(self) -> int:
        """Exit code of its verdicts, or of its failure."""
        return self.found.exit_code if self.found else self.failed

    def to_plain(self) -> dict[str, Any]:
        """A line of run.json."""
        plain = {"target": self.name, "folder": self.name, "exit_code": self.exit_code}
        if self.found is None:
            verdict = {"verdict": "failed", "reason": self.reason}
        elif isinstance(self.found, Family):
            verdict = {"verdict": "met" if self.exit_code == 0 else "not all met"}
        else:
            verdict = {"verdict": self.found.report.outcome}
        return {**plain, **verdict, "shared": list(self.shared)}


@dataclass(frozen=True)
class Targets:
    """What a run for several targets came to."""

    folder: Path
    runs: tuple[TargetRun, ...]

    @property
    def exit_code(self) -> int:
        """The worst of the targets': 0 only where every budget of every one is met."""
        return max(run.exit_code for run in self.runs)


def search_targets(requests: Sequence[Request], progress: Progress = silent) -> Targets:
    """Search for each target in turn, and compare them on one page.

    What does not depend on the device is made once: images, dense model, trace, statistics. A
    search takes the scores of those before it where it asks for the same network, and joint
    starts from what they scored near its own limits. One that fails costs the others nothing.

    Args:
        requests: The same request for each target, ``out`` their common folder.
        progress: Called as each step goes on.

    Raises:
        InputError: something in the requests does not fit; no run folder is left behind.
    """
    folder = _folder(requests)
    with folder.claimed(), _recorded(folder, requests):
        shared, runs = Shared(), list[TargetRun]()
        for number, request in enumerate(requests):
            own = _own(folder, request)
            timed = replace(own, time_budget=_share(requests[number:], runs))
            runs.append(_run(timed, shared, prefixed(progress, request.target.name)))
            shared.earlier.append(Earlier(request.target.name, own, RunFolder(_out(own))))
        result = Targets(folder.path, tuple(runs))
        plain = [run.to_plain() for run in result.runs]
        folder.record(**_status(result), exit_code=result.exit_code, targets=plain)
    return result


def _status(result: Targets) -> dict[str, str]:
    """Done, unless a machine failed: then the same command may still come to more."""
    stopped = [run for run in result.runs if run.failed > PromiseError.exit_code]
    if not stopped:
        return {"status": "done", "reason": ""}
    said = "; ".join(f"{run.name}: {run.reason}" for run in stopped)
    return {"status": "failed", "reason": said}


def _folder(requests: Sequence[Request]) -> RunFolder:
    """A new run folder, or the one of the run that is to go on."""
    first = requests[0]
    if not first.resume:
        name = f"{len(requests)}-targets"
        return run_folder.create(first.out, first.model.name, name, overwrite=first.overwrite)
    folder = run_folder.reopen(first.out)
    names, record = [request.target.name for request in requests], folder.read()
    if "requests" not in record:
        raise InputError(f"{folder.path} holds a run for one target; ask for that alone")
    earlier = typed(dict[str, dict[str, Any]], record["requests"], str(folder.path / "run.json"))
    if list(earlier) != names:
        raise InputError(
            f"{folder.path} holds a run for the targets {', '.join(earlier)}, now it is "
            f"{', '.join(names)}; ask for the same, or name another folder"
        )
    for request in requests:
        refuse_other(request, earlier[request.target.name], folder.path)
    return folder


@contextmanager
def _recorded(folder: RunFolder, requests: Sequence[Request]) -> Iterator[None]:
    """Keep run.json true whatever happens; a request that was wrong leaves no folder behind."""
    first = requests[0]
    names = ", ".join(request.target.name for request in requests)
    together = {
        "model": first.to_plain()["model"],
        "strategy": first.strategy,
        "target": {"name": names},
    }
    plain = {request.target.name: request.to_plain() for request in requests}
    folder.record(status="running", version=__version__, request=together, requests=plain)
    folder.event("resumed" if first.resume else "started")
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt) or interrupt.number is not None
        began = first.resume or any(_began(folder, request) for request in requests)
        if isinstance(error, InputError) and not (stopped or began):
            folder.discard()
            raise
        status = "interrupted" if stopped else "failed"
        interrupt.advice = f"the same command with --out {folder.path} --resume goes on"
        with suppress(MachineError):  # a full disk: the error itself says so
            folder.record(status=status, reason=status if stopped else str(error))
        raise
    folder.event("done")
    try:
        write_report([folder.path])
    except EdgepruneError as error:
        with suppress(MachineError):
            folder.event("no report", reason=str(error))
    folder.finish()


def _run(request: Request, shared: Shared, progress: Progress) -> TargetRun:
    """The search for one target; one that an earlier session finished is read from its files."""
    try:
        found = run_search(request, progress, shared=shared)
    except InputError:
        raise  # the request has to be put right before anything goes on
    except EdgepruneError as error:
        if interrupt.number is not None:
            raise
        said = _told(request, shared)
        return TargetRun(
            request=request,
            found=None,
            reason=str(error),
            failed=error.exit_code,
            shared=said,
        )
    return TargetRun(request=request, found=found, shared=_told(request, shared))


def _own(folder: RunFolder, request: Request) -> Request:
    """The request with a folder of its own inside the run's; goes on where it had begun."""
    out = folder.path / request.target.name
    begun = _began(folder, request)
    return replace(request, out=out, resume=begun, overwrite=not begun and out.exists())


def _began(folder: RunFolder, request: Request) -> bool:
    """Whether there is anything to go on with."""
    own = folder.path / request.target.name
    return (own / "run.json").exists() and "request" in RunFolder(own).read()


def _out(request: Request) -> Path:
    return request.out or Path()


def _share(left: Sequence[Request], done: Sequence[TargetRun]) -> float | None:
    """Time of the next search: an equal part of what those before it left of the whole budget."""
    budget = left[0].time_budget
    if budget is None:
        return None
    used = sum(_used(run.request) for run in done)
    return max(1.0, (budget - used) / len(left))


def _used(request: Request) -> float:
    time = RunFolder(_out(request)).read().get("time")
    used = time.get("used") if isinstance(time, dict) else None
    return float(used) if isinstance(used, int | float) else 0.0


def _requests(shared: Shared) -> list[Request]:
    return [one.request for one in shared.earlier]


def _images(request: Request) -> str:
    height, width = request.size
    return f"{request.normalisation.channels}x{height}x{width}"


def _counted(request: Request) -> dict[str, dict[str, int]]:
    """By kind of score how many were asked for and how many of them shared; none before that."""
    found = RunFolder(_out(request)).read().get("evaluations")
    counts = found.get("by score", {}) if isinstance(found, dict) else {}
    return typed(dict[str, dict[str, int]], counts, str(_out(request) / "run.json"))


def _told(request: Request, shared: Shared) -> tuple[str, ...]:
    """What a search has from those before it, and what it could not have."""
    if not shared.earlier:
        return ()
    alike = [one.target for one in shared.alike(request)]
    said = [
        f"nothing is shared with {one.target}: its images are {_images(one.request)}, these "
        f"{_images(request)}"
        for one in shared.earlier
        if one.target not in alike
    ]
    if not alike:
        return tuple(said)
    counts = [
        f"of {count['scored']} {kind} scores {count['shared']}"
        for kind, count in _counted(request).items()
    ]
    scores = f"; {', '.join(counts)}" if counts else "; no scores, as none were asked for"
    said.append(f"shared with {', '.join(alike)}: images, dense model and statistics{scores}")
    if any(one.target.precision.mode == "int8" for one in (request, *_requests(shared))):
        said.append("F2 scores of int8 networks are shared among equal int8 schemes alone")
    return tuple(said)
