"""Weights as people save them: which mapping of a file fits a network, and under which prefix."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from edgeprune.errors import InputError
from edgeprune.prune.models.reading import SAFETENSORS, is_safetensors, load

_DEPTH = 3
"""Mappings inside mappings that are looked into; optimisers nest deeper and hold no names."""
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "backbone.", "ema.module.")
"""Prefixes to leave out of names that fit nothing, so that the line shows them bare."""
_COPIES = ("ema", "swa", "average", "teacher", "momentum")
"""Words in the names of copies that a training keeps beside the network itself."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of a file, named as the network names them.

    Attributes:
        state: Tensors by name.
        kind: What was recognised, such as ``Lightning checkpoint, prefix `model.```.
        left_out: Names of tensors beside them, which belong to something else.
    """

    state: Mapping[str, Tensor]
    kind: str
    left_out: tuple[str, ...] = ()

    def describe(self, own: Mapping[str, Tensor]) -> str:
        """One line: the kind, how many of the network's tensors it has, what was converted."""
        wanted = [name for name in own if not name.endswith("num_batches_tracked")]
        have = [n for n in wanted if n in self.state and self.state[n].shape == own[n].shape]
        line = f"{self.kind}, {len(have)} of {len(wanted)} tensors"
        converted = {_convert(self.state[n], own[n]) for n in have} - {""}
        if converted:
            line += f", {' and '.join(sorted(converted))}"
        if self.left_out:
            line += f"; {len(self.left_out)} beside them left out, such as {self.left_out[0]}"
        return line


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """One mapping under one prefix, and how many names of the network it has."""

    where: str
    prefix: str
    state: dict[str, Tensor]
    left_out: tuple[str, ...]
    hits: int

    @property
    def place(self) -> str:
        return "`" + ".".join(part for part in (self.where, self.prefix) if part) + "`"


def read_weights(path: Path, own: Mapping[str, Tensor]) -> Weights:
    """Find the weights of a network in a checkpoint of any common layout.

    Every mapping of names to tensors counts, bare or nested (``state_dict``, ``model``,
    ``ema`` ...), and every prefix that makes names fit (``module.``, ``_orig_mod.``,
    ``model.`` ...). The one that fits most names is taken; of equals the one that is no
    average of the others.

    Args:
        path: A file of torch.save or safetensors.
        own: The network's own tensors by name.

    Raises:
        InputError: missing, damaged, made of code, without weights, or with several networks
            that fit equally.
    """
    content = load(path)
    choices = [
        _choice(where, prefix, tensors, own)
        for where, tensors in _mappings(content, "", _DEPTH)
        for prefix in _prefixes(tensors, own)
    ]
    if not choices:
        raise InputError(
            f"{path} holds no weights: expected names and tensors, bare or in a dictionary "
            "such as {'state_dict': ...}"
        )
    chosen = _best(path, choices)
    kind = _kind(path, content, chosen)
    return Weights(state=chosen.state, kind=kind, left_out=chosen.left_out)


def _mappings(content: Any, where: str, depth: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    if not isinstance(content, Mapping):
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {key: value for key, value in named.items() if isinstance(value, Tensor)}
    if tensors:
        yield where, tensors
    for key, value in named.items():
        if depth:
            yield from _mappings(value, f"{where}.{key}" if where else key, depth - 1)


def _prefixes(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Prefixes under which the first, the middle or the last name of the network occurs."""
    names = list(own)
    probes = {names[0], names[len(names) // 2], names[-1]} if names else set()
    found = {name[: -len(p)] for name in tensors for p in probes if name.endswith(f".{p}")}
    usual = [p for p in _WRAPPERS if all(name.startswith(p) for name in tensors)]
    return ["", *sorted(found.union(usual), key=len)]


def _choice(
    where: str, prefix: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> _Choice:
    inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return _Choice(
        where=where,
        prefix=prefix,
        state=inside,
        left_out=tuple(name for name in tensors if not name.startswith(prefix)),
        hits=sum(name in inside for name in own),
    )


def _best(path: Path, choices: list[_Choice]) -> _Choice:
    most = max(choice.hits for choice in choices)
    best = [choice for choice in choices if choice.hits == most]
    if most == 0:
        # Nothing fits: what is shown of it is the largest mapping, without its wrapper.
        return max(best, key=lambda c: (len(c.state), len(c.prefix)))
    raw = [c for c in best if not any(word in c.place.lower() for word in _COPIES)]
    kept = raw or best
    if len(kept) > 1:
        places = ", ".join(choice.place for choice in kept)
        raise InputError(
            f"{path} holds {len(kept)} networks that fit equally well: {places}; save the one "
            "that is meant in a file of its own"
        )
    return kept[0]


def _kind(path: Path, content: Mapping[str, Any], chosen: _Choice) -> str:
    if "pytorch-lightning_version" in content:
        kind = "Lightning checkpoint"
    elif is_safetensors(path):
        kind = SAFETENSORS
    elif "format" in content and "plan" in content:
        kind = "model.pt of edgeprune"
    elif chosen.where:
        kind = f"weights under `{chosen.where}`"
    else:
        kind = "bare state_dict"
    return f"{kind}, prefix `{chosen.prefix}`" if chosen.prefix else kind


def _convert(given: Tensor, wanted: Tensor) -> str:
    if given.dtype == wanted.dtype:
        return ""
    return f"{given.dtype} read as {wanted.dtype}".replace("torch.", "")
