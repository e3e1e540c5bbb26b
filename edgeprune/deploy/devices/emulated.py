"""Arm cores emulated by QEMU's user mode, ``emulate://cortex-a76``: all but their time is real.

An emulated device is a command (command.py): QEMU runs the arm64 Python of a root that
``edgeprune devices emulate`` builds (arm_root.py), with the instructions of one core.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import platformdirs

from edgeprune.deploy.devices.command import Command
from edgeprune.errors import InputError, MachineError
from edgeprune.text import did_you_mean

QEMU = ("qemu-aarch64-static", "qemu-aarch64")
_ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_ARMV82 = f"{_ARMV8} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp ssbs"


@dataclass(frozen=True)
class Core:
    """An Arm core that QEMU emulates.

    Attributes:
        part: Its number in ``/proc/cpuinfo``.
        features: Its instruction sets there, as Linux writes them.
    """

    part: str
    features: str


CORES = {
    "cortex-a53": Core("0xd03", _ARMV8),  # no dot product: Raspberry Pi 3, cheap phones
    "cortex-a72": Core("0xd08", _ARMV8),  # Raspberry Pi 4
    "cortex-a76": Core("0xd0b", _ARMV82),  # Raspberry Pi 5; dot product and half precision
    "neoverse-n1": Core("0xd0c", _ARMV82),  # servers
}


def core_named(name: str) -> Core:
    """A core of :data:`CORES`.

    Raises:
        InputError: there is no such core.
    """
    if name in CORES:
        return CORES[name]
    hint = did_you_mean(name, CORES)
    raise InputError(f"{name!r} is no core that is emulated{hint}; known: {', '.join(CORES)}")


def default_root() -> Path:
    """Where roots are built, unless told otherwise."""
    return platformdirs.user_cache_path("edgeprune") / "emulate"


def uri_of(core: str, root: Path | None) -> str:
    """The address of an emulated core whose root is not in the default place, if one is named."""
    return f"emulate://{core}" + (f"?root={root.resolve()}" if root else "")


def emulated(uri: str) -> Command:
    """The device at ``emulate://CORE[?root=DIR]``.

    Raises:
        InputError: not such an address.
        MachineError: its root has not been built, or QEMU is not there.
    """
    try:
        parts = urlsplit(uri)
        query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise InputError(f"device {uri!r}: {error}") from None
    if parts.path not in ("", "/") or set(query) - {"root"}:
        raise InputError(f"device {uri!r} is not emulate://CORE[?root=DIR]")
    core_named(parts.netloc)
    folder = Path(query["root"][0]) if "root" in query else None
    root = (folder or default_root()) / parts.netloc
    python = next(iter(sorted(root.glob("usr/bin/python3.[0-9]*"))), None)
    if python is None:
        option = f" --root {folder}" if folder else ""
        raise MachineError(
            f"{uri} has not been built; `edgeprune devices emulate {parts.netloc}{option}` does it"
        )
    return Command([qemu(root.parent), "-cpu", parts.netloc, "-L", str(root), str(python)], uri)


def built(core: str) -> Command | None:
    """The device of a core in the usual place; None where it, or QEMU, is not there."""
    try:
        return emulated(uri_of(core, None))
    except MachineError:
        return None


def qemu(root: Path) -> str:
    """The path of QEMU's user mode for arm64: installed here, or unpacked beside the roots.

    Raises:
        MachineError: it is neither.
    """
    places = [shutil.which(name) for name in QEMU]
    places += [shutil.which(name, path=str(root / "qemu/usr/bin")) for name in QEMU]
    found = next(filter(None, places), None)
    if found is None:
        raise MachineError(f"{QEMU[0]} is not installed here: apt-get install qemu-user-static")
    return found
