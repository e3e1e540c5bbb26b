"""Shapes of inputs: as the file says, as pinned, else a batch of 1; never a guess."""

from typing import Any

import pytest
from onnx import TensorProto, helper

from edgeprune.deploy.artifact.inputs import axes_of, settle
from edgeprune.errors import InputError


def model(**inputs: Any) -> Any:
    values = []
    for name, dims in inputs.items():
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims or ()))
        if dims is None:
            values[-1].type.tensor_type.ClearField("shape")
    return helper.make_model(helper.make_graph([], "g", values, []))


@pytest.mark.parametrize(
    ("dims", "pinned", "shape"),
    [
        ([1, 3, 8, 8], {}, (1, 3, 8, 8)),
        (["batch", 3, 8, 8], {}, (1, 3, 8, 8)),
        ([-1, 3, 8, 8], {}, (1, 3, 8, 8)),
        ([0, 3, 8, 8], {}, (1, 3, 8, 8)),
        (["batch", 3, "h", "w"], {"": (2, 3, 16, 16)}, (2, 3, 16, 16)),
        ([None, 3, None, -1], {"x": (4, 3, 8, 9)}, (4, 3, 8, 9)),
        (["n", "k"], {"": (4, 64)}, (4, 64)),
        (None, {"": (1, 3, 8, 8)}, (1, 3, 8, 8)),
        ([], {}, ()),
        ([5], {"x": (5,)}, (5,)),
    ],
)
def test_one_input(dims: Any, pinned: Any, shape: Any) -> None:
    assert settle(model(x=dims), pinned, "m") == {"x": shape}


@pytest.mark.parametrize(
    ("dims", "pinned", "words"),
    [
        (["batch", 3, "h", 8], {}, r"open at \['batch', 3, 'h', 8\]; set input.shape"),
        ([1, 3, 8, 8], {"": (1, 3, 16, 16)}, "is pinned"),
        ([1, 3], {"": (1, 3, 16, 16)}, "is pinned"),
        (None, {}, "without saying its axes"),
        ([1, -1], {}, "open at"),
        ([1], {"y": (1,)}, "no input 'y'; it has x"),
    ],
)
def test_what_is_refused(dims: Any, pinned: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        settle(model(x=dims), pinned, "m")


def test_several_inputs() -> None:
    proto = model(image=[-1, 3, "h", "w"], scale=["n", 2], rate=[])
    pinned: Any = {"image": (1, 3, 8, 8), "scale": (1, 2)}
    assert settle(proto, pinned, "m") == {"image": (1, 3, 8, 8), "scale": (1, 2), "rate": ()}
    # A pin without a name is for the only one that it can be for.
    assert settle(proto, {"": (1, 3, 8, 8)}, "m")["image"] == (1, 3, 8, 8)
    with pytest.raises(InputError, match="does not say which of the inputs a, b"):
        settle(model(a=[1, "n"], b=[1, "n"]), {"": (1, 5)}, "m")
    with pytest.raises(InputError, match="has no input: there is nothing to run"):
        settle(model(), {}, "m")


def test_what_is_no_tensor_is_refused() -> None:
    value = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1])
    proto = helper.make_model(helper.make_graph([], "g", [value], []))
    with pytest.raises(InputError, match="takes x, which is no tensor"):
        settle(proto, {}, "m")


def test_names_of_axes_are_one_line() -> None:
    assert axes_of(model(x=["a\nb", 2]).graph.input[0]) == ["a b", 2]
