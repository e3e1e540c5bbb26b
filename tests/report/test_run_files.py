"""Reading of run folders: whole, old, copied, damaged, hostile."""

import json

import pytest

from edgeprune.errors import InputError
from edgeprune.report.run_files import read_run, read_runs
from tests.run_folders import REQUEST, check, front_rows, layers, record, several


def test_everything_that_a_page_shows_is_read(run_folder):
    run = read_run(run_folder())
    assert (run.name, run.lacking) == ("r20", ())
    (made,) = run.models
    assert made.check is not None and made.check.outcome == "inconclusive"
    assert [len(attempt) for attempt in made.attempts] == [4]
    assert [group.slim for group in made.layers.groups] == [8, 0]
    assert [(n.score, n.measured, n.chosen) for n in run.front] == [
        ("F2", 0.45, True), ("F2", 0.52, False), ("F2", None, False),
    ]  # fmt: skip
    assert [n.score for n in run.tried][-2:] == ["F2 after 20 steps"] * 2
    assert (
        run.began == run.ended == "2026-11-27T09:58:00Z"
    )  # the line that was cut off is no event


def test_a_family_has_its_members_that_were_made(family_folder):
    run = read_run(family_folder)
    assert [made.name for made in run.models] == ["0.70", "0.50", "0.10"]
    assert [made.check is not None for made in run.models] == [True, True, False]
    assert not run.lacking  # what could not be had lacks nothing


def test_a_run_for_several_targets_has_the_run_of_each(tmp_path):
    folder = several(tmp_path / "both", "a", "b")
    runs = read_runs(folder)
    assert [run.name for run in runs] == ["a", "b"]
    assert [run.shared for run in runs] == [(), ("of 9 F1 scores 5",)]
    assert [r["target"]["name"] for r in runs[1].together] == ["a", "b"]
    assert read_run(folder / "b") == runs[1]  # from wherever one looks
    assert [run.name for run in read_runs(folder / "b")] == ["b"]


def test_a_run_for_several_targets_that_has_not_come_far_is_shown_as_it_is(tmp_path):
    folder = several(tmp_path / "both", "a", "b")
    (folder / "b" / "run.json").unlink()
    assert [run.name for run in read_runs(folder)] == ["a"]
    (folder / "a" / "run.json").unlink()
    assert [run.name for run in read_runs(folder)] == ["both"]


@pytest.mark.parametrize("above", ["{", record(), record(requests={"../x": {}}), {"requests": 1}])
def test_a_folder_above_that_is_not_of_this_run_says_nothing(run_folder, above):
    folder = run_folder()
    text = above if isinstance(above, str) else json.dumps(above)
    (folder.parent / "run.json").write_text(text)
    run = read_run(folder)
    assert (run.together, run.shared, run.lacking) == ((), (), ())


def test_names_of_targets_lead_nowhere_else(tmp_path):
    folder = several(tmp_path / "both", "a", "b")
    plain = record(requests={"../both/a": REQUEST})
    (folder / "run.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match="requests"):
        read_runs(folder)


def test_an_old_folder_without_later_files_and_columns_is_read(run_folder):
    few = [{k: v for k, v in row.items() if not k.startswith(("refit", "F2", "why", "meas"))}
           for row in front_rows()]  # fmt: skip
    old = ",".join(few[0]) + "\n" + "\n".join(",".join(row.values()) for row in few)
    run = read_run(run_folder(front=old, tried=None))
    assert [n.score for n in run.front] == ["F1"] * 3
    assert run.tried == () and run.lacking == ()


@pytest.mark.parametrize("name", ["check", "layers", "front", "tried", "events"])
@pytest.mark.parametrize(
    "content",
    [
        '{"trunc', "[" * 5000, "\x00\x01", '{"a": NaN}', '{"verdicts": 7, "groups": {}}',
        'x,"' + "y" * 200_000, '"' * 3, "",
    ],
)  # fmt: skip
def test_a_damaged_file_is_a_line_and_the_rest_is_shown(run_folder, name, content):
    run = read_run(run_folder(**{name: content}))
    assert run.models[0].record.results["latency"].slim == 0.36
    assert len(run.lacking) <= 1 and all("\n" not in line for line in run.lacking)
    if name in ("check", "layers"):
        assert len(run.lacking) == 1 and f"{name}.json" in run.lacking[0]


@pytest.mark.parametrize("name", ["check", "layers", "front"])
def test_a_missing_file_is_named(run_folder, name):
    (line,) = read_run(run_folder(**{name: None})).lacking
    assert line.endswith("is missing") and name in line


@pytest.mark.parametrize(
    "raw",
    [
        {}, {"attempts": 3}, {"attempts": [{}]}, {"attempts": [{"epochs": [{"candidate": []}]}]},
        {"attempts": [{"epochs": [{"candidate": [[0]], "reference": [[1]], "machine": {}}]}]},
        {"attempts": [{"epochs": [{"candidate": [[]], "reference": [[]], "machine": {}}]}]},
        {"attempts": [{"epochs": [{"candidate": [[1]], "reference": [], "machine": {}}]}]},
        {"attempts": [{"epochs": [{"candidate": [], "reference": [], "machine": {}}]}]},
    ],
)  # fmt: skip
def test_timed_runs_that_are_no_times_are_left_out(run_folder, raw):
    judged = check()
    judged["verdicts"][1]["raw"] = raw
    run = read_run(run_folder(check=judged))
    assert run.models[0].attempts == () and run.models[0].check is not None
    assert "its timed runs are damaged" in run.lacking[0]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"schema": "other"}',
        '{"schema": "edgeprune.run/1", "results": 3}',
        "[" * 99,
    ],
)
def test_without_a_run_json_nothing_can_be_said(run_folder, content):
    with pytest.raises(InputError, match=r"run\.json"):
        read_run(run_folder(run=content))


def test_a_folder_that_is_none_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=str(path)):
            read_run(path)


def test_a_member_may_not_lead_out_of_the_folder(run_folder):
    line = {"latency": 0.5, "folder": "../../etc", "verdict": "met"}
    with pytest.raises(InputError, match="folder"):
        read_run(run_folder(run=record(family=[line])))


def test_numbers_that_are_none_are_no_layers(run_folder):
    bad = layers()
    bad["groups"][0]["dense"] = 0
    assert "greater than 0" in read_run(run_folder(layers=bad)).lacking[0]


def test_more_rows_than_a_search_writes_are_refused(run_folder):
    text = "score,steps,loss,accuracy,predicted_latency_ratio,rule,seconds,widths\n"
    line = "F1,0,0.5,0.6,0.4,,1.0,8 16\n"
    assert "more than 20,000 rows" in read_run(run_folder(tried=text + 20_001 * line)).lacking[0]
