"""Every figure: legal for plotly, marks where the numbers are, and the same numbers as a table."""

import json
import math

import pytest
from plotly import graph_objects

from edgeprune.report import history, networks, plots, timed, tradeoff
from edgeprune.report.run_files import read_run
from tests.run_folders import REQUEST, check, layers, record

DRAWN = [
    tradeoff.tradeoff, timed.ratios, timed.runs_in_ms, networks.widths, networks.latencies,
    networks.damage, history.tried,
]  # fmt: skip
NAMED = {"ink", "muted", "line", "track", "card", "clear", *plots.SERIES}


def plain_colours(part):
    """The colours that page.js looks up, as plotly knows them."""
    if isinstance(part, list):
        return [plain_colours(each) for each in part]
    if not isinstance(part, dict):
        return part
    named = {k for k in part if k in ("color", "fillcolor") and part[k] in NAMED}
    return {k: "#000" if k in named else plain_colours(v) for k, v in part.items()}


def traces(figure):
    return {trace["name"]: trace for trace in figure.plot["data"]}


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("kind", ["one", "two", "family"])
def test_plotly_takes_every_figure_and_its_table_fits_its_heading(
    draw, kind, run_folder, family_folder
):
    folders = {"one": ["a"], "two": ["a", "b"]}.get(kind)
    runs = [read_run(run_folder(n)) for n in folders] if folders else [read_run(family_folder)]
    figure = draw(runs)
    graph_objects.Figure(plain_colours(figure.plot))
    assert figure.plot["data"] and figure.rows
    assert {len(row) for row in figure.rows} == {len(figure.heading)}
    json.dumps(figure.plot, allow_nan=False)


@pytest.mark.parametrize("draw", DRAWN)
def test_a_folder_without_its_files_has_no_figure_but_says_why(draw, run_folder):
    bare = read_run(
        run_folder(run=record(results={}), check=None, layers=None, front=None, tried=None)
    )
    figure = draw([bare])
    assert figure.plot is None and figure.lacking and not figure.rows


def test_measured_marks_are_filled_and_predicted_ones_hollow(run_folder):
    found = traces(tradeoff.tradeoff([read_run(run_folder())]))
    at = {name: list(zip(t["x"], t["y"], strict=True)) for name, t in found.items()}
    assert at == {
        "dense, measured": [(1.0, 97.0)],
        "chosen, measured": [(0.45, 96.5)],
        "timed, not taken": [(0.52, 97.0)],
        "finalists, predicted": [(0.42, 94.0)],
        "rules, predicted": [(0.3, 93.0)],
        "scored only, predicted": [(0.8, 80.0)],
    }
    hollow = {name for name, t in found.items() if "open" in t["marker"]["symbol"]}
    assert hollow == {name for name in found if not name.endswith("measured")}
    chosen = found["chosen, measured"]
    assert chosen["error_x"]["array"] == pytest.approx([0.01])
    assert chosen["error_y"]["arrayminus"] == pytest.approx([1.0])


def test_a_click_finds_the_widths_and_the_command_of_its_mark(run_folder):
    figure = tradeoff.tradeoff([read_run(run_folder())])
    for trace in figure.plot["data"]:
        for number, hover in zip(trace["customdata"], trace["hovertext"], strict=True):
            mark = figure.marks[number]
            assert plots.label(mark.title) in hover
            assert bool(mark.command) == (mark.title != "dense model")
    commands = {mark.title: mark.command for mark in figure.marks}
    assert "--strategy uniform" in commands["rule uniform"]
    held = next(m for m in figure.marks if ("widths", "8 16") in m.facts)
    assert "--max-latency-ratio 0.42 " in held.command or "0.421 " in held.command


def test_as_slow_as_dense_has_no_command(run_folder):
    line = "score,steps,loss,accuracy,predicted_latency_ratio,rule,seconds,widths\n"
    slow = read_run(run_folder(tried=line + "refit,0,0.1,0.9,0.9990,,1.0,16 32\n"))
    mark = next(m for m in tradeoff.tradeoff([slow]).marks if ("widths", "16 32") in m.facts)
    assert not mark.command and "no search" in mark.about


def test_steps_of_the_walk_are_marks(run_folder):
    steps = [
        {"latency": 0.9, "kept": True, "measured": 0.88, "lost_points": 0.5},
        {"latency": 0.1, "kept": False, "reason": "not reached"},
    ]
    run = read_run(run_folder(run=record(walk=steps)))
    timed_marks = traces(tradeoff.tradeoff([run]))["timed, not taken"]
    assert (0.88, 97.5) in zip(timed_marks["x"], timed_marks["y"], strict=True)


def test_sessions_interval_and_limit_are_those_of_the_verdict(run_folder):
    run = read_run(run_folder())
    figure = timed.ratios([run])
    bar, dots = figure.plot["data"]
    assert bar["x"] == [0.44, 0.46]
    (attempt,) = run.models[0].attempts
    assert dots["x"] == [math.exp(epoch.value) for epoch in attempt]
    assert figure.plot["layout"]["shapes"][0]["x0"] == 0.5
    assert figure.rows == (("slim", "4", "0.450x", "0.440 to 0.460", "0.5x", "met"),)


def test_every_timed_run_is_drawn_up_to_a_number(run_folder, monkeypatch):
    run = read_run(run_folder())
    dense, slim = timed.runs_in_ms([run]).plot["data"]
    assert len(dense["x"]) == len(slim["x"]) == 32
    assert min(dense["x"]) >= 0.8 and max(slim["x"]) < 0.37
    monkeypatch.setattr(timed, "MOST_RUNS", 10)
    assert len(timed.runs_in_ms([run]).plot["data"][0]["x"]) == 8


def test_a_miss_that_was_measured_again_has_a_row_for_each(run_folder):
    twice = check()
    attempts = twice["verdicts"][1]["raw"]["attempts"]
    attempts.append(attempts[0])
    figure = timed.ratios([read_run(run_folder(check=twice))])
    assert len(figure.plot["layout"]["yaxis"]["ticktext"]) == 2
    assert figure.rows[0][1] == "4 + 4"


def test_widths_and_predicted_latency_are_dense_behind_slim(run_folder):
    run = read_run(run_folder())
    dense, slim = networks.widths([run]).plot["data"]
    assert (dense["x"], slim["x"]) == ([16, 32], [8, 0])
    assert "dropped" in slim["hovertext"][1]
    latency = networks.latencies([run])
    assert latency.plot["data"][1]["x"] == [0.2, 0.01]
    assert "predicted" in latency.title and "0.8%" in latency.lead


def test_a_network_of_other_layers_is_in_the_table_alone(run_folder):
    other = layers()
    other["groups"][0]["name"] = "stem"
    runs = [read_run(run_folder("a")), read_run(run_folder("b", layers=other))]
    figure = networks.widths(runs)
    assert [trace["name"] for trace in figure.plot["data"]] == ["dense", "a"]
    assert {row[0] for row in figure.rows} == {"a", "b"}


def test_damage_is_drawn_by_share_and_the_chosen_width_marked(run_folder):
    *curves, chosen = networks.damage([read_run(run_folder())]).plot["data"]
    assert [curve["x"] for curve in curves] == [[0.5], [0.0, 0.5]]
    assert list(zip(chosen["x"], chosen["y"], strict=True)) == [(0.5, 0.01), (0.0, 0.5)]
    unknown = layers()
    for group in unknown["groups"]:
        group["damage"] = None
    figure = networks.damage([read_run(run_folder("b", layers=unknown))])
    assert figure.plot is None and figure.lacking == networks.NO_DAMAGE


def test_what_was_tried_is_in_order_and_the_line_only_knows_what_is_within_the_limit(run_folder):
    found = traces(history.tried([read_run(run_folder())]))
    line = found["lowest so far"]
    assert (line["x"], line["y"]) == ([1, 4, 5, 6, 6], [0.5, 0.1, 0.09, 0.04, 0.04])
    assert found["recalibrated (F1)"]["x"] == [1, 2]
    assert found["recalibrated (F1), over the limit"]["x"] == [3]
    assert all("open" in t["marker"]["symbol"] for t in found.values())


def test_every_series_of_one_figure_has_a_symbol_of_its_own(run_folder):
    figure = tradeoff.tradeoff([read_run(run_folder())])
    symbols = [trace["marker"]["symbol"] for trace in figure.plot["data"]]
    assert len(symbols) == len(set(symbols))
    runs = [read_run(run_folder(name)) for name in "abc"]
    chosen = [t["marker"] for n, t in traces(tradeoff.tradeoff(runs)).items() if "chosen" in n]
    assert len({m["symbol"] for m in chosen}) == len({m["color"] for m in chosen}) == 3


def test_labels_are_escaped_broken_and_end():
    assert plots.label("<b>&x") == "&lt;b&gt;&amp;x"
    assert all(len(part) <= 60 for part in plots.label("word " * 50).split("<br>"))
    assert len(plots.label("x" * 100_000)) < 1000
    assert plots.short("<i>" + "n" * 99).startswith("&lt;i&gt;")


def test_strategy_names_of_any_kind_are_words(run_folder):
    odd = record(request=REQUEST | {"strategy": {"a": ["<b>"]}, "budget": [1], "family": "x"})
    for draw in DRAWN:
        assert draw([read_run(run_folder(run=odd))]).plot
