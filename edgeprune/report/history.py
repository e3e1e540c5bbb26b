"""The figure of what a search tried: the loss of every score, in the order of the search."""

from collections.abc import Sequence

from edgeprune.report.plots import SERIES, SYMBOLS, Figure, Plain, label, short
from edgeprune.report.records import Network, Run

LEAD = (
    "Loss on validation images of every network that was scored, in order. Hollow, as none of "
    "them was timed for it; grey, where the latency is predicted over the limit. The line is the "
    "lowest loss so far of the others."
)
COMPARED = (
    "The lowest loss so far of what is predicted within each run's own limit, score by score. "
    "None of these networks was timed for it."
)
LACKING = "no network was scored, or the run is of a version that kept no tried.csv"
HEADING = ("run", "number", "score", "rule", "loss", "accuracy, %", "predicted latency", "widths")
LOOKS = {
    "F1": ("blue", "circle-open", 8, "recalibrated (F1)"),
    "refit": ("purple", "triangle-up-open", 11, "refitted"),
    "F2": ("green", "diamond-open", 13, "distilled (F2)"),
}
MOST_POINTS = 3000  # of one run; of more, every second, third ... is drawn


def tried(runs: Sequence[Run]) -> Figure:
    """Loss by number of the score: each one for a single run, the best so far for several."""
    known = [(number, run) for number, run in enumerate(runs) if run.tried]
    if len(runs) == 1:
        traces = [trace for _, run in known for trace in _all(run)]
    else:
        traces = [_best(run, number, run.name) for number, run in known]
    layout = {
        "xaxis": {"title": {"text": "number of the score"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "loss, nats"}, "type": "log", "dtick": 1},
        "hovermode": "closest",
        "height": 430,
    }
    return Figure(
        key="tried",
        title="What the search tried",
        lead=LEAD if len(runs) == 1 else COMPARED,
        plot={"data": traces, "layout": layout} if traces else None,
        heading=HEADING,
        rows=tuple(_row(run, *line) for _, run in known for line in _numbered(run)),
        lacking=LACKING,
    )


def _row(run: Run, number: int, network: Network) -> tuple[str, ...]:
    loss = "" if network.loss is None else f"{network.loss:.4f}"
    accuracy = "" if network.accuracy is None else f"{100 * network.accuracy:.2f}"
    latency = f"{network.latency:.3f}x"
    scored = run.name, str(number), network.score, network.rule
    return (*scored, loss, accuracy, latency, network.widths)


def _numbered(run: Run) -> list[tuple[int, Network]]:
    """The scores from 1 on, thinned where they are very many."""
    step = max(1, -(-len(run.tried) // MOST_POINTS))
    return [(n + 1, each) for n, each in enumerate(run.tried) if n % step == 0]


def _all(run: Run) -> list[Plain]:
    limit, traces = _limit(run), [_best(run, 0, "lowest so far")]
    for kind, (colour, symbol, size, name) in LOOKS.items():
        scored = [(n, w) for n, w in _numbered(run) if w.score.split()[:1] == [kind]]
        for over in (False, True):
            marks = [
                (n, w) for n, w in scored if w.loss is not None and (w.latency > limit) == over
            ]
            if marks:
                words = f"{name}, over the limit" if over else name
                marker = {"color": "muted" if over else colour, "symbol": symbol, "size": size}
                marker["line"] = {"width": 1 if over else 2}
                traces.append(_marks(words, marks, marker))
    return traces


def _marks(name: str, marks: list[tuple[int, Network]], marker: Plain) -> Plain:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [number for number, _ in marks],
        "y": [network.loss for _, network in marks],
        "hovertext": [_words(number, network) for number, network in marks],
        "hoverinfo": "text",
        "marker": marker,
        "cliponaxis": False,
    }


def _words(number: int, network: Network) -> str:
    lines = [f"score {number}: {network.score}", f"loss {network.loss:.4f}"]
    if network.accuracy is not None:
        lines.append(f"accuracy {100 * network.accuracy:.2f} % of the validation images")
    lines.append(f"latency {network.latency:.3f}x, predicted")
    rule = [f"made by the rule {network.rule}"] if network.rule else []
    return label(*lines, *rule, f"widths {network.widths}")


def _best(run: Run, number: int, name: str) -> Plain:
    """The lowest loss so far within the limit, as a falling line."""
    limit, steps = _limit(run), list[tuple[int, float]]()
    for place, network in enumerate(run.tried, 1):
        lower = network.loss is not None and (not steps or network.loss < steps[-1][1])
        if network.loss is not None and lower and network.latency <= limit:
            steps.append((place, network.loss))
    if steps:
        steps.append((len(run.tried), steps[-1][1]))
    colour = SERIES[number % len(SERIES)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": short(name),
        "x": [place for place, _ in steps],
        "y": [loss for _, loss in steps],
        "hovertext": [label(run.name, f"score {n}", f"lowest so far {v:.4f}") for n, v in steps],
        "hoverinfo": "text",
        "line": {"shape": "hv", "color": colour, "width": 2},
        "marker": {"symbol": f"{SYMBOLS[number % len(SYMBOLS)]}-open", "size": 6, "color": colour},
    }


def _limit(run: Run) -> float:
    """The run's limit on the latency ratio; the loosest of a family."""
    budget, family = run.request.get("budget"), run.request.get("family")
    given = [budget.get("latency")] if isinstance(budget, dict) else []
    given += family if isinstance(family, list) else []
    ratios = [float(ratio) for ratio in given if isinstance(ratio, int | float)]
    return max(ratios, default=float("inf"))
