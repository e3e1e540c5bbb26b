"""Verdicts on output error and on a user's own score, from what the export recorded of them."""

import json
from collections.abc import Mapping

from pydantic import ValidationError

from edgeprune.deploy.artifact.facts import Facts
from edgeprune.deploy.artifact.provenance import OutputErrors, ScorePair
from edgeprune.deploy.gate.verdicts import Verdict
from edgeprune.deploy.timing.statistics import Interval, against
from edgeprune.text import one_line

NOT_CLASSIFIED = (
    "accuracy_drop does not apply: no accuracy was measured of this file, whose network was "
    "searched by {}; limit {} with --budget"
)
_NAMED = 4  # outputs that the evidence names


def output_error(candidate: Facts, limit: float) -> Verdict:
    """The verdict on the largest relative error of an output, in percent.

    A file that records none is never met.
    """
    try:
        known = OutputErrors.model_validate_json(candidate.recorded.get("outputs", ""))
    except ValidationError:
        said = "the file records no output errors: it was not searched by --task outputs"
        return _undecided("output_error", limit, "%", said)
    name = max(known.errors, key=lambda one: known.errors[one].error)
    worst = known.errors[name]
    low, value, high = (100 * share for share in (worst.low, worst.error, worst.high))
    shown = sorted(known.errors.items(), key=lambda item: -item[1].error)[:_NAMED]
    words = [f"{one_line(key)} {100 * each.error:.2f} %" for key, each in shown]
    words += [f"{len(known.errors) - _NAMED} more"] if len(known.errors) > _NAMED else []
    said = f"{known.images:,} test images, relative error of each output: {', '.join(words)}"
    agreed = [each.agreement for _, each in shown if each.agreement is not None]
    if agreed:
        said += f"; the largest value is the same one for {min(agreed):.2%} of the images"
    return Verdict(
        name="output_error",
        outcome=against(Interval(low, value, high), limit),
        limit=limit,
        value=round(value, 6),
        unit="%",
        interval=(low, high),
        evidence=said,
        rule="interval",
        raw=known.model_dump(),
    )


def score_drop(candidate: Facts, limit: float) -> Verdict:
    """The verdict on what the user's own score fell by; a file that records none is never met."""
    try:
        known = ScorePair.model_validate_json(candidate.recorded.get("score", ""))
    except ValidationError:
        said = "the file records no score: it was not searched with score="
        return _undecided("score_drop", limit, " of the score", said)
    lost = known.dense - known.slim
    return Verdict(
        name="score_drop",
        outcome="met" if lost <= limit else "missed",
        limit=limit,
        value=round(lost, 6),
        unit=" of the score",
        evidence=(
            f"{one_line(known.name)} on the test images: dense {known.dense:.6g}, slim "
            f"{known.slim:.6g}; the value itself, as no interval of a score is known"
        ),
        rule="value",
        raw=known.model_dump(),
    )


def judged_by(recorded: Mapping[str, str]) -> str:
    """Why no accuracy is known of a file that was searched otherwise; empty of any other."""
    if "score" in recorded:
        try:
            name = one_line(json.loads(recorded["score"])["name"])
        except (ValueError, KeyError, TypeError):
            name = "score"
        return NOT_CLASSIFIED.format(f"the score {name}", "score_drop")
    if "outputs" in recorded:
        return NOT_CLASSIFIED.format("its outputs (--task outputs)", "output_error")
    return ""


def _undecided(name: str, limit: float, unit: str, said: str) -> Verdict:
    return Verdict(
        name=name,
        outcome="inconclusive",
        limit=limit,
        value=None,
        unit=unit,
        evidence=said,
        rule="value",
        raw={},
    )
