"""How does a network learn: from labels alone, or from labels and a dense teacher."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.evaluate import (
    best_device,
    device_of,
    finished,
    half_precision,
    working_copy,
)
from edgeprune.prune.images import Batch, Images

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Recipe:
    """How to train; one recipe serves the dense model, every slim one and every peer.

    Stochastic gradient descent with Nesterov momentum; the learning rate rises over the
    first steps and falls along a cosine to 0. With a teacher the loss is
    ``(1 - alpha) * cross-entropy + alpha * T**2 * KL(teacher_T || student_T)``, ``_T`` being
    a softmax at temperature T.

    Attributes:
        epochs: Passes over the images.
        steps: Batches in all; takes the place of ``epochs`` when given.
        batch: Images per batch; on few images fewer, see ``batch_size``.
        lr: Highest learning rate.
        momentum: Nesterov momentum.
        weight_decay: Decay of every trained parameter.
        warmup: Share of the steps over which the learning rate rises.
        temperature: T, softens both outputs. 4 as in Hinton et al.'s small-image practice.
        alpha: Weight of the teacher, 0..1.
        label_smoothing: Share of each label spread over all classes.
        ema: Decay per step of an exponential average of the weights; None for none.
        seed: Seed of the order and the augmentation of the images.

    References:
        G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, 2015.
        I. Loshchilov, F. Hutter, SGDR, ICLR 2017 (cosine schedule).
    """

    epochs: int = 10
    steps: int | None = None
    batch: int = 128
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.05
    temperature: float = 4.0
    alpha: float = 0.7
    label_smoothing: float = 0.0
    ema: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        limits: dict[str, bool] = {
            "epochs": self.epochs >= 0,
            "steps": self.steps is None or self.steps >= 0,
            "batch": self.batch >= 2,
            "lr": self.lr > 0,
            "weight_decay": self.weight_decay >= 0,
            "warmup": 0 <= self.warmup <= 1,
            "temperature": self.temperature > 0,
            "alpha": 0 <= self.alpha <= 1,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "ema": self.ema is None or 0 < self.ema < 1,
        }
        for name, legal in limits.items():
            if not legal:
                raise InputError(f"recipe: {name} cannot be {getattr(self, name)}")


@dataclass(frozen=True)
class Trained:
    """A trained network and how it came about.

    Attributes:
        model: In evaluation mode, on the device of the network that was given.
        history: Plain JSON: the recipe, steps, images per batch, seconds, device, images per
            second, and the mean training loss of every pass.
    """

    model: nn.Module
    history: dict[str, Any]


def train(
    model: nn.Module,
    images: Images,
    recipe: Recipe,
    *,
    teacher: nn.Module | None = None,
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> Trained:
    """Train a copy of a network and return it as it is after the last step.

    Args:
        model: Network to start from; left as it was. Frozen parameters stay frozen.
        images: Training images.
        recipe: How to train.
        teacher: Dense network whose logits are imitated; left as it was.
        progress: Called after every step with the steps done, the steps in all and the loss.
        device: Where to train; CUDA (then in bfloat16) where there is one.

    Returns:
        The trained copy and its history.

    Raises:
        InputError: The loss became NaN or infinite, or there are no images.
    """
    if not len(images):
        raise InputError("there are no images to train on")
    device = device or best_device()
    run = _Run(model, images.to(device), recipe, teacher, device)
    started = time.perf_counter()
    losses = run.steps(progress)
    seconds = time.perf_counter() - started
    history = {
        "recipe": asdict(recipe),
        "teacher": teacher is not None,
        "device": device.type,
        "steps": run.total,
        "batch": run.batch,
        "loss": losses,
        "seconds": round(seconds, 3),
        "images_per_second": round(run.total * run.batch / max(seconds, 1e-9), 1),
    }
    return Trained(finished(run.result(), device_of(model)), history)


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """Rate of one step: a linear rise, then a cosine that would reach 0 at step ``total``."""
    rising = round(recipe.warmup * total)
    if step < rising:
        return recipe.lr * (step + 1) / rising
    share = (step - rising) / max(1, total - rising)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))


def batch_size(wanted: int, count: int) -> int:
    """Images per batch on ``count`` images: few enough for 8 steps a pass, at least 8.

    One step a pass would leave a small set of images as good as untrained.
    """
    return min(wanted, max(8, count // 8), count)


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T**2 times the mean divergence of the student's softened classes from the teacher's.

    Args:
        student: Logits (B, classes).
        teacher: Logits (B, classes), without gradient.
        temperature: T; the factor T**2 keeps gradients of one size whatever T is.

    Returns:
        A scalar, 0 where both agree.
    """
    soft = F.log_softmax(student / temperature, dim=1)
    target = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(soft, target, reduction="batchmean", log_target=True)
    return divergence * temperature**2


class _Run:
    """The state of one training: the copy, its optimiser, its average."""

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        recipe: Recipe,
        teacher: nn.Module | None,
        device: torch.device,
    ) -> None:
        self.images, self.recipe, self.device = images, recipe, device
        self.model = working_copy(model, device).train()
        self.average = None if recipe.ema is None else working_copy(model, device)
        self.teacher = None if teacher is None else working_copy(teacher, device).eval()
        self.batch = batch_size(recipe.batch, len(images))
        self.per_epoch = max(1, len(images) // self.batch)
        self.total = recipe.epochs * self.per_epoch if recipe.steps is None else recipe.steps
        self.optimizer = torch.optim.SGD(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
        )

    def steps(self, progress: Progress | None) -> list[float]:
        """Take every step; returns the mean loss of each pass."""
        passes: list[list[float]] = []
        for step, (pixels, labels) in enumerate(self._batches()):
            if step % self.per_epoch == 0:
                passes.append([])
            loss = self._step(pixels, labels, step)
            passes[-1].append(loss)
            if not math.isfinite(loss):
                raise InputError(
                    f"training diverged: the loss was {loss} at step {step + 1} of {self.total}; "
                    f"use a smaller learning rate than {self.recipe.lr:g}"
                )
            if progress is not None:
                progress(step + 1, self.total, loss)
        return [round(sum(losses) / len(losses), 5) for losses in passes]

    def _batches(self) -> Iterator[Batch]:
        """Batches of all passes; every pass has its own seed, so one can be repeated alone."""
        for epoch in range(-(-self.total // self.per_epoch)):
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
            left = self.total - epoch * self.per_epoch
            batches = self.images.batches(self.batch, generator=generator, augment=True)
            for _, batch in zip(range(left), batches, strict=False):
                yield batch

    def _step(self, pixels: Tensor, labels: Tensor, step: int) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.total, self.recipe)
        with half_precision(self.device):
            loss = self._loss(pixels.contiguous(memory_format=torch.channels_last), labels)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self._move_average()
        return float(loss.detach())

    def _loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
        recipe = self.recipe
        logits = self.model(pixels).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            target = self.teacher(pixels).float()
        soft = distillation(logits, target, recipe.temperature)
        return (1 - recipe.alpha) * loss + recipe.alpha * soft

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

    def result(self) -> nn.Module:
        """The network of the last step, or its average."""
        return self.model if self.average is None else self.average
