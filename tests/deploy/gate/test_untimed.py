"""Where nothing is timed, everything in time is undecided by name, and all else is judged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.gate.check import Options, check
from edgeprune.target import TargetProfile

Files = tuple[Path, Path]
IN_TIME = {"p50_ms": 1.0, "p90_ms": 2.0, "load_ms": 3.0, "peak_bytes": 1000}


def emulated(record: Callable[..., Any]) -> Any:
    machine = record().machine | {"emulated": "qemu-aarch64-static", "arch": "aarch64"}
    return record(machine=machine)


def judged(files: Files, device: Any, **options: Any) -> Any:
    budget = {
        "relative": {"latency": 0.5, "macs": 0.9},
        # Its own fingerprint makes no emulated device the one that gates.
        "absolute": IN_TIME | {"params": 10_000, "fingerprint": identify(device.machine)},
    }
    profile = TargetProfile.model_validate({"schema": 1, "name": "t", "budget": budget})
    return check(files[0], profile, Options(device=device, **options))


def test_budgets_in_time_are_undecided_by_name(record: Callable[..., Any], files: Files) -> None:
    device = emulated(record)
    report = judged(files, device, baseline=files[1])
    found = {verdict.name: verdict for verdict in report.verdicts}
    for name in ("latency", *IN_TIME):
        assert (found[name].outcome, found[name].value) == ("inconclusive", None)
        assert "the device is emulated (qemu-aarch64-static)" in found[name].evidence
    for name in ("macs_ratio", "params", "kernel_layout"):
        assert found[name].outcome == "met"
    assert [job.times for job in device.jobs] == [False]  # one look, and no clock
    assert report.latency == {}
    assert report.health is None
    assert any(note.startswith("emulated: ") for note in report.notes)


def test_without_the_device_nothing_is_timed_and_the_reason_is_said(
    record: Callable[..., Any], files: Files
) -> None:
    device = record()
    report = judged(files, device, baseline=files[1], untimed="the board is not here")
    found = {verdict.name: verdict for verdict in report.verdicts}
    for name in ("latency", *IN_TIME):
        assert found[name].outcome == "inconclusive"
        assert found[name].evidence == "the board is not here"
    assert found["kernel_layout"].outcome == "met"
    assert device.timed == []
    assert not any(note.startswith("emulated") for note in report.notes)


def test_no_line_comes_twice_where_the_baseline_is_in_doubt(
    record: Callable[..., Any], files: Files
) -> None:
    (files[0].parent / "dense.onnx").write_bytes(files[1].read_bytes())
    report = judged(files, emulated(record), on_inconclusive="fail")
    names = [verdict.name for verdict in report.verdicts]
    assert sorted(names) == sorted(set(names))
    assert "latency" in names
    assert report.exit_code == 4


def test_a_real_device_has_no_such_note(record: Callable[..., Any], files: Files) -> None:
    report = judged(files, record(), baseline=files[1])
    assert not any(note.startswith("emulated") for note in report.notes)
