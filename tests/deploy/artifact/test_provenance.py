"""The record inside a file as metadata entries, and what of them is refused."""

from typing import Any

import pytest

from edgeprune.deploy.artifact.provenance import Provenance, compact, parse
from edgeprune.errors import EdgepruneError, InputError, PromiseError

RECORD = Provenance(
    version="0.1.0",
    model="123",
    target="mobile-cpu",
    target_sha256="a" * 64,
    input_shape=(3, 8, 8),
    mean=(0.5,),
    std=(0.25,),
    classes=("犬", "a"),
    macs=4,
    params=2,
)


def test_entries_are_read_back() -> None:
    entries = RECORD.entries()
    assert entries["edgeprune.model"] == "123"  # a text stays a text, digits or not
    assert entries["edgeprune.precision"] == "fp32"
    assert entries["edgeprune.mean"] == "[0.5]"
    assert "edgeprune.accuracy_slim" not in entries  # absent means unknown
    assert parse(entries) == RECORD


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"schema": "2"}, InputError, "of a newer edgeprune"),
        ({"macs": "-1"}, PromiseError, "entry edgeprune.macs"),
        ({"macs": "{"}, PromiseError, "entry edgeprune.macs is not JSON"),
        ({"colour": '"red"'}, PromiseError, "entry edgeprune.colour"),
        ({"precision": "int4"}, PromiseError, "entry edgeprune.precision"),
        ({"target_sha256": "A" * 64}, PromiseError, "entry edgeprune.target_sha256"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(
    change: dict[str, str], kind: type[EdgepruneError], words: str
) -> None:
    entries = RECORD.entries() | {f"edgeprune.{key}": value for key, value in change.items()}
    with pytest.raises(kind, match=words):
        parse(entries)


@pytest.mark.parametrize("key", ["version", "macs", "classes"])
def test_a_missing_entry_is_named(key: str) -> None:
    entries = RECORD.entries()
    del entries[f"edgeprune.{key}"]
    with pytest.raises(PromiseError, match=f"edgeprune.{key}: Field required"):
        parse(entries)


@pytest.mark.parametrize(
    ("value", "text"),
    [({"b": [1, 2]}, '{"b":[1,2]}'), ("犬", '"犬"'), ("\udcff", r'"\udcff"')],
)
def test_compact_keeps_letters_that_are_some(value: Any, text: str) -> None:
    assert compact(value) == text
