"""Target profiles with some of their values replaced by options of a command."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from edgeprune.errors import InputError
from edgeprune.target import TargetProfile, problem_of
from edgeprune.text import did_you_mean


def with_precision(profile: TargetProfile, changed: Mapping[str, Any]) -> TargetProfile:
    """The profile with some keys of its ``precision`` table replaced; None leaves its own.

    Raises:
        InputError: a value out of range, or a number format that gains nothing.
    """
    content = profile.model_dump(by_alias=True)
    content["precision"] |= {key: value for key, value in changed.items() if value is not None}
    try:
        return _of(content, profile)
    except ValidationError as error:
        raise InputError(problem_of(error)) from None


def with_budgets(profile: TargetProfile, settings: Sequence[str]) -> TargetProfile:
    """The profile with some budgets replaced.

    Args:
        profile: The profile as it was read.
        settings: ``NAME=VALUE``, such as ``p90_ms=6`` or, where both kinds of budget have the
            name, ``relative.macs=0.5``; ``NAME=none`` drops one.

    Raises:
        InputError: no such budget, or a value out of range.
    """
    content = profile.model_dump(by_alias=True)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--budget wants NAME=VALUE, not {setting!r}")
        kinds = [kind for kind in content["budget"] if name in _budgets(content, kind)]
        if len(kinds) != 1:
            known = [n for kind in content["budget"] for n in _budgets(content, kind)]
            either = [n for n in known if n.rpartition(".")[2] == name]
            if either:
                raise InputError(
                    f"--budget {setting}: {name} may be {' or '.join(either)}; say which"
                )
            hint = did_you_mean(name, known, otherwise=f"; known: {', '.join(known)}")
            raise InputError(f"--budget {setting}: there is no budget {name!r}{hint}")
        content["budget"][kinds[0]][name.rpartition(".")[2]] = None if value == "none" else value
    try:
        return _of(content, profile)
    except ValidationError as error:
        raise InputError(f"--budget: {problem_of(error)}") from None


def with_inputs(profile: TargetProfile, settings: Sequence[str]) -> TargetProfile:
    """The profile with some inputs pinned.

    Args:
        profile: The profile as it was read.
        settings: ``NAME=1x3x224x224`` is a shape, ``NAME=1x1:0.5`` one with the value of all
            elements, ``NAME=:16000`` the value alone.

    Raises:
        InputError: not of that form.
    """
    content = profile.model_dump(by_alias=True)
    for setting in settings:
        name, equals, told = setting.rpartition("=")
        sizes, colon, value = told.partition(":")
        feed: dict[str, Any] = {"shape": sizes.split("x")} if sizes else {}
        if colon:
            feed["value"] = value
        if not equals or not name or not feed or name == "shape":
            raise InputError(f"--input wants NAME=1x3x224x224, not {setting!r}")
        content["input"][name] = feed
    try:
        return _of(content, profile)
    except ValidationError as error:
        raise InputError(f"--input: {problem_of(error)}") from None


def _of(content: dict[str, Any], profile: TargetProfile) -> TargetProfile:
    """A profile from changed values; the command of its device is in none of them."""
    made = TargetProfile.model_validate(content)
    return made.model_copy(update={"device": profile.device})


def _budgets(content: dict[str, Any], kind: str) -> list[str]:
    """Names that mean a budget of this kind: dotted always, bare where the other has none."""
    other = {"relative": "absolute", "absolute": "relative"}[kind]
    own = content["budget"][kind]
    return [f"{kind}.{n}" for n in own] + [n for n in own if n not in content["budget"][other]]
