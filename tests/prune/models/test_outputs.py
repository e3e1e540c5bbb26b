"""What networks return: tensors in order, their names, and what is refused in one line."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import InputError
from edgeprune.prune.models.outputs import answer_to, first, names, tensors

A, B = torch.zeros(2, 3), torch.ones(2, 1, 4, 4)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (A, ("logits",)),
        ((A, B), ("output_0", "output_1")),
        ([A, None, B], ("output_0", "output_2")),
        (OrderedDict(out=A, aux=B), ("out", "aux")),
        ({"z": A, "a": {"box es": B}}, ("z", "a_box_es")),
        ({"input": A, "out": B}, ("output_0", "output_1")),  # the file's input has that name
        ({"a.b": A, "a b": B}, ("output_0", "output_1")),
        ((A, [B]), ("output_0", "output_1_0")),
    ],
)
def test_tensors_come_in_order_with_names(answer: Any, named: tuple[str, ...]) -> None:
    found = tensors(answer)
    assert [id(tensor) for tensor in found] == [id(A), id(B)][: len(found)]
    assert names(answer) == named
    assert first(answer) is A


class Answers(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((A, A.argmax(1)), "output '1' of the model is of torch.int64"),
        (A.argmax(1), "the output of the model is of torch.int64"),
        ({"out": A, "count": 3}, "output 'count' of the model is a int"),
        ({"out": A, "anchors": torch.zeros(9, 4)}, r"'anchors' .* \(9, 4\) for 2 images"),
        (torch.zeros(2), r"the output of the model has shape \(2,\)"),
        ({}, "returns a dict without a tensor"),
        ("a", "returns a str without a tensor"),
    ],
)
def test_what_has_no_distance_is_refused_in_one_line(answer: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        answer_to(Answers(answer), torch.zeros(2, 3, 4, 4))
    assert "\n" not in str(refused.value)


def test_images_of_another_shape_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"input shape \(2, 3, 4, 4\) does not fit the model"):
        answer_to(nn.Conv2d(1, 1, 1), torch.zeros(2, 3, 4, 4))
