"""Profiles as TOML that reads back, and a profile of a new device."""

import tomllib
from types import SimpleNamespace

import numpy as np
import pytest

from edgeprune.cli import target_file
from edgeprune.errors import InputError
from edgeprune.progress import silent
from edgeprune.target import TargetProfile, list_targets, load_target


@pytest.mark.parametrize("name", list_targets())
def test_a_profile_that_comes_with_edgeprune_reads_back_as_it_was(name):
    profile = load_target(name)
    again = TargetProfile.model_validate(tomllib.loads(target_file.to_toml(profile)))
    assert again == profile


def test_whatever_a_profile_holds_reads_back():
    profile = TargetProfile.model_validate(
        {
            "schema": 1,
            "name": "t",
            "description": 'a "board" \\ with\nlines, ü, \x7f and \x00',
            "channels": {"grid": [8, 16]},
            "input": {"shape": [1, 3, 8, 8], "x:0 ü": {"shape": [1, 2], "value": 0.5}},
            "budget": {"absolute": {"fingerprint": "f", "p50_ms": 3.5}},
        }
    )
    text = target_file.to_toml(profile)
    assert TargetProfile.model_validate(tomllib.loads(text)) == profile


def test_every_key_that_a_profile_may_have_is_explained():
    text = target_file.to_toml(load_target("mobile-cpu"))
    said = [line for line in text.splitlines() if "=" in line and "#" in line]
    assert len(said) == len(target_file.COMMENTS)
    assert "# p50_ms =  # median latency in ms on that device" in text


def test_a_new_profile_has_the_measured_grid_and_the_fingerprint(monkeypatch):
    machine = {"cpu": "A CPU", "cores": 2, "arch": "x", "system": "s", "isa": []}
    monkeypatch.setattr(target_file, "machine_of", lambda setting: machine)
    widths = np.arange(1, 65)
    steps = np.ceil(widths / 16) * 16.0  # a device that rewards multiples of 16
    times = SimpleNamespace(hot=np.concatenate([steps, steps]))
    monkeypatch.setattr(target_file, "time_units", lambda *_: times)
    found = target_file.new("my-board", "local://", silent)
    assert found.channels.grid == (16, 32, 48, 64)
    assert found.budget.absolute.fingerprint == target_file.identify(machine)
    assert found.description == "A CPU, 2 cores, onnxruntime"


def test_a_place_is_no_file_that_is_there_and_a_name_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(target_file.place_for("my-board")) == "targets/my-board.toml"
    for name in ("../x", "a/b", "My", ""):
        with pytest.raises(InputError, match="no name of a target"):
            target_file.place_for(name)
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "my-board.toml").write_text("mine")
    with pytest.raises(InputError, match="exists; edit it, or give"):
        target_file.place_for("my-board")
