"""Export of a torch network to ONNX, and the parity check that both give the same answers."""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from edgeprune.arrays import Floats32, Pixels
from edgeprune.deploy.artifact.edits import pooled
from edgeprune.deploy.artifact.parity import ParityReport, check
from edgeprune.deploy.artifact.parity_samples import ParitySamples, network_input, pack, thumbnail
from edgeprune.deploy.artifact.seal import strip_paths
from edgeprune.deploy.devices.job import IR_VERSION, OPSET
from edgeprune.deploy.devices.runner import MOST_OF_A_MAP, rows
from edgeprune.errors import InputError, MachineError, PromiseError
from edgeprune.export.divergence import first_divergence
from edgeprune.prune.models.copying import deep_copy
from edgeprune.prune.models.outputs import answer_to, names, tensors
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.target import Parity

_LOGGERS = ("onnx_ir", "onnxscript")  # torch's own write to stderr


def to_onnx(
    model: nn.Module,
    example: Tensor | Sequence[int],
    *,
    dynamic_batch: bool = False,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Export a network as deployed: evaluation mode, float32, BatchNorm folded.

    Padded (option-A) shortcuts are exported as the equal 1x1 convolution, means over height and
    width as the GlobalAveragePool that onnxruntime has a blocked kernel for. Same weights and
    same input shape give the same bytes, whatever the folder, the user or the thread count.

    Args:
        model: Any mode, dtype and device; it is left as it is.
        example: One input, or its shape (N, C, H, W) or (C, H, W).
        dynamic_batch: Let the file take any number of images; else exactly N.
        opset: Version of the operators.

    Returns:
        A model at that opset and IR 10 at most, input ``input``, output ``logits``, or several
        by the names that :func:`outputs.names` gives; weights inside, without notes of the
        exporter.

    Raises:
        InputError: the input does not fit the network, the network cannot be exported, or not
            at this opset.
        MachineError: the installed exporter writes another opset than our own.
    """
    network = rewrite_shortcuts(plain(model))
    inputs = _example(example, at_least=2 if dynamic_batch else 1)
    named = names(answer_to(network, inputs))
    program = exported(network, inputs, named, dynamic_batch=dynamic_batch, opset=opset)
    proto: onnx.ModelProto = pooled(strip_paths(program.model_proto))[0]
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    if opsets == {"": opset}:
        return proto
    if opset != OPSET:  # asked for: the exporter knows some, and silently writes another
        raise InputError(f"the exporter wrote opset {opsets}, not {opset}; take {OPSET} or 18")
    raise MachineError(f"the exporter wrote opset {opsets}, not {OPSET}; update onnxscript")


def parity_samples(
    model: nn.Module,
    pixels: Pixels,
    size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
) -> ParitySamples:
    """Real images and the network's answers, to be sealed in the file.

    The answers are computed in float64, so that they do not depend on machine or threads. The
    images (N, C, H, W) are thinned to at most 32x32, answers as in :func:`runner.rows`; the rest
    is as for :func:`network_input`.
    """
    small = thumbnail(pixels)
    inputs = torch.from_numpy(network_input(small, size, mean, std)).double()
    with torch.inference_mode():
        answer = plain(model).double()(inputs)
    return pack(small, rows([output.numpy() for output in tensors(answer)], MOST_OF_A_MAP))


def parity(
    model: nn.Module,
    onnx_file: Path | bytes,
    images: Tensor,
    *,
    atol: float = 1e-4,
    rtol: float = 1e-3,
) -> ParityReport:
    """Compare torch and ONNX Runtime on real images, and refuse a file that differs.

    Args:
        model: The network as given to :func:`to_onnx`; it runs as float32 on the CPU.
        onnx_file: The file or its content.
        images: Normalised, shape (N, C, H, W); they go one by one, and by three too where
            the file takes any batch.
        atol: Absolute part of the tolerance.
        rtol: Part of the tolerance that grows with the value.

    Raises:
        InputError: no images, or a file that ONNX Runtime does not load.
        PromiseError: a value of an output is out of tolerance; the message names the first layer
            that is.
    """
    if not len(images):
        raise InputError("parity needs at least one image")
    content = onnx_file if isinstance(onnx_file, bytes) else onnx_file.read_bytes()
    network = plain(model)
    inputs = images.detach().cpu().float()
    with torch.inference_mode():
        expected = np.concatenate([_values(network(part)) for part in torch.split(inputs, 64)])
    tolerance = Parity(atol=atol, rtol=rtol)
    report = check(content, inputs.numpy(), expected, tolerance)
    if report.passed:
        return report
    worst = inputs[report.worst_image][None]
    layer = first_divergence(rewrite_shortcuts(network), content, worst, tolerance)
    where = f"first at layer {layer}" if layer else "at no single layer"
    raise PromiseError(
        f"parity failed: the ONNX file is up to {report.max_abs:.2g} off torch on "
        f"{report.images} images (allowed {atol:g} + {rtol:g} of the value), {where}; "
        "try other versions of torch and onnxscript, or widen [parity] of the target"
    )


def _values(answer: Any) -> Floats32:
    found: Floats32 = rows([output.numpy() for output in tensors(answer)])
    return found


def plain(model: nn.Module) -> nn.Module:
    """A copy as the file stands for it: evaluation mode, float32, on the CPU.

    Raises:
        InputError: it has layers without weights, or answers by the images beside an image.
    """
    if any(map(is_lazy, model.parameters())):
        raise InputError("the model has lazy layers without weights; run it on one image first")
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise InputError(
                f"layer {name} normalises by the batch at hand, so its answers depend on other "
                "images; train it with track_running_stats"
            )
    return deep_copy(model).eval().cpu().float()


def _example(example: Tensor | Sequence[int], *, at_least: int) -> Tensor:
    """Zeros of the wanted shape; the exporter takes a dynamic batch of 1 for a constant."""
    shape = tuple(example.shape) if isinstance(example, Tensor) else tuple(example)
    shape = shape if len(shape) == 4 else (1, *shape)
    if len(shape) != 4 or min(shape) < 1:
        raise InputError(f"input shape {tuple(shape)} is not (N, C, H, W)")
    return torch.zeros(max(shape[0], at_least), *shape[1:])


def exported(
    network: nn.Module,
    inputs: Tensor,
    outputs: Sequence[str],
    *,
    dynamic_batch: bool = False,
    opset: int = OPSET,
    optimize: bool = True,
) -> torch.onnx.ONNXProgram:
    """What torch's exporter makes of a network, its input ``input``, its outputs as named.

    Raises:
        InputError: it refuses the network.
        MachineError: it returned nothing.
    """
    try:
        with quiet():
            program = torch.onnx.export(
                network,
                (inputs,),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=["input"],
                output_names=list(outputs),
                dynamic_shapes=({0: "batch"},) if dynamic_batch else None,
                optimize=optimize,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = _root(error).splitlines()[0]
        raise InputError(f"the model cannot be exported to ONNX: {reason}") from None
    if program is None:
        raise MachineError("the exporter returned no program; update torch and onnxscript")
    return program


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's warnings and log lines from the user; they name its own internals."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__
