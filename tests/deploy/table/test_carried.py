"""Tables that were carried from a device: kept, found, and refused where they do not hold."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from edgeprune.deploy.table import carried, storage
from edgeprune.deploy.table.probe import Probe, probe
from edgeprune.errors import InputError
from edgeprune.target import TargetProfile
from tests.deploy.table.conftest import MACHINE

Make = Callable[..., Any]
BOARD = {"arch": "aarch64", "cpu": "Cortex-A76", "cores": 4, "isa": ["asimd", "asimddp"]}
PROFILE = 'schema = 1\nname = "board"\n[channels]\ngrid = [8, 16, 32]\n'


@dataclass
class Board:
    """A board elsewhere, and what was measured on it."""

    device: Any
    network: Any

    def measured(self, **machine: Any) -> Path:
        """The file of a probe on it, taken out of the folder of this machine's own tables."""
        self.device.machine |= machine
        profile = TargetProfile.model_validate(
            {"schema": 1, "name": "board", "channels": {"grid": (8, 16, 32)}}
        )
        report = probe(self.network, profile, Probe(device=self.device, rebuild=True))
        return report.path.rename("table.json")


@pytest.fixture
def board(elsewhere: Path, simulated: Make, residual_net: Make) -> Board:
    (elsewhere / "targets").mkdir()
    target(elsewhere)
    device = simulated(machine=MACHINE | BOARD | {"onnxruntime": onnxruntime.__version__})
    return Board(device, residual_net(1))


def target(folder: Path, more: str = "") -> TargetProfile:
    (folder / "targets" / "board.toml").write_text(PROFILE + more)
    return carried.load_target("board")


def test_a_table_is_kept_apart_from_this_machines_and_found(board: Board, elsewhere: Path) -> None:
    path = board.measured()
    kept, profile = carried.add(path)
    assert kept.path.parent == Path("calibration/latency/board/carried")
    found, reason = carried.find(profile)
    assert (found, reason) == (kept, "")
    assert kept.origin.device == "Cortex-A76, 4 cores"
    assert kept.table.conditions.machine.startswith("cortex-a76-4c-")
    # The times are those of the file: nothing is measured on the way.
    assert storage.read(kept.path) == storage.read(path)


def test_without_the_folder_it_lies_in_the_users_cache(board: Board, elsewhere: Path) -> None:
    path = board.measured()
    (elsewhere / "calibration/latency/board").rmdir()
    (elsewhere / "calibration/latency").rmdir()
    (elsewhere / "calibration").rmdir()
    assert carried.add(path)[0].path.is_relative_to(elsewhere / "cache")
    assert carried.find(carried.load_target("board"))[0]


def test_the_device_itself_takes_it_for_its_own(board: Board) -> None:
    carried.add(board.measured())
    board.device.jobs.clear()
    profile = carried.load_target("board")
    assert probe(board.network, profile, Probe(device=board.device)).timed_now == 0


def test_a_later_table_of_the_device_brings_what_it_has_beside_what_was_there(
    board: Board, residual_net: Make
) -> None:
    carried.add(board.measured())
    board.network = residual_net(2)
    kept, _ = carried.add(board.measured())
    assert len(storage.read(kept.path).networks) == 2


def test_of_two_devices_the_one_measured_last_counts(board: Board) -> None:
    for cpu, day in (("Cortex-A76", "2026-01-02"), ("Cortex-A72", "2026-01-01")):
        path = board.measured(cpu=cpu)
        content = json.loads(path.read_text())
        content["origin"]["measured"] = day
        path.write_text(json.dumps(content))
        carried.add(path)
    found, _ = carried.find(carried.load_target("board"))
    assert found is not None
    assert found.origin.machine.cpu == "Cortex-A76"


def test_a_machines_own_tables_are_not_taken_for_carried_ones(board: Board) -> None:
    path = board.measured()
    folder = Path("calibration/latency/board")
    path.rename(folder / "cortex-a76-4c-00000000.json")
    assert carried.find(carried.load_target("board")) == (None, "")


def changed(content: dict[str, Any], *keys: str, to: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    content[keys[-1]] = to


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("conditions", "onnxruntime"), "1.2.3", "measured with onnxruntime 1.2.3, here is"),
        (("conditions", "threads"), 4, "measured with threads 4, the target has 1"),
        (("conditions", "clock"), "wall", "measured with clock wall, the target has cpu"),
        (("conditions", "dtype"), "s8s8", "measured with dtype s8s8, the target has fp32"),
        (("conditions", "machine"), "../../x", "it was changed by hand"),
        (("origin", "machine", "isa"), ["asimd"], "it was changed by hand"),
        (("origin", "machine", "cpu"), "emulated cortex-a76", "it was changed by hand"),
        (("origin",), None, "names no device and no day"),
        (("networks",), {}, "holds no network that judges it"),
        (("schema",), 3, "not a latency table of format 2, which this version reads, but of 3"),
        (("schema",), 1, "no longer holds: an earlier edgeprune timed other blocks"),
        (("origin", "target"), "../board", "is not a latency table (origin.target"),
    ],
)
def test_what_does_not_hold_is_refused_in_one_line_and_not_kept(
    keys: tuple[str, ...], value: Any, said: str, board: Board
) -> None:
    path = board.measured()
    content = json.loads(path.read_text())
    changed(content, *keys, to=value)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        carried.add(path, "board")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(Path("calibration").rglob("carried"))


def test_a_table_of_an_emulated_core_is_refused(board: Board) -> None:
    path = board.measured(cpu="emulated cortex-a76")
    with pytest.raises(InputError, match="emulated core, whose time says nothing"):
        carried.add(path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[budget.absolute]\nfingerprint = "other-1c-00000000"\n', "names the device other-1c-"),
        ('[precision]\nmode = "int8"\n', "measured with dtype fp32, the target has s8s8"),
        ("[runtime]\nthreads = 2\n", "measured with threads 1, the target has 2"),
    ],
)
def test_a_target_that_changed_since_takes_no_table_and_says_why(
    more: str, said: str, board: Board, elsewhere: Path
) -> None:
    carried.add(board.measured())
    found, reason = carried.find(target(elsewhere, more))
    assert found is None
    assert said in reason


def test_a_file_that_is_no_table_is_refused(board: Board) -> None:
    Path("x.json").write_text("{")
    with pytest.raises(InputError, match="is not a latency table"):
        carried.add(Path("x.json"))
