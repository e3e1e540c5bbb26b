"""How does a search that was interrupted get back to where it was?"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edgeprune.errors import InputError
from edgeprune.files import write_whole
from edgeprune.prune.space.budget import Limits
from edgeprune.prune.space.choice import Choice

Searcher = Callable[[Limits], Choice]


@dataclass
class Replaying:
    """A search that is asked again what it had answered, before anything new.

    What it finds out for one budget serves the next. Its scores and its generations lie in
    files of their own, so that answering again costs little.

    Attributes:
        search: Any searcher.
        notes: The limits it has answered, JSON.
    """

    search: Searcher
    notes: Path
    _answered: list[Limits] = field(init=False)
    _place: int = 0

    def __post_init__(self) -> None:
        self._answered = _read(self.notes)

    def __call__(self, limits: Limits) -> Choice:
        """What the search answers once it has come as far as it was."""
        while self._place < len(self._answered) and self._answered[self._place] != limits:
            self.search(self._answered[self._place])
            self._place += 1
        choice = self.search(limits)
        if self._place == len(self._answered):
            self._answered.append(limits)
            lines = [asdict(answered) for answered in self._answered]
            write_whole(self.notes, json.dumps(lines).encode())
        self._place += 1
        return choice

    def front(self) -> Sequence[Choice]:
        """The front of the search; empty where it keeps none."""
        found: Callable[[], Sequence[Choice]] = getattr(self.search, "front", tuple)
        return found()


def _read(notes: Path) -> list[Limits]:
    if not notes.exists():
        return []
    try:
        return [Limits(**line) for line in json.loads(notes.read_text("utf-8"))]
    except (ValueError, TypeError) as error:
        raise InputError(f"{notes} is damaged; delete it to search anew") from error
