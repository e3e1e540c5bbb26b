"""Shapes of a model's tensors as one run of onnxruntime shows them, in a process with limits."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from edgeprune.deploy.artifact.counting.operators import Shape
from edgeprune.deploy.artifact.counting.skeleton import UncountableError, inlined
from edgeprune.deploy.devices.device import Local
from edgeprune.deploy.devices.job import Job
from edgeprune.errors import EdgepruneError
from edgeprune.target import Runtime

SECONDS = 60.0  # the model is foreign, and may not end
MOST_BYTES = 8 << 30  # of address space; all tensors are held at once


def observed(
    proto: Any,
    shapes: Mapping[str, Shape],
    names: list[str],
    values: Mapping[str, float] | None = None,
) -> dict[str, Shape]:
    """Shapes of tensors outside subgraphs, as far as a run gives them; empty where it fails.

    The model runs twice, on normal numbers from two seeds: a shape that differs is not one.

    Args:
        proto: The ``onnx.ModelProto``, weights included.
        shapes: Shape of each input.
        names: The tensors.
        values: By name of input, what all its elements are; else they are random.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(proto)
    try:
        model = inlined(model)
    except UncountableError:
        return {}
    del model.graph.output[:]
    # Without a type: onnxruntime finds it, and one that is wrong would be refused.
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    job = Job(
        models=(model.SerializeToString(),),
        runtime=Runtime(optimisation="disable"),  # fused away, a tensor has no shape
        outputs=(0,),
        most_bytes=MOST_BYTES,
        shapes=(dict(shapes),),
        values=values or {},
        timeout=SECONDS,
    )
    try:
        with closing(Local().run(job)) as lines:
            found = next(line["shapes"] for line in lines if line["kind"] == "outputs")
    except EdgepruneError:  # it does not run here, or not within the limits
        return {}
    return {name: tuple(shape) for name, shape in found.items() if name in set(names)}
