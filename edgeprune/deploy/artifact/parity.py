"""Parity of an ONNX file: its answers to real images against those of its network."""

import base64
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from edgeprune.arrays import Floats32
from edgeprune.deploy.artifact.facts import Facts
from edgeprune.deploy.artifact.parity_samples import network_input
from edgeprune.deploy.artifact.provenance import Provenance
from edgeprune.deploy.devices.device import Device
from edgeprune.deploy.devices.job import Job, Line
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.errors import InputError, MachineError, PromiseError
from edgeprune.target import Parity, Runtime, TargetProfile


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """How far found answers are from expected ones.

    Attributes:
        images: Number of images that were compared.
        max_abs: Largest difference of a value.
        p99_abs: 99th percentile of the differences.
        sqnr_db: Signal to error ratio of the values, dB; infinite where all are equal.
        top1_agreement: Share of images with the same first class, 0..1; of no meaning where
            the answers are no logits.
        worst_image: Index of the image with the largest difference.
        passed: Whether every value is within ``atol + rtol * |expected|``.
    """

    images: int
    max_abs: float
    p99_abs: float
    sqnr_db: float
    top1_agreement: float
    worst_image: int
    passed: bool

    def near(self, parity: Parity) -> bool:
        """Whether answers in int8 are as near those in fp32 as a target asks for."""
        return self.sqnr_db >= parity.sqnr_db and self.top1_agreement >= parity.agreement


def compare(
    expected: Floats32,
    found: Floats32,
    *,
    atol: float,
    rtol: float,
    classes: int | None = None,
) -> ParityReport:
    """Compare answers (N, D); a NaN or an infinity on either side never passes.

    The first ``classes`` of them are logits, all by default.
    """
    finite = np.isfinite(expected) & np.isfinite(found)
    wanted = np.where(finite, expected, 0).astype(np.float64)
    # Differences (N, classes); infinite where either side is no number, so that it never passes.
    error = np.where(finite, np.abs(np.where(finite, found, 0) - wanted), np.inf)
    return ParityReport(
        images=len(expected),
        max_abs=float(error.max()),
        p99_abs=float(np.percentile(error, 99, method="higher")),
        sqnr_db=_decibel(float(np.sum(wanted**2)), float(np.sum(error**2))),
        top1_agreement=float(
            np.mean(expected[:, :classes].argmax(1) == found[:, :classes].argmax(1))
        ),
        worst_image=int(error.reshape(len(error), -1).max(axis=1).argmax()),
        passed=bool(np.all(error <= atol + rtol * np.abs(wanted))),
    )


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    ratio = signal / noise
    return 10 * math.log10(ratio) if ratio > 0 else -math.inf


def check(
    model: Path | bytes,
    images: Floats32,
    expected: Floats32,
    tolerance: Parity,
    runtime: Runtime | None = None,
) -> ParityReport:
    """Run images in the file's batch, or by one and by three where it takes any.

    Args:
        model: The ONNX file or its content.
        images: Shape (N, C, H, W), normalised.
        expected: Values of all outputs, shape (N, D), see :func:`runner.rows`.
        tolerance: How far a value may be off.
        runtime: How the file is opened; one CPU thread by default.

    Returns:
        The report of the worse of the two ways.

    Raises:
        InputError: onnxruntime does not load the file, or the images do not fit it.
        MachineError: it cannot run here.
    """
    session = open_session(model, runtime or Runtime())
    judged = partial(compare, expected, atol=tolerance.atol, rtol=tolerance.rtol)
    return _judged(session.answers, session.input_shape[0], images, judged)


def _judged(
    answers: Callable[[Sequence[Floats32]], Floats32],
    batch: int | str,
    images: Floats32,
    judged: Callable[[Floats32], ParityReport],
) -> ParityReport:
    # A batch folded into a constant shape answers by one and fails by three.
    sizes = (batch,) if isinstance(batch, int) else (1, 3)
    reports = []
    for size in sizes:
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        reports.append(judged(answers(parts)))
    return min(reports, key=lambda report: (report.passed, -report.max_abs))


def replay(
    file: Facts, provenance: Provenance, target: TargetProfile, device: Device
) -> ParityReport:
    """Run a sealed file on the images it carries, opened as on the target; needs no torch.

    It runs in a process of its own, here too: nobody knows what a file will do.

    Args:
        file: The file.
        provenance: Its record.
        target: Says how it is opened, and how near its answers have to be.
        device: Where it runs.

    Raises:
        InputError: the file carries no images.
        MachineError: it cannot run there.
        PromiseError: an answer differs from the recorded one.
    """
    samples = provenance.parity
    if samples is None:
        raise InputError(f"{file.path} carries no parity samples; `edgeprune export` adds them")
    size = provenance.input_shape[1:]  # height and width
    images = network_input(samples.pixels, size, provenance.mean, provenance.std)
    expected = np.asarray(samples.logits, np.float32)
    job = Job(models=(file.model,), runtime=target.runtime)
    answers = partial(answers_on, device, job, expected.shape[1])
    judged = partial(
        compare,
        expected,
        atol=target.parity.atol,
        rtol=target.parity.rtol,
        classes=len(provenance.classes) or None,
    )
    report = _judged(answers, _batch(file), images, judged)
    # Kernels of another instruction set round integers otherwise, so int8 is held to its noise.
    int8 = provenance.precision == "int8"
    passed = report.sqnr_db >= target.parity.sqnr_db if int8 else report.passed
    if not passed:
        raise PromiseError(
            f"{file.path} answers its own parity samples wrongly, up to {report.max_abs:.2g} off "
            f"on sample {report.worst_image}; try another onnxruntime, or export again"
        )
    return report


def _batch(file: Facts) -> int | str:
    """Size of the input's first axis in the file; a text where it is open."""
    return file.proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value or "N"


def answers_on(device: Device, job: Job, values: int, parts: Sequence[Floats32]) -> Floats32:
    """Answers (N, values) of a job's only model, run on a device batch by batch."""
    asked = replace(job, batches=tuple((0, part) for part in parts))
    with closing(device.run(asked)) as lines:
        found = [line for line in lines if line["kind"] == "logits"]
    said = zip(found, parts, strict=True)  # a device answers as often as it was asked
    return np.concatenate([_logits(line, (len(part), values), device.uri) for line, part in said])


def _logits(line: Line, shape: tuple[int, int], where: str) -> Floats32:
    content = base64.b64decode(line["data"])
    if tuple(line["shape"]) != shape or len(content) != 4 * math.prod(shape):  # bytes of a float32
        raise MachineError(f"{where}: it does not answer {shape[0]} images with {shape[1]} values")
    return np.frombuffer(content, "<f4").reshape(shape)
