"""Runs one search from its request to its verdict: the only file that knows every step."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from edgeprune import __version__
from edgeprune.errors import EdgepruneError, InputError, MachineError, PromiseError
from edgeprune.interrupt import interrupt
from edgeprune.progress import Progress, silent
from edgeprune.report.command import write_report
from edgeprune.run import folder as run_folder
from edgeprune.run import layers
from edgeprune.run.basis import Shared
from edgeprune.run.context import RunContext
from edgeprune.run.delivery import deliver
from edgeprune.run.elsewhere import Crew
from edgeprune.run.family import Family, make_family, recall_family
from edgeprune.run.folder import RunFolder
from edgeprune.run.lowest_latency import fastest_that_keeps_accuracy
from edgeprune.run.measured_search import UnreachedError
from edgeprune.run.outcome import Outcome, PrunedModel, recall
from edgeprune.run.pruner import RECOVERY, Pruner, pruner
from edgeprune.run.request import Passed, Request, refuse_other
from edgeprune.run.setup import set_up
from edgeprune.run.time_budget import TimeBudget
from edgeprune.target import Budget

MARGIN_MS = 0.03  # how far the median may drift between the first measurement and the last


def run_search(
    request: Request,
    progress: Progress = silent,
    passed: Passed | None = None,
    shared: Shared | None = None,
) -> Outcome | Family:
    """Search, slim, fine-tune, export and judge.

    Args:
        request: What is wanted.
        progress: Called as each step goes on.
        passed: A module, images or both in place of those that the request names.
        shared: What searches for other targets have made ready and found out.

    Raises:
        InputError: something in the request does not fit; no run folder is left behind.
        PromiseError: a budget that nothing on the grid can meet, or parity failed.
        MachineError: the disk, the memory or the runtime refuses.
    """
    if passed and (request.workers or request.scheduler):
        raise InputError("workers cannot be given a module or images; name them, or leave workers")
    shared = shared or Shared(passed=passed or Passed())
    folder = _folder(request)
    if request.resume and (finished := recall(folder) or recall_family(folder)):
        return finished
    time = _time_budget(request, folder)
    with (
        folder.claimed(),
        _recorded(folder, request, time),
        _workers(request, folder, progress) as crew,
    ):
        there = _where_measured(request, crew, progress)
        context = set_up(there, folder, progress, time, crew, shared)
        _refuse_other_basis(context)
        result = make_family(pruner(context)) if request.family else _single(pruner(context))
        for state in (folder.path / RECOVERY, *folder.path.glob(f"*/{RECOVERY}")):
            state.unlink(missing_ok=True)
        return result


def _folder(request: Request) -> RunFolder:
    """A new run folder, or the one of the run that is to go on."""
    if request.resume:
        folder = run_folder.reopen(request.out)
        if "requests" in folder.read():
            raise InputError(
                f"{folder.path} holds a run for several targets; name all of them to go on"
            )
        refuse_other(request, folder.read()["request"], folder.path)
        return folder
    return run_folder.create(
        request.out, request.model.name, request.target.name, overwrite=request.overwrite
    )


def _time_budget(request: Request, folder: RunFolder) -> TimeBudget:
    """The budget of this run, less what its earlier sessions took."""
    known = folder.read().get("time", {}) if request.resume else {}
    used = known.get("used") if isinstance(known, dict) else None
    return TimeBudget(
        seconds=request.time_budget,
        used=used if isinstance(used, int | float) else 0.0,
        models=len(request.family) or 1,
    )


@contextmanager
def _recorded(folder: RunFolder, request: Request, time: TimeBudget) -> Iterator[None]:
    """Keep run.json true whatever happens; a request that was wrong leaves no folder behind."""
    folder.record(status="running", version=__version__, request=request.to_plain())
    folder.event("resumed" if request.resume else "started")
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt) or interrupt.number is not None
        began = request.resume or (folder.path / "latency.json").exists()
        if isinstance(error, InputError) and not (stopped or began):
            folder.discard()
            raise
        status = "interrupted" if stopped else "failed"
        reason = status if stopped else str(error)
        interrupt.advice = f"the same command with --out {folder.path} --resume goes on"
        with suppress(MachineError):  # a full disk: the error itself says so
            folder.event(status, reason=reason)
            folder.record(status=status, reason=reason, time=time.to_plain())
        if began and not stopped:
            _draw(folder)
        raise
    folder.event("done")
    folder.record(time=time.to_plain())
    _draw(folder)
    folder.finish()


@contextmanager
def _workers(request: Request, folder: RunFolder, progress: Progress) -> Iterator[Crew | None]:
    """The workers, where some are asked for; none has to be ended by hand."""
    if not (request.workers or request.scheduler):
        yield None
        return
    try:
        from edgeprune.run.dask_workers import joined
    except ImportError as error:
        raise MachineError(
            f"--workers and --scheduler need {error.name}, which is not installed: "
            'pip install "edgeprune[dask]"'
        ) from None
    with joined(request.workers, request.scheduler, progress) as workers:
        yield workers
        folder.event("scores by worker", **workers.counts)


def _where_measured(request: Request, crew: Crew | None, progress: Progress) -> Request:
    """The request, measured on the worker that is its target's device, if none was named."""
    uri = crew.device_of(request.target.name) if crew and request.carried else ""
    if not uri:
        return request
    progress(f"{request.target.name} is measured by a worker: {uri}", 0, 0)
    return replace(request, device=uri, carried=False)


def _draw(folder: RunFolder) -> None:
    """Draw report.html; a result is not lost because no picture of it could be made."""
    try:
        write_report([folder.path])
    except EdgepruneError as error:
        with suppress(MachineError):  # the same full disk, most likely
            folder.event("no report", reason=str(error))


def _refuse_other_basis(context: RunContext) -> None:
    """What an unfinished run knows holds for its dense model and its images alone."""
    folder = context.folder
    known = folder.read().get("basis", context.basis.digest)
    if known != context.basis.digest:
        raise InputError(
            f"{folder.path} holds a run on another dense model or other images; give those, or "
            "name another folder"
        )
    folder.record(basis=context.basis.digest)


def _single(pruner: Pruner) -> Outcome:
    """One model, under every budget that was asked for."""
    context, request = pruner.context, pruner.context.request
    budget = request.judged_by()
    if request.only_loss:
        model = fastest_that_keeps_accuracy(pruner)
        plan = context.plan(model.chosen.choice)
        layers.write(context, context.folder, model.chosen.choice.widths)
        context.folder.write("plan.json", plan.to_plain())  # each step has its own in its folder
    elif request.latency_ms is not None:
        model, budget = _within_ms(pruner, request.latency_ms)
    else:
        model = pruner.prune(request.limits)
    return deliver(context, model, budget, context.folder)


def _within_ms(pruner: Pruner, wanted: float) -> tuple[PrunedModel, Budget]:
    """Milliseconds as a ratio of what the dense model takes on the device, in this run.

    Raises:
        PromiseError: nothing is so fast there; the best that can be had is named in ms.
    """
    context, request = pruner.context, pruner.context.request
    dense, fingerprint = context.timing.dense_ms()
    context.folder.event("dense latency", ms=dense, fingerprint=fingerprint)
    ratio = (1 - MARGIN_MS) * wanted / dense
    limits = replace(request.limits, latency=min(ratio, request.limits.latency or ratio))
    try:
        return pruner.prune(limits), request.judged_by(fingerprint)
    except UnreachedError as error:
        if error.cost != "latency" or limits.latency != ratio:
            raise
        raise PromiseError(
            f"strategy {request.strategy} does not reach {wanted:g} ms where the dense "
            f"model takes {dense:.3f} ms: the best that can be had is about "
            f"{error.best * dense:.3f} ms; raise --max-latency-ms"
        ) from None
