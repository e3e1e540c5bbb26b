"""The figure of accuracy or error against latency: measured filled, predicted hollow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from edgeprune.report import command_line
from edgeprune.report.measured import measured_ratio, spans_of
from edgeprune.report.plots import SERIES, SYMBOLS, Figure, Mark, Plain, limit_line, points
from edgeprune.report.records import ACCURACY, OUTPUT_ERROR, SCORE, Made, Network, Run
from edgeprune.report.task_figure import on_images

HELD_TO = (
    "A search held to this latency. It measures what it finds, and may choose another network "
    "of this speed."
)
LEAD = (
    "{side} and to the left is better. Filled marks were measured: latency on the device, "
    "{figure} on the test images. Hollow marks were not timed: their latency is predicted by "
    "the table, their {figure} is that on the validation images before the fine-tuning. A mark "
    "with a dot inside was timed, but not fine-tuned. Choose a mark to see its widths and its "
    "command."
)
MOST_SCORED = 1500  # hollow marks of one run; more would hide each other

Placed = tuple[float, float, Mark]


@dataclass
class _Series:
    """The series of one figure while they are gathered, with numbers for their marks."""

    traces: list[Plain] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, name: str, placed: list[Placed], known: str, **marker: object) -> Plain:
        """Add a series; ``known`` says how its latency and accuracy are known."""
        trace = points(name, placed, len(self.marks), **marker)
        self.traces.append(trace)
        for x, y, mark in placed:
            self.marks.append(mark)
            self.rows.append((mark.title, f"{x:.3f}", f"{y:.2f}", known, mark.command))
        return trace


def tradeoff(runs: Sequence[Run]) -> Figure:
    """The figure of the task against latency, of everything that the runs know.

    Runs that were judged by another figure than the first are left out.
    """
    name = runs[0].figure if runs else ACCURACY
    runs = [run for run in runs if run.figure == name]
    unit = "" if name == SCORE else ", %"
    series, alone = _Series(), len(runs) == 1
    _add_dense(series, runs)
    _add_dense_int8(series, runs)
    for number, run in enumerate(runs):
        colour, symbol = SERIES[number % len(SERIES)], SYMBOLS[number % len(SYMBOLS)]
        before = "" if alone else f"{run.name}: "
        _add_made(series, run, before, (colour, symbol if not alone else "star"))
        _add_searched(series, run, before, colour if not alone else "")
    plot = {"data": series.traces, "layout": _layout(runs)} if series.marks else None
    return Figure(
        key="tradeoff",
        title=f"{name.capitalize()} against latency",
        lead=LEAD.format(figure=name, side="Down" if name == OUTPUT_ERROR else "Up"),
        plot=plot,
        heading=("network", "latency / dense", f"{name}{unit}", "how known", "command"),
        rows=tuple(series.rows),
        marks=tuple(series.marks),
        lacking="no model of this run was measured, and no network was scored",
    )


def _add_dense(series: _Series, runs: Sequence[Run]) -> None:
    """The dense models; one mark where several runs have one of the same accuracy."""
    seen: dict[float, Mark] = {}
    for run in runs:
        for made in run.models:
            figure = made.record.results.get(run.figure)
            if figure and figure.dense not in seen:
                seen[figure.dense] = _dense_mark(run, made)
    placed = [(1.0, figure, mark) for figure, mark in seen.items()]
    if placed:
        series.add("dense, measured", placed, "measured", color="ink", symbol="square", size=13)


def _add_dense_int8(series: _Series, runs: Sequence[Run]) -> None:
    """The dense models in int8, beside which a slim int8 model has to be seen."""
    placed = []
    for made in (made for run in runs for made in run.models[:1]):
        results = made.record.results
        accuracy, latency = results.get("accuracy"), results.get("latency")
        if not (accuracy and latency and accuracy.dense_int8 and latency.dense_int8):
            continue
        top1 = f"{accuracy.dense_int8:.2f} % of the test images"
        facts = ("accuracy", top1), ("latency", f"{latency.dense_int8:.3f} ms, measured")
        about = "What quantisation alone gains; dense-int8.onnx holds it."
        mark = Mark(title="dense model in int8", facts=facts, about=about)
        placed.append((latency.dense_int8 / latency.dense, accuracy.dense_int8, mark))
    if placed:
        name = "dense int8, measured"
        series.add(name, placed, "measured", color="ink", symbol="diamond", size=13)


def _dense_mark(run: Run, made: Made) -> Mark:
    latency = made.record.results.get("latency")
    facts = [(run.figure, on_images(run.figure, made.record.results[run.figure].dense, "test"))]
    if latency:
        facts.append(("latency", f"{latency.dense:.3f} ms, measured"))
    return Mark(
        title="dense model",
        facts=tuple(facts),
        about="It was given or trained, not made by a search; dense.pt and dense.onnx hold it.",
    )


def _add_made(series: _Series, run: Run, before: str, looks: tuple[str, str]) -> None:
    placed, spans = [], []
    for made in run.models:
        figure, ratio = made.record.results.get(run.figure), measured_ratio(made)
        if figure and ratio is not None:
            placed.append((ratio, figure.slim, _made_mark(run, made, before)))
            spans.append(spans_of(made, ratio))
    if not placed:
        return
    name = f"{before}chosen, measured" if len(placed) == 1 else f"{before}family, measured"
    trace = series.add(name, placed, "measured", color=looks[0], symbol=looks[1], size=17)
    for axis, place in (("error_x", 0), ("error_y", 1)):
        trace[axis] = {
            "type": "data",
            "symmetric": False,
            "array": [span[place][1] for span in spans],
            "arrayminus": [span[place][0] for span in spans],
            "color": looks[0],
            "thickness": 1.5,
        }


def _made_mark(run: Run, made: Made, before: str) -> Mark:
    results = made.record.results
    facts = [(run.figure, on_images(run.figure, results[run.figure].slim, "test"))]
    if latency := results.get("latency"):
        facts.append(("latency", f"{latency.slim:.3f} ms, measured"))
    widths = made.record.chosen.widths if made.record.chosen else ()
    if widths:
        facts.append(("widths", " ".join(map(str, widths))))
    own = f"{made.name}x, " if made.name else ""
    return Mark(
        title=f"{before}{own}chosen by {run.request.get('strategy', 'the search')}",
        facts=tuple(facts),
        command=command_line.search_command(run.request),
        about="Repeats the whole run with the same seed.",
    )


def _add_searched(series: _Series, run: Run, before: str, colour: str) -> None:
    """What was timed but not taken, and what was only scored."""
    networks = [n for n in _scored(run) if run.figure_of(n) is not None]
    if before:
        networks = [n for n in networks if n.score != "F1" or n.measured is not None]
    kinds: dict[str, list[Placed]] = {name: [] for name in _LOOKS}
    for network in networks[:MOST_SCORED]:
        if network.chosen and network.measured is not None:
            continue  # its mark is the measured model itself
        x = network.latency if network.measured is None else network.measured
        placed = (x, run.figure_of(network) or 0.0, _mark(run, network, before))
        kinds[_kind(network, alone=not before)].append(placed)
    kinds["timed, not taken"] += _walked(run, before)
    for kind, found in kinds.items():
        if found:
            own, symbol = _LOOKS[kind]
            known = f"timed; {run.figure} before fine-tuning" if "dot" in symbol else "predicted"
            trace = series.add(f"{before}{kind}", found, known, color=colour or own, symbol=symbol)
            if kind == "scored only, predicted":  # far below, they would flatten the rest
                trace["visible"] = "legendonly"
                trace["marker"]["size"] = 7


_LOOKS = {
    "timed, not taken": ("orange", "circle-open-dot"),
    "finalists, predicted": ("green", "diamond-open"),
    "rules, predicted": ("purple", "triangle-up-open"),
    "refitted, predicted": ("sky", "circle-open"),
    "scored only, predicted": ("muted", "circle-open"),
    "predicted": ("muted", "circle-open"),
}


def _kind(network: Network, *, alone: bool) -> str:
    if network.measured is not None:
        return "timed, not taken"
    if not alone:  # more series a run would drown those that were measured
        return "predicted"
    if network.score == "F1":
        return "scored only, predicted"
    if network.rule:
        return "rules, predicted"
    if network.score.startswith("F2"):
        return "finalists, predicted"
    return "refitted, predicted"


def _scored(run: Run) -> list[Network]:
    """Every network once, by its dearest score: front.csv says more of those that it has."""
    found: dict[tuple[str, str], Network] = {}
    for network in (*run.tried, *run.front):  # in tried.csv the cheap scores come first
        key = network.widths, f"{network.latency:.4f}"
        rule = network.rule or (found[key].rule if key in found else "")
        found[key] = replace(network, rule=rule)
    return list(found.values())


def _mark(run: Run, network: Network, before: str) -> Mark:
    how = "measured" if network.measured is not None else "predicted by the table"
    shown = network.latency if network.measured is None else network.measured
    images = on_images(run.figure, run.figure_of(network) or 0.0, "validation")
    facts = [
        ("latency", f"{shown:.3f} of dense, {how}"),
        (run.figure, f"{images}, {_SCORES.get(network.score, network.score)}"),
        ("widths", network.widths),
    ]
    if network.why:
        facts.append(("why", network.why))
    title = f"{before}rule {network.rule}" if network.rule else f"{before}network of the search"
    command, about = _command(run, network)
    return Mark(title=title, facts=tuple(facts), command=command, about=about)


_SCORES = {
    "F1": "recalibrated, not trained",
    "refit": "refitted in closed form, not trained",
    "F2": "distilled a little",
}


def _command(run: Run, network: Network) -> tuple[str, str]:
    if network.rule in command_line.RULES:
        command = command_line.search_command(run.request, strategy=network.rule)
        return command, "This rule alone, under the same budgets."
    ratio = round(network.latency + 0.0005, 3)
    if ratio > 0.99:
        return "", "As slow as the dense model: no search can be held to that."
    return command_line.search_command(run.request, latency=max(ratio, 0.001)), HELD_TO


def _walked(run: Run, before: str) -> Iterator[Placed]:
    """Steps to the lowest latency that kept the accuracy; the last that kept it was delivered."""
    dense = run.record.validation.get("val_dense")
    for step in run.record.walk:
        if step.measured is None or step.lost_points is None or dense is None:
            continue
        word = f"kept the {run.figure}" if step.kept else "lost too much"
        unit = {ACCURACY: " points lost", OUTPUT_ERROR: " %"}.get(run.figure, " lost")
        facts = (
            ("latency", f"{step.measured:.3f} of dense, measured"),
            (run.figure, f"{step.lost_points:.2f}{unit} on the validation images: {word}"),
        )
        command = command_line.search_command(run.request, latency=step.latency)
        mark = Mark(
            title=f"{before}step to {step.latency:g}x",
            facts=facts,
            command=command,
            about="A search held to this latency.",
        )
        lost = step.lost_points
        left = {ACCURACY: 100 * dense - lost, OUTPUT_ERROR: lost}.get(run.figure, dense - lost)
        yield step.measured, left, mark


def _layout(runs: Sequence[Run]) -> Plain:
    """Axes, and the budgets where all runs have the same."""
    shapes, words = [], []
    budgets = [run.request.get("budget") for run in runs]
    budget = budgets[0] if budgets and all(each == budgets[0] for each in budgets) else None
    limit = budget.get("latency") if isinstance(budget, dict) else None
    if isinstance(limit, int | float) and 0 < limit < 100:
        line, text = limit_line("x", limit, f"limit {limit:g}x")
        shapes.append(line)
        words.append(text)
    name = runs[0].figure if runs else ACCURACY
    suffix = "" if name == SCORE else " %"
    return {
        "xaxis": {"title": {"text": "latency / dense latency"}, "ticksuffix": "x"},
        "yaxis": {"title": {"text": name}, "ticksuffix": suffix},
        "shapes": shapes,
        "annotations": words,
        "hovermode": "closest",
        "height": 480,
    }
