"""One search run, top to bottom: the only file that knows every step."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from edgeprune import __version__
from edgeprune.errors import InputError, MachineError, PromiseError
from edgeprune.interrupt import interrupt
from edgeprune.progress import Progress, silent
from edgeprune.run.delivery import deliver
from edgeprune.run.family import Family, family, recall_family
from edgeprune.run.folder import RunFolder, create, reopen
from edgeprune.run.lowest_latency import descend
from edgeprune.run.measured_search import UnreachedError, dense_ms
from edgeprune.run.outcome import Made, Outcome, recall
from edgeprune.run.pruner import RECOVERY, Teller, Workshop, workshop
from edgeprune.run.request import Request, refuse_other
from edgeprune.run.setup import Scene, look
from edgeprune.target import TargetProfile

__all__ = ["Family", "Outcome", "Request", "run_search"]

MARGIN_MS = 0.03  # how far the median may drift between the first measurement and the last


def run_search(request: Request, progress: Progress = silent) -> Outcome | Family:
    """Search, slim, fine-tune, export and judge.

    Args:
        request: What is wanted.
        progress: Told how far each step is.

    Raises:
        InputError: something in the request does not fit; no run folder is left behind.
        PromiseError: a budget that nothing on the grid can meet, or parity failed.
        MachineError: the disk, the memory or the runtime refuses.
    """
    folder = _folder(request)
    if request.resume and (finished := recall(folder) or recall_family(folder)):
        return finished
    with folder.claimed(), _told(folder, request):
        tell = Teller(progress)
        scene = look(request, folder, tell)
        _refuse_other_basis(scene, folder)
        shop = workshop(scene, folder, tell)
        result = family(shop) if request.family else _single(shop)
        for state in (folder.path / RECOVERY, *folder.path.glob(f"*/{RECOVERY}")):
            state.unlink(missing_ok=True)
        return result


def _folder(request: Request) -> RunFolder:
    """A new run folder, or the one of the run that is to go on."""
    if request.resume:
        folder = reopen(request.out)
        refuse_other(request, folder.read()["request"], folder.path)
        return folder
    return create(
        request.out, request.model.name, request.target.name, overwrite=request.overwrite
    )


@contextmanager
def _told(folder: RunFolder, request: Request) -> Iterator[None]:
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
        with suppress(MachineError):  # of a full disk the error itself is told
            folder.event(status, reason=reason)
            folder.record(status=status, reason=reason)
        raise
    folder.event("done")
    folder.finish()


def _refuse_other_basis(scene: Scene, folder: RunFolder) -> None:
    """What an unfinished run knows holds for its dense model and its images alone."""
    known = folder.read().get("basis", scene.basis)
    if known != scene.basis:
        raise InputError(
            f"{folder.path} holds a run on another dense model or other images; give those, or "
            "name another folder"
        )
    folder.record(basis=scene.basis)


def _single(shop: Workshop) -> Outcome:
    """One model, under every budget that was asked for."""
    request = shop.scene.request
    if request.only_accuracy:
        made, profile = descend(shop), request.judged
        plan = made.chosen.choice.plan(shop.scene.field.model)
        shop.folder.write("plan.json", plan.to_plain())  # the steps have theirs in their folders
    elif request.latency_ms is not None:
        made, profile = _within_ms(shop, request.latency_ms)
    else:
        made, profile = shop.make(request.limits), request.judged
    return deliver(shop.scene, made, profile, shop.folder)


def _within_ms(shop: Workshop, wanted: float) -> tuple[Made, TargetProfile]:
    """Milliseconds as a share of what the dense model takes on the device, in this run.

    Raises:
        PromiseError: nothing is so fast there; the best that can be had is named in ms.
    """
    dense, fingerprint = dense_ms(shop.scene.field)
    shop.folder.event("dense latency", ms=dense, fingerprint=fingerprint)
    share = (1 - MARGIN_MS) * wanted / dense
    asked = shop.scene.request.limits
    aim = replace(asked, latency=min(share, asked.latency or share))
    try:
        return shop.make(aim), shop.scene.request.on_device(fingerprint)
    except UnreachedError as error:
        if error.cost != "latency" or aim.latency != share:
            raise
        raise PromiseError(
            f"strategy {shop.scene.request.strategy} does not reach {wanted:g} ms where the dense "
            f"model takes {dense:.3f} ms: the best that can be had is about "
            f"{error.best * dense:.3f} ms; raise --max-latency-ms"
        ) from None
