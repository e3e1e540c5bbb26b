"""Latency tables on disk: they grow, they are refused when stale or damaged, they repeat."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprune.deploy.table import storage
from edgeprune.deploy.table.bench import Probe
from edgeprune.deploy.table.probe import probe
from edgeprune.errors import InputError
from edgeprune.target import Channels, Runtime, TargetProfile

Make = Callable[..., Any]
EIGHTS = (8, 16, 24, 32, 40, 48, 56, 64)
PROFILE = TargetProfile(schema=1, name="sim")
PINNED = PROFILE.model_copy(update={"channels": Channels(grid=(8, 16, 32))})  # probes faster


def test_a_table_is_measured_once_and_grows(simulated: Make, residual_net: Make) -> None:
    first, again, other = simulated(), simulated(), simulated()
    report = probe(residual_net(2), PROFILE, Probe(device=first))
    assert report.timed_now > 200
    assert report.doubtful == 0
    once = probe(residual_net(2), PROFILE, Probe(device=again))
    assert again.timed == once.timed_now == 0
    assert once.model.document == report.model.document
    deeper = probe(residual_net(3), PROFILE, Probe(device=other))
    assert 0 < deeper.timed_now < 60  # whole networks only: its blocks are the same
    table = storage.read(deeper.path)
    assert len(table.networks) == 2
    assert deeper.grid == report.grid


def test_the_same_measurements_give_the_same_bytes(
    elsewhere: Path, simulated: Make, residual_net: Make
) -> None:
    first = probe(residual_net(1), PINNED, Probe(device=simulated()))
    content = first.path.read_bytes()
    second = probe(residual_net(1), PINNED, Probe(device=simulated(), rebuild=True))
    assert second.path == first.path
    assert second.path.read_bytes() == content
    assert second.model.sha256 == first.model.sha256
    assert json.loads(content)["conditions"]["onnxruntime"] == "1.31.1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "1.32.0"}, "onnxruntime 1.31.1, now 1.32.0"),
        ({"threads": 2}, "threads 1, now 2"),
        ({"optimisation": "basic"}, "optimisation all, now basic"),
    ],
)
def test_a_stale_table_is_refused_in_one_line(
    change: dict[str, Any], said: str, simulated: Make, residual_net: Make
) -> None:
    probe(residual_net(1), PINNED, Probe(device=simulated()))
    device = simulated()
    device.machine["onnxruntime"] = change.pop("version", "1.31.1")
    profile = PINNED.model_copy(update={"runtime": Runtime(**change)})
    with pytest.raises(InputError) as error:
        probe(residual_net(1), profile, Probe(device=device))
    assert said in str(error.value)
    assert "run `edgeprune probe --rebuild` for this target and model" in str(error.value)
    assert "\n" not in str(error.value)
    assert device.timed == 0
    assert probe(residual_net(1), profile, Probe(device=device, rebuild=True)).timed_now > 0


def test_another_machine_has_a_table_of_its_own(simulated: Make, residual_net: Make) -> None:
    here = probe(residual_net(1), PINNED, Probe(device=simulated()))
    other = simulated()
    other.machine["cpu"] = "Other"
    there = probe(residual_net(1), PINNED, Probe(device=other))
    assert there.timed_now > 0
    assert there.path != here.path
    assert there.path.parent == here.path.parent


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: b"\x80\x02not json",
        lambda text: text.replace(b'"schema": 2', b'"schema": 9'),
        lambda text: text.replace(b'"units"', b'"unit"'),
        lambda text: text.replace(b'"threads": 1', b'"threads": "many"'),
    ],
)
def test_a_damaged_table_is_one_line(
    damage: Callable[[bytes], bytes], simulated: Make, residual_net: Make
) -> None:
    path = probe(residual_net(1), PINNED, Probe(device=simulated())).path
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as error:
        probe(residual_net(1), PINNED, Probe(device=simulated()))
    assert "is not a latency table" in str(error.value)
    assert "run `edgeprune probe --rebuild` for this target and model" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_of_an_earlier_edgeprune_no_longer_holds(
    simulated: Make, residual_net: Make
) -> None:
    path = probe(residual_net(1), PINNED, Probe(device=simulated())).path
    path.write_bytes(path.read_bytes().replace(b'"schema": 2', b'"schema": 1'))
    with pytest.raises(InputError, match=r"no longer holds: an earlier .* probe --rebuild"):
        probe(residual_net(1), PINNED, Probe(device=simulated()))


def test_what_another_process_wrote_meanwhile_stays(simulated: Make, residual_net: Make) -> None:
    others = probe(residual_net(1), PINNED, Probe(device=simulated()))
    mine = others.path.read_bytes()
    others.path.unlink()

    def meanwhile(step: str, done: int, total: int) -> None:
        others.path.write_bytes(mine)

    path = probe(residual_net(2), PINNED, Probe(device=simulated(), progress=meanwhile)).path
    assert path == others.path
    assert len(storage.read(path).networks) == 2
    assert list(path.parent.iterdir()) == [path]  # no temporary files stay


def test_of_two_writers_at_once_neither_loses_what_it_measured(
    simulated: Make, residual_net: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = probe(residual_net(1), PINNED, Probe(device=simulated())).path
    empty = storage.read(path).model_copy(update={"units": {}})
    storage.write(empty, PINNED.name, afresh=True)
    tables = [empty.model_copy(update={"units": {name: (1.0, 2.0)}}) for name in ("a", "b")]
    other = threading.Thread(
        target=storage.write, args=(tables[1], PINNED.name), kwargs={"afresh": False}
    )
    read = storage.read

    def slow(place: Path) -> storage.Table:
        found = read(place)
        if threading.current_thread() is not other:
            other.start()
            other.join(0.3)  # without a lock it is done by now, and lost
        return found

    monkeypatch.setattr(storage, "read", slow)
    storage.write(tables[0], PINNED.name, afresh=False)
    other.join()
    assert read(path).units.keys() == {"a", "b"}


def test_of_two_probes_at_once_the_grid_that_was_written_first_holds(
    simulated: Make, residual_net: Make
) -> None:
    others = probe(residual_net(1), PROFILE, Probe(device=simulated(step=16)))
    theirs = others.path.read_bytes()
    others.path.unlink()

    def meanwhile(step: str, done: int, total: int) -> None:
        if step == "measuring channel grid":
            others.path.write_bytes(theirs)

    mine = probe(residual_net(1), PROFILE, Probe(device=simulated(step=8), progress=meanwhile))
    assert mine.grid == others.grid != EIGHTS
    assert mine.timed_now == 2 * 64  # the grid; units and networks were there
    assert mine.path.read_bytes() == theirs


def test_without_a_calibration_folder_the_user_cache_is_used(
    elsewhere: Path, simulated: Make, residual_net: Make
) -> None:
    (elsewhere / "calibration").rmdir()
    path = probe(residual_net(1), PINNED, Probe(device=simulated())).path
    assert path.is_relative_to(elsewhere / "cache")
    again = simulated()
    assert probe(residual_net(1), PINNED, Probe(device=again)).path == path
    assert again.timed == 0


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("local://", "for this target and model"),
        ("ssh://pi@board:22", "for this target and model and `--device ssh://pi@board:22`"),
    ],
)
def test_the_hint_names_the_device_that_was_asked(
    uri: str, hint: str, simulated: Make, residual_net: Make
) -> None:
    path = probe(residual_net(1), PINNED, Probe(device=simulated())).path
    path.write_bytes(b"")
    with pytest.raises(InputError) as error:
        probe(residual_net(1), PINNED, Probe(device=simulated(uri=uri)))
    assert str(error.value).endswith(hint)


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"{", "is not a latency table"), (None, "measured with onnxruntime 1.31.1")],
)
def test_what_does_not_hold_in_the_cache_is_measured_again(
    text: bytes | None,
    said: str,
    elsewhere: Path,
    simulated: Make,
    residual_net: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (elsewhere / "calibration").rmdir()
    first = probe(residual_net(1), PINNED, Probe(device=simulated()))
    assert first.dropped == ""
    first.path.write_bytes(text if text is not None else first.path.read_bytes())
    device = simulated()
    device.machine["onnxruntime"] = "1.31.1" if text else "1.32.0"
    again = probe(residual_net(1), PINNED, Probe(device=device))
    assert again.timed_now == first.timed_now
    assert said in again.dropped
    assert again.dropped in caplog.text
    assert again.path == first.path
    assert storage.read(again.path).conditions == again.conditions
    after = simulated()
    after.machine["onnxruntime"] = device.machine["onnxruntime"]
    assert probe(residual_net(1), PINNED, Probe(device=after)).dropped == ""
    assert after.timed == 0
