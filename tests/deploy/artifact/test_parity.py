"""Comparing logits: by hand, and through ONNX Runtime on a model small enough to compute."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.deploy.artifact import facts, parity, parity_samples, seal
from edgeprune.deploy.artifact.provenance import Provenance
from edgeprune.deploy.devices.device import Local, connect
from edgeprune.errors import InputError, MachineError, PromiseError
from edgeprune.target import Parity, TargetProfile

TOLERANCE = Parity(atol=1e-4, rtol=1e-3)
LIMITS = {"atol": 1e-4, "rtol": 1e-3}
TARGET = TargetProfile(schema=1, name="here")
SHA = "b" * 64


def linear(batch: int | str = 1) -> bytes:
    """Logits = the four pixels of a (batch, 1, 2, 2) image, doubled."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        ],
        "main",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 1, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(2 * np.eye(4, dtype=np.float32), "w")],
    )
    opset = helper.make_opsetid("", 20)
    return helper.make_model(graph, ir_version=10, opset_imports=[opset]).SerializeToString()


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 1, 2, 2)).astype(np.float32)


def test_equal_logits_pass_with_infinite_sqnr():
    logits = np.eye(3, dtype=np.float32)
    report = parity.compare(logits, logits, **LIMITS)
    assert report.passed
    assert (report.max_abs, report.sqnr_db, report.top1_agreement) == (0, np.inf, 1)


def test_figures_by_hand():
    expected = np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)
    found = np.array([[3.0, 0.0], [5.0, 4.0]], np.float32)
    report = parity.compare(expected, found, **LIMITS)
    assert not report.passed
    assert (report.max_abs, report.worst_image, report.top1_agreement) == (5, 1, 0.5)
    assert report.sqnr_db == pytest.approx(0)


@pytest.mark.parametrize(
    ("off", "passed"), [(1e-4, True), (1e-4 + 9e-3, True), (1e-4 + 1.1e-2, False)]
)
def test_the_tolerance_is_absolute_plus_relative(off, passed):
    expected = np.full((1, 2), 10.0, np.float32)
    found = (expected.astype(np.float64) + off).astype(np.float32)
    assert parity.compare(expected, found, **LIMITS).passed is passed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["expected", "found", "both"])
def test_nan_and_infinity_never_pass(bad, side):
    good = np.ones((2, 3), np.float32)
    spoilt = good.copy()
    spoilt[1, 2] = bad
    expected = good if side == "found" else spoilt
    found = good if side == "expected" else spoilt
    report = parity.compare(expected, found, **LIMITS)
    assert not report.passed
    assert report.worst_image == 1


@pytest.mark.parametrize(("batch", "count"), [(1, 5), ("batch", 5), (2, 6)])
def test_a_model_that_agrees(batch, count):
    x = images(count)
    report = parity.check(linear(batch), x, 2 * x.reshape(count, 4), TOLERANCE)
    assert report.passed
    assert report.images == count


def test_a_model_that_differs():
    x = images(3)
    expected = 2 * x.reshape(3, 4)
    expected[2, 0] += 1
    report = parity.check(linear(), x, expected, TOLERANCE)
    assert not report.passed
    assert report.worst_image == 2


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (b"nonsense", images(1), "not an ONNX file"),
        (linear(), np.zeros((1, 3, 2, 2), np.float32), "takes"),
    ],
)
def test_what_cannot_run_is_one_line(model, x, message, capfd):
    with pytest.raises(InputError, match=message) as error:
        parity.check(model, x, np.zeros((1, 4), np.float32), TOLERANCE)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def _sealed(tmp_path, logits):
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 1, 2, 2) * 15
    provenance = Provenance(
        version="0.1.0",
        model="linear",
        target="mobile-cpu",
        target_sha256=SHA,
        input_shape=(1, 2, 2),
        mean=(0.5,),
        std=(0.25,),
        classes=tuple("abcd"),
        macs=16,
        params=16,
        parity=None if logits is None else parity_samples.pack(pixels, logits(pixels)),
    )
    path = tmp_path / "model.onnx"
    seal.write(path, onnx.ModelProto.FromString(linear()), provenance)
    return facts.read(path), seal.verify(path)


def test_a_sealed_file_answers_its_own_samples(tmp_path):
    file, provenance = _sealed(tmp_path, lambda p: 2 * (p.reshape(4, 4) / 255 - 0.5) / 0.25)
    assert parity.replay(file, provenance, TARGET, Local()).passed


def test_a_wrong_answer_breaks_a_promise(tmp_path):
    file, provenance = _sealed(tmp_path, lambda p: p.reshape(4, 4) / 255)
    with pytest.raises(PromiseError, match="parity samples wrongly") as error:
        parity.replay(file, provenance, TARGET, Local())
    assert "\n" not in str(error.value)


def test_a_file_without_samples_says_so(tmp_path):
    file, provenance = _sealed(tmp_path, None)
    with pytest.raises(InputError, match="no parity samples"):
        parity.replay(file, provenance, TARGET, Local())


def _right(pixels):
    return 2 * (pixels.reshape(4, 4) / 255 - 0.5) / 0.25


def test_the_samples_may_be_answered_on_a_device(tmp_path):
    device = connect(f"exec:{sys.executable}")
    file, provenance = _sealed(tmp_path, _right)
    report = parity.replay(file, provenance, TARGET, device)
    assert report.passed
    assert (report.images, report.top1_agreement) == (4, 1)


def test_a_wrong_answer_there_breaks_a_promise_too(tmp_path):
    file, provenance = _sealed(tmp_path, lambda p: p.reshape(4, 4) / 255)
    with pytest.raises(PromiseError, match="parity samples wrongly"):
        parity.replay(file, provenance, TARGET, connect(f"exec:{sys.executable}"))


class Liar:
    """A device that answers every batch with the same."""

    uri = "liar://"

    def __init__(self, shape, data):
        self.line = {"kind": "logits", "model": 0, "shape": shape, "data": data}

    def run(self, job):
        yield {"kind": "machine", "machine": {}}
        yield from [self.line] * len(job.batches)


@pytest.mark.parametrize(
    ("shape", "data"),
    [([1, 3], "AAAA" * 4), ([4], "AAAA" * 4), ([1, 4], "AAAA"), ([1, 4], "AAAA" * 400)],
)
def test_logits_of_another_shape_are_refused(tmp_path, shape, data):
    file, provenance = _sealed(tmp_path, _right)
    with pytest.raises(MachineError, match="does not answer 1 images with 4 values"):
        parity.replay(file, provenance, TARGET, Liar(shape, data))
