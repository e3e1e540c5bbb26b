"""The figures of the timed runs: ratio of each session with interval and limit, runs in ms."""

import math
from collections.abc import Sequence

from edgeprune.deploy.gate.verdicts import Verdict
from edgeprune.report.plots import (
    SERIES,
    SYMBOLS,
    Figure,
    Plain,
    height,
    label,
    limit_line,
    rows_axis,
    short,
)
from edgeprune.report.records import Attempts, Made, Run

MOST_RUNS = 1500  # dots of one model; the box is drawn from all of its runs
RATIO_HEADING = ("model", "sessions", "ratio", "99 % interval", "limit", "outcome")
RUNS_HEADING = ("model", "runs", "fastest", "25 %", "median", "75 %", "slowest")
RATIO_LEAD = (
    "One dot is one session: both models opened anew and run in turn. The bar is the 99 % "
    "interval of the ratio, the dashed line the limit. A bar on one side of the line is a verdict."
)
RUNS_LEAD = (
    "Every timed run of the check behind the verdict, dense and slim. A box spans the middle "
    "half, its line is the median, one dot is one run."
)
LACKING = "no timed runs are kept: no budget limited the latency, or check.json is missing"


def named(runs: Sequence[Run]) -> list[tuple[str, Run, Made]]:
    """Every model with the name that tells it from the others of the page."""
    found = []
    for run in runs:
        for made in run.models:
            member = f"{made.name}x" if made.name else ""
            parts = [run.name if len(runs) > 1 else "", member]
            found.append((" ".join(filter(None, parts)) or "slim", run, made))
    return found


def ratios(runs: Sequence[Run]) -> Figure:
    """Ratio of each session, the interval over all of them, and the limit."""
    names, traces, rows, limits = list[str](), list[Plain](), [], set[float]()
    for number, (name, verdict, attempts) in enumerate(_judged(runs)):
        colour = SERIES[number % len(SERIES)]
        for attempt, epochs in enumerate(attempts):
            again = f", measured again ({attempt + 1})" if attempt else ""
            place = len(names)
            names.append(f"{name}{again}")
            values = [math.exp(epoch.value) for epoch in epochs]
            if attempt == len(attempts) - 1 and verdict.interval:
                traces.append(_bar(verdict, place, colour))
            traces.append(_dots(names[-1], values, place, (colour, SYMBOLS[number % 8])))
        limits.add(verdict.limit)
        interval = verdict.interval or (math.nan, math.nan)
        span = f"{interval[0]:.3f} to {interval[1]:.3f}" if verdict.interval else "unknown"
        value = "unknown" if verdict.value is None else f"{verdict.value:.3f}x"
        count = " + ".join(str(len(epochs)) for epochs in attempts)
        rows.append((name, count, value, span, f"{verdict.limit:g}x", verdict.outcome))
    layout = _layout("latency / dense latency", names, height(len(names), 230), ticksuffix="x")
    if len(limits) == 1:
        line, words = limit_line("x", limit := limits.pop(), f"limit {limit:g}x")
        layout |= {"shapes": [line], "annotations": [words]}
    return Figure(
        key="sessions",
        title="Latency ratio, session by session",
        lead=RATIO_LEAD,
        plot={"data": traces, "layout": layout} if traces else None,
        heading=RATIO_HEADING,
        rows=tuple(rows),
        lacking=LACKING,
    )


def _layout(title: str, names: Sequence[str], pixels: int, **axis: str) -> Plain:
    """A named row each, without a legend."""
    return {
        "xaxis": {"title": {"text": title}, **axis},
        "yaxis": rows_axis(names),
        "showlegend": False,
        "height": pixels,
    }


def _judged(
    runs: Sequence[Run],
) -> list[tuple[str, Verdict, Attempts]]:
    """Models whose latency was judged by timed runs that are kept."""
    found = []
    for name, _, made in named(runs):
        for verdict in made.check.verdicts if made.check else ():
            if verdict.name == "latency" and made.attempts:
                found.append((name, verdict, made.attempts))
    return found


def _bar(verdict: Verdict, place: int, colour: str) -> Plain:
    low, high = verdict.interval or (0.0, 0.0)
    words = label(f"{verdict.value_text}, limit {verdict.limit_text}", "99 % interval")
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [low, high],
        "y": [place, place],
        "hovertext": [words, words],
        "hoverinfo": "text",
        "line": {"color": colour, "width": 16},
        "opacity": 0.35,
    }


def _dots(name: str, values: Sequence[float], place: int, looks: tuple[str, str]) -> Plain:
    spread = [place + 0.12 * ((number % 5) - 2) for number in range(len(values))]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(values),
        "y": spread,
        "hovertext": [
            label(f"{name}: session {n + 1}", f"{v:.4f}x") for n, v in enumerate(values)
        ],
        "hoverinfo": "text",
        "marker": {"color": looks[0], "symbol": looks[1], "size": 9, "line": {"width": 1}},
    }


def runs_in_ms(runs: Sequence[Run]) -> Figure:
    """Every timed run of the last attempt in ms, dense and slim."""
    names, traces, rows = list[str](), list[Plain](), []
    for number, (name, _, attempts) in enumerate(_judged(runs)):
        epochs, own = attempts[-1], SERIES[number % len(SERIES)]
        sides = {"dense": [e.reference for e in epochs], "slim": [e.candidate for e in epochs]}
        for side, bursts in sides.items():
            times = [ns / 1e6 for epoch in bursts for burst in epoch for ns in burst]
            text = side if name == "slim" else f"{name}, {side}"
            traces.append(_box(text, times, len(names), own if side == "slim" else "ink"))
            names.append(text)
            rows.append((text, f"{len(times):,}", *(f"{ms:.3f} ms" for ms in _quartiles(times))))
    layout = _layout("one run, ms", names, height(2 * len(names)), rangemode="tozero")
    return Figure(
        key="runs",
        title="Every timed run",
        lead=RUNS_LEAD,
        plot={"data": traces, "layout": layout} if traces else None,
        heading=RUNS_HEADING,
        rows=tuple(rows),
        lacking=LACKING,
    )


def _box(name: str, times: list[float], place: int, colour: str) -> Plain:
    """A box from the quartiles of all runs, with the runs (some of very many) as dots."""
    fastest, first, middle, third, slowest = _quartiles(times)
    step = max(1, math.ceil(len(times) / MOST_RUNS))
    return {
        "type": "box",
        "orientation": "h",
        "name": short(name, 40),
        "x": times[::step],
        "y0": place,
        "boxpoints": "all",
        "jitter": 0.7,
        "pointpos": 0,
        "marker": {"color": colour, "size": 3, "opacity": 0.45},
        "line": {"color": colour, "width": 1.5},
        "fillcolor": "clear",
        "width": 0.6,
        "hoveron": "boxes",
        "hoverinfo": "x",
        "hovertext": label(
            name, f"median {middle:.3f} ms", f"middle half {first:.3f} to {third:.3f} ms",
            f"fastest {fastest:.3f}, slowest {slowest:.3f} ms",
        ),
    }  # fmt: skip


def _quartiles(times: Sequence[float]) -> tuple[float, float, float, float, float]:
    """Fastest, 25 %, median, 75 % and slowest, in ms."""
    ordered = sorted(times)
    first, middle, third = (
        ordered[int(share * (len(ordered) - 1))] for share in (0.25, 0.5, 0.75)
    )
    return ordered[0], first, middle, third, ordered[-1]
