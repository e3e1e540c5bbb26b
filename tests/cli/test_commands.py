import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgeprune import requirements
from edgeprune.deploy.gate.verdicts import Report, Verdict
from edgeprune.errors import InputError
from edgeprune.run import pipeline
from edgeprune.run.family import Family, Member
from edgeprune.run.outcome import Outcome, Row
from edgeprune.run.targets import TargetRun, Targets
from edgeprune.target import RelativeBudget, load_target
from edgeprune.target_overrides import with_budgets
from tests.endings import refused


def network(path, seed=0):
    """A small convolution as an ONNX file."""
    weight = np.random.default_rng(seed).normal(size=(8, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["input", "w"], ["logits"], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 8, 16, 16])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


def test_targets_are_listed(run):
    code, out, _ = run("targets")
    assert code == 0
    assert all(name in out for name in ("mobile-cpu", "raspberry-pi-5", "x86-gateway"))


def test_channels_are_shown_as_a_table(run):
    code, out, _ = run("channels", "--model", "resnet20")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    row = next(line for line in lines if line[:1] == ["layer1.0.conv1"])
    assert row[:5] == ["layer1.0.conv1", "16", "0", "layer1.0", "yes"]


def test_channels_show_what_names_would_leave_whole(run):
    words = ("--keep", "layer2.0.conv2", "--only", "layer2", "--json", "c.json")
    code, out, _ = run("channels", *words)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    ends = {line[0]: line[-1] for line in lines[:13] if line}
    assert (ends["layer2"], ends["layer3"], ends["layer2.1.conv1"]) == ("whole", "whole", "6")
    assert "layer2 stays whole: keep names layer2.0.conv2, coupled with layer2.1.conv2" in out
    groups = {g["name"]: g for g in json.loads(Path("c.json").read_text())["groups"]}
    assert groups["layer3"]["left_whole"] == "only does not name it"
    assert (
        groups["layer2.1.conv1"] | {"left_whole": None, "droppable": True}
        == (groups["layer2.1.conv1"])
    )


@pytest.mark.parametrize("value", ['"layer2.0.conv2"', '["layer2.0.conv2"]'])
def test_a_project_names_layers_too(run, tmp_path, value):
    (tmp_path / "edgeprune.toml").write_text(f"[channels]\nkeep = {value}\n")
    assert "keep layer2.0.conv2: left whole 1 of 12" in run("channels")[1]


UNLIMITED = ["search", "--max-latency-ratio", "none", "--max-accuracy-drop", "none"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "--target", "mobil-cpu"], "did you mean 'mobile-cpu'"),
        (["search", "--weights", "w.pt"], "--weights without --data"),
        (["search", "--weights", "none.pt", "--data", "digits"], "none.pt does not exist"),
        (["search", "--new-head"], "--new-head needs --weights"),
        (
            ["channels", "--keep", "layr1"],
            "keep 'layr1' names no layer of resnet20; near it: layer1",
        ),
        (["search", "--only", "layer1.conv"], "near it: layer3.1.conv2"),
        (["search", "--model", "resnet21"], "unknown model 'resnet21'"),
        (
            ["search", "--data", "nowhere"],
            "no folder, no list of images and no data set 'nowhere'",
        ),
        (["search", "--max-latency-ratio", "-1"], "'--max-latency-ratio': -1 is not a positive"),
        (["search", "--strategy", "gwc"], "unknown strategy 'gwc', did you mean 'gwcs'?"),
        (["search", "--family", "0.7,half"], "'--family': '0.7,half': latency ratios"),
        (["search", "--family", ""], "'--family': '': latency ratios"),
        (["search", "--family", "0.5,0.7"], "from the slowest down, such as 0.7,0.5, each once"),
        (["search", "--family", "0.5,0.5"], "each once"),
        (["search", "--family", "0.7,nan"], "a ratio of --family = nan"),
        (["search", "--family", "1,0.7"], "nearer to 1 than 1 %"),
        (["search", "--family", "0.7,0"], "not a positive number"),
        (["search", "--family", "0.7", "--max-latency-ms", "3"], "--family limits the latency"),
        (["search", "--family", "0.7", "--max-latency-ratio", "0.6"], "--family limits"),
        (["search", "--max-latency-ms", "0"], "'--max-latency-ms': 0 is not a positive"),
        (["search", "--max-latency-ms", "inf"], "'--max-latency-ms': inf is not a positive"),
        (["search", "--resume"], "--out DIR, without --overwrite"),
        (["search", "--resume", "--out", "r", "--overwrite"], "--out DIR, without --overwrite"),
        (["search", "--resume", "--out", "r"], "--out r holds no run to go on with"),
        ([*UNLIMITED, "--strategy", "depth"], "--strategy depth needs a budget, such as"),
        (UNLIMITED, "without one gwcs and smoea find a ratio of their own"),
        (["search", "--evaluations", "5"], "take 6 or more"),
        (["search", "--evaluations", "16", "--finalists", "17"], "--finalists 17 is more than"),
        (
            ["search", "--strategy", "l1", "--evaluations", "20"],
            "has no meaning for --strategy l1",
        ),
        (["search", "--strategy", "depth", "--finalists", "2"], "--finalists has no meaning"),
        (["search", "--std", "1", "1", "0"], "std must be above 0"),
        (["search", "--model-arg", "shortcut"], "--model-arg wants NAME=VALUE"),
        (["search", "--model-arg", "colour=red"], "no argument 'colour'"),
        (["export", "none.pt"], "none.pt does not exist"),
        (["check", "none.onnx"], "none.onnx cannot be read"),
        (["targets", "show", "x86"], "did you mean"),
        (["devices", "check", "ftp://host"], "neither local:// nor ssh://"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing_behind(run, words, said, tmp_path):
    refused(run(*words), 2, said)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_an_existing_run_or_file_is_kept(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").write_bytes(b"mine")
    refused(run("search", "--out", "run"), 2, "--overwrite")
    (tmp_path / "run" / "model.onnx").write_bytes(b"mine")
    refused(run("export", "run/model.pt"), 2, "--overwrite")
    assert (tmp_path / "run" / "model.pt").read_bytes() == b"mine"


def test_a_pickled_module_is_refused_and_never_run(run, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": Trap()}, tmp_path / "trap.pt")
    refused(run("search", "--weights", "trap.pt", "--data", "digits"), 2, "trap.pt")
    refused(run("export", "trap.pt"), 2, "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_depth_name_the_first_keys(run, tmp_path):
    from edgeprune.prune.models import zoo

    state = zoo.build(zoo.ModelSpec("resnet32")).state_dict()
    torch.save(state, tmp_path / "w.pt")
    result = run("search", "--weights", "w.pt", "--data", "digits")
    refused(result, 2, "layer1.3.conv1.weight", "--model resnet32")


def test_a_model_at_chance_hints_at_normalisation(run, tmp_path):
    from edgeprune.prune.models import zoo

    torch.save(zoo.build(zoo.ModelSpec("resnet20")).state_dict(), tmp_path / "w.pt")
    result = run("search", "--weights", "w.pt", "--data", "digits")
    refused(result, 2, "near chance", "--mean/--std")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "--epochs", "-1"], "--epochs"),
        (["search", "--max-latency-ratio", "0.5x"], "--max-latency-ratio"),
        (["search", "--buget", "3"], "--buget"),
        (["chek"], "chek"),
        (["check"], "file"),
        (["search", "--max-latency-ratio", "1.0"], "nearer to 1 than 1 %"),
        (["search", "--max-accuracy-drop", "nan"], "--max-accuracy-drop"),
        (["channels", "--image-size", "0"], "--image-size"),
        (["channels", "--image-size", "96x"], "--image-size wants pixels such as 96 or 96x160"),
        (["check", "m.onnx", "--budget", "p90=6"], "did you mean 'p90_ms'"),
        (["check", "m.onnx", "--budget", "macs=6"], "may be relative.macs or absolute.macs"),
        (["check", "m.onnx", "--budget", "foo=6"], "no budget 'foo'; known: relative.latency"),
        (["check", "m.onnx", "--budget", "p90_ms"], "--budget wants NAME=VALUE"),
        (["check", "m.onnx", "--json", "."], "is a folder"),
        (["search", "--max-latency-ratio", "abc"], "'abc' is neither a number nor none"),
        (["check", "m.onnx", "--budget", "p90_ms=-6"], "budget.absolute.p90_ms"),
        (["check", "m.onnx", "--junit", "no/where.xml"], "no folder no"),
    ],
)
def test_a_wrong_option_is_one_line(run, words, said):
    code, _, err = run(*words)
    assert code == 2
    assert said.lower() in err.lower()
    assert err.count("\n") == 1


def test_a_pinned_shape_that_no_search_can_use_is_refused_at_once(run, tmp_path):
    for shape in ("[4, 3, 32, 32]", "[1, 1, 32, 32]"):
        (tmp_path / "t.toml").write_text(f'schema = 1\nname = "t"\n[input]\nshape = {shape}\n')
        refused(run("search", "--target", "./t.toml"), 2, "input.shape")
    (tmp_path / "t.toml").write_text('schema = 1\nname = "t"\n[input]\nshape = [1, 3, 32, 32]\n')
    refused(run("search", "--target", "./t.toml", "--image-size", "64"), 2, "--image-size 64x64")


def test_a_version_in_the_environment_ends_no_check(run, monkeypatch):
    for pinned in ("1", "0.1.0"):
        monkeypatch.setenv("EDGEPRUNE_VERSION", pinned)
        refused(run("check", "none.onnx"), 2, "none.onnx")


def test_flags_win_over_environment_over_project_file(run, monkeypatch, tmp_path):
    seen = []

    def remember(request, progress):
        seen.append(request.budget.latency)
        raise InputError("enough")

    monkeypatch.setattr(pipeline, "run_search", remember)
    run("search")
    (tmp_path / "edgeprune.toml").write_text("[search]\nmax-latency-ratio = 0.6\n")
    run("search")
    monkeypatch.setenv("EDGEPRUNE_SEARCH_MAX_LATENCY_RATIO", "0.5")
    run("search")
    run("search", "--max-latency-ratio", "0.4")
    assert seen == [load_target("mobile-cpu").budget.relative.latency, 0.6, 0.5, 0.4]


@pytest.mark.parametrize(
    ("words", "effort"),
    [
        ([], (64, 6, 3)),
        (["--evaluations", "32", "--finalists", "2"], (32, 3, 2)),
        (["--evaluations", "16"], (16, 3, 3)),
        (["--evaluations", "1000"], (1000, 6, 3)),
    ],
)
def test_a_search_may_be_made_shorter(run, monkeypatch, words, effort):
    def remember(request, progress):
        found = request.effort
        assert (found.evaluations, found.refitted, found.finalists) == effort
        raise InputError("enough")

    monkeypatch.setattr(pipeline, "run_search", remember)
    refused(run("search", *words), 2, "enough")


@pytest.mark.parametrize(
    ("words", "budget", "rest"),
    [
        ([], (0.8, 2.0), ((), None)),
        (["--max-latency-ratio", "none"], (None, 2.0), ((), None)),
        (["--max-accuracy-drop", "none"], (0.8, None), ((), None)),
        (["--max-latency-ms", "3.5"], (None, 2.0), ((), 3.5)),
        (["--max-latency-ms", "3.5", "--max-latency-ratio", "0.6"], (0.6, 2.0), ((), 3.5)),
        (["--family", "0.7,0.5, 0.35"], (None, 2.0), ((0.7, 0.5, 0.35), None)),
    ],
)
def test_latency_is_limited_in_one_of_three_ways_or_not_at_all(
    run, monkeypatch, tmp_path, words, budget, rest
):
    seen = []

    def remember(request, progress):
        seen.append(request)
        raise InputError("enough")

    monkeypatch.setattr(pipeline, "run_search", remember)
    limits = "[budget.relative]\nlatency = 0.8\naccuracy_drop = 2.0\n"
    (tmp_path / "t.toml").write_text(f'schema = 1\nname = "t"\n{limits}')
    run("search", "--target", "./t.toml", *words)
    found = seen[0]
    assert (found.budget.latency, found.budget.accuracy_drop) == budget
    assert (found.family, found.latency_ms) == rest
    assert found.only_loss == (words == ["--max-latency-ratio", "none"])


@pytest.mark.parametrize("strategy", ["gwcs", "smoea"])
def test_the_papers_find_a_ratio_without_any_budget(run, monkeypatch, strategy):
    seen = []

    def remember(request, progress):
        seen.append(request)
        raise InputError("enough")

    monkeypatch.setattr(pipeline, "run_search", remember)
    run(*UNLIMITED, "--strategy", strategy)
    assert set(seen[0].budget.model_dump().values()) == {None}


def member(folder, latency, outcome):
    """A model of a family, judged by hand-made verdicts."""
    limit = Verdict(
        name="latency", outcome=outcome, limit=latency, value=0.611, unit="x",
        interval=(0.60, 0.62), evidence="timed", rule="value", raw={},
    )  # fmt: skip
    facts = {"file": "model.onnx", "sha256": "0", "bytes": 1}
    machine = {
        "fingerprint": "here", "device": "local://", "cpu": "c", "cores": 2, "allowed_cores": 2,
        "isa": [], "onnxruntime": "1", "governor": None, "cgroup_quota": None,
    }  # fmt: skip
    report = Report(
        model=facts, reference=None, target={"name": "t"}, verdicts=(limit,),
        on_inconclusive="warn", notes=("a stand-in",), machine=machine, health=None,
        latency={}, date="", seconds=0, versions={},
    )  # fmt: skip
    rows = (
        Row("accuracy", 90.0, 88.5, "%"),
        Row("MACs", 100.0, 50.0),
        Row("params", 10.0, 4.0),
        Row("latency", 2.0, 1.222, "ms"),
    )
    return Member(latency, folder, Outcome(folder, rows, report, ("seen", f"only {latency}")))


def test_a_family_is_one_table_and_its_worst_exit_code(run, monkeypatch):
    runs = Path("runs/a")
    short = Member(0.1, runs / "0.10", None, "the best that can be had is 0.356x")
    members = (
        member(runs / "0.70", 0.7, "met"), member(runs / "0.60", 0.6, "missed"), short
    )  # fmt: skip
    found = Family(runs, members)
    monkeypatch.setattr(pipeline, "run_search", lambda request, progress: found)
    code, out, _ = run("search", "--family", "0.7,0.6,0.1", "--max-accuracy-drop", "none")
    assert code == 1
    lines = out.splitlines()
    rows = [line.split() for line in lines[1:5]]
    assert rows[0] == ["dense", "2.000", "ms", "90.00", "%"]
    assert rows[1] == [
        "0.7x", "0.611x", "1.222", "ms", "88.50", "%", "1.50", "0.500x", "0.400x", "met", "0.70"
    ]  # fmt: skip
    assert rows[2][-2:] == ["missed", "0.60"]
    assert rows[3] == ["0.1x", "not", "reached", "0.10"]
    assert max(map(len, lines[:5])) <= 100
    assert "0.1x not reached: the best that can be had is 0.356x" in lines
    assert [line for line in lines if line.startswith("note: ")] == [
        "note: seen", "note: a stand-in"
    ]  # fmt: skip
    checks = [line for line in lines if "edgeprune check" in line]
    assert len(checks) == 2
    assert "runs/a/0.60/model.onnx" in checks[1]
    assert "--budget relative.latency=0.6" in checks[1]
    assert "--budget relative.accuracy_drop=none" in checks[1]


def test_several_targets_are_one_table_and_their_worst_exit_code(run, monkeypatch):
    folder, asked = Path("runs/a"), []

    def search(requests, progress):
        asked.extend(requests)
        first, second, third = requests
        models = (member(folder / "x86-gateway/0.60", 0.6, "missed"), None)
        short = Member(0.1, folder / "x86-gateway/0.10", None, "the best is 0.356x")
        family = Family(folder / "x86-gateway", (models[0], short))
        return Targets(
            folder,
            (
                TargetRun(request=first, found=member(folder / "mobile-cpu", 0.5, "met").outcome),
                TargetRun(
                    request=replace(second, family=(0.6, 0.1)),
                    found=family,
                    shared=("of 64 F1 scores 31",),
                ),
                TargetRun(request=third, found=None, reason="it does not answer", failed=3),
            ),
        )

    monkeypatch.setattr("edgeprune.run.targets.search_targets", search)
    words = [f"--target={name}" for name in ("mobile-cpu", "x86-gateway", "raspberry-pi-5")]
    code, out, _ = run(
        "search", *words, "--device", "raspberry-pi-5=ssh://pi@host", "--json", "r.json"
    )
    assert code == 3
    assert [request.device for request in asked] == ["local://", "local://", "ssh://pi@host"]
    lines = out.splitlines()
    rows = [line.split() for line in lines[1:5]]
    assert rows[0][:3] == ["mobile-cpu", "0.5x", "0.611x"]
    assert [row[-2:] for row in rows] == [
        ["met", "mobile-cpu"],
        ["missed", "x86-gateway/0.60"],
        ["reached", "x86-gateway/0.10"],
        ["failed", "raspberry-pi-5"],
    ]
    assert "x86-gateway 0.1x not reached: the best is 0.356x" in lines
    assert "raspberry-pi-5 failed: it does not answer" in lines
    assert "note: x86-gateway: of 64 F1 scores 31" in lines
    assert "verdict: 1 of 3 targets met; the run lies in runs/a" in lines
    checks = [line for line in lines if "edgeprune check" in line]
    assert len(checks) == 2 and "--budget relative.latency=0.6" not in checks[0]
    assert "runs/a/x86-gateway/0.60/model.onnx --target x86-gateway" in checks[1]
    plain = json.loads(Path("r.json").read_text())
    assert [line["exit_code"] for line in plain["targets"]] == [0, 1, 3]
    assert [line["target"] for line in plain["targets"]] == [
        "mobile-cpu", "x86-gateway", "raspberry-pi-5",
    ]  # fmt: skip
    assert plain["targets"][1]["members"][0]["verdict"] == "missed"
    assert plain["targets"][2]["reason"] == "it does not answer"


def test_a_project_names_one_target_or_several(run, monkeypatch, tmp_path):
    seen = []

    def remember(requests, progress):
        seen.append([request.target.name for request in requests])
        raise InputError("enough")

    monkeypatch.setattr("edgeprune.run.targets.search_targets", remember)
    monkeypatch.setattr(pipeline, "run_search", lambda request, _: remember([request], _))
    for value in ('"x86-gateway"', '["mobile-cpu", "x86-gateway"]'):
        (tmp_path / "edgeprune.toml").write_text(f"[search]\ntarget = {value}\n")
        run("search")
    run("search", "--target", "raspberry-pi-5")
    assert seen == [["x86-gateway"], ["mobile-cpu", "x86-gateway"], ["raspberry-pi-5"]]
    (tmp_path / "edgeprune.toml").write_text('[search]\ndevice = ["mobile-cpu=ssh://a"]\n')
    refused(run("search"), 2, "only the command line may set this; pass --device")


def test_a_budget_of_none_is_dropped():
    profile = load_target("mobile-cpu")
    found = with_budgets(profile, ["relative.latency=none", "p50_ms=3"])
    assert found.budget.relative == RelativeBudget(
        accuracy_drop=profile.budget.relative.accuracy_drop
    )
    assert found.budget.absolute.p50_ms == 3


def test_check_writes_every_format_and_its_exit_code(run, tmp_path, monkeypatch):
    model = network(tmp_path / "m.onnx")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    limits = ("--max-ratio", "3", "--max-seconds", "10")
    code, out, _ = run(
        "check", model, "--baseline", model, *limits, "--json", "r.json", "--junit", "r.xml"
    )
    report = json.loads((tmp_path / "r.json").read_text())
    assert code == report["exit_code"]
    assert report["outcome"] in out
    assert "<testsuites" in (tmp_path / "r.xml").read_text()
    assert "| budget |" in (tmp_path / "summary.md").read_text()


def test_json_alone_on_stdout_can_be_piped(run, tmp_path, monkeypatch):
    model = network(tmp_path / "m.onnx")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    words = ("--baseline", model, "--max-ratio", "3", "--budget", "file_bytes=1", "--json", "-")
    code, out, err = run("check", model, *words)
    assert json.loads(out)["schema"] == "edgeprune.check/1"
    assert code == 1
    assert "::error" in err


def test_help_version_and_check_never_import_torch(tmp_path):
    """In an interpreter where importing torch is an error."""
    model = network(tmp_path / "m.onnx")
    blocked = "import sys; sys.modules['torch'] = None\n"
    blocked += "from edgeprune.cli.main import main; main()"
    for words in (["--help"], ["--version"], ["targets"], ["check", str(model), "--self-test"]):
        done = subprocess.run(
            [sys.executable, "-c", blocked, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"EDGEPRUNE_CHECK_MAX_SECONDS": "2"},
        )
        assert done.returncode in (0, 3), done.stderr
        assert "torch" not in done.stderr


def test_search_without_the_extra_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr(
        requirements, "find_spec", lambda name: None if name == "torch" else object()
    )
    refused(run("search"), 3, 'pip install "edgeprune[search]"')
