"""The figure of what a search tried: the loss of every score in order, by predicted latency."""

from collections.abc import Sequence

from edgeprune.report.plots import SERIES, SYMBOLS, Figure, Plain, label, short
from edgeprune.report.records import Network, Run

LEAD = (
    "Loss on validation images of every network that was scored, in order. Hollow, as none of "
    "them was timed. The colour is the predicted latency; the line is the lowest loss so far "
    "of what is predicted within the limit."
)
COMPARED = (
    "The lowest loss so far of what is predicted within each run's own limit, score by score. "
    "None of these networks was timed for it."
)
LACKING = "no network was scored, or the run is of a version that kept no tried.csv"
HEADING = ("run", "number", "score", "rule", "loss", "accuracy, %", "predicted latency", "widths")
LOOKS = {
    "F1": ("circle-open", 8, "recalibrated (F1)"),
    "refit": ("triangle-up-open", 11, "refitted"),
    "F2": ("diamond-open", 13, "distilled (F2)"),
}
MOST_POINTS = 3000  # of one run; of more, every second, third ... is drawn

Numbered = list[tuple[int, Network]]


def tried(runs: Sequence[Run]) -> Figure:
    """Loss by number of the score: each one for a single run, the best so far for several."""
    known = [run for run in runs if run.tried]
    alone = len(runs) == 1
    traces = [trace for run in known for trace in (_all(run) if alone else [])]
    if not alone:
        traces = [_best(run, number, run.name) for number, run in enumerate(runs) if run.tried]
    rows = [
        (
            run.name,
            str(number),
            network.score,
            network.rule,
            "" if network.loss is None else f"{network.loss:.4f}",
            "" if network.accuracy is None else f"{100 * network.accuracy:.2f}",
            f"{network.latency:.3f}x",
            network.widths,
        )
        for run in known
        for number, network in _numbered(run)
    ]
    layout = {
        "xaxis": {"title": {"text": "number of the score"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "loss, nats"}, "type": "log"},
        "hovermode": "closest",
        "height": 430,
    }
    return Figure(
        key="tried",
        title="What the search tried",
        lead=LEAD if alone else COMPARED,
        plot={"data": traces, "layout": layout} if traces else None,
        heading=HEADING,
        rows=tuple(rows),
        lacking=LACKING,
    )


def _numbered(run: Run) -> Numbered:
    """The scores from 1 on, thinned where they are very many."""
    step = max(1, -(-len(run.tried) // MOST_POINTS))
    return [(n + 1, each) for n, each in enumerate(run.tried) if n % step == 0]


def _all(run: Run) -> list[Plain]:
    ratios = [network.latency for network in run.tried]
    scale = {"cmin": min(ratios), "cmax": max(ratios), "colorscale": "Cividis"}
    traces = [_best(run, 0, "lowest so far")]
    for kind, (symbol, size, name) in LOOKS.items():
        marks = [(n, w) for n, w in _numbered(run) if w.score.split()[:1] == [kind]]
        marks = [(n, w) for n, w in marks if w.loss is not None]
        if not marks:
            continue
        bar = {"title": {"text": "latency"}, "thickness": 12, "ticksuffix": "x", "len": 0.9}
        marker = {"color": [w.latency for _, w in marks], "symbol": symbol, "size": size, **scale}
        marker["line"] = {"width": 2}
        trace = {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [number for number, _ in marks],
            "y": [network.loss for _, network in marks],
            "hovertext": [_words(number, network) for number, network in marks],
            "hoverinfo": "text",
            "marker": marker | ({"colorbar": bar} if len(traces) == 1 else {}),
        }
        traces.append(trace)
    return traces


def _words(number: int, network: Network) -> str:
    lines = [f"score {number}: {network.score}", f"loss {network.loss:.4f}"]
    if network.accuracy is not None:
        lines.append(f"accuracy {100 * network.accuracy:.2f} % of the validation images")
    lines.append(f"latency {network.latency:.3f}x, predicted")
    rule = [f"made by the rule {network.rule}"] if network.rule else []
    return label(*lines, *rule, f"widths {network.widths}")


def _best(run: Run, number: int, name: str) -> Plain:
    """The lowest loss so far within the limit; every dearer score may lower it further."""
    limit, least = _limit(run), float("inf")
    x, y = list[int](), list[float]()
    for place, network in enumerate(run.tried, 1):
        loss = network.loss
        if loss is not None and network.latency <= limit and loss < least:
            least = loss
            x.append(place)
            y.append(loss)
    if x:
        x.append(len(run.tried))
        y.append(least)
    symbol = SYMBOLS[number % len(SYMBOLS)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": short(name),
        "x": x,
        "y": y,
        "hovertext": [
            label(run.name, f"score {n}", f"loss {v:.4f}, the lowest so far")
            for n, v in zip(x, y, strict=True)
        ],
        "hoverinfo": "text",
        "line": {"shape": "hv", "color": SERIES[number % len(SERIES)], "width": 2},
        "marker": {"symbol": f"{symbol}-open", "size": 6, "color": SERIES[number % len(SERIES)]},
    }


def _limit(run: Run) -> float:
    """The run's limit on the latency ratio; the loosest of a family."""
    budget, family = run.request.get("budget"), run.request.get("family")
    given = [budget.get("latency")] if isinstance(budget, dict) else []
    given += family if isinstance(family, list) else []
    ratios = [float(ratio) for ratio in given if isinstance(ratio, int | float)]
    return max(ratios, default=float("inf"))
