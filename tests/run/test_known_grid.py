"""A grid is measured where a clock of the device read it, and says so where none did."""

from types import SimpleNamespace

import pytest

from edgeprune.deploy.devices import arm_graph
from edgeprune.run.known_grid import of_profile, of_search
from edgeprune.target import TargetProfile
from tests.deploy.conftest import MACHINE, Recorded, optimised

BLOCKED = "com.microsoft.nchwc"
ARM = MACHINE | {"arch": "aarch64", "cpu": "emulated cortex-a76", "emulated": "qemu"}


def profile(**more):
    return TargetProfile.model_validate({"schema": 1, "name": "t", **more})


@pytest.fixture
def core(monkeypatch):
    """Build a core that has these graphs, or none."""

    def build(*graphs):
        device = Recorded(machine=ARM, graphs=graphs) if graphs else None
        monkeypatch.setattr(arm_graph, "built", lambda core: device)

    build()
    return build


@pytest.mark.parametrize(
    ("kind", "more", "mark", "said"),
    [
        ("device", {}, "measured", "the device's clock"),
        ("carried", {"proxy_for": "a phone"}, "measured", "whose table was carried"),
        ("this machine", {}, "measured", "this machine's clock"),
        ("this machine", {"proxy_for": "a phone"}, "assumed", "in place of a phone"),
        ("this machine", {"core": "cortex-a76"}, "assumed", "in place of cortex-a76"),
        ("device", {"channels": {"grid": [8, 16]}}, "assumed", "a list in the profile"),
        ("device", {"channels": {"grid": [8], "measured": True}}, "measured", "read off"),
    ],
)
def test_a_grid_is_as_well_known_as_what_it_was_read_off(core, kind, more, mark, said):
    found = of_search(profile(**more), kind, (8, 16))
    assert found.mark == mark
    assert said in found.why


def test_an_emulated_graph_shows_that_no_width_falls_off_its_kernels(core):
    core(*[optimised("", "")] * 4)  # two widths in two roles
    found = of_search(profile(core="cortex-a76"), "this machine", (8, 16, 128))
    assert found.mark == "emulated (graph only)"
    assert "for aarch64 (emulated cortex-a76)" in found.why


def test_a_width_with_other_kernels_there_is_named(core):
    core(*[optimised(BLOCKED, BLOCKED)] * 3, optimised(BLOCKED, ""))
    found = of_search(profile(core="cortex-a76"), "this machine", (8, 16))
    assert found.mark == "assumed"
    assert "; 16 have other kernels in the graph of onnxruntime" in found.why


@pytest.mark.parametrize(
    ("more", "carried", "mark"),
    [
        ({}, None, "measured"),
        ({"proxy_for": "a phone"}, None, "assumed"),
        ({"channels": {"grid": [8]}}, None, "assumed"),
        ({"proxy_for": "a phone"}, "Cortex-A76, 4 cores", "measured"),
    ],
)
def test_a_profile_says_it_before_any_search(core, more, carried, mark):
    table = None
    if carried:
        table = SimpleNamespace(origin=SimpleNamespace(device=carried, measured="2026-11-20"))
    found = of_profile(profile(**more), table)
    assert found.mark == mark
    assert not carried or found.why == f"the table carried from {carried}, 2026-11-20"
