"""What every command has: help, version, quiet and verbose, panels where there is room."""

import os
import subprocess
import sys

import pytest
import typer

from edgeprune import __version__
from edgeprune.cli.app import app
from edgeprune.cli.command import GENERAL, _joined


def commands(group=None, path=()):
    """Every command with the words that reach it."""
    group = group or typer.main.get_command(app)
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


ALL = list(commands())


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_each_command_has_help_and_version_in_short(run, path):
    code, out, _ = run(*path, "-h")
    assert code == 0
    assert "Usage: edgeprune" in out
    for option in ("-q", "-v", "-V", "-h"):
        assert option in out.split()
    assert run(*path, "-V")[:2] == (0, f"edgeprune {__version__}\n")


@pytest.mark.parametrize(
    ("path", "command"), [(path, command) for path, command in ALL if path], ids=str
)
def test_every_option_has_a_panel_and_says_its_unit_or_range(path, command):
    context = typer.Context(command)
    for param in command.get_params(context):
        assert param.help, (path, param.name)
        if param.param_type_name != "option":
            continue
        assert param.rich_help_panel, (path, param.name)
        own = param.rich_help_panel != GENERAL
        if own and not param.is_flag and param.type_descriptor.annotation in (int, float):
            assert any(c.isdigit() for c in param.help), (path, param.name, param.help)


def test_panels_come_in_the_order_of_the_work(run):
    out = run("search", "-h")[1]
    panels = ["What", "Budget", "Search", "Recovery", "Device", "Output", "General"]
    places = [out.index(f"─ {panel} ─") for panel in panels]
    assert places == sorted(places)


def test_a_narrow_terminal_cuts_no_option_off(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    out = run("search", "-h")[1]
    assert "--max-latency-ratio" in out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 50


def test_colour_is_left_out_where_it_is_not_wanted(tmp_path):
    words = [sys.executable, "-m", "edgeprune", "-h"]
    wanted = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "100"}
    for off, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        done = subprocess.run(
            words, capture_output=True, text=True, cwd=tmp_path, env=os.environ | wanted | off
        )
        assert ("\x1b[1;36m" in done.stdout) == coloured  # bold cyan, of an option


def test_quiet_leaves_notes_out_and_errors_in(run, tmp_path):
    (tmp_path / "edgeprune.toml").write_text('[inspect]\n[channels]\nmodel = "resnet20"\n')
    assert "edgeprune.toml sets" in run("channels")[2]
    assert run("channels", "-q")[2] == ""
    assert run("inspect", "-q", "none.onnx")[2].startswith("edgeprune: none.onnx")


@pytest.mark.parametrize(
    ("words", "place", "offered"),
    [
        ("edgeprune search --target ", 3, "mobile-cpu"),
        ("edgeprune channels --model vgg", 3, "vgg16_bn"),
        ("edgeprune search --strategy gw", 3, "gwcs"),
        ("edgeprune targets show x86", 3, "x86-gateway"),
        ("edgeprune check m.onnx --device ", 4, "ssh://"),
        ("edgeprune search --max-lat", 2, "--max-latency-ratio"),
        ("edgeprune search --data cifar", 3, "cifar100"),
    ],
)
def test_the_shell_is_offered_names_without_torch(tmp_path, words, place, offered):
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['edgeprune']\n"
    code += "from edgeprune.cli.main import main; main()"
    asked = {"_EDGEPRUNE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | asked,
    )  # fmt: skip
    assert offered in done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ("--mean 0.5 .4 1e-1 --std -1 2 x", ["--mean", "0.5 .4 1e-1", "--std", "-1 2", "x"]),
        ("m.pt --mean 0.5 --epochs 3 4", ["m.pt", "--mean", "0.5", "--epochs", "3", "4"]),
        ("--mean=0.5 0.4 --std", ["--mean=0.5 0.4", "--std"]),
        ("--mean --std 1", ["--mean", "--std", "1"]),
    ],
)
def test_the_numbers_of_all_channels_are_one_value(words, joined):
    assert _joined(words.split()) == joined
