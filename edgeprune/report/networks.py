"""The figures of one network's layers: widths, predicted latency, and damage by width."""

from collections.abc import Callable, Sequence
from typing import Any

from edgeprune.report.plots import SERIES, SYMBOLS, Figure, Plain, height, label, rows_axis, short
from edgeprune.report.records import Layers, Run
from edgeprune.report.timed import named

WIDTHS_LEAD = (
    "Channels of each group of layers that must be pruned together: outlined in the dense model, "
    "solid in the slim one. Nothing left means that the whole residual branch was dropped."
)
LATENCY_LEAD = (
    "Latency of each block as predicted by the table of this device, not measured in the whole "
    "network: outlined in the dense model, solid in the slim one."
)
DAMAGE_LEAD = (
    "Damage F of keeping a share of each group's channels, by the order that the second-order "
    "statistics in the wavelet domain give them. It orders widths; it is no loss. Large marks are "
    "the widths that were chosen. What is steep to the left is dear to narrow."
)
LACKING = "layers.json is missing: it is written where a network was chosen"
NO_DAMAGE = "this strategy never measured the damage: it is costly, and only asked for by some"
MOST_LINES = 120  # groups with a line of their own; the table has all of them

Described = list[tuple[str, Layers]]


def described(runs: Sequence[Run]) -> Described:
    """Every model that says what its layers are."""
    return [(name, made.layers) for name, _, made in named(runs) if made.layers]


def widths(runs: Sequence[Run]) -> Figure:
    """Channels by group, dense and slim."""
    return _before_after(
        described(runs),
        key="widths",
        title="Channels, layer by layer",
        lead=WIDTHS_LEAD,
        parts=lambda layers: [(g.name, g.dense, g.slim) for g in layers.groups],
        unit="channels",
        text=lambda value: f"{value:.0f}",
    )


def latencies(runs: Sequence[Run]) -> Figure:
    """Predicted latency by block, dense and slim."""
    models = described(runs)
    error = max((layers.latency_error for _, layers in models), default=0.0)
    lead = LATENCY_LEAD
    if error:
        lead += f" On networks that it was not fitted to, the table was off by {error:.1%}."
    return _before_after(
        models,
        key="latency",
        title="Latency, layer by layer: predicted",
        lead=lead,
        parts=lambda layers: [(b.name, b.dense_ms, b.slim_ms) for b in layers.blocks],
        unit="ms, predicted",
        text=lambda value: f"{value:.4f}",
    )


def _before_after(
    models: Described,
    *,
    parts: Callable[[Layers], list[tuple[str, float, float]]],
    text: Callable[[float], str],
    unit: str,
    **words: Any,
) -> Figure:
    """Bars of the first model's dense parts, and what each model keeps of them.

    Models of one page may be of different networks: those of other parts than the first are in
    the table alone.
    """
    names = [name for name, _, _ in parts(models[0][1])] if models else []
    shown = [m for m in models if [name for name, _, _ in parts(m[1])] == names]
    traces = [_outline(parts(shown[0][1]), unit, text)] if shown else []
    traces += [
        _kept(name, parts(layers), number, (unit, text), len(shown) == 1)
        for number, (name, layers) in enumerate(shown)
    ]
    rows = [
        (model, part, text(dense), text(slim), f"{slim / dense:.0%}" if dense > 0 else "")
        for model, layers in models
        for part, dense, slim in parts(layers)
    ]
    return Figure(
        **words,
        plot={"data": traces, "layout": _bars(names, unit)} if names else None,
        heading=("model", "layer", "dense", "slim", "left"),
        rows=tuple(rows),
        lacking=LACKING,
    )


def _bars(names: Sequence[str], unit: str) -> Plain:
    return {
        "barmode": "overlay",
        "bargap": 0.32,
        "xaxis": {"title": {"text": unit}, "rangemode": "tozero", "zeroline": False},
        "yaxis": rows_axis(names),
        "height": height(len(names)),
    }


def _outline(
    parts: list[tuple[str, float, float]], unit: str, text: Callable[[float], str]
) -> Plain:
    return {
        "type": "bar",
        "orientation": "h",
        "name": "dense",
        "x": [dense for _, dense, _ in parts],
        "y": list(range(len(parts))),
        "hovertext": [label(name, f"dense: {text(dense)} {unit}") for name, dense, _ in parts],
        "hoverinfo": "text",
        "marker": {"color": "track", "line": {"color": "muted", "width": 1}},
    }


def _kept(
    name: str,
    parts: list[tuple[str, float, float]],
    number: int,
    words: tuple[str, Callable[[float], str]],
    alone: bool,
) -> Plain:
    """What one model keeps: bars where it is alone, else marks that can be told apart."""
    unit, text = words
    hover = [
        label(part, f"{name}: {text(slim)} of {text(dense)} {unit}", *_dropped(slim))
        for part, dense, slim in parts
    ]
    trace: Plain = {
        "name": short(name),
        "x": [slim for _, _, slim in parts],
        "y": list(range(len(parts))),
        "hovertext": hover,
        "hoverinfo": "text",
        "marker": {"color": SERIES[number % len(SERIES)]},
    }
    if alone:
        return trace | {"type": "bar", "orientation": "h"}
    marker = {"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 10, "line": {"width": 1}}
    marker |= trace["marker"]
    return trace | {"type": "scatter", "mode": "markers", "marker": marker, "cliponaxis": False}


def _dropped(slim: float) -> tuple[str, ...]:
    return ("dropped",) if slim == 0 else ()


def damage(runs: Sequence[Run]) -> Figure:
    """Damage by share of the channels kept, one line a group of the first model that has it."""
    models = [(n, m) for n, m in described(runs) if any(g.damage for g in m.groups)]
    traces, rows = list[Plain](), list[tuple[str, ...]]()
    for name, layers in models[:1]:  # of one dense network, all models have the same
        known = [g for g in layers.groups if g.damage and len(g.damage) == len(g.grid)]
        chosen: list[tuple[float, float, str]] = []
        for place, group in enumerate(known):
            curve = [(w, d) for w, d in zip(group.grid, group.damage or (), strict=True) if d > 0]
            hover = [label(group.name, f"{w} of {group.dense}: F {d:.2e}") for w, d in curve]
            if place < MOST_LINES:
                traces.append(_curve([(w / group.dense, d) for w, d in curve], hover, not place))
            for width, value in zip(group.grid, group.damage or (), strict=True):
                mark = "chosen" if width == group.slim else ""
                rows.append((group.name, str(width), str(group.dense), f"{value:.3e}", mark))
                if mark and value > 0:
                    words = label(group.name, f"chosen: {width} of {group.dense}, F {value:.2e}")
                    chosen.append((width / group.dense, value, words))
        traces.append(_chosen(name, chosen))
    layout = {
        "xaxis": {"title": {"text": "share of channels kept"}, "tickformat": ".0%"},
        "yaxis": {
            "title": {"text": "damage F"},
            "type": "log",
            "exponentformat": "power",
            "dtick": 1,
        },
        "hovermode": "closest",
        "height": 430,
    }
    return Figure(
        key="damage",
        title="Damage of narrowing, group by group",
        lead=DAMAGE_LEAD,
        plot={"data": traces, "layout": layout} if rows else None,
        heading=("group", "width", "of", "damage F", ""),
        rows=tuple(rows),
        lacking=NO_DAMAGE if described(runs) else LACKING,
    )


def _curve(points: list[tuple[float, float]], hover: list[str], first: bool) -> Plain:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "one group each",
        "legendgroup": "groups",
        "showlegend": first,
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "hovertext": hover,
        "hoverinfo": "text",
        "line": {"color": "muted", "width": 1},
        "marker": {"color": "muted", "size": 4},
    }


def _chosen(name: str, points: list[tuple[float, float, str]]) -> Plain:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "chosen width" if name == "slim" else f"{short(name)}: chosen width",
        "x": [x for x, _, _ in points],
        "y": [y for _, y, _ in points],
        "hovertext": [words for _, _, words in points],
        "hoverinfo": "text",
        "marker": {"color": "vermillion", "size": 11, "symbol": "diamond"},
    }
