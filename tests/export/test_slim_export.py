"""Slim networks exported by cutting, only where that was proven, and by torch elsewhere."""

from collections import Counter

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from edgeprune.export import slim_export as exporting
from edgeprune.export.slim_export import slim_export
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.slimming.slim import slim
from tests.export.test_open_network import Functional
from tests.models import draw_plan, lively, tiny

IMAGES = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def answer(proto: object, images: torch.Tensor = IMAGES) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString())  # type: ignore[attr-defined]
    found: np.ndarray = session.run(None, {"input": images.numpy()})[0]
    return found


def expected(network: nn.Module) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = network(IMAGES).numpy()
    return found


def test_a_dense_network_that_computes_its_weights_is_exported_as_it_answers() -> None:
    """Weight standardisation: the file holds what the weights come to."""
    torch.manual_seed(0)
    model = lively(Functional()).eval()
    traced = proven(model, IMAGES)
    export = slim_export(traced)
    assert export.opened is not None
    assert answer(export(model)) == pytest.approx(expected(model), abs=1e-4)
    thin = slim(traced, draw_plan(traced, 1))
    assert answer(export(thin)) == pytest.approx(expected(thin), abs=1e-4)


def test_a_cut_that_answers_otherwise_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()
    torchs = exporting.to_onnx
    monkeypatch.setattr(exporting, "_AGREE", -1.0)
    monkeypatch.setattr(
        exporting, "to_onnx", lambda *given: calls.update(["torch"]) or torchs(*given)
    )
    model, images = tiny("resnet")
    traced = proven(model.float(), images[:1].float())
    export = slim_export(traced)
    assert (export.opened, export.reason) == (None, "the graph gives other answers once it is cut")
    thin = slim(traced, draw_plan(traced, 1))
    assert answer(export(thin)) == pytest.approx(expected(thin), abs=1e-4)
    assert calls["torch"] == 1


def test_a_network_of_another_make_is_left_to_torch() -> None:
    model, images = tiny("vgg")
    traced = proven(model.float(), images[:1].float())
    export = slim_export(traced)
    assert export.opened is not None
    other = nn.Sequential(nn.Conv2d(3, 9, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert answer(export(other)) == pytest.approx(expected(other), abs=1e-4)


def test_what_is_timed_whole_is_the_network_at_its_widths() -> None:
    model, images = tiny("resnet")
    traced = proven(model.float(), images[:1].float())
    export = slim_export(traced)
    widths = [max(1, group.width // 2) for group in traced.groups]
    session = onnxruntime.InferenceSession(export.whole(widths))
    assert session.run(None, {"input": IMAGES.numpy()})[0].shape == (1, 5)
    assert export.network().full == tuple(group.width for group in traced.groups)
