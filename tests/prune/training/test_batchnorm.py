"""BatchNorm recalibration replaces running statistics and nothing else."""

import torch
from torch import Tensor, nn

from edgeprune.prune.training.batchnorm import recalibrate
from tests.images import PLAIN, sorted_by_class

CPU = torch.device("cpu")


def test_statistics_are_those_of_the_images() -> None:
    images = sorted_by_class(512)  # two whole batches, so nothing is left out
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3))
    fresh = recalibrate(model, images, augment=False, device=CPU).get_submodule("0")
    assert isinstance(fresh, nn.BatchNorm2d)
    assert fresh.running_mean is not None
    assert fresh.running_var is not None
    pixels = PLAIN(images.pixels)
    assert torch.allclose(fresh.running_mean, pixels.mean((0, 2, 3)), atol=1e-5)
    # The mean of two shuffled batches' variances; sorted ones would miss what lies between
    # the classes, more than half of it.
    assert torch.allclose(fresh.running_var, pixels.var((0, 2, 3)), rtol=0.01)
    assert fresh.momentum == 0.3
    assert not fresh.training


def test_weights_and_dropout_play_no_part() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.9), nn.BatchNorm2d(4))
    first, again = (recalibrate(model, sorted_by_class(), device=CPU) for _ in range(2))
    assert torch.equal(first.get_parameter("0.weight"), model.get_parameter("0.weight"))
    assert torch.equal(first.get_buffer("2.running_mean"), again.get_buffer("2.running_mean"))


def test_a_fixed_number_of_images_is_used() -> None:
    seen: list[int] = []

    class Counts(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            seen.append(len(input))
            return super().forward(input)

    recalibrate(Counts(3), sorted_by_class(600), count=512, device=CPU)
    assert sum(seen) == 512


def test_a_network_without_batchnorm_is_only_copied() -> None:
    model = nn.Conv2d(3, 4, 1)
    copied = recalibrate(model, sorted_by_class(8), device=CPU)
    assert copied is not model
    assert torch.equal(copied.get_parameter("weight"), model.weight)
