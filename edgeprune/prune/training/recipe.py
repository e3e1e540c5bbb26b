"""The training recipe: hyperparameters, warm-up and cosine schedule, distillation loss."""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from edgeprune.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train; one recipe serves the dense model, every slim one and every peer.

    Stochastic gradient descent with Nesterov momentum, or AdamW (``optimizer.py`` says for which
    networks); the learning rate rises over the first steps and falls along a cosine to 0. With a
    teacher the loss is
    ``(1 - alpha) * cross-entropy + alpha * T**2 * KL(teacher_T || student_T)``, ``_T`` being
    a softmax at temperature T.

    Attributes:
        epochs: Passes over the images.
        steps: Batches in all; takes the place of ``epochs`` when given.
        batch: Images per batch; on few images fewer, see ``batch_size``.
        lr: Highest learning rate of SGD; AdamW takes a fiftieth of it.
        momentum: Nesterov momentum of SGD.
        weight_decay: Decay of every trained parameter by SGD.
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
            "lr": 0 < self.lr < math.inf,
            "weight_decay": self.weight_decay >= 0,
            "warmup": 0 <= self.warmup <= 1,
            "temperature": 0 < self.temperature < math.inf,
            "alpha": 0 <= self.alpha <= 1,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "ema": self.ema is None or 0 < self.ema < 1,
            "seed": 0 <= self.seed < 2**32,
        }
        for name, legal in limits.items():
            if not legal:
                raise InputError(f"recipe: {name} cannot be {getattr(self, name)}")

    def steps_on(self, count: int) -> int:
        """Number of training steps on ``count`` images."""
        if self.steps is not None:
            return self.steps
        return self.epochs * max(1, count // batch_size(self.batch, count))


def learning_rate(step: int, total: int, warmup: float) -> float:
    """Rate of one step as a share of the highest.

    A linear rise over the share ``warmup`` of all steps, then a cosine that would reach 0 at step
    ``total``.
    """
    rising = round(warmup * total)
    if step < rising:
        return (step + 1) / rising
    share = (step - rising) / max(1, total - rising)
    return 0.5 * (1 + math.cos(math.pi * share))


def batch_size(wanted: int, count: int) -> int:
    """Images per batch on ``count`` images: few enough for 8 steps a pass, at least 8.

    One step a pass would leave a small set of images as good as untrained.
    """
    return min(wanted, max(8, count // 8), count)


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T**2 times the mean divergence of the student's softened classes from the teacher's.

    Both logits are (B, classes); the factor T**2 keeps gradients of one size whatever T is.
    """
    soft = F.log_softmax(student / temperature, dim=1)
    target = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(soft, target, reduction="batchmean", log_target=True)
    return divergence * temperature**2
