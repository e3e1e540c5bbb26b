"""Follows the channels of a traced network through the ONNX graph that was exported from it.

Every position of a channel axis has an id: equal ids stay or go together, 0 always stays. The ids
of the parameters come from the trace; those of every other tensor follow from the operators.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgeprune.arrays import Ints
from edgeprune.export.onnx_rules import CannotCutError, Held, ids_after, run


def followed(
    graph: onnx.GraphProto, given: Mapping[str, Mapping[int, Ints]]
) -> tuple[dict[str, Held], dict[str, np.ndarray[Any, Any]]]:
    """The channels of every tensor of a graph, and the values of its constants.

    Args:
        graph: As :func:`open_graph` returns it.
        given: Ids of the inputs of the graph, by axis.

    Raises:
        CannotCutError: an operator on channels that no rule is known for.
    """
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    known = {name: Held(value.shape, is_open=True) for name, value in values.items()}
    shapes = {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    for value in graph.input:
        known[value.name] = Held(shapes[value.name], given.get(value.name, {}))
    for node in graph.node:
        if values.keys() >= set(node.input):
            values.update(zip(node.output, run(node, values), strict=True))
            known |= {name: Held(values[name].shape, is_open=True) for name in node.output}
            continue
        inputs = [known.get(name) for name in node.input]
        if missing := [name for name in node.output if name and not all(shapes.get(name, (0,)))]:
            raise CannotCutError(f"{node.op_type} makes {missing[0]} of no known shape")
        made = [shapes.get(name, ()) for name in node.output]
        found = ids_after(node, inputs, made, values)
        is_open = all(one is None or one.is_open for one in inputs)
        for name, shape, ids in zip(node.output, made, found, strict=True):
            left = {axis: own for axis, own in ids.items() if own.any()}
            known[name] = Held(shape, left, is_open)
    return known, values
