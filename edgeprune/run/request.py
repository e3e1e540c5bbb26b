"""The request of one search run, and its comparison with the request a run folder began with."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from torch import nn

from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.devices.reply import refuse_emulated
from edgeprune.errors import InputError
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import IMAGENET, Normalisation
from edgeprune.prune.images.names import IN_MEMORY
from edgeprune.prune.models.names import INSTANCE
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.saliency.curvature import WaveletOptions
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.search.evaluation.problem import GenomeKind
from edgeprune.prune.search.strategies import names
from edgeprune.prune.slimming.compensation import Method
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.selection import Selection
from edgeprune.prune.training.own_score import ScoreFunction
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.task import TaskName
from edgeprune.target import Budget, RelativeBudget, TargetProfile

# Whose table a run was begun with is compared when it is known (latency.py).
NOT_COMPARED = "out", "overwrite", "resume", "time_budget", "workers", "scheduler", "carried"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asked for.

    Attributes:
        target: Device profile.
        model: Name and arguments of the dense network; its classes come from the data.
        budget: The profile's relative budget, with what the options changed.
        weights: Checkpoint of the dense network; without one it is trained on the data.
        new_head: Accept weights without a classifier of the images' classes, and train one.
        task: What the network is trained and judged by.
        score: What a score of the user's own is called that judges it in the task's place.
        source: Data set name or folder.
        size: Height and width of the input in pixels.
        normalisation: What the network was trained with.
        out: Run folder; ``runs/MODEL-TARGET-NNN`` without one.
        overwrite: Replace an earlier run in ``out``.
        resume: Go on with the unfinished run in ``out``.
        baseline: How to train a dense model; its own default without one.
        recovery: How the slim model is fine-tuned.
        search: Size and seed of the genetic search.
        effort: How much judging networks may cost a search; it distils by ``recovery``.
        wavelet: How the statistics behind the wavelet criterion and the fold are taken.
        device: Where the table, the candidates and the result are measured.
        carried: Take a table that was carried from the target's device, where there is one; no
            device was named.
        strategy: How channels are chosen: one of ``names.NAMES``.
        compensate: How layers that stay take over what was removed before the fine-tuning;
            ``auto`` refits before a short one. ``none`` keeps the fold out of the search, too.
        genome: What ``gwcs`` evolves.
        keep: Globs of layers that stay whole.
        only: Globs of the only layers that are pruned; none lets all be.
        family: Latency ratios, falling; one model each. Empty for a single model.
        latency_ms: Median latency on the device; a limit of its own.
        time_budget: Seconds that the run may take; another may be given to go on with it.
        workers: Local processes that compute the search's scores; 0 for this one.
        scheduler: Address of a Dask scheduler whose workers compute them.

    Raises:
        InputError: options that exclude each other, an unknown strategy or device.
    """

    target: TargetProfile
    model: ModelSpec
    budget: RelativeBudget
    weights: Path | None = None
    new_head: bool = False
    task: TaskName = "classification"
    score: str = ""
    source: str = "digits"
    size: tuple[int, int] = (32, 32)
    normalisation: Normalisation = IMAGENET
    out: Path | None = None
    overwrite: bool = False
    resume: bool = False
    baseline: Recipe | None = None
    recovery: Recipe = field(default_factory=Recipe)
    search: Settings = field(default_factory=Settings)
    effort: Effort = field(default_factory=Effort)
    wavelet: WaveletOptions = field(default_factory=WaveletOptions)
    device: str = "local://"
    carried: bool = False
    strategy: str = names.DEFAULT
    compensate: Method | Literal["auto"] = "auto"
    genome: GenomeKind = "widths"
    keep: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    family: tuple[float, ...] = ()
    latency_ms: float | None = None
    time_budget: float | None = None
    workers: int = 0
    scheduler: str = ""

    def __post_init__(self) -> None:
        if self.resume and (self.overwrite or self.out is None):
            raise InputError("--resume goes on with the run in --out DIR, without --overwrite")
        if self.new_head and self.weights is None:
            raise InputError("--new-head needs --weights; a network without them is new anyhow")
        self._refuse_what_needs_labels()
        if self.workers and self.scheduler:
            raise InputError("--workers starts workers here, --scheduler joins others: give one")
        if self.scheduler and not re.fullmatch(r"(tcp|tls)://.+:\d+", self.scheduler):
            raise InputError(f"--scheduler {self.scheduler} is not tcp://HOST:PORT or tls://")
        names.refuse_unknown(self.strategy)
        connect(self.device)  # a wrong address is refused before anything is trained
        if self.device.startswith("emulate://"):
            refuse_emulated({"emulated": "QEMU"}, self.device)
        if self._unlimited and not self.only_loss and self.strategy not in names.UNBOUND:
            raise InputError(
                f"--strategy {self.strategy} needs a budget, such as --max-latency-ratio 0.7; "
                f"without one {' and '.join(names.UNBOUND)} find a ratio of their own"
            )

    @property
    def limits(self) -> Limits:
        """What a search has to keep."""
        return Limits(self.budget.latency, self.budget.macs, self.budget.params)

    @property
    def selection(self) -> Selection:
        """The layers that were named to stay whole, or to be the only ones that are pruned."""
        return Selection(keep=self.keep, only=self.only)

    @property
    def allowed_loss(self) -> float | None:
        """The limit of what the task loses: points of accuracy, output error or score."""
        budget = self.budget
        limits = budget.accuracy_drop, budget.output_error, budget.score_drop
        return next((limit for limit in limits if limit is not None), None)

    @property
    def only_loss(self) -> bool:
        """Whether that is all that is limited, so that latency may go as low as it can."""
        return self._unlimited and self.allowed_loss is not None

    def _refuse_what_needs_labels(self) -> None:
        if self.target.precision.mode == "int8" and (self.task == "outputs" or self.score):
            raise InputError(
                "int8 is proven by the accuracy of a classifier; a search by outputs, or with a "
                "score of your own, takes --precision fp32"
            )
        if self.task != "outputs":
            return
        if self.weights is None and not self.model.is_instance:
            raise InputError(
                "--task outputs needs --weights: without labels no dense model can be trained"
            )
        if self.new_head:
            raise InputError("--new-head trains a classifier on labels, --task outputs has none")
        if self.strategy == "taylor":
            raise InputError(
                "--strategy taylor ranks channels by the loss on labels, --task outputs has none; "
                "take joint, l1 or bn"
            )

    @property
    def _unlimited(self) -> bool:
        return not (self.limits.bind() or self.family or self.latency_ms is not None)

    def within(self, latency: float) -> "Request":
        """The same for one latency ratio."""
        budget = self.budget.model_copy(update={"latency": latency})
        return replace(self, budget=budget, family=())

    def judged_by(self, fingerprint: str | None = None) -> Budget:
        """Every budget that the result is judged by; milliseconds hold on one device alone.

        Args:
            fingerprint: Device that ``latency_ms`` is meant for; none leaves it out.
        """
        absolute = self.target.budget.absolute
        if fingerprint:
            milliseconds = {"fingerprint": fingerprint, "p50_ms": self.latency_ms}
            absolute = absolute.model_copy(update=milliseconds)
        return Budget(relative=self.budget, absolute=absolute)

    def to_plain(self) -> dict[str, Any]:
        """What run.json keeps: of paths only the name, of profiles every value."""
        return dict(json.loads(json.dumps(_plain(asdict(self)))))


@dataclass(frozen=True, kw_only=True)
class Passed:
    """What was passed in Python, in place of what the request's names would lead to.

    Attributes:
        module: The dense network with its weights; it is copied.
        images: The images.
        score: A score that judges networks in place of the task.
    """

    module: nn.Module | None = None
    images: DataSet | None = None
    score: ScoreFunction | None = None


def refuse_other(request: Request, earlier: Mapping[str, Any], folder: Path) -> None:
    """Go on only with the run that was asked for.

    Args:
        request: What is asked for now.
        earlier: What run.json keeps of the request it was begun with.
        folder: Where that run lies.

    Raises:
        InputError: something differs; the first difference is named.
    """
    asked = request.to_plain()
    _refuse_other_interface(asked, earlier, folder)
    for name in (*asked, *(name for name in earlier if name not in asked)):
        if name not in earlier and not asked[name]:
            continue  # not known to the version that began it, and not asked for now
        if name not in NOT_COMPARED and asked.get(name) != earlier.get(name):
            where, before, now = _difference(name, earlier.get(name), asked.get(name))
            raise InputError(
                f"{folder} holds a run with another request: {where} was {before}, now it is "
                f"{now}; ask for the same, or name another folder"
            )


def _refuse_other_interface(
    asked: Mapping[str, Any], earlier: Mapping[str, Any], folder: Path
) -> None:
    """A module or images that were passed in Python have no name that a command could give."""
    for now, before in ((asked, earlier), (asked.get("model"), earlier.get("model"))):
        for key, prefix in (("source", IN_MEMORY), ("name", INSTANCE)):
            was, wanted = (
                str(found.get(key, "")) if isinstance(found, Mapping) else ""
                for found in (before, now)
            )
            if was.startswith(prefix) and not wanted.startswith(prefix):
                raise InputError(
                    f"{folder} holds a run of what was passed in Python ({was}); pass the same "
                    f"again: edgeprune.search(model, data, ..., out={str(folder)!r}, resume=True)"
                )


def _difference(name: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    """The innermost value that differs, and its dotted name."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                return _difference(f"{name}.{key}", before.get(key), now.get(key))
    return name, before, now


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, Path):
        return value.name
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
