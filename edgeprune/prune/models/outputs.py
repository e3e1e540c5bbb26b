"""What a network returns, as tensors in order: one tensor, or those of a tuple, list or dict."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path, tree_leaves

from edgeprune.errors import InputError
from edgeprune.text import error_line

SINGLE = "logits"  # what a single tensor is called in files, whatever it means


def tensors(answer: Any) -> tuple[Tensor, ...]:
    """The tensors of an answer in its order, that of the outputs of its ONNX file."""
    return tuple(leaf for leaf in tree_leaves(answer) if isinstance(leaf, Tensor))


def first(answer: Any) -> Tensor:
    """The first tensor: the logits of a classifier."""
    return answer if isinstance(answer, Tensor) else tensors(answer)[0]


def squares(values: Iterable[Tensor]) -> Tensor:
    """The sum of the squares of all values of several tensors."""
    return torch.stack([value.square().sum() for value in values]).sum()


def names(answer: Any) -> tuple[str, ...]:
    """Names of the tensors: keys of a dict, numbers in a tuple or list; ``a_0`` where nested."""
    if isinstance(answer, Tensor):
        return (SINGLE,)
    paths, _ = tree_flatten_with_path(answer)
    found = ["_".join(map(_part, path)) for path, leaf in paths if isinstance(leaf, Tensor)]
    named = [f"output_{name}" if name[:1].isdigit() else name for name in found]
    # Keys may differ in what no name of a file shows, or be the name of the input.
    plain = len(set(named)) == len(named) and "input" not in named
    return tuple(named if plain else (f"output_{place}" for place in range(len(named))))


def answer_to(network: nn.Module, inputs: Tensor) -> Any:
    """What a network returns for images (N, C, H, W), each output checked.

    Raises:
        InputError: it does not take such images, or returns what is no floating-point tensor of
            a row for each image.
    """
    try:
        with torch.inference_mode():
            answer = network(inputs)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"input shape {tuple(inputs.shape)} does not fit the model: {error_line(error)}"
        ) from None
    paths, _ = tree_flatten_with_path(answer)
    if not any(isinstance(leaf, Tensor) for _, leaf in paths):
        raise InputError(
            f"the model returns a {type(answer).__name__} without a tensor; have it return its "
            "outputs as a tensor, or a tuple, list or dict of tensors"
        )
    for path, leaf in paths:
        _refuse("_".join(map(_part, path)), leaf, len(inputs))
    return answer


def _refuse(name: str, leaf: object, images: int) -> None:
    if leaf is None:
        return
    called = f"output {name!r}" if name else "the output"
    if not isinstance(leaf, Tensor):
        raise InputError(
            f"{called} of the model is a {type(leaf).__name__}, no tensor; leave it out"
        )
    if not leaf.is_floating_point():
        raise InputError(
            f"{called} of the model is of {leaf.dtype}: numbers that are not floating-point have "
            "no distance; return the scores that they are made from"
        )
    if leaf.ndim < 2 or len(leaf) != images:
        raise InputError(
            f"{called} of the model has shape {tuple(leaf.shape)} for {images} images; every "
            "output needs the images as its first axis, and values on others"
        )


def _part(key: Any) -> str:
    """One step of a path as letters, digits and underscores."""
    text = str(next((getattr(key, k) for k in ("key", "idx", "name") if hasattr(key, k)), key))
    return "".join(letter if letter.isalnum() else "_" for letter in text)
