"""Mutations, as hypothesis strategies: of bytes, of plain content, of protobuf messages."""

import copy
import json
from collections.abc import Callable
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

WORDS = (
    "\x1b[31mred\x1b[0m",
    "a\n::error title=forged::message",
    "\r\x07\x9b2J\u202e\u2028\ud800",
    "../../outside",
    "/dev/zero",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "",
    "x" * 5000,
    "NaN",
    "1e999",
    "0x10",
    "none",
)
NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 1e308, -0.0, 5e-324)
SPECIAL = (float("nan"), float("inf"), float("-inf"))


def deep(levels: int) -> Any:
    """A list in a list in a list ..."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(SPECIAL),
    st.sampled_from(WORDS),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.dictionaries(st.sampled_from(WORDS), SCALARS, max_size=3),
    st.sampled_from((30, 100, 900)).map(deep),
)


@st.composite
def damaged_bytes(draw: DrawFn, content: bytes) -> bytes:
    """Content with one to four cuts, flips, repeats or insertions."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(("cut", "flip", "drop", "repeat", "insert", "head")))
        if kind == "cut":
            content = content[:at]
        elif kind == "flip" and content:
            flipped = content[at] ^ (1 << draw(st.integers(0, 7)))
            content = content[:at] + bytes([flipped]) + content[at + 1 :]
        elif kind == "drop":
            content = content[:at] + content[at + draw(st.integers(1, 40)) :]
        elif kind == "repeat":
            content = (
                content[:at] + content[at : at + draw(st.integers(1, 200))] * 3 + content[at:]
            )
        elif kind == "insert":
            content = content[:at] + draw(st.binary(max_size=20)) + content[at:]
        else:
            content = draw(st.binary(max_size=20)) + content[draw(st.integers(0, 20)) :]
    return content


@st.composite
def damaged_plain(draw: DrawFn, content: Any) -> Any:
    """Plain content with one to three values, keys or items replaced, dropped or added."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(content))
        if not places:
            return draw(VALUES)
        inside, key = places[draw(st.integers(0, len(places) - 1))]
        kind = draw(st.sampled_from(("replace", "replace", "drop", "rename", "add")))
        if kind == "replace":
            inside[key] = draw(VALUES)
        elif kind == "drop":
            del inside[key]
        elif kind == "rename" and isinstance(inside, dict):
            inside[draw(st.sampled_from(WORDS))] = inside.pop(key)
        elif isinstance(inside, dict):
            inside[draw(st.sampled_from(WORDS))] = draw(VALUES)
        else:
            inside.append(draw(VALUES))
    return content


def _places(content: Any) -> Any:
    """Every (container, key) of plain content, at most a few items of a long list."""
    if isinstance(content, dict):
        keys: list[Any] = list(content)
    else:
        keys = list(range(min(len(content), 4))) if isinstance(content, list) else []
    for key in keys:
        yield content, key
        yield from _places(content[key])


def shortened(content: Any, most: int = 3) -> Any:
    """Plain content with no more than so many items of each list: all kinds, few copies."""
    if isinstance(content, dict):
        return {key: shortened(value, most) for key, value in content.items()}
    if isinstance(content, list):
        return [shortened(value, most) for value in content[:most]]
    return content


def damaged_json(content: Any) -> SearchStrategy[bytes]:
    """JSON with values or bytes replaced, or nested without end."""
    whole = json.dumps(content).encode()
    return st.one_of(
        damaged_plain(content).map(_dumped),
        damaged_plain(content).map(_dumped),
        damaged_bytes(whole),
        st.sampled_from(
            [b"[" * 100_000, b'{"a":' * 50_000, b"9" * 20_000, b"", b"\xff\xfe", b"null"]
        ),
    )


def _dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


def damaged_toml(text: str, dump: Callable[[Any], str], content: Any) -> SearchStrategy[bytes]:
    """TOML with values or bytes replaced."""
    return st.one_of(
        damaged_plain(content).map(lambda plain: dump(plain).encode(errors="replace")),
        damaged_bytes(text.encode()),
        st.sampled_from([b"a = " + b"[" * 50_000, b"a = " + b"9" * 20_000, b"\xef\xbb\xbfa = 1"]),
    )


def to_toml(content: Any, prefix: str = "") -> str:
    """Plain content as TOML, as far as it goes; what TOML lacks is written as JSON would."""
    if not isinstance(content, dict):
        return json.dumps(content)
    lines, tables = [], []
    for key, value in content.items():
        name = json.dumps(str(key))
        if isinstance(value, dict):
            tables.append(f"[{prefix}{name}]\n{to_toml(value, f'{prefix}{name}.')}")
        else:
            shown = json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")
            lines.append(f"{name} = {shown}")
    return "\n".join([*lines, *tables]) + "\n"


@st.composite
def damaged_proto(draw: DrawFn, content: bytes) -> bytes:
    """An ONNX file with one to four fields of its messages replaced, dropped or repeated."""
    proto = onnx.ModelProto.FromString(content)
    for _ in range(draw(st.integers(1, 4))):
        messages = list(_messages(proto))
        message = messages[draw(st.integers(0, len(messages) - 1))]
        fields = list(message.DESCRIPTOR.fields)
        field = fields[draw(st.integers(0, len(fields) - 1))]
        kind = draw(st.sampled_from(("clear", "set", "set", "repeat")))
        repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == 3
        if kind == "clear":
            message.ClearField(field.name)
        elif field.message_type is not None:
            if repeated and getattr(message, field.name):
                values = getattr(message, field.name)
                values.add().CopyFrom(values[draw(st.integers(0, min(8, len(values) - 1)))])
        elif repeated:
            getattr(message, field.name).append(draw(_scalar(field)))
        else:
            setattr(message, field.name, draw(_scalar(field)))
    return proto.SerializeToString()


def _messages(message: Any) -> Any:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            inside = [value] if hasattr(value, "ListFields") else list(value)[:12]
            for each in inside:
                yield from _messages(each)


def _scalar(field: FieldDescriptor) -> SearchStrategy[Any]:
    kinds = FieldDescriptor
    if field.cpp_type in (kinds.CPPTYPE_INT64,):
        return st.sampled_from((0, -1, 1, 2, 7, 2**31, 2**62, -(2**63)))
    if field.cpp_type in (kinds.CPPTYPE_INT32, kinds.CPPTYPE_UINT32, kinds.CPPTYPE_UINT64):
        return st.sampled_from((0, 1, 2, 11, 2**30))
    if field.cpp_type in (kinds.CPPTYPE_FLOAT, kinds.CPPTYPE_DOUBLE):
        return st.floats(width=32)
    if field.cpp_type == kinds.CPPTYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == kinds.TYPE_BYTES:
        return st.one_of(st.binary(max_size=20), st.just(b"\x1b[2J\n::error::x"))
    return st.one_of(
        st.sampled_from([word for word in WORDS if "\ud800" not in word]),
        st.text(max_size=10).filter(_utf8),
    )


def _utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
