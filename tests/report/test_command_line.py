"""The command that repeats a run asks for exactly the same."""

import shlex
import sys

import pytest

from edgeprune.cli.main import main
from edgeprune.report import command_line
from edgeprune.run import pipeline
from tests.run_folders import REQUEST

CASES = [
    "",
    "--strategy gwcs --evaluations 8 --finalists 2 --epochs 1 --seed 3 --genome bits",
    "--max-latency-ratio 0.7 --max-macs-ratio 0.5 --max-accuracy-drop none --wavelet none",
    "--family 0.7,0.5,0.35 --compensate none --data digits --baseline-epochs 4",
    "--max-latency-ms 3.5 --model vgg11 --device ssh://pi@host --image-size 64",
    "--model torchvision/resnet18 --model-arg width_per_group=64 --model-arg zero=true",
    "--weights w.pt --new-head --data digits --mean 0.5 0.5 0.5 --std 0.2 0.2 0.2",
    "--keep 'layer1.*' --keep conv1 --only 'layer?' --only conv1",
    "--lr 0.01 --batch 32 --kd-temperature 2 --kd-weight 0.5 --label-smoothing 0.1 --ema 0.99",
]


class AskedError(Exception):
    """Ends a command where its request is known."""


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The request that a command makes, as run.json keeps it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_bytes(b"")
    found = []

    def stop(request, progress):
        found.append(request.to_plain())
        raise AskedError

    monkeypatch.setattr(pipeline, "run_search", stop)

    def ask(words):
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit):
            main()
        return found.pop()

    return ask


@pytest.mark.parametrize("options", CASES)
def test_the_command_of_a_run_asks_for_the_same_run(asked, options):
    request = asked(["edgeprune", "search", *shlex.split(options)])
    command = command_line.search_command(request)
    assert asked(shlex.split(command)) == request


@pytest.fixture
def asked_together(asked, monkeypatch):
    """The requests that a command for several targets makes."""

    def stop(requests, progress):
        monkeypatch.setattr(command_line, "found", [r.to_plain() for r in requests], raising=False)
        raise AskedError

    monkeypatch.setattr("edgeprune.run.targets.search_targets", stop)

    def ask(words):
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit):
            main()
        return command_line.found

    return ask


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--max-latency-ratio 0.4 --max-accuracy-drop none --keep 'layer1.*' --image-size 64",
        "--device x86-gateway=ssh://pi@host --family 0.7,0.5 --strategy gwcs",
        "--max-latency-ms 3 --precision int8 --device 'exec:env A=1 python3'",
    ],
)
def test_the_command_of_several_targets_asks_for_all_of_them(asked_together, options):
    words = ["edgeprune", "search", "--target", "mobile-cpu", "--target", "x86-gateway"]
    requests = asked_together([*words, *shlex.split(options)])
    for request in requests:
        command = command_line.search_command(request, together=requests)
        assert asked_together(shlex.split(command)) == requests


def test_another_strategy_or_latency_changes_that_alone(asked):
    request = asked(["edgeprune", "search", "--family", "0.7,0.5"])
    other = asked(shlex.split(command_line.search_command(request, strategy="uniform")))
    assert other == request | {"strategy": "uniform"}
    held = asked(shlex.split(command_line.search_command(request, latency=0.412)))
    assert held["budget"] == request["budget"] | {"latency": 0.412} and held["family"] == []


def test_rules_that_are_strategies_are_known_as_such():
    from edgeprune.prune.search.strategies import names

    assert set(command_line.RULES) < set(names.NAMES)


def test_a_check_names_what_differs_from_the_profile():
    request = REQUEST | {"budget": REQUEST["budget"] | {"latency": None, "macs": 0.5},
                         "latency_ms": 3.5, "device": "ssh://pi@host"}  # fmt: skip
    words = shlex.split(command_line.check_command(request, "runs/a b", "a-cpu"))
    assert words[:5] == ["edgeprune", "check", "runs/a b/model.onnx", "--target", "mobile-cpu"]
    budgets = [words[i + 1] for i, word in enumerate(words) if word == "--budget"]
    assert budgets == ["relative.latency=none", "relative.macs=0.5", "p50_ms=3.5",
                       "fingerprint=a-cpu"]  # fmt: skip
    assert words[-2:] == ["--device", "ssh://pi@host"]


@pytest.mark.parametrize("request_", [{}, {"target": 3, "model": [], "family": {}, "budget": 1}])
def test_a_request_that_lacks_everything_is_still_a_command(request_):
    assert command_line.search_command(request_).startswith("edgeprune search")
    assert command_line.check_command(request_, "x").startswith("edgeprune check x/model.onnx")


def test_no_word_of_a_request_becomes_another_command():
    evil = "x; rm -rf /\n$(id)"
    command = command_line.search_command({"source": evil, "model": {"name": evil}})
    assert shlex.split(command)[-1] == evil
