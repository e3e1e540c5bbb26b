"""The GitHub Action, as a runner runs it: both steps in bash, inputs by the environment."""

import json
import os
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import onnx
import pytest
import yaml

from tests.documented import ROOT
from tests.graphs import chain

ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
INSTALL, CHECK = ACTION["runs"]["steps"]
CI = ROOT / ".github/workflows/ci.yml"


def step(definition, folder, temp, **given):
    """Run one step; ``${{ inputs.NAME }}`` is all that its environment may hold."""
    defaults = {name: each.get("default", "") for name, each in ACTION["inputs"].items()}
    inputs = defaults | {name.replace("_", "-"): str(value) for name, value in given.items()}
    (folder / "output").write_text("")
    (folder / "summary").write_text("")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "RUNNER_TEMP": str(temp),
    }
    environment |= {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
    for name, value in definition["env"].items():
        environment[name] = inputs[re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value)[1]]
    script = folder / "step.sh"
    script.write_text(definition["run"])
    # What GitHub runs for `shell: bash`.
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    told = [line.partition("=") for line in (folder / "output").read_text().splitlines()]
    return done, {name: value for name, _, value in told}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A runner's temporary folder after the first step."""
    temp = tmp_path_factory.mktemp("runner")
    python = sys.executable
    done, _ = step(INSTALL, tmp_path_factory.mktemp("work"), temp, model="-", python=python)
    assert done.returncode == 0, done.stderr
    return temp


@pytest.fixture
def check(installed, tmp_path):
    """The second step in a checkout with two models."""
    onnx.save(chain(32, 32), tmp_path / "dense.onnx")
    onnx.save(chain(8, 8), tmp_path / "model.onnx")
    return lambda **given: step(CHECK, tmp_path, installed, **given)


def test_it_installs_no_torch_and_the_runtime_that_is_pinned(installed):
    code = (
        "import importlib.util as u, onnxruntime as o; print(o.__version__, u.find_spec('torch'))"
    )
    command = [installed / "edgeprune/bin/python", "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said == [ACTION["inputs"]["onnxruntime"]["default"], "None"]


def test_a_model_within_its_budget_is_green(check, tmp_path):
    done, told = check(model="model.onnx", baseline="dense.onnx", max_ratio=0.9, junit="j.xml")
    assert done.returncode == 0, done.stderr
    assert told["exit-code"] == "0"
    assert (told["json"], told["junit"]) == ("edgeprune-check.json", "j.xml")
    assert told["outcome"] == json.loads((tmp_path / told["json"]).read_text())["outcome"]
    assert ElementTree.parse(tmp_path / "j.xml").getroot().tag == "testsuites"
    assert "latency" in (tmp_path / "summary").read_text()


def test_a_model_over_its_budget_is_red(check):
    done, told = check(model="dense.onnx", baseline="model.onnx", max_ratio=0.5)
    assert (done.returncode, told["exit-code"], told["outcome"]) == (1, "1", "missed")
    assert "::error" in done.stdout + done.stderr


def test_an_undecided_budget_fails_where_that_is_asked(check):
    given = {"model": "model.onnx", "baseline": "dense.onnx", "max_ratio": 0.9}
    done, told = check(on_inconclusive="fail", **given)  # no accuracies are recorded here
    assert (done.returncode, told["exit-code"], told["outcome"]) == (4, "4", "inconclusive")


def test_a_missing_file_is_an_error_and_its_report_is_told(check, tmp_path):
    (tmp_path / "edgeprune-check.json").write_text('{"outcome": "met"}')  # of an earlier check
    done, told = check(model="none.onnx")
    assert (done.returncode, told["exit-code"], told["outcome"]) == (2, "2", "error")


def test_text_of_a_pull_request_is_never_code(check, tmp_path):
    name = "$(touch hacked)`touch hacked`; touch hacked #"
    shutil.copy(tmp_path / "model.onnx", tmp_path / f"{name}.onnx")
    for key in ("model", "target", "baseline", "max_ratio", "junit", "json"):
        check(**{"model": "model.onnx", key: f"{name}.onnx"})
    assert not (tmp_path / "hacked").exists()


def test_every_output_is_told_by_the_step():
    told = set(re.findall(r'"?(exit-code|outcome|json|junit)=', CHECK["run"]))
    assert set(ACTION["outputs"]) == told
    assert all(each["description"] for each in ACTION["outputs"].values())


def test_workflows_run_what_ci_runs_and_pin_what_they_use():
    workflow = yaml.safe_load(CI.read_text("utf-8"))
    steps = workflow["jobs"]["run"]["steps"]
    assert [each["run"] for each in steps if "run" in each] == [".ci/run"]
    used = [each["uses"] for each in steps if "uses" in each]
    assert used and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name) for name in used)
