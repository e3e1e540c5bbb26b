"""What README and docs tell people to type is taken by the parser; what is short is run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgeprune.prune.models import zoo
from tests import documented
from tests.documented import ROOT, Documented

EVERY = documented.every_command()
BLOCKS = [c for c in EVERY if not c.inline]
# Inline commands that take longer than 30 s or need a device, and the file that runs them.
ELSEWHERE = {
    "search": "benchmarks/embedded.py",
    "probe": "benchmarks/latency_table.py",
    "doctor": "benchmarks/doctor.py",
    "finetune": "tests/run/test_finetune.py",
    "check --self-test": "tests/cli/test_commands.py",
    "ssh://": "tests/deploy/devices/test_ssh.py",
}
# The shortest search on the embedded digits: a rule, and no training but that of the dense model.
SEARCH = ["search", "--strategy", "uniform", "--epochs", "0", "--compensate", "none"]
SEARCH += ["--max-latency-ratio", "0.7", "--max-accuracy-drop", "none", "--out", "runs/r20"]


def is_whole(command: Documented) -> bool:
    """No placeholder is left, and the parser takes it as it stands."""
    capitals = any(re.fullmatch(r"[A-Z]+(\.\w+)?|.*\.\.\.", word) for word in command.words)
    return not capitals and documented.refusal(list(command.words)) is None


def elsewhere(command: Documented) -> str | None:
    """The file that runs an inline command which is not run here."""
    said = " ".join(command.words)
    return next((f for key, f in ELSEWHERE.items() if all(w in said for w in key.split())), None)


INLINE = {c.words: c for c in EVERY if c.inline and is_whole(c) and not elsewhere(c)}
RUN = {c.words: c for c in BLOCKS if c.mark == "run"} | INLINE


@pytest.mark.parametrize("command", EVERY, ids=str)
def test_the_parser_takes_it(command):
    mention = command.inline and documented.names(command.words)
    assert mention or documented.refusal(documented.filled(command.words)) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("serch --target mobile-cpu", "serch"),
        ("search --max-latncy-ratio 0.7", "--max-latncy-ratio"),
        ("check --target mobile-cpu", "Missing argument"),
        ("targets sho mobile-cpu", "sho"),
        ("search --epochs many", "--epochs"),
        ("report", "Missing argument"),
    ],
)
def test_what_the_parser_does_not_take_is_found(words, said):
    page = f"text\n\n```\nedgeprune {words}\n```\nand `edgeprune {words}`\n"
    found = documented.commands(page, "page.md")
    assert [each.inline for each in found] == [False, True]
    assert {said in documented.refusal(documented.filled(each.words)) for each in found} == {True}


def test_commands_are_found_where_pages_have_them():
    page = """
<!-- run -->
```
pip install edgeprune && edgeprune search \\
    --seed 3 | tail -3; edgeprune targets  # all of them
torchrun --nproc-per-node 2 -m edgeprune finetune model.pt
it's output, edgeprune is no command here
```

| command |
|---|
| `edgeprune report RUN... [-o FILE]` |

<!-- by: benchmarks/gate.py -->
```yaml
- run: edgeprune check model.onnx
```

```python
edgeprune.load("model.pt")
```
"""
    found = documented.commands(page, "page.md")
    assert [(c.line, " ".join(c.words), c.mark, c.inline) for c in found] == [
        (4, "search --seed 3", "run", False),
        (4, "targets", "run", False),
        (6, "finetune model.pt", "run", False),
        (12, "report RUN... [-o FILE]", None, True),
        (16, "check model.onnx", "benchmarks/gate.py", False),
    ]
    assert documented.filled(found[3].words) == ["report", "RUN", "-o", "FILE"]


def test_every_block_says_what_runs_it():
    assert [str(c) for c in BLOCKS if c.mark is None] == []
    files = {c.mark for c in BLOCKS} - {"run"} | set(ELSEWHERE.values())
    assert [name for name in sorted(files) if not (ROOT / name).is_file()] == []
    # The file named has the command in it, so that it can be the one that runs it.
    lacking = [c for c in BLOCKS if c.mark != "run"]
    lacking = [c for c in lacking if c.words[0] not in (ROOT / c.mark).read_text("utf-8")]
    assert [str(c) for c in lacking] == []


def test_options_in_sentences_exist():
    """Those of edgeprune, torchrun, dask, zensical, pytest, or of a program in benchmarks."""
    known = documented.flags() | {"--nproc-per-node", "--strict", "--collect-only"}
    known |= {"--resources", "--tls-ca-file", "--tls-cert", "--tls-key"}
    for path in (ROOT / "benchmarks").rglob("*.py"):
        named = re.findall(r'"(?:--)?([a-z][a-z-]*)"', path.read_text("utf-8"))
        known |= {f"--{name}" for name in named}
    for page in documented.PAGES:
        said = documented.options(page.read_text("utf-8"))
        assert sorted(said - known) == [], page


def test_an_option_that_is_gone_is_found():
    assert documented.options("use `--no-such 3` or `--resume`") == {"--no-such", "--resume"}
    assert "--no-such" not in documented.flags()
    assert {"--resume", "--max-ratio", "-o"} < documented.flags()


def edgeprune(words, folder):
    command = [sys.executable, "-m", "edgeprune", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GITHUB_ACTIONS": ""}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What the pages speak of: runs/r20 of a search, copies of it, and its files by themselves."""
    folder = tmp_path_factory.mktemp("documented")
    done = edgeprune(SEARCH, folder)
    assert done.returncode == 0, done.stderr
    run = folder / "runs/r20"
    for name in ("random", "uniform", "a", "b"):
        shutil.copytree(run, folder / "runs" / name)
    for name in ("model.onnx", "dense.onnx", "model.pt", "dense.pt"):
        shutil.copy(run / name, folder)
    shutil.copy(run / "model.pt", folder / "better.pt")
    torch.save(zoo.build(zoo.ModelSpec("resnet18", 1000)).state_dict(), folder / "weights.pth")
    return folder


@pytest.mark.parametrize("command", RUN.values(), ids=str)
def test_it_runs(command, finished, tmp_path):
    # Links, since every file of ours is written anew and renamed.
    folder = shutil.copytree(finished, tmp_path / "copy", copy_function=os.link)
    words = list(command.words)
    if words[0] == "export" and "--overwrite" not in words:
        Path(folder / words[1]).with_suffix(".onnx").unlink(missing_ok=True)
    done = edgeprune(words, folder)
    # A check may end in a miss: the network here was never trained after it was slimmed. So may an
    # int8 export: without VNNI so small a network is no faster on integers.
    slower = "export" in words and "is not faster than the same network in fp32" in done.stderr
    wanted = {0, 1} if words[0] == "check" or slower else {0}
    assert done.returncode in wanted, done.stderr
    assert "Traceback" not in done.stderr
