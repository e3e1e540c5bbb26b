"""One search run, top to bottom: the only file that knows every step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn

from edgeprune import __version__, finalist, interrupt, run_folder
from edgeprune.checkpoint import Checkpoint
from edgeprune.delivery import Outcome, Parcel, Recovered, deliver
from edgeprune.deploy import table
from edgeprune.deploy.device import connect
from edgeprune.deploy.latency_model import LatencyModel
from edgeprune.errors import InputError
from edgeprune.export import to_onnx
from edgeprune.files import write_whole
from edgeprune.finalist import Candidate, Field, Timing
from edgeprune.prune import baseline, blocks, data, strategies
from edgeprune.prune.baseline import Baseline
from edgeprune.prune.channels import Trace, trace
from edgeprune.prune.cost import CostModel
from edgeprune.prune.data import DataSet
from edgeprune.prune.evaluate import evaluate, recalibrate
from edgeprune.prune.evolution import Settings
from edgeprune.prune.finetune import Recipe, train
from edgeprune.prune.fitness import Costs, Limits
from edgeprune.prune.ground import Ground
from edgeprune.prune.images import IMAGENET, Normalisation
from edgeprune.prune.models import ModelSpec, rewrite_shortcuts
from edgeprune.prune.slim import slim
from edgeprune.prune.space import build
from edgeprune.run_folder import RunFolder
from edgeprune.ship import sample_pixels
from edgeprune.target import RelativeBudget, TargetProfile

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Request:
    """What a user asked for.

    Attributes:
        target: Device profile.
        model: Name and arguments of the dense network; its classes come from the data.
        budget: The profile's relative budget, with what the flags changed.
        weights: Checkpoint of the dense network; without one it is trained on the data.
        source: Data set name or folder.
        size: Side of the input in pixels.
        normalisation: What the network was trained with.
        out: Run folder; ``runs/MODEL-TARGET-NNN`` without one.
        overwrite: Replace an earlier run in ``out``.
        baseline: How to train a dense model; its own default without one.
        recovery: How the slim model is fine-tuned.
        search: Size and seed of the genetic search.
        device: Where the table, the candidates and the result are measured.
        strategy: How channels are chosen: one of ``strategies.NAMES``.
    """

    target: TargetProfile
    model: ModelSpec
    budget: RelativeBudget
    weights: Path | None = None
    source: str = "digits"
    size: int = 32
    normalisation: Normalisation = IMAGENET
    out: Path | None = None
    overwrite: bool = False
    baseline: Recipe | None = None
    recovery: Recipe = field(default_factory=Recipe)
    search: Settings = field(default_factory=Settings)
    device: str = "local://"
    strategy: str = strategies.DEFAULT

    @property
    def judged(self) -> TargetProfile:
        """The profile with the budget that was asked for."""
        budget = self.target.budget.model_copy(update={"relative": self.budget})
        return self.target.model_copy(update={"budget": budget})


@dataclass(frozen=True)
class Scene:
    """The images and the dense model, as every later step looks at them.

    Attributes:
        images: Train, validation and test images.
        origin: Where the dense model came from and what it scores.
        dense: The dense model with its shortcuts rewritten.
        counts: Exact MACs and params of widths.
        field: What candidates are drawn from and measured against.
    """

    images: DataSet
    origin: Baseline
    dense: nn.Module
    counts: CostModel
    field: Field


def run_search(request: Request, watch: Watch = lambda step, done, total: None) -> Outcome:
    """Search, slim, fine-tune, export and judge.

    Args:
        request: What is wanted.
        watch: Called with a step's name, how much of it is done, and how much there is.

    Raises:
        InputError: something in the request does not fit; no run folder is left behind.
        PromiseError: a budget that nothing on the grid can meet, or parity failed.
        MachineError: the disk, the memory or the runtime refuses.
    """
    folder = run_folder.create(
        request.out, request.model.name, request.target.name, overwrite=request.overwrite
    )
    with _told(folder, request):
        scene = _scene(request, folder, watch)
        chosen = _choose(scene, request, folder, watch)
        recovered = _recover(scene, chosen, request, watch)
        folder.event("fine-tuned", **recovered.accuracy)
        parcel = Parcel(
            _record(scene, request),
            scene.dense,
            chosen,
            recovered,
            scene.field.space.full,
            scene.counts,
        )
        return deliver(parcel, request.target, scene.field.timing, folder)


@contextmanager
def _told(folder: RunFolder, request: Request) -> Iterator[None]:
    """Keep run.json true whatever happens; a request that was wrong leaves no folder behind."""
    folder.record(status="running", version=__version__, request=_plain(asdict(request)))
    folder.event("started")
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt) or interrupt.happened()
        began = (folder.path / "plan.json").exists()
        if isinstance(error, InputError) and not (stopped or began):
            folder.discard()
            raise
        status = "interrupted" if stopped else "failed"
        folder.event(status, reason=str(error))
        folder.record(status=status, reason=str(error))
        raise
    folder.event("done")
    folder.finish()


def _scene(request: Request, folder: RunFolder, watch: Watch) -> Scene:
    images = data.load(
        request.source,
        size=request.size,
        normalisation=request.normalisation,
        progress=partial(watch, "decoding images"),
    )
    spec = replace(request.model, num_classes=len(images.classes))
    origin = baseline.obtain(
        spec,
        images,
        request.weights,
        request.baseline,
        lambda done, total, loss: watch("training the dense model", done, total),
    )
    folder.event("baseline", origin=origin.origin, val_accuracy=origin.accuracy)
    dense = rewrite_shortcuts(origin.model).eval()
    traced = trace(dense, torch.zeros(1, *images.input_shape))
    if not traced.groups:
        reason = traced.unfollowed[0].reason if traced.unfollowed else "no channel is free"
        raise InputError(f"nothing of {spec.name} can be pruned: {reason}")
    proto = to_onnx(dense, images.input_shape)
    timing = Timing(request.judged, connect(request.device))
    latency = _latency(traced, timing, folder, watch)
    counts = CostModel(traced)
    space = build(traced.groups, latency.grid)
    costs = Costs(space.full, (latency.predict, counts.macs, counts.params))
    arena = Field(spec.name, traced, space, costs, latency.error, proto, timing)
    return Scene(images, origin, dense, counts, arena)


def _latency(traced: Trace, timing: Timing, folder: RunFolder, watch: Watch) -> LatencyModel:
    """The measured table of this machine; what it lacks is measured now and kept."""
    probe = table.Probe(
        device=timing.device,
        progress=lambda what, share: watch(f"measuring {what}", round(1000 * share), 1000),
    )
    model = table.load_or_build(blocks.to_network(traced), timing.profile, probe)
    write_whole(folder.path / "latency.json", model.document)
    folder.event("latency table", sha256=model.sha256, error=model.error, grid=model.grid)
    return model


def _choose(scene: Scene, request: Request, folder: RunFolder, watch: Watch) -> Candidate:
    ground = Ground(
        *(scene.field.trace, scene.field.space, scene.field.costs, scene.images, request.search),
        folder=folder.path,
        watch=watch,
    )
    search = strategies.searcher(request.strategy, ground)
    limits = Limits(request.budget.latency, request.budget.macs, request.budget.params)
    for candidate in finalist.settle(scene.field, search, limits):
        folder.event(
            "candidate",
            widths=candidate.choice.widths.tolist(),
            predicted=candidate.choice.ratios.tolist(),
            measured=candidate.measured,
        )
    folder.write("plan.json", candidate.choice.plan(scene.field.model).to_plain())
    return candidate


def _recover(scene: Scene, chosen: Candidate, request: Request, watch: Watch) -> Recovered:
    """Slim, recalibrate, distil; the test images are looked at here, once, at the end."""
    images = scene.images
    plan = chosen.choice.plan(scene.field.model)
    shrunk = recalibrate(slim(scene.field.trace, plan), images.train)
    before = evaluate(shrunk, images.val).accuracy
    trained = train(
        shrunk,
        images.train,
        request.recovery,
        teacher=scene.dense,
        progress=lambda done, total, loss: watch("fine-tuning", done, total),
    )
    accuracy = {
        "dense": evaluate(scene.dense, images.test).accuracy,
        "slim": evaluate(trained.model, images.test).accuracy,
        "val_dense": scene.origin.accuracy,
        "val_before_finetune": before,
        "val_slim": evaluate(trained.model, images.val).accuracy,
    }
    return Recovered(trained.model, accuracy, trained.history)


def _record(scene: Scene, request: Request) -> Checkpoint:
    """What is known of the dense model, for its file and for that of the slim one."""
    images, origin = scene.images, scene.origin
    return Checkpoint(
        model=request.model.name,
        kwargs={**request.model.kwargs, "num_classes": len(images.classes)},
        plan=None,
        state_dict=scene.dense.state_dict(),
        input_shape=images.input_shape,
        mean=images.normalisation.mean,
        std=images.normalisation.std,
        classes=images.classes,
        history={
            "target": request.target.model_dump(mode="json", by_alias=True),
            "data": images.name,
            "baseline": origin.origin,
            "baseline_saw_validation": origin.seen_validation,
        },
        images=sample_pixels(images),
    )


def _plain(value: Any) -> Any:
    """What run.json keeps of a request: of paths only the name, of profiles every value."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, Path):
        return value.name
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
