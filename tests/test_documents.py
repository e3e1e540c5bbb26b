"""JSON and TOML of ours: every kind of damage is one line that names the file."""

import os

import pytest

from edgeprune.documents import read_json, read_toml
from edgeprune.errors import InputError


def test_a_byte_order_mark_is_no_damage(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5]}')
    assert read_json(path) == {"a": [1, 2.5]}
    path.write_bytes(b"\xef\xbb\xbfa = 3")
    assert read_toml(path) == {"a": 3}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe{\x00}\x00", "save it as UTF-8"),
        (b'{"a": 1, "a": 2}', "key 'a' comes twice"),
        (b'{"a": [0, NaN]}', "a.1: nan is not a finite number"),
        (b'{"a": 1e999}', "a: inf is not a finite number"),
        (b'{"a": 1' + b"0" * 400 + b"}", "a: a whole number of more than 64 bits"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "is not JSON"),
        (b"[" * 66 + b"]" * 66, "nested more than 64 deep"),
        (b"[" * 100_000, "nested more than 64 deep"),
    ],
)
def test_damaged_json_is_one_line(tmp_path, content, said):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_json(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = ", "is not a TOML file"),
        (b"a = nan", "a: nan is not a finite number"),
        (b"a = 1" + b"0" * 400, "more than 64 bits"),
        (b"a = " + b"[" * 100_000, "nested more than 64 deep"),
        (b"a = 1\na = 2", "is not a TOML file"),
    ],
)
def test_damaged_toml_is_one_line(tmp_path, content, said):
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_toml(path)
    assert said in str(error.value)


def test_a_pipe_and_a_device_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(InputError, match="is not a regular file"):
            read_json(type(tmp_path)(path))


def test_a_file_beyond_the_bound_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeprune.documents.MOST_BYTES", 1 << 20)
    (tmp_path / "x.json").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(InputError, match="more than 1 MiB"):
        read_json(tmp_path / "x.json")


def test_infinity_is_read_where_it_was_written(tmp_path):
    (tmp_path / "x.json").write_text('{"a": Infinity}')
    assert read_json(tmp_path / "x.json", finite=False) == {"a": float("inf")}
