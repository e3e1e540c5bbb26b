"""Where does an evolution stand? Kept in a file from which it goes on exactly."""

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from edgeprune.errors import InputError
from edgeprune.files import write_whole

_FORMAT = "edgeprune evolution 1"
State = tuple[int, tuple[int, ...], float | None]


class Standing(BaseModel):
    """A run after one of its generations; nothing else decides how it goes on.

    Attributes:
        key: What the run was asked for, from :func:`key_of`.
        generation: Generations done.
        genomes: The population, P rows of G genes.
        values: Its objectives, P rows of M.
        violation: P numbers, infinite where an evaluation failed.
        crowding: NSGA-II's crowding distances, P numbers.
        tried: Genomes that were evaluated and are not evaluated again.
        state: Of ``random``, as it gives it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: str
    generation: int
    genomes: tuple[tuple[int, ...], ...]
    values: tuple[tuple[float, ...], ...]
    violation: tuple[float, ...]
    crowding: tuple[float, ...]
    tried: tuple[tuple[int, ...], ...]
    state: State

    @model_validator(mode="after")
    def _one_row_each(self) -> "Standing":
        columns = (self.values, self.violation, self.crowding)
        if not self.genomes or {len(column) for column in columns} != {len(self.genomes)}:
            raise ValueError("every genome needs its values")
        return self


def key_of(*asked: object) -> str:
    """A hash of what a run is asked for, given as what JSON can say."""
    return hashlib.sha256(json.dumps([_FORMAT, *asked], sort_keys=True).encode()).hexdigest()


def save(path: Path, standing: Standing) -> None:
    """Write the file whole; floats are written so that they read back bit by bit."""
    write_whole(path, json.dumps(standing.model_dump()).encode())


def load(path: Path, key: str) -> Standing | None:
    """Read what :func:`save` wrote.

    Returns:
        Nothing where there is no file, or one of a run that was asked for something else.

    Raises:
        InputError: The file is no record of an evolution: damaged, or somebody else's.
    """
    try:
        standing = Standing.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise InputError(
            f"{path} is not a readable record of a search; delete it to start that search anew"
        ) from None
    return standing if standing.key == key else None
