"""What a search can be asked for, with its defaults: the words of the command and of Python."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from edgeprune.errors import InputError
from edgeprune.prune.models.factory import Plain
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.saliency.curvature import WaveletOptions
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.problem import GenomeKind
from edgeprune.prune.search.strategies import names
from edgeprune.prune.slimming.compensation import Method
from edgeprune.prune.training.task import Budget, TaskName
from edgeprune.run import defaults
from edgeprune.run.request import Request
from edgeprune.target import load_target
from edgeprune.target_overrides import with_precision
from edgeprune.text import did_you_mean

_Range = tuple[Callable[[float], bool], str]
_RATIO: _Range = (
    lambda value: 0 < value <= 1 or value == math.inf,
    "no ratio to the dense model, above 0 and at most 1; infinity drops the limit",
)
_POSITIVE: _Range = (lambda value: 0 < value < math.inf, "not above 0")
_LIMIT: _Range = (lambda value: value > 0, "not above 0; infinity drops the limit")
_COUNT: _Range = (lambda value: value >= 1, "below 1")
_RANGES: Mapping[str, _Range] = {
    "max_latency_ratio": _RATIO,
    "max_macs_ratio": _RATIO,
    "max_params_ratio": _RATIO,
    "max_accuracy_drop": (
        lambda value: 0 <= value <= 100 or value == math.inf,
        "no loss in percentage points, 0 to 100; infinity drops the limit",
    ),
    "max_output_error": _LIMIT,
    "max_score_drop": _LIMIT,
    "max_latency_ms": _POSITIVE,
    "time_budget": _POSITIVE,
    "evaluations": _COUNT,
    "finalists": _COUNT,
    "baseline_epochs": _COUNT,
}


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What is asked of a search; the reference of the commands says what each option means.

    Attributes that are None take what the target, the data or the strategy have as usual;
    infinity as a limit drops the target's.

    Raises:
        InputError: options that exclude each other, or a value out of its range.
    """

    target: str = "mobile-cpu"
    model: str = "resnet20"
    weights: Path | None = None
    new_head: bool = False
    task: TaskName = "classification"
    score: str = ""
    data: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: tuple[int, int] | None = None
    model_arg: Mapping[str, Plain] = field(default_factory=dict)
    max_latency_ratio: float | None = None
    max_macs_ratio: float | None = None
    max_params_ratio: float | None = None
    max_latency_ms: float | None = None
    max_accuracy_drop: float | None = None
    max_output_error: float | None = None
    max_score_drop: float | None = None
    family: tuple[float, ...] = ()
    strategy: str | None = None
    evaluations: int | None = None
    finalists: int | None = None
    wavelet: str = "haar"
    genome: GenomeKind = "widths"
    keep: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    time_budget: float | None = None
    seed: int = 0
    compensate: Method | Literal["auto"] = "auto"
    epochs: int = 10
    baseline_epochs: int | None = None
    lr: float | None = None
    batch: int | None = None
    kd_temperature: float | None = None
    kd_weight: float | None = None
    label_smoothing: float | None = None
    ema: float | None = None
    workers: int = 0
    scheduler: str = ""
    device: str | None = None
    precision: str | None = None
    out: Path | None = None
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if self.weights and not self.data:
            raise InputError("--weights without --data: name the images it was trained for")
        if self.family and not (self.max_latency_ratio is None and self.max_latency_ms is None):
            raise InputError("--family limits the latency; leave --max-latency-ratio and -ms out")
        for name, (legal, otherwise) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not legal(value):
                raise InputError(f"{name} = {value:g} is {otherwise}")
        _refuse_other_than("task", self.task, get_args(TaskName))
        self._refuse_other_figures()
        _refuse_other_than("genome", self.genome, get_args(GenomeKind))
        _refuse_other_than("compensate", self.compensate, ("auto", *get_args(Method)))

    @property
    def limited_by(self) -> Budget:
        """The budget of what the task loses."""
        if self.score:
            return "score_drop"
        return "output_error" if self.task == "outputs" else "accuracy_drop"

    def _refuse_other_figures(self) -> None:
        """Refuse limits of what is not measured, and options that need labels."""
        for budget in get_args(Budget):
            if budget != self.limited_by and getattr(self, f"max_{budget}") is not None:
                measured = self.limited_by.replace("_", "-")
                raise InputError(
                    f"--max-{budget.replace('_', '-')} limits what this search does not measure: "
                    f"it has --max-{measured}"
                )
        if self.task == "outputs":
            for name in ("kd_temperature", "kd_weight", "label_smoothing"):
                if getattr(self, name) is not None:
                    raise InputError(
                        f"--{name.replace('_', '-')} shapes a loss of labels and classes; with "
                        "--task outputs the loss is the distance of the outputs"
                    )

    def request(self) -> Request:
        """The request of a run.

        Raises:
            InputError: the target, or what does not fit it.
        """
        profile = with_precision(load_target(self.target), {"mode": self.precision})
        spec = ModelSpec(self.model, kwargs=dict(self.model_arg))
        source, strategy = self.data or "digits", self.strategy or names.DEFAULT
        return Request(
            target=profile,
            model=spec,
            budget=defaults.budget(
                profile,
                latency_elsewhere=bool(self.family or self.max_latency_ms),
                latency=self.max_latency_ratio,
                macs=self.max_macs_ratio,
                params=self.max_params_ratio,
                limited_by=self.limited_by,
                accuracy_drop=self.max_accuracy_drop,
                output_error=self.max_output_error,
                score_drop=self.max_score_drop,
            ),
            weights=self.weights,
            new_head=self.new_head,
            task=self.task,
            score=self.score,
            source=source,
            size=defaults.size_of(self.model, self.image_size, profile),
            normalisation=defaults.normalisation_of(spec, self.mean, self.std, profile),
            out=self.out,
            overwrite=self.overwrite,
            resume=self.resume,
            baseline=defaults.dense_recipe(source, self.baseline_epochs, self.seed),
            recovery=defaults.recovery_recipe(
                source,
                epochs=self.epochs,
                seed=self.seed,
                lr=self.lr,
                batch=self.batch,
                temperature=self.kd_temperature,
                alpha=self.kd_weight,
                label_smoothing=self.label_smoothing,
                ema=self.ema,
            ),
            search=Settings(seed=self.seed),
            effort=defaults.effort(source, self.evaluations, self.finalists, strategy),
            wavelet=WaveletOptions(wavelet=self.wavelet),
            device=self.device or profile.device.uri,
            carried=self.device is None and profile.device.command is None,
            strategy=strategy,
            compensate=self.compensate,
            genome=self.genome,
            keep=self.keep,
            only=self.only,
            family=self.family,
            latency_ms=self.max_latency_ms,
            time_budget=self.time_budget,
            workers=self.workers,
            scheduler=self.scheduler,
        )


def requests_of(
    options: SearchOptions, targets: Sequence[str], devices: Sequence[str] = ()
) -> tuple[Request, ...]:
    """The request of a run for each of several targets, or for one.

    Args:
        options: What is asked of all of them.
        targets: Names or paths of target profiles.
        devices: Addresses: ``URI`` for all targets, or ``NAME=URI`` for the one of that name;
            the others have that of their profile.

    Raises:
        InputError: a target twice, or a device of a target that is not asked for.
    """
    names = [load_target(target).name for target in targets]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"--target {twice[0]} is given twice; each target has one search")
    common, own = "", dict[str, str]()
    for given in devices:
        name, uri = _named_device(given, names)
        if uri in ("", common) or name in own or (common and not name):
            raise InputError(f"--device {given}: give one address, or one for each target")
        if name:
            own[name] = uri
        else:
            common = uri
    return tuple(
        replace(options, target=target, device=own.get(name, common) or None).request()
        for target, name in zip(targets, names, strict=True)
    )


def _named_device(given: str, names: Sequence[str]) -> tuple[str, str]:
    """The target and the address of ``NAME=URI``; of a plain address no target."""
    name, equals, uri = given.partition("=")
    if not equals or ":" in name:  # an address may hold the sign behind its scheme
        return "", given
    if name not in names:
        raise InputError(
            f"--device {given}: no target {name!r} is asked for{did_you_mean(name, names)}"
        )
    return name, uri


def _refuse_other_than(name: str, value: str, known: tuple[Any, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} = {value!r} is none of {', '.join(known)}")
