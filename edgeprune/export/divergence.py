"""First layer at which a torch network and its ONNX file give different outputs."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import onnx
import torch
from torch import Tensor, nn

from edgeprune.arrays import Floats32
from edgeprune.deploy.artifact.parity import compare
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.target import Parity, Runtime

_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
_OPERATORS = ("Conv", "ConvTranspose", "Gemm")


def first_divergence(
    network: nn.Module, model: bytes, image: Tensor, tolerance: Parity
) -> str | None:
    """Name the first convolution or linear layer whose output differs.

    A layer is recognised by the name of its weight. Where a BatchNorm follows, the file may
    hold either the plain or the normalised output, so one of them has to agree.

    Args:
        network: In evaluation mode, on the CPU.
        model: The exported file's content.
        image: One input (1, C, H, W), float32.
        tolerance: How far a value may be off.

    Returns:
        Name of the module, or ``None`` when every layer that could be compared agrees.
    """
    expected = _layer_outputs(network, image)
    proto = onnx.ModelProto.FromString(model)
    layers = _layer_nodes(proto, expected)
    found = _values(proto, [value for _, value in layers], image.numpy())
    calls: dict[str, int] = defaultdict(int)
    for name, value in layers:
        candidates = expected[name][calls[name]]
        calls[name] += 1
        if not any(_close(found[value], candidate, tolerance) for candidate in candidates):
            return name
    return None


def _close(found: Floats32, expected: Floats32, tolerance: Parity) -> bool:
    if found.shape != expected.shape:
        return False
    return compare(expected, found, atol=tolerance.atol, rtol=tolerance.rtol).passed


def _layer_outputs(network: nn.Module, image: Tensor) -> dict[str, list[list[Floats32]]]:
    """For each layer and call of it: its output and, where BatchNorm follows, that output."""
    outputs: dict[str, list[list[Floats32]]] = defaultdict(list)
    made_by: dict[int, tuple[Tensor, list[Floats32]]] = {}

    def remember(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, _LAYERS):
                candidates = [output.numpy().copy()]
                outputs[name].append(candidates)
                made_by[id(output)] = (output, candidates)
            elif id(inputs[0]) in made_by:
                made_by[id(inputs[0])][1].append(output.numpy().copy())

        return hook

    watched = (*_LAYERS, nn.modules.batchnorm._BatchNorm)
    handles = [
        module.register_forward_hook(remember(name))
        for name, module in network.named_modules()
        if isinstance(module, watched)
    ]
    try:
        with torch.inference_mode():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _layer_nodes(
    proto: onnx.ModelProto, expected: Mapping[str, Sequence[object]]
) -> list[tuple[str, str]]:
    """(layer, output value) of every node whose weight names a layer, in order of execution."""
    left = {name: len(calls) for name, calls in expected.items()}
    found = []
    for node in proto.graph.node:
        name = node.input[1].removesuffix(".weight") if node.op_type in _OPERATORS else ""
        if left.get(name, 0) > 0:
            left[name] -= 1
            found.append((name, node.output[0]))
    return found


def _values(proto: onnx.ModelProto, names: Sequence[str], image: Floats32) -> dict[str, Floats32]:
    """What the named inner values of the model are for one image."""
    outputs = [value.name for value in proto.graph.output]
    inner = [name for name in dict.fromkeys(names) if name not in outputs]
    for name in inner:
        info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        proto.graph.output.append(info)
    session = open_session(proto.SerializeToString(), Runtime())
    arrays = session.session.run(None, {session.input_name: image})
    return dict(zip([*outputs, *inner], arrays, strict=True))
