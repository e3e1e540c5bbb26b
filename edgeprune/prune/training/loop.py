"""The training loop: SGD on the loss of a task, labels or distillation from a dense teacher."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.errors import InputError, MachineError, PromiseError
from edgeprune.progress import Progress, silent
from edgeprune.prune.images.held import Batch, Images
from edgeprune.prune.models.placement import (
    best_device,
    device_of,
    exact_strided_gradients,
    finished,
    half_precision,
    working_copy,
)
from edgeprune.prune.training.distributed import Ranks
from edgeprune.prune.training.optimizer import optimizer_for
from edgeprune.prune.training.recipe import Recipe, batch_size, learning_rate
from edgeprune.prune.training.state import Keep, State, read, unusable, write
from edgeprune.prune.training.task import Task
from edgeprune.prune.training.tasks import CLASSIFICATION
from edgeprune.prune.training.teacher import Answered


class DivergenceError(PromiseError):
    """The loss became NaN or infinite; no network came of the training."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What surrounds a training without being part of its recipe.

    Attributes:
        teacher: Dense network whose answers are imitated; left as it was.
        progress: Called after every step.
        ranks: This process, and where it computes.
        keep: Where the state is kept, to go on from after an interruption.
        task: Says what the loss is.
        answered: Answers of this very teacher that other trainings left, and this one leaves.
    """

    teacher: nn.Module | None = None
    progress: Progress = silent
    ranks: Ranks = field(default_factory=Ranks)
    keep: Keep | None = None
    task: Task = CLASSIFICATION
    answered: Answered | None = None


@dataclass(frozen=True)
class Trained:
    """A trained network and how it came about.

    Attributes:
        model: In evaluation mode, on the device of the network that was given.
        history: Plain JSON: the recipe, steps, images per batch, optimiser, seconds, device,
            processes, images per second, and the mean training loss of every pass.
    """

    model: nn.Module
    history: dict[str, Any]


def train(  # noqa: PLR0913  what is trained how, and options by name
    model: nn.Module,
    images: Images,
    recipe: Recipe,
    *,
    teacher: nn.Module | None = None,
    progress: Progress = silent,
    task: Task = CLASSIFICATION,
    device: torch.device | None = None,
) -> Trained:
    """Train a copy of a network and return it as it is after the last step.

    Args:
        model: Network to start from; left as it was. Frozen parameters stay frozen.
        images: Training images.
        recipe: How to train.
        teacher: Dense network whose answers are imitated; left as it was.
        progress: Called after every step.
        task: Says what the loss is.
        device: Where to train; CUDA (then in bfloat16) where there is one.

    Returns:
        The trained copy and its history.

    Raises:
        InputError: There are no images.
        DivergenceError: The loss became NaN or infinite.
    """
    ranks = Ranks(device=device or best_device())
    setting = Setting(teacher=teacher, progress=progress, ranks=ranks, task=task)
    return train_in(model, images, recipe, setting)


def train_in(model: nn.Module, images: Images, recipe: Recipe, setting: Setting) -> Trained:
    """:func:`train`, kept in a file to go on from, or shared among several processes.

    On a CPU an interrupted training that goes on gives the weights, bit by bit, of one that
    was not interrupted.

    Args:
        model: Network to start from; where a kept state is found, only its layers count.
        images: Training images.
        recipe: How to train; its batch is shared among the processes.
        setting: Teacher, processes, state file; the file stays until its owner removes it.

    Returns:
        The trained copy and its history, the same in every process.

    Raises:
        InputError: There are no images, or the state file is of another training.
        DivergenceError: The loss became NaN or infinite.
        MachineError: The state cannot be written, or not every process can see it.
    """
    if not len(images):
        raise InputError("there are no images to train on")
    run = _Run(model, images, recipe, setting)
    with exact_strided_gradients(run.model):
        run.steps()
    history = {
        "recipe": asdict(recipe),
        "optimizer": type(run.optimizer).__name__,
        "teacher": setting.teacher is not None,
        "device": setting.ranks.device.type,
        "processes": setting.ranks.count,
        "steps": run.total,
        "batch": run.batch,
        "loss": run.mean_losses(),
        "seconds": round(run.seconds, 3),
        "images_per_second": round(run.total * run.batch / max(run.seconds, 1e-9), 1),
    }
    return Trained(finished(run.result(model), device_of(model)), history)


class _Run:
    """The state of one training: the copy, its optimiser, its average, its losses."""

    def __init__(self, model: nn.Module, images: Images, recipe: Recipe, setting: Setting) -> None:
        self.recipe, self.setting, self.ranks = recipe, setting, setting.ranks
        device = self.ranks.device
        self.model = working_copy(model, device).train()
        self.average = None if recipe.ema is None else working_copy(model, device)
        self.teacher = None
        if setting.teacher is not None:
            self.teacher = working_copy(setting.teacher, device).eval()
        self.batch = batch_size(recipe.batch, len(images))
        if self.batch < self.ranks.count:
            raise InputError(
                f"a batch of {self.batch} images cannot be shared by {self.ranks.count} processes"
            )
        self.per_epoch = max(1, len(images) // self.batch)
        self.total = recipe.steps_on(len(images))
        self.optimizer = optimizer_for(self.model, recipe)
        self.highest = float(self.optimizer.defaults["lr"])
        self.losses: list[float] = []
        self.seconds = 0.0
        self.every = self.per_epoch  # steps between two looks at the losses
        if setting.keep is not None and setting.keep.every:
            self.every = setting.keep.every
        self.images = images.to(device).shared(self.ranks.rank, self.ranks.count)
        self._go_on()
        self.network = self.ranks.spread(self.model)

    def steps(self) -> None:
        """Take every step that is left."""
        device = self.ranks.device
        before, started = self.seconds, time.perf_counter()
        unread: list[Tensor] = []
        # Dropout draws from torch's global generator, which is the caller's.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            for pixels, labels in self._batches():
                done = len(self.losses) + len(unread)
                unread.append(self._step(done, pixels, labels))
                done += 1
                if done == self.total or done % self.every == 0:
                    self._read(unread)
                    unread = []
                    self.seconds = before + time.perf_counter() - started
                    self._put_down()
                self.setting.progress("training", done, self.total)
                if not unread and self.setting.keep and self.setting.keep.pauses:
                    break

    def _read(self, unread: list[Tensor]) -> None:
        """Note the losses of some steps; to read one makes a GPU wait, so not at every step."""
        for total in torch.stack(unread).tolist():
            loss = total / self.ranks.count
            self.losses.append(loss)
            if not math.isfinite(loss):
                raise DivergenceError(
                    f"training diverged: the loss was {loss} at step {len(self.losses)} of "
                    f"{self.total}; use a smaller learning rate than {self.recipe.lr:g}"
                )

    def _batches(self) -> Iterator[Batch]:
        """Batches that are left; every pass has its own seed, so one can be repeated alone."""
        done = len(self.losses)
        for epoch in range(done // self.per_epoch, -(-self.total // self.per_epoch)):
            # A prime stride: passes of one seed and those of the next never share a generator.
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
            first = epoch * self.per_epoch
            batches = self.images.batches(self.batch, generator=generator, augment=True)
            last = min(self.per_epoch, self.total - first)
            yield from islice(batches, max(0, done - first), last)

    def _step(self, step: int, pixels: Tensor, labels: Tensor) -> Tensor:
        """Take one step; returns the loss of this process's share, summed over all processes."""
        torch.manual_seed((self.recipe.seed * 1_000_003 + step) * 1009 + self.ranks.rank)
        for group in self.optimizer.param_groups:
            group["lr"] = self.highest * learning_rate(step, self.total, self.recipe.warmup)
        with half_precision(self.ranks.device):
            loss = self._loss(pixels.contiguous(memory_format=torch.channels_last), labels)
        # Shares may differ by one image; the processes' mean is that of the whole batch.
        loss = loss * (len(labels) * self.ranks.count / self.batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self._move_average()
        return self.ranks.sum(loss)

    def _loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
        answer, ask = self.network(pixels), self.setting.answered or nn.Module.__call__
        with torch.no_grad():
            target = None if self.teacher is None else ask(self.teacher, pixels)
        return self.setting.task.loss(answer, target, labels, self.recipe)

    @torch.no_grad()
    def _move_average(self) -> None:
        if self.average is None or self.recipe.ema is None:
            return
        current = self.model.state_dict()
        for name, kept in self.average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(current[name], 1 - self.recipe.ema)
            else:
                kept.copy_(current[name])

    def mean_losses(self) -> list[float]:
        """The mean loss of each pass."""
        passes = range(0, len(self.losses), self.per_epoch)
        chunks = [self.losses[first : first + self.per_epoch] for first in passes]
        return [round(sum(losses) / len(losses), 5) for losses in chunks]

    def result(self, given: nn.Module) -> nn.Module:
        """The network of the last step, or its average, made of the layers that were given."""
        chosen = self.model if self.average is None else self.average
        if self.ranks.count == 1:
            return chosen
        self.ranks.level(chosen)
        plain = working_copy(given, self.ranks.device)
        plain.load_state_dict(chosen.state_dict())
        return plain

    def _task(self, keep: Keep) -> dict[str, Any]:
        return keep.training(self.model, self.recipe, len(self.images))

    def _put_down(self) -> None:
        """Write the state to go on from, where one is kept."""
        keep = self.setting.keep
        if keep and self.ranks.leads:
            state = State(
                losses=self.losses,
                seconds=self.seconds,
                model=self.model.state_dict(),
                average=None if self.average is None else self.average.state_dict(),
                optimizer=self.optimizer.state_dict(),
            )
            write(keep.path, self._task(keep), state)

    def _go_on(self) -> None:
        """Take up the state that an interrupted training left, where there is one."""
        keep = self.setting.keep
        if keep is None:
            return
        state = read(keep.path, self._task(keep))
        if not self.ranks.agree(0 if state is None else len(state.losses)):
            raise MachineError(
                f"not every process sees the same {keep.path}; write to a disk that all share"
            )
        if state is None:
            return
        try:
            self.model.load_state_dict(state.model)
            if self.average is not None:
                self.average.load_state_dict(state.average or {})
            self.optimizer.load_state_dict(state.optimizer)
            self.losses, self.seconds = list(state.losses), float(state.seconds)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
            raise unusable(keep.path) from None
