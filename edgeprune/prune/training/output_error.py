"""The task of giving the dense network's outputs, whatever they mean: relative error, no labels.

The relative error of one output over images is::

    e = sqrt(sum |slim - dense|^2 / sum |dense|^2)

both sums over all values of that output for all images. A search minimises the mean over the
outputs, the result is the largest.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.images.datasets import DataSet
from edgeprune.prune.images.held import Batch, Images
from edgeprune.prune.models.outputs import answer_to, names, tensors
from edgeprune.prune.models.placement import best_device, working_copy
from edgeprune.prune.training.evaluation import BATCH
from edgeprune.prune.training.recipe import Recipe
from edgeprune.prune.training.task import Compared, Figure, Outputs, Score, TaskName
from edgeprune.text import one_line

LEVEL = 0.99  # of the intervals of the test images' errors, as of every other verdict
_TINY = 1e-20  # an output of zeros has no scale, and a root no slope there


@dataclass(frozen=True)
class OutputError:
    """See :class:`~edgeprune.prune.training.task.Task`."""

    name: ClassVar[TaskName] = "outputs"
    figure: ClassVar[Figure] = Figure(
        name="output error",
        unit="%",
        scale=100,
        budget="output_error",
        lost="has an output error of {:.2f} %",
    )

    @property
    def identity(self) -> tuple[str, ...]:
        """Its name."""
        return (self.name,)

    def refuse(self, network: nn.Module, name: str, images: DataSet) -> None:
        """Refuse a network with an output that has no distance."""
        answer_to(network, torch.zeros(2, *images.input_shape))

    def refuse_untrained(self, figure: float, images: DataSet, *, has_weights: bool) -> None:
        """Nothing is known of what the outputs should be."""

    def loss(self, answer: Any, teacher: Any, labels: Tensor, recipe: Recipe) -> Tensor:
        """The mean relative error of the outputs; labels play no part.

        Not its square, whose gradient grows with the error: at the learning rates that suit a
        cross-entropy that diverges where much was cut.
        """
        if teacher is None:
            raise InputError(
                "without labels a network learns from the dense one alone: name it with --teacher"
            )
        return _shares(answer, teacher).clamp_min(_TINY).sqrt().mean()

    def distance(self, answer: Any, dense: Any) -> Tensor:
        """The mean over the outputs of the squared relative error."""
        return _shares(answer, dense).mean()

    def probes(self, answer: Any, count: int, place: tuple[int, int, int]) -> Iterator[Tensor]:
        """Gradients of the sums of outputs weighted at random, each output at its own scale."""
        outputs, (begun, _, seed) = tensors(answer), place
        generator = torch.Generator().manual_seed(seed * 1_000_003 + begun)
        for _ in range(count):
            parts = []
            for output in outputs:
                drawn = torch.randn(output.shape, generator=generator).to(output)
                squares = output.detach().square().sum()
                scale = (squares / len(output)).clamp_min(_TINY).sqrt()
                parts.append((drawn * output).sum() / scale)
            yield torch.stack(parts).sum() / math.sqrt(len(outputs))

    def judge(
        self, network: nn.Module, batches: Iterable[Batch], expected: Sequence[Outputs]
    ) -> Score:
        """The mean relative error of the outputs."""
        sums = _Sums()
        for (pixels, _), dense in zip(batches, expected, strict=True):
            sums.add(tensors(network(pixels)), dense)
        errors = sums.errors()
        return Score(sum(errors) / len(errors))

    def measured(self, network: nn.Module, dense: nn.Module, images: Images) -> float:
        """The largest relative error of an output."""
        return max(_run(network, dense, images)[0].errors())

    def reference(self, dense: nn.Module, images: DataSet) -> nn.Module:
        """The network itself: its outputs for all images may not fit into the memory."""
        return dense

    def compared(self, reference: nn.Module, slim: nn.Module, images: DataSet) -> Compared:
        """The largest error, and every output's with its interval and agreement of classes."""
        sums, named = _run(slim, reference, images.test)
        errors = sums.errors()
        by_name = {
            name: _Recorded(*sums.interval(place), sums.agreement(place)).to_plain()
            for place, name in enumerate(named)
        }
        record = {"images": len(images.test), "errors": by_name}
        told = tuple(
            f"{one_line(name)}: the largest value is the same one as the dense network's for "
            f"{alike:.2%} of the test images"
            for place, name in enumerate(named)
            if (alike := sums.agreement(place)) is not None
        )
        return Compared(dense=0.0, slim=max(errors), of_slim={"outputs": record}, told=told)

    def lost(self, dense: float, slim: float) -> float:
        """The error in percent."""
        return 100 * slim


@dataclass(frozen=True)
class _Recorded:
    """What is recorded of one output."""

    low: float
    error: float
    high: float
    agreement: float | None

    def to_plain(self) -> Mapping[str, float | None]:
        return vars(self)


class _Sums:
    """Squared differences and squares of every output, image by image."""

    def __init__(self) -> None:
        self._off: list[list[Tensor]] = []  # by output its batches, each (B,), float64
        self._whole: list[list[Tensor]] = []
        self._alike: list[list[Tensor]] = []  # whether the largest value is the same one

    def add(self, slim: Outputs, dense: Outputs) -> None:
        if not self._off:
            self._off = [[] for _ in dense]
            self._whole, self._alike = [[] for _ in dense], [[] for _ in dense]
        for place, (ours, theirs) in enumerate(zip(slim, dense, strict=True)):
            off, whole = (ours.float() - theirs.float()).flatten(1), theirs.float().flatten(1)
            self._off[place].append(off.double().square().sum(1).cpu())
            self._whole[place].append(whole.double().square().sum(1).cpu())
            if theirs.ndim == 2 and theirs.shape[1] > 1:
                self._alike[place].append((ours.argmax(1) == theirs.argmax(1)).cpu())

    def errors(self) -> list[float]:
        """The relative error of every output; infinite where one is no number."""
        return [self.interval(place)[1] for place in range(len(self._off))]

    def interval(self, place: int) -> tuple[float, float, float]:
        """The error of one output between the bounds that other images would leave it in.

        The variance of a ratio of sums over images (the delta method; W. Cochran, Sampling
        Techniques, 1977, chapter 6).
        """
        off, whole = torch.cat(self._off[place]), torch.cat(self._whole[place])
        share = float(off.sum() / whole.sum().clamp_min(_TINY))
        if not math.isfinite(share):
            return math.inf, math.inf, math.inf
        count = len(off)
        spread = (off - share * whole).square().sum() * count / max(1, count - 1)
        deviation = float(spread.sqrt() / whole.sum().clamp_min(_TINY))
        reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * deviation
        bounds = max(0.0, share - reach), share, share + reach
        return math.sqrt(bounds[0]), math.sqrt(share), math.sqrt(bounds[2])

    def agreement(self, place: int) -> float | None:
        """Share of the images whose largest value is the same one, of an output (N, values)."""
        alike = self._alike[place]
        return float(torch.cat(alike).double().mean()) if alike else None


def _run(network: nn.Module, dense: nn.Module, images: Images) -> tuple[_Sums, tuple[str, ...]]:
    """Run both networks over all images once, in float32; the names are the dense one's."""
    if not len(images):
        raise InputError("there are no images to compare outputs on")
    device, sums, named = best_device(), _Sums(), tuple[str, ...]()
    ours, theirs = (working_copy(one, device).eval() for one in (network, dense))
    with torch.inference_mode():
        for pixels, _ in images.to(device).batches(BATCH):
            answer = theirs(pixels)
            named = named or names(answer)
            sums.add(tensors(ours(pixels)), tensors(answer))
    return sums, named


def _shares(answer: Any, dense: Any) -> Tensor:
    """Squared relative error of every output of one batch, shape (outputs,)."""
    pairs = zip(tensors(answer), tensors(dense), strict=True)
    shares = [
        (slim.float() - target.float()).square().sum()
        / target.float().square().sum().clamp_min(_TINY)
        for slim, target in pairs
    ]
    return torch.stack(shares)
