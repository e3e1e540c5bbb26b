"""Building the root of an emulated core: what is fetched, laid out, and what can go wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune.deploy.devices import arm_root
from edgeprune.deploy.devices.arm_root import build
from edgeprune.errors import InputError, MachineError

UNPACK = 'mkdir -p "$3/usr/bin"; touch "$3/usr/bin/python3.11"'
FETCH = 'for word; do case $word in Dir::Cache::archives=*) touch "${word#*=}/a.deb";; esac; done'


class Tools:
    """Stand-ins for apt-get, dpkg-deb, pip and QEMU, as the only commands there are."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.log = folder, folder / "log"
        folder.mkdir()
        for name in ("sh", "mkdir", "touch"):
            (folder / name).symlink_to(next(Path(p, name) for p in ("/bin", "/usr/bin")))
        self.make("apt-get", FETCH)
        self.make("dpkg-deb", UNPACK)
        self.make("pip", "")
        # The QEMU that runs what it is told by this machine's processor.
        self.make("qemu-aarch64-static", f'shift 5; exec {sys.executable} "$@"')
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(arm_root, "_pip", lambda python, into: ["pip", python, str(into)])

    def make(self, name: str, line: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{line}\n')
        path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    return Tools(tmp_path / "tools", monkeypatch)


def test_what_was_built_is_asked_what_it_is(tools: Tools, tmp_path: Path) -> None:
    """This machine is no emulated cortex-a76, and is not taken for one."""
    root = tmp_path / "roots"
    with pytest.raises(MachineError, match="which is not what was built"):
        build("cortex-a76", root)
    (shared,) = root.glob("arm64-onnxruntime-*")
    assert (root / "cortex-a76/usr/bin/python3.11").resolve() == shared / "usr/bin/python3.11"
    said = (root / "cortex-a76/proc/cpuinfo").read_text()
    assert "CPU part\t: 0xd0b\n" in said
    assert " asimddp " in said
    assert said.endswith("Hardware\t: emulated cortex-a76\n")
    for name in ("possible", "present"):
        assert (root / "cortex-a76/sys/devices/system/cpu" / name).read_text() == "0\n"
    assert sorted(p.name for p in root.iterdir()) == [shared.name, "cortex-a76"]


def test_cores_share_what_was_fetched(tools: Tools, tmp_path: Path) -> None:
    for core in ("cortex-a76", "cortex-a53", "cortex-a53"):
        with pytest.raises(MachineError, match="not what was built"):
            build(core, tmp_path / "roots")
    log = tools.log.read_text()
    assert log.count("apt-get") == 2  # update, install
    assert log.count("pip") == 1
    kept = (tmp_path / "roots/cortex-a53").stat().st_ino
    with pytest.raises(MachineError, match="not what was built"):
        build("cortex-a53", tmp_path / "roots")
    assert (tmp_path / "roots/cortex-a53").stat().st_ino == kept  # somebody may be using it
    assert " asimddp " not in (tmp_path / "roots/cortex-a53/proc/cpuinfo").read_text()


@pytest.mark.parametrize(
    ("tool", "line", "words"),
    [
        ("apt-get", "echo 'E: no network' >&2; exit 100", "^apt-get failed: E: no network$"),
        ("apt-get", "exit 1", "^apt-get failed: it said nothing$"),
        ("dpkg-deb", "echo 'no space' >&2; exit 2", "^dpkg-deb failed: no space$"),
        ("dpkg-deb", "mkdir -p $3/usr", r"brought no usr/bin/python3\.\*$"),
        ("pip", "echo 'ERROR: no wheel' >&2; exit 1", "^pip failed: ERROR: no wheel$"),
    ],
)
def test_what_fails_is_one_line_and_nothing_half_built_stays(
    tools: Tools, tmp_path: Path, tool: str, line: str, words: str
) -> None:
    tools.make(tool, line)
    with pytest.raises(MachineError, match=words):
        build("cortex-a53", tmp_path / "roots")
    assert list((tmp_path / "roots").iterdir()) == []


def test_another_version_of_onnxruntime_is_laid_anew(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0.0", "2.0.0"):
        monkeypatch.setattr(arm_root, "version", lambda name, version=version: version)
        with pytest.raises(MachineError, match="not what was built"):
            build("cortex-a53", tmp_path / "roots")
        python = (tmp_path / "roots/cortex-a53/usr/bin/python3.11").resolve()
        assert f"arm64-onnxruntime-{version}" in str(python)


def test_a_tool_that_hangs(tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_root, "SECONDS", 0.2)
    (tools.folder / "sleep").symlink_to("/bin/sleep")
    tools.make("apt-get", "exec sleep 5")
    with pytest.raises(MachineError, match=r"apt-get did not end within 0\.2 s"):
        build("cortex-a53", tmp_path / "roots")


def test_no_debian(tools: Tools, tmp_path: Path) -> None:
    (tools.folder / "apt-get").unlink()
    with pytest.raises(MachineError, match=r"no apt-get here: .* use a Debian or Ubuntu system"):
        build("cortex-a53", tmp_path / "roots")


def test_no_such_core(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="known: cortex-a53"):
        build("pentium", tmp_path / "roots")
    assert not (tmp_path / "roots").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tools: Tools, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(MachineError, match="roots"):
        build("cortex-a53", tmp_path / "roots")
    tmp_path.chmod(0o700)


def test_pip_is_told_of_another_processor() -> None:
    words = arm_root._pip("python3.11", Path("/x"))
    assert words[:3] == [sys.executable, "-m", "pip"]
    assert words[words.index("--python-version") + 1] == "3.11"
    assert "manylinux_2_28_aarch64" in words
    assert any(word.startswith("onnxruntime==") for word in words)
    shown = subprocess.run([*words[:4], "--help"], capture_output=True, text=True, check=True)
    assert all(word in shown.stdout for word in words if word.startswith("--") and "=" not in word)
