"""Evaluation counts right answers and leaves the network alone."""

import tarfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.images.decoding import decode
from edgeprune.prune.images.folders import Listing
from edgeprune.prune.images.held import HeldImages
from edgeprune.prune.models.zoo import ModelSpec, load_dense
from edgeprune.prune.training.batchnorm import recalibrate
from edgeprune.prune.training.evaluation import evaluate, kept_answers, known_answers, paired
from tests.images import PLAIN, sorted_by_class

CPU = torch.device("cpu")


class _Reads(nn.Module):
    """Answers with what is written in the image's first pixel."""

    def forward(self, x: Tensor) -> Tensor:
        written = (x[:, 0, 0, 0] * 255).round().long()
        return nn.functional.one_hot(written, 4).float()


def test_accuracy_is_the_share_of_right_answers() -> None:
    pixels = torch.zeros(5, 3, 2, 2, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.tensor([0, 1, 2, 3, 3])
    images = HeldImages(pixels, torch.tensor([0, 1, 2, 0, 3]), normalisation=PLAIN)
    found = evaluate(_Reads(), images, device=CPU)
    assert found.accuracy == pytest.approx(0.8)
    assert found.logits.argmax(1).tolist() == [0, 1, 2, 3, 3]
    assert found.right.tolist() == [True, True, True, False, True]
    assert found.loss == pytest.approx(
        float(nn.functional.cross_entropy(found.logits, images.labels))
    )


def test_answers_are_counted_in_pairs() -> None:
    dense = torch.tensor([True, True, True, False, False])
    slim = torch.tensor([True, False, False, True, False])
    assert paired(dense, slim) == {"both": 1, "dense": 2, "slim": 1, "neither": 1}


def test_answers_are_kept_with_the_images_that_they_are_of() -> None:
    right = torch.tensor([True, False, True])
    kept = kept_answers(right, "digits-1")
    assert kept == {"images": "digits-1", "right": "101"}
    found = known_answers(kept, "digits-1")
    assert found is not None
    assert torch.equal(found, right)
    assert known_answers(kept, "others") is None
    assert known_answers(None, "digits-1") is None


def test_the_given_model_stays_in_its_mode() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 3)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, sorted_by_class(), device=CPU)
    recalibrate(model, sorted_by_class(), device=CPU)
    assert model.training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), "does not take images of shape (3, 4, 4)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), "the images have 3 classes"),
    ],
)
def test_a_model_that_does_not_fit_the_images_is_refused(model: nn.Module, words: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate(model, sorted_by_class(), device=CPU)
    assert words in str(caught.value)


def test_no_images_are_refused() -> None:
    with pytest.raises(InputError, match="no images"):
        evaluate(_Reads(), sorted_by_class().subset(torch.arange(0)), device=CPU)


@pytest.fixture(scope="module")
def real_images(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> HeldImages:
    """The first 40 test images of each class."""
    root = tmp_path_factory.mktemp("cifar")
    with tarfile.open(shared / "cifar10-jpeg.tar.xz") as archive:
        wanted = [m for m in archive if "test/" in m.name and m.name[-8:] < "0040.jpg"]
        archive.extractall(root, members=[m for m in wanted if m.isfile()], filter="data")
    paths = sorted(root.rglob("*.jpg"))
    classes = sorted({path.parent.name for path in paths})
    labels = torch.tensor([classes.index(path.parent.name) for path in paths])
    listing = Listing(tuple(paths), labels.numpy())
    pixels = decode({"test": listing}, (3, 32, 32), "real", cache=root)["test"]
    return HeldImages(torch.from_numpy(pixels), labels)


@pytest.mark.parametrize(
    ("weights", "lowest", "highest"),
    [("resnet20-12fca82f.th", 0.76, 0.86), ("resnet20-jpeg45k.pt", 0.80, 0.90)],
)
def test_real_checkpoints_read_what_is_known_of_them(
    shared: Path, real_images: HeldImages, weights: str, lowest: float, highest: float
) -> None:
    model = load_dense(ModelSpec("resnet20"), shared / "checkpoints" / weights).model
    assert len(real_images) == 400
    accuracy = evaluate(model, real_images, device=CPU).accuracy
    assert lowest < accuracy < highest
    tuned = recalibrate(model, real_images, device=CPU)
    assert abs(evaluate(tuned, real_images, device=CPU).accuracy - accuracy) < 0.06
