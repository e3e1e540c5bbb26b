"""NVIDIA Model Optimizer's FastNAS, brought to a measured latency.

Used as its documentation says: ``mtp.prune``, mode ``fastnas``, a FLOPs constraint, accuracy
on held-out images as its score, widths in multiples of the device's grid or of 4. What it
returns has the statistics of the dense network's BatchNorm; it is recalibrated like everybody.

Its packages are installed by hand: ``pip install nvidia-modelopt==0.47.0 torchprofile==0.0.4``.
"""

import contextlib
import copy
import os
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.prune.images.datasets import DataSet, sample
from edgeprune.prune.images.held import Images
from edgeprune.prune.training.evaluation import evaluate

JUDGED = 1000  # held-out images of each score: one for every width of every layer
_BATCH = 128


@dataclass(frozen=True)
class FastNas:
    """One way to use it.

    Attributes:
        divisor: Widths are multiples of it.
    """

    divisor: int

    @property
    def name(self) -> str:
        """Such as ``fastnas-aligned16``."""
        return f"fastnas-aligned{self.divisor}"


@dataclass
class Pruning:
    """All that one arm has found out on one network.

    Attributes:
        dense: The network.
        images: Training images recalibrate, held-out images judge.
        arm: How it is used.
        folder: Where it keeps the sensitivities that it measures once.
    """

    dense: nn.Module
    images: DataSet
    arm: FastNas
    folder: Path
    known: dict[float, dict[str, Tensor]] = field(default_factory=dict)

    def pruned(self, ratio: float) -> dict[str, Tensor]:
        """Tensors of the network with at most ``1 - ratio`` of the FLOPs, by name."""
        if ratio not in self.known:
            self.known[ratio] = self._searched(ratio)
        return self.known[ratio]

    def _searched(self, ratio: float) -> dict[str, Tensor]:
        import modelopt.torch.prune as mtp

        widths = {"channel_divisor": self.arm.divisor}
        features = {"feature_divisor": self.arm.divisor}
        rules: Any = {
            "nn.Conv2d": {"*": widths},
            "nn.BatchNorm2d": {"*": features},
            "nn.Linear": {"*": features},
        }
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            network, _ = mtp.prune(
                model=copy.deepcopy(self.dense).requires_grad_(True),
                mode=[("fastnas", rules)],
                constraints={"flops": f"{100 * (1 - ratio):.3f}%"},
                dummy_input=torch.zeros(1, *self.images.input_shape),
                config={
                    "data_loader": self._training,
                    "score_func": lambda model: evaluate(model, self._judged).accuracy,
                    "checkpoint": str(self.folder / f"{self.arm.name}.pth"),
                    "verbose": False,
                },
            )
        return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @cached_property
    def _judged(self) -> Images:
        return sample(self.images.val, JUDGED)

    @cached_property
    def _training(self) -> list[tuple[Tensor, Tensor]]:
        """Batches that it recalibrates BatchNorm on before each score."""
        return list(sample(self.images.train, 4 * _BATCH).batches(_BATCH))


def is_installed() -> bool:
    """Whether its packages are there."""
    return all(find_spec(name) is not None for name in ("modelopt", "torchprofile"))
