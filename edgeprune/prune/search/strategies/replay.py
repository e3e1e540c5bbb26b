"""Deterministic replay: a resumed search answers the limits again that it had answered."""

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from edgeprune.documents import read_json, typed
from edgeprune.errors import InputError
from edgeprune.files import write_whole
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice

Searcher = Callable[[Limits], Choice]


class Replaying:
    """A search that goes through the limits it had answered before it answers new ones.

    What it finds out for one budget serves the next. Its scores are memoised in a file of their
    own, so that answering again costs little.

    Args:
        search: Any searcher.
        path: The limits it has answered, JSON.

    Raises:
        InputError: The file is damaged.
    """

    def __init__(self, search: Searcher, path: Path) -> None:
        self._search, self._path = search, path
        self._answered = _read(path)
        self._ahead = deque(self._answered)

    def __call__(self, limits: Limits) -> Choice:
        """What the search answers once it has come as far as it was."""
        while self._ahead and self._ahead[0] != limits:
            self._search(self._ahead.popleft())
        choice = self._search(limits)
        if self._ahead:
            self._ahead.popleft()
        else:
            self._answered.append(limits)
            lines = [asdict(answered) for answered in self._answered]
            write_whole(self._path, json.dumps(lines).encode())
        return choice

    def front(self) -> Sequence[Choice]:
        """The front of the search; empty where it keeps none."""
        found: Callable[[], Sequence[Choice]] = getattr(self._search, "front", tuple)
        return found()


def _read(path: Path) -> list[Limits]:
    if not path.exists():
        return []
    try:
        lines = typed(list[dict[str, float | None]], read_json(path, finite=False), str(path))
        return [Limits(**line) for line in lines]
    except (InputError, TypeError) as error:
        raise InputError(f"{path} is damaged; delete it to search anew") from error
