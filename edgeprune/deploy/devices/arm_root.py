"""Builds the root of an emulated Arm core out of Debian packages and wheels, without root rights.

apt with a state of its own finds and fetches the arm64 packages of a Python, dpkg-deb unpacks
them, and pip adds the aarch64 wheels of numpy and onnxruntime. Cores share all of it; each has a
``proc/cpuinfo`` of its own, without which onnxruntime's look at the processor crashes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from edgeprune.deploy.devices.emulated import Core, core_named, default_root, qemu, uri_of
from edgeprune.deploy.devices.fingerprint import DeviceRecord, check_device
from edgeprune.errors import MachineError
from edgeprune.files import disk_errors
from edgeprune.progress import Progress, silent
from edgeprune.text import one_line

PACKAGES = ("python3", "libstdc++6")
WHEELS = ("2_28", "2_27", "2_17")  # glibc of bookworm and later takes them all
TOOLS = ("apt-get", "dpkg-deb")
SECONDS = 900  # for a command that fetches; apt and pip give up on a dead line before


def build(core: str, folder: Path | None = None, progress: Progress = silent) -> DeviceRecord:
    """Build the root of a core, or find it built, and ask the emulated device what it is.

    Args:
        core: Name of the core.
        folder: Where roots lie; the user's cache by default.
        progress: Called with what is being done.

    Raises:
        InputError: there is no such core.
        MachineError: a tool is missing, nothing can be fetched, the disk is full, or what was
            built does not run.
    """
    described, root = core_named(core), (folder or default_root()).resolve()
    shared = root / f"arm64-onnxruntime-{version('onnxruntime')}"
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        progress("looking for QEMU", 0, 4)
        _with_qemu(root)
        if not shared.is_dir():
            _fill(root, shared, progress)
        if (root / core / "usr").resolve() != shared / "usr":
            _lay(root / core, shared, core, described)
    progress("starting it", 3, 4)
    record = check_device(uri_of(core, folder))
    _refuse_another(record, core)
    progress("starting it", 4, 4)
    return record


def _with_qemu(root: Path) -> None:
    """Unpack QEMU beside the roots where it is not installed."""
    try:
        qemu(root)
    except MachineError:
        _needed(*TOOLS)
        with tempfile.TemporaryDirectory(dir=root, prefix=".building-") as place:
            _run(["apt-get", "-qq", "download", "qemu-user-static"], Path(place))
            _unpack(Path(place), Path(place, "qemu"))
            Path(place, "qemu").rename(root / "qemu")
        qemu(root)


def _fill(root: Path, shared: Path, progress: Progress) -> None:
    """Make the part that all cores share; it takes its name when it is whole."""
    _needed(*TOOLS)
    with tempfile.TemporaryDirectory(dir=root, prefix=".building-") as place:
        apt, made = Path(place, "apt"), Path(place, "root")
        progress("fetching an arm64 Python (apt)", 1, 4)
        options = _apt_options(apt)
        _run(["apt-get", "-qq", *options, "update"], apt)
        _run(["apt-get", "-qq", *options, "install", "--download-only", "-y", *PACKAGES], apt)
        _unpack(apt / "archives", made)
        progress("fetching onnxruntime for aarch64 (pip)", 2, 4)
        python = next(iter(made.glob("usr/bin/python3.[0-9]*")), None)
        if python is None:
            raise MachineError("Debian's python3 for arm64 brought no usr/bin/python3.*")
        _run(_pip(python.name, made / "usr/lib/python3/dist-packages"), Path(place))
        made.rename(shared)


def _apt_options(folder: Path) -> list[str]:
    """An apt that knows arm64 alone, keeps all it writes here, and takes this system's sources."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()  # nothing is installed: every package that is needed is fetched
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::Cache": folder,
        "Dir::Cache::archives": folder / "archives",
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _pip(python: str, into: Path) -> list[str]:
    """The pip of this Python, told to fetch for another one on another processor."""
    platforms = [f"manylinux_{glibc}_aarch64" for glibc in WHEELS]
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    words += ["--target", str(into), "--only-binary=:all:", "--implementation", "cp"]
    words += ["--python-version", python.removeprefix("python")]
    words += [word for each in platforms for word in ("--platform", each)]
    return [*words, "numpy", f"onnxruntime=={version('onnxruntime')}"]


def _unpack(packages: Path, root: Path) -> None:
    for package in sorted(packages.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(root)], packages)


def _lay(root: Path, shared: Path, name: str, core: Core) -> None:
    """Lay the root of one core: links to what all share, and the files that describe the core."""
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".building-") as place:
        made = Path(place, name)
        made.mkdir()
        for entry in shared.iterdir():
            (made / entry.name).symlink_to(f"../{shared.name}/{entry.name}")
        _describe(made, name, core)
        if root.is_dir():  # of another version of onnxruntime
            shutil.rmtree(root)
        made.rename(root)


def _describe(root: Path, name: str, core: Core) -> None:
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(
        "processor\t: 0\n"
        f"Features\t: {core.features}\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {core.part}\nCPU revision\t: 0\n\n"
        f"Hardware\t: {_hardware(name)}\n"
    )
    cpus = root / "sys/devices/system/cpu"
    cpus.mkdir(parents=True)
    for file in ("possible", "present"):
        (cpus / file).write_text("0\n")


def _refuse_another(record: DeviceRecord, core: str) -> None:
    machine = record.machine
    found = machine["arch"], machine["cpu"], bool(machine["emulated"])
    if found != ("aarch64", _hardware(core), True):
        raise MachineError(
            f"{record.uri} says that it is {machine['cpu']} ({machine['arch']}), which is not "
            "what was built; remove its folder and build it again"
        )


def _hardware(core: str) -> str:
    return f"emulated {core}"


def _needed(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            raise MachineError(
                f"there is no {tool} here: an emulated device is built from Debian packages; use "
                "a Debian or Ubuntu system, or a container of one"
            )


def _run(command: Sequence[str], folder: Path) -> None:
    """Run a tool that fetches or unpacks; its last word on stderr is the reason if it fails."""
    plain = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=plain, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise MachineError(f"{_name(command)} did not end within {SECONDS} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise MachineError(f"{_name(command)} failed: {one_line(said[-1])[:300]}")


def _name(command: Sequence[str]) -> str:
    return "pip" if "pip" in command else command[0]
