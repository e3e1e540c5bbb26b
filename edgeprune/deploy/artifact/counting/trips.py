"""Bodies of Loop and Scan: how often they run, what they are fed, each as a model of its own."""

from collections.abc import Iterator, Mapping
from typing import Any

from edgeprune.deploy.artifact.counting.shapes import Types, shape_of, stored
from edgeprune.deploy.artifact.counting.skeleton import is_small, subgraphs

MOST_TRIPS = 1 << 31


def trips(node: Any, body: Any, types: Types, constants: Mapping[str, Any]) -> int | None:
    """How often a Loop or Scan runs its body; None where only a run can tell.

    Args:
        node: The node.
        body: Its subgraph.
        types: Types of the tensors around it.
        constants: Tensors stored around it.
    """
    return _loop(node, body, constants) if node.op_type == "Loop" else _scan(node, body, types)


def fed(node: Any, body: Any, types: Types) -> Types:
    """Types of a body's inputs: of states as they begin, and of one slice of what is scanned."""
    given = list(_given(node, types))
    return {v.name: kind for v, kind in zip(body.input, given, strict=False) if kind is not None}


def is_steady(node: Any, body: Any, before: Types, after: Types) -> bool:
    """Whether states keep their shapes from run to run, so that all runs cost alike."""
    inputs, outputs = list(body.input), list(body.output)
    if node.op_type == "Loop":  # a counter and a condition, then states; a condition, then states
        states = zip(inputs[2:], outputs[1:], strict=False)
    else:
        states = zip(inputs[: len(inputs) - len(_axes(node))], outputs, strict=False)
    return all(shape_of(before.get(i.name)) == shape_of(after.get(o.name)) for i, o in states)


def alone(model: Any, body: Any, fed: Types, types: Types, constants: Mapping[str, Any]) -> Any:
    """A body as a model: what it takes from around it becomes an input or an initialiser.

    Args:
        model: The model that it is in.
        body: The subgraph; it is left as it is.
        fed: Types of its inputs.
        types: Types of the tensors around it.
        constants: Tensors stored around it.
    """
    import onnx

    own = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    own.graph.CopyFrom(body)
    for value in own.graph.input:
        value.type.CopyFrom(fed.get(value.name, onnx.TypeProto()))
    here = {value.name for value in own.graph.input} | set(stored(body))
    for name in sorted(set(_read(body)) - here):
        if name in constants and _is_whole(constants[name]):
            tensor = own.graph.initializer.add()
            tensor.CopyFrom(constants[name])
            tensor.name = name
        elif name in types:
            own.graph.input.add(name=name, type=types[name])
    return own


def _is_whole(tensor: Any) -> bool:
    """Whether a tensor has its data, as small ones have in a skeleton."""
    return is_small(tensor) and tensor.ByteSize() > 0


def _read(graph: Any) -> Iterator[str]:
    """Names that a graph reads and does not make itself."""
    made = {name for node in graph.node for name in node.output}
    for node in graph.node:
        for name in node.input:
            if name and name not in made:
                yield name
        for inner in subgraphs(node):
            inside = {value.name for value in inner.input} | made
            yield from (name for name in _read(inner) if name not in inside)
    yield from (value.name for value in graph.output if value.name not in made)


def _loop(node: Any, body: Any, constants: Mapping[str, Any]) -> int | None:
    """Known where the count is stored in the file and the condition always holds."""
    limit, begins = [*node.input[:2], "", ""][:2]
    number = _scalar(constants, limit)
    starts = not begins or _scalar(constants, begins)
    if number is None or not starts or not 0 <= number <= MOST_TRIPS:
        return None
    return number if _goes_on(body, constants) else None


def _goes_on(body: Any, constants: Mapping[str, Any]) -> bool:
    """Whether a body hands on a condition that holds: the one it was given, or a stored one."""
    makers = {name: node for node in body.node for name in node.output}
    inside = {**constants, **stored(body)}
    name = body.output[0].name if body.output else ""
    for _ in range(len(body.node) + 1):  # a chain no longer than the body
        if len(body.input) > 1 and name == body.input[1].name:
            return True
        maker = makers.get(name)
        if name in inside or maker is None or maker.op_type not in ("Identity", "Cast"):
            return bool(_scalar(inside, name))
        name = maker.input[0]
    return False


def _scan(node: Any, body: Any, types: Types) -> int | None:
    """The length of what it runs over."""
    axes = _axes(node)
    if len(node.input) != len(body.input):  # Scan of opset 8 has a batch around
        return None
    for name, axis in zip(node.input[len(node.input) - len(axes) :], axes, strict=True):
        shape = shape_of(types.get(name))
        if shape is not None and -len(shape) <= axis < len(shape):
            return shape[axis]
    return None


def _given(node: Any, types: Types) -> Iterator[Any]:
    import onnx

    tensor = onnx.helper.make_tensor_type_proto
    if node.op_type == "Loop":
        yield tensor(onnx.TensorProto.INT64, [])  # counter
        yield tensor(onnx.TensorProto.BOOL, [])  # condition
        yield from (types.get(name) for name in node.input[2:])
        return
    axes = _axes(node)
    first = len(node.input) - len(axes)
    yield from (types.get(name) for name in node.input[:first])
    for name, axis in zip(node.input[first:], axes, strict=True):
        kind, shape = types.get(name), shape_of(types.get(name))
        if kind is None or shape is None or not -len(shape) <= axis < len(shape):
            yield None
            continue
        rest = [size for at, size in enumerate(shape) if at != axis % len(shape)]
        yield tensor(kind.tensor_type.elem_type, rest)


def _axes(node: Any) -> list[int]:
    """Axis of each input that a Scan runs over; they are its last ones."""
    count = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
    count = max(0, min(count, len(node.input)))
    axes = next((list(a.ints) for a in node.attribute if a.name == "scan_input_axes"), [])
    return (axes + [0] * count)[:count]


def _scalar(constants: Mapping[str, Any], name: str) -> int | None:
    import onnx

    if name not in constants:
        return None
    try:
        value = onnx.numpy_helper.to_array(constants[name])
    except Exception:  # sparse or damaged: not a count that can be read
        return None
    return int(value.flat[0]) if value.size == 1 else None
