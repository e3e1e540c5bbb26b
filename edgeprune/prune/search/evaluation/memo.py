"""Memoised scores: numbers by what they were computed from, kept in a file of JSON lines."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgeprune.documents import parse_json, typed
from edgeprune.errors import InputError
from edgeprune.files import contents, disk_errors
from edgeprune.text import digest

Numbers = Mapping[str, float]


class Memo:
    """Numbers that are computed once, also over processes that were killed.

    Each value is appended to the file as soon as it is known; a line that was cut off is skipped.

    Args:
        path: JSON lines, read at the start; without a file nothing outlives the object.
        basis: What every value depends on, as plain JSON. It is part of every key, so a value
            of another network or of other images is never taken.
        others: Files of other searches, whose values are taken where this one lacks them.
    """

    def __init__(
        self, path: Path | None = None, basis: object = None, others: Sequence[Path] = ()
    ) -> None:
        self._path, self._basis = path, basis
        self._known = _read(path)
        self._others = {key: found for other in others for key, found in _read(other).items()}

    def knows(self, kind: str, given: object) -> bool:
        """Whether :meth:`recall` has the numbers for these arguments already."""
        key = self._key(kind, given)
        return key in self._known or key in self._others

    def is_shared(self, kind: str, given: object) -> bool:
        """Whether another search has computed the numbers for these arguments, and not this."""
        key = self._key(kind, given)
        return key in self._others and key not in self._known

    def recall(self, kind: str, given: object, compute: Callable[[], Numbers]) -> Numbers:
        """The numbers for these arguments, computed where no run has computed them yet.

        Args:
            kind: What is computed, a short word that begins the key.
            given: All that the numbers depend on beside the basis, as plain JSON.
            compute: Computes them; NaN and infinity are kept as they are.

        Raises:
            MachineError: The file cannot be written.
        """
        key = self._key(kind, given)
        if key not in self._known and key in self._others:
            return self._others[key]
        if key not in self._known:
            self._known[key] = compute()
            self._append({"key": key, **self._known[key]})
        return self._known[key]

    def _key(self, kind: str, given: object) -> str:
        return f"{kind} {digest(json.dumps([self._basis, kind, given], sort_keys=True))}"

    def _append(self, line: Mapping[str, object]) -> None:
        if self._path is not None:
            with disk_errors(self._path), self._path.open("a", encoding="utf-8") as file:
                # The break comes first: what was cut off before it stays a line of its own.
                file.write(("\n" if file.tell() else "") + json.dumps(line))


def _read(path: Path | None) -> dict[str, Numbers]:
    known: dict[str, Numbers] = {}
    if path is not None and path.exists():
        for line in contents(path).decode(errors="replace").splitlines():
            try:
                numbers = parse_json(line, str(path), finite=False)
                key = numbers.pop("key")
                known[str(key)] = typed(dict[str, float], numbers, str(path))
            except (InputError, KeyError, TypeError, AttributeError):
                continue  # cut off by a crash: it is computed again
    return known
