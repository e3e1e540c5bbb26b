"""Results for people and for programs: JSON alone on stdout, all else on stderr."""

import json
import math
from pathlib import Path

import pytest

from edgeprune.cli import output
from edgeprune.cli.verbosity import verbosity
from edgeprune.prune.training.classification import Classification
from edgeprune.run import finetune, pipeline
from edgeprune.run.family import Family, Member
from tests.cli.test_commands import member, network
from tests.endings import refused


def test_json_alone_on_stdout_and_the_text_on_stderr(capsys):
    output.tell('{"a": 1}\n', "-", lambda: print("a is 1"))
    assert capsys.readouterr() == ('{"a": 1}\n', "a is 1\n")


def test_a_file_gets_json_and_stdout_the_text(capsys, tmp_path):
    output.tell('{"a": 1}\n', str(tmp_path / "r.json"), lambda: print("a is 1"))
    assert capsys.readouterr() == ("a is 1\n", "")
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": 1}


def test_quiet_with_json_says_nothing_else(capsys, monkeypatch):
    monkeypatch.setattr(verbosity, "quiet", True)
    output.tell("{}\n", "-", lambda: print("text"))
    assert capsys.readouterr() == ("{}\n", "")


def test_a_document_is_json_whatever_is_in_it():
    text = output.document("s/1", {"a": math.inf, "b": [math.nan, 1.5], "c": Path("d")})
    assert json.loads(text) == {"schema": "s/1", "a": None, "b": [None, 1.5], "c": "d"}


@pytest.mark.parametrize(
    ("words", "schema", "key"),
    [
        (["targets"], "targets", "targets"),
        (["channels", "--model", "vgg11"], "channels", "groups"),
        (["devices", "check", "local://"], "device", "fingerprint"),
    ],
)
def test_tables_can_be_had_as_json(run, words, schema, key):
    code, out, err = run(*words, "--json", "-")
    found = json.loads(out)
    assert code == 0
    assert found["schema"] == f"edgeprune.{schema}/1"
    assert found[key]
    assert err  # the table


def test_a_search_and_a_family_can_be_had_as_json(run, monkeypatch):
    one = member(Path("runs/a"), 0.7, "met").outcome
    monkeypatch.setattr(pipeline, "run_search", lambda request, progress: one)
    code, out, _ = run("search", "--json", "-")
    found = json.loads(out)
    assert (code, found["verdict"], found["folder"]) == (0, "met", "runs/a")
    assert found["results"]["latency"] == {"dense": 2.0, "slim": 1.222, "unit": "ms"}
    assert found["verdicts"][0]["name"] == "latency"
    short = Member(0.1, Path("runs/a/0.10"), None, "0.356x is the best")
    family = Family(Path("runs/a"), (member(Path("runs/a/0.70"), 0.7, "met"), short))
    monkeypatch.setattr(pipeline, "run_search", lambda request, progress: family)
    code, out, _ = run("search", "--family", "0.7,0.1", "--json", "-")
    found = json.loads(out)
    assert (code, found["exit_code"]) == (1, 1)
    assert [each["verdict"] for each in found["members"]] == ["met", "not reached"]
    assert found["members"][1]["reason"] == "0.356x is the best"


def test_a_fine_tuning_can_be_had_as_json(run, monkeypatch):
    result = finetune.FinetuneResult(
        path=Path("n.pt"), before=0.9, after=0.95, teacher=None, figure=Classification.figure
    )
    monkeypatch.setattr(finetune, "known_images", lambda checkpoint: "digits")
    monkeypatch.setattr(finetune, "finetune", lambda request, progress: result)
    out = run("finetune", "m.pt", "--json", "-")[1]
    assert json.loads(out) == {
        "schema": "edgeprune.finetune/1", "file": "n.pt", "figure": "accuracy", "before": 0.9,
        "after": 0.95, "teacher": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["targets"],
        ["channels"],
        ["search"],
        ["devices", "check", "local://"],
        ["probe"],
    ],
)
def test_where_no_json_can_be_written_nothing_is_begun(run, words):
    refused(run(*words, "--json", "none/r.json"), 2, "there is no folder none")


def test_no_result_takes_the_place_of_what_is_read(run, tmp_path):
    before = network(tmp_path / "m.onnx").read_bytes()
    refused(run("inspect", "m.onnx", "--json", "m.onnx"), 2, "is a file that is judged")
    assert (tmp_path / "m.onnx").read_bytes() == before
