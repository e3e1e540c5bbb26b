"""The names of networks; without torch, for the shell's completion and the report."""

from typing import Final

CIFAR: Final = (
    *(f"resnet{depth}" for depth in (20, 32, 44, 56, 110)),
    *(f"vgg{depth}" for depth in (11, 14, 16, 19)),
)
TORCHVISION: Final = (
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    "wide_resnet50_2",
    "wide_resnet101_2",
    *(f"vgg{depth}{suffix}" for depth in (11, 13, 16, 19) for suffix in ("", "_bn")),
)
PREFIX: Final = "torchvision/"
INSTANCE: Final = "instance of "
"""Begins the name of a module that was passed in Python, which no name builds again."""


def model_names() -> tuple[str, ...]:
    """Every name that builds a network, without timm's and users' own factories."""
    taken = (f"{PREFIX}{name}" if name in CIFAR else name for name in TORCHVISION)
    return (*CIFAR, *taken)
