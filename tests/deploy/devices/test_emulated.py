"""Addresses of emulated cores, and what is missing for them."""

from pathlib import Path

import pytest

from edgeprune.deploy.devices.device import connect
from edgeprune.deploy.devices.emulated import CORES, emulated, uri_of
from edgeprune.errors import EdgepruneError, InputError, MachineError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a core as far as an address needs it, and a QEMU on the path."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "qemu-aarch64-static").write_text("#!/bin/sh\n")
    (tools / "qemu-aarch64-static").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    python = tmp_path / "roots/cortex-a53/usr/bin/python3.11"
    python.parent.mkdir(parents=True)
    python.touch()
    return tmp_path / "roots"


def test_a_core_is_a_command_with_its_root(root: Path) -> None:
    uri = uri_of("cortex-a53", root)
    assert uri == f"emulate://cortex-a53?root={root}"
    folder = str(root / "cortex-a53")
    words = (str(root.parent / "tools/qemu-aarch64-static"), "-cpu", "cortex-a53", "-L", folder)
    assert emulated(uri).command[:6] == (*words, f"{folder}/usr/bin/python3.11")
    assert emulated(uri).uri == uri


def test_the_users_cache_is_the_default_place(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.deploy.devices.emulated.default_root", lambda: root)
    assert uri_of("cortex-a53", None) == "emulate://cortex-a53"
    assert connect("emulate://cortex-a53").uri == "emulate://cortex-a53"


@pytest.mark.parametrize(
    ("uri", "kind", "words"),
    [
        ("emulate://cortex-a57", InputError, "no core that is emulated, did you mean"),
        ("emulate://", InputError, f"known: {', '.join(CORES)}"),
        ("emulate://cortex-a53/bin", InputError, "is not emulate://CORE"),
        ("emulate://cortex-a53?cpu=x", InputError, "is not emulate://CORE"),
        ("emulate://cortex-a53?root", InputError, "bad query"),
        ("emulate://cortex-a53?root=/nowhere", MachineError, "cortex-a53 --root /nowhere` does"),
    ],
)
def test_a_wrong_address(uri: str, kind: type[EdgepruneError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        connect(uri)
    assert "\n" not in str(caught.value)


def test_qemu_may_lie_beside_the_roots(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineError, match="apt-get install qemu-user-static"):
        emulated(uri_of("cortex-a53", root))
    (root / "qemu/usr/bin").mkdir(parents=True)
    (root.parent / "tools/qemu-aarch64-static").rename(root / "qemu/usr/bin/qemu-aarch64-static")
    assert emulated(uri_of("cortex-a53", root)).command[0].startswith(str(root / "qemu"))
