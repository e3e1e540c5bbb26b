"""The schedules: what is run, in which order, and what is left out."""

from dataclasses import dataclass, fields, replace

from edgeprune.prune.search.strategies import names
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.training.recipe import Recipe

PEERS = ("tp-", "fastnas-")  # how names of peers' arms begin
SEARCHED = ("joint", "random")  # what they find depends on the seed of the search
ABLATIONS = ("joint-plain", "joint-l1", "joint-pixels", "joint-macs", "joint-bitmask", "gwcs-bits")
SEEN = "the checkpoint has seen the validation images; every accuracy below is of test images"
SHORT = Recipe(steps=400, batch=128)
LONG = Recipe(epochs=20, batch=128)


@dataclass(frozen=True)
class Contest:
    """One dense network, some limits, and who takes part.

    Attributes:
        schedule: Name; results of different schedules never mix.
        model: Name of the network.
        weights: File among the checkpoints; None where a baseline has to be trained.
        limits: Budgets, each a contest of its own.
        own: Strategies and ablations of edgeprune.
        peers: Who of Torch-Pruning is fine-tuned: ``none``, the ``best`` before fine-tuning on
            validation images, or ``all``. All of them are pruned and measured unless ``none``.
        recipe: Fine-tuning; None for none.
        judged: Images on which accuracy before fine-tuning is read.
        note: What must be known beside the table.
    """

    schedule: str
    model: str
    weights: str | None
    limits: tuple[Limits, ...]
    own: tuple[str, ...]
    peers: str = "best"
    recipe: Recipe | None = None
    judged: str = "val"
    note: str = ""

    @property
    def base(self) -> dict[str, str | None]:
        """What every row of this contest has in common."""
        return {"schedule": self.schedule, "model": self.model, "weights": self.weights}

    @property
    def needs_cuda(self) -> bool:
        """Whether its schedule is meant for a CUDA device."""
        return self.schedule == "full"

    @property
    def latencies(self) -> tuple[float, ...]:
        """Latency limits; a peer is held to no other."""
        return tuple(limit.latency for limit in self.limits if limit.latency is not None)


def repeated(contest: Contest, searches: int) -> Contest:
    """The same with the arms that draw searched from so many seeds: ``joint``, ``joint#1``, ..."""
    more = [f"{arm}#{n}" for n in range(1, searches) for arm in SEARCHED if arm in contest.own]
    return replace(contest, own=(*contest.own, *more))


def strategy(arm: str) -> str:
    """Which strategy an arm is a search of."""
    return arm.partition("#")[0]


def search_seed(arm: str) -> int:
    """From which seed an arm is searched."""
    return int(arm.partition("#")[2] or 0)


def label(limits: Limits) -> str:
    """Such as ``latency 0.7``."""
    given = {each.name: getattr(limits, each.name) for each in fields(limits)}
    return ", ".join(f"{name} {value:g}" for name, value in given.items() if value is not None)


def _at(*ratios: float) -> tuple[Limits, ...]:
    return tuple(Limits(latency=ratio) for ratio in ratios)


BAR = tuple(
    Contest(
        "bar",
        *(model, weights),
        _at(0.88, 0.80, 0.74),
        ("joint", "depth", "uniform", "gwcs", "random", *ablations),
        peers="all",
        judged="test",
        note=SEEN,
    )
    for model, weights, ablations in (
        ("resnet20", "resnet20-12fca82f.th", ABLATIONS),
        ("resnet56", "resnet56-4bfd9763.th", ()),
    )
)

_CORE = ("joint", "gwcs", "depth", "random", "smoea", "uniform")  # those that decide first
_SHORT = Contest(
    "short", "resnet20", "resnet20-jpeg45k.pt", _at(0.7, 0.6, 0.4), _CORE, recipe=SHORT
)
_REST = tuple(name for name in names.NAMES if name not in _CORE)

PAPERS = (
    Contest(
        *("papers", "resnet32", "resnet32-d509ac18.th", (Limits(macs=0.269),)),
        ("joint", "gwcs"),
        peers="none",
        recipe=SHORT,
        note="GWCS reports CIFAR-100, which is not at hand: not comparable with the paper; "
        "the checkpoint has seen the validation images",
    ),
    Contest(
        *("papers", "vgg14", None, (Limits(params=0.1656),)),
        ("joint", "smoea"),
        peers="none",
        recipe=SHORT,
        note="SMOEA reports CIFAR-10 from a baseline of its own; the images here are JPEG copies",
    ),
)


def full() -> tuple[Contest, ...]:
    """Everything, in the order in which time is spent on a CUDA device."""
    short = replace(_SHORT, schedule="full", recipe=LONG)
    deep = replace(
        short,
        model="resnet56",
        weights="resnet56-jpeg-tuned.pt",
        limits=_at(0.8, 0.7, 0.6),
        note="the checkpoint's public ancestor has seen the validation images",
    )
    vgg = replace(short, model="vgg16", weights=None, limits=_at(0.6, 0.4, 0.25))
    wide = replace(short, limits=_at(0.8))
    rest = [replace(each, own=_REST, peers="all") for each in (short, deep, vgg)]
    ablations = [replace(short, own=ABLATIONS, peers="none")]
    papers = [replace(each, schedule="full", recipe=LONG) for each in PAPERS]
    return (short, deep, vgg, wide, *rest, *ablations, *papers)


def short() -> tuple[Contest, ...]:
    """What two CPU cores do in some hours."""
    return (_SHORT,)
