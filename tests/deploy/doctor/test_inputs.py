"""What a model is run on: its own sizes, those asked for, else usual ones that are told."""

from typing import Any

import pytest
from onnx import TensorProto, helper

from edgeprune.deploy.doctor.inputs import settle
from edgeprune.errors import InputError


def model(**inputs: Any) -> Any:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in inputs.items()
    ]
    return helper.make_model(helper.make_graph([], "g", values, []))


@pytest.mark.parametrize(
    ("dims", "shape", "told"),
    [
        ([1, 3, 32, 32], (1, 3, 32, 32), False),
        (["n", 3, 32, 32], (1, 3, 32, 32), False),  # a batch of one is no choice
        ([None, 3, "h", "w"], (1, 3, 224, 224), True),
        (["n", 1, 48, "w"], (1, 1, 48, 224), True),
        (["n", "t"], (1, 16), True),
        ([2, 1, 128], (2, 1, 128), False),
        ([], (), False),
    ],
)
def test_open_sizes_are_settled(dims: Any, shape: Any, told: bool) -> None:
    found = settle(model(x=dims), {})
    assert found.shapes == {"x": shape}
    assert bool(found.chosen) == told


def test_what_is_asked_for_is_taken() -> None:
    proto = model(x=["n", 3, "h", "w"], state=[2, "n"])
    assert settle(proto, {"": (1, 3, 8, 8)}).shapes["x"] == (1, 3, 8, 8)
    found = settle(proto, {"x": (2, 3, 8, 8), "state": (2, 2)})
    assert found.shapes == {"x": (2, 3, 8, 8), "state": (2, 2)}
    assert not found.chosen


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"": (1, 4, 8, 8)}, "takes"),
        ({"": (1, 3)}, "takes"),
        ({"y": (1,)}, "no input 'y'; there is x"),
    ],
)
def test_what_does_not_fit_is_refused(asked: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        settle(model(x=[1, 3, "h", "w"]), asked)


def test_a_model_without_inputs_is_refused() -> None:
    with pytest.raises(InputError, match="no input"):
        settle(model(), {})
