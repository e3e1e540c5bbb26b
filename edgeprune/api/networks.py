"""Networks in Python: ``edgeprune.load`` and ``edgeprune.slim``; both need torch."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeprune.errors import InputError
from edgeprune.requirements import needs_search

if TYPE_CHECKING:
    from torch import Tensor, nn


def load(
    path: str | PathLike[str], *, into: "nn.Module | None" = None, trust_factory: bool = False
) -> "nn.Module":
    """The network of a model.pt, slim or dense, in evaluation mode, on the CPU.

    Args:
        path: A model.pt or dense.pt that a search or a fine-tuning wrote.
        into: The dense network, where the file was made from a module that was passed to
            ``edgeprune.search``, or in place of building it by name. It is copied; only its
            structure counts, every weight comes from the file.
        trust_factory: Run the code of the ``module:factory`` that the file names.

    Raises:
        InputError: missing, damaged, no such file, or it names code that was not trusted,
            or it was made from a module and ``into`` is not given or another one.
        MachineError: torch is not installed.
    """
    needs_search("edgeprune.load", ("torch",))
    from edgeprune.prune.slimming.reload import load_slim

    return load_slim(Path(path), trust_factory, into)[0]


def slim(
    model: "nn.Module",
    example: "Tensor",
    *,
    widths: Mapping[str, int] | None = None,
    ratio: float | None = None,
    images: "Tensor | None" = None,
    order: Literal["wavelet", "l1"] | None = None,
    keep: str | Sequence[str] = (),
    only: str | Sequence[str] = (),
) -> "nn.Module":
    """A slim copy of a network, to be trained further by the caller; nothing is measured.

    Which channels of a group stay is decided by the wavelet order where ``images`` are given,
    by the L1 order where there are none. BatchNorm is not recalibrated.

    Args:
        model: The network; it is left as it is.
        example: An input, batch first, as the network takes it.
        widths: Channels that stay, by group name as ``edgeprune channels`` lists them; groups
            that are not named stay whole, 0 drops a residual branch.
        ratio: Share of every group's channels that stays, above 0 and at most 1, rounded up
            to a multiple of 8; no branch is dropped. One of ``widths`` and ``ratio`` is needed.
        images: Some hundred images (N, C, H, W) as the network takes them; labels are not used.
        order: ``wavelet`` or ``l1``, whatever there is.
        keep: Globs of names of modules, such as ``layer1.*``: every channel that these layers
            make stays, with all that are coupled with it, and their branches are not dropped.
        only: Globs of the only layers that are pruned; a group of coupled layers is, where all
            of those that make its channels are named.

    Returns:
        The slim network, on the device and in the mode of ``model``; nothing is shared with it.

    Raises:
        InputError: neither or both of ``widths`` and ``ratio``, or one that cannot be, or
            ``keep`` or ``only`` name no layer, or leave nothing to prune.
        MachineError: torch or PyWavelets is not installed.
    """
    needs_search("edgeprune.slim", ("torch", "pywt"))
    from edgeprune.prune.slimming.by_widths import slim_to
    from edgeprune.prune.space.selection import Selection

    wanted = ratio if widths is None else widths
    if wanted is None or (widths is not None and ratio is not None):
        raise InputError("slim takes one of widths= (by group) and ratio= (share of channels)")
    selection = Selection(keep=globs(keep), only=globs(only))
    return slim_to(model, example, wanted, images, order, selection)


def globs(given: str | Sequence[str]) -> tuple[str, ...]:
    """One glob or several as a tuple."""
    return (given,) if isinstance(given, str) else tuple(given)
