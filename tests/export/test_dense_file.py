"""Dense weights as people save them become a sealed file."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgeprune.deploy.artifact import seal
from edgeprune.errors import InputError
from edgeprune.export.dense_file import DenseRequest, export_dense
from edgeprune.export.file_options import FileOptions
from edgeprune.prune.images.held import Normalisation
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.target import load_target


@pytest.fixture
def request_for(tmp_path: Path) -> DenseRequest:
    spec = ModelSpec("resnet20", 7)
    torch.save({"state_dict": build(spec).state_dict()}, tmp_path / "mine.pth")
    return DenseRequest(
        weights=tmp_path / "mine.pth",
        spec=spec,
        source=None,
        size=(32, 32),
        normalisation=Normalisation(),
        target=load_target("mobile-cpu"),
    )


def test_weights_become_a_sealed_file(request_for: DenseRequest) -> None:
    shipped = export_dense(request_for, options=FileOptions(parity_images=0))
    assert shipped.path == request_for.weights.with_suffix(".onnx")
    found = seal.verify(shipped.path)
    assert (found.model, found.plan, found.dense_widths) == ("resnet20", None, None)
    assert found.classes == tuple("0123456")
    # As published: without the 0/1 convolutions that stand for padded shortcuts.
    assert 40_000_000 < found.macs < 41_500_000
    assert 268_000 < found.params < 273_000
    assert found.resize is None  # nobody said how its images are resized
    assert found.checkpoint_sha256 == seal.file_sha256(request_for.weights)
    with pytest.raises(InputError, match="exists"):
        export_dense(request_for)


def test_weights_of_another_network_are_refused(request_for: DenseRequest) -> None:
    with pytest.raises(InputError, match=r"mine\.pth"):
        export_dense(replace(request_for, spec=ModelSpec("resnet32", 7)))
    assert not request_for.weights.with_suffix(".onnx").exists()


def test_images_of_a_source_name_the_classes(request_for: DenseRequest) -> None:
    spec = ModelSpec("resnet20", 10)
    torch.save(build(spec).state_dict(), request_for.weights)
    shipped = export_dense(replace(request_for, spec=spec, source="digits"))
    found = seal.verify(shipped.path)
    assert found.classes == tuple("0123456789")
    assert found.resize == "bilinear from 8x8 to 32x32"
