"""The gate's decisions on recorded devices: every budget, every verdict, every exit code."""

import hashlib
import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeprune.deploy.artifact import parity_samples, seal
from edgeprune.deploy.artifact.provenance import PairedCounts, Provenance
from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.gate.check import Options, check
from edgeprune.deploy.gate.formats import to_text
from edgeprune.deploy.gate.verdicts import Report
from edgeprune.errors import InputError, MachineError
from edgeprune.target import TargetProfile

Record = Callable[..., Any]
Net = Callable[..., bytes]
Files = tuple[Path, Path]
NCHWC = "com.microsoft.nchwc"


def profile(relative: Any = None, absolute: Any = None, **tables: Any) -> TargetProfile:
    budget = {"relative": relative or {}, "absolute": absolute or {}}
    return TargetProfile.model_validate({"schema": 1, "name": "t", "budget": budget, **tables})


def outcomes(report: Report) -> dict[str, str]:
    """Outcome of every verdict, by its name."""
    return {verdict.name: verdict.outcome for verdict in report.verdicts}


@pytest.mark.parametrize(
    ("ratios", "policy", "expected", "processes"),
    [
        ([0.60], "warn", ("met", 0), 1),
        ([0.80], "warn", ("missed", 1), 2),
        ([0.80], "pass", ("missed", 1), 2),
        ([0.70], "warn", ("inconclusive", 0), 1),
        ([0.70], "pass", ("inconclusive", 0), 1),
        ([0.70], "fail", ("inconclusive", 4), 1),
        ([0.80] * 4 + [0.60], "warn", ("inconclusive", 0), 2),  # the second process disagrees
        ([0.80] * 4 + [0.70], "fail", ("inconclusive", 4), 2),
    ],
)
def test_latency(
    record: Record, files: Files, ratios: list[float], policy: Any, expected: Any, processes: int
) -> None:
    device = record(ratios=ratios)
    options = Options(baseline=files[1], on_inconclusive=policy, device=device)
    report = check(files[0], profile({"latency": 0.7}), options)
    assert outcomes(report) == {"latency": expected[0], "kernel_layout": "met"}
    assert report.exit_code == expected[1]
    timed = device.timed
    assert len(timed) == processes
    assert len({job.epochs for job in timed}) == processes  # another seed in each


def test_a_flag_overrides_the_profile(record: Record, files: Files) -> None:
    options = Options(baseline=files[1], max_ratio=0.5, device=record(ratios=[0.6]))
    assert outcomes(check(files[0], profile({"latency": 0.7}), options))["latency"] == "missed"


def test_all_misses_are_listed(record: Record, files: Files, graph: Callable[..., bytes]) -> None:
    device = record(ratios=[0.9], graphs=(graph(NCHWC, ""), graph(NCHWC, NCHWC)))
    limits = {"macs": 1, "params": 1, "file_bytes": 1}
    target = profile({"latency": 0.7, "macs": 0.1, "params": 0.1}, limits)
    report = check(files[0], target, Options(baseline=files[1], device=device))
    names = ["latency", "macs_ratio", "params_ratio", "kernel_layout"]
    assert outcomes(report) == dict.fromkeys([*names, *limits], "missed")
    layout = next(verdict for verdict in report.verdicts if verdict.name == "kernel_layout")
    assert "left the blocked layout: w1" in layout.evidence
    assert report.exit_code == 1


def test_counts_against_the_reference(record: Record, files: Files) -> None:
    target = profile({"macs": 0.6, "params": 0.4})
    report = check(files[0], target, Options(baseline=files[1], device=record()))
    assert outcomes(report) == {
        "macs_ratio": "met",
        "params_ratio": "missed",
        "kernel_layout": "met",
    }
    macs = 64 * 4 * 27 + 16 * 16 + 16, 64 * 8 * 27 + 16 * 64 + 32
    assert report.verdicts[0].value == pytest.approx(macs[0] / macs[1])
    assert "counted from the graphs" in report.verdicts[0].evidence


def test_recorded_counts_are_preferred_when_both_files_have_them(
    record: Record, net: Net, tmp_path: Path
) -> None:
    slim, dense, bare = (tmp_path / f"{name}.onnx" for name in ("slim", "ref", "bare"))
    slim.write_bytes(net(4, macs="30"))
    dense.write_bytes(net(8, macs="40"))
    bare.write_bytes(net(8))
    limits = profile({"macs": 0.9}, {"macs": 35})
    with_record = check(slim, limits, Options(baseline=dense, device=record()))
    values = {verdict.name: verdict.value for verdict in with_record.verdicts}
    assert (values["macs_ratio"], values["macs"]) == (0.75, 30)
    without = check(slim, limits, Options(baseline=bare, device=record()))
    ratio = next(verdict for verdict in without.verdicts if verdict.name == "macs_ratio")
    assert "counted" in ratio.evidence


def test_the_dense_model_beside_the_file_is_found_by_its_hash(
    record: Record, net: Net, tmp_path: Path
) -> None:
    dense = tmp_path / "dense.onnx"
    dense.write_bytes(net(8))
    slim = tmp_path / "model.onnx"
    write_sealed(slim, net(4), dense_sha256=hashlib.sha256(net(8)).hexdigest())
    report = check(slim, profile({"latency": 0.7}), Options(device=record()))
    assert report.reference is not None
    assert report.reference["sha256"] == hashlib.sha256(net(8)).hexdigest()
    assert not [note for note in report.notes if "baseline" in note]

    dense.write_bytes(net(16))
    target = profile({"latency": 0.7, "macs": 0.9, "params": 0.9})
    swapped = check(slim, target, Options(device=record(), on_inconclusive="fail"))
    names = ("latency", "macs_ratio", "params_ratio")
    assert outcomes(swapped) == {"seal": "met", **dict.fromkeys(names, "inconclusive")}
    assert "is not the dense model it records; name --baseline" in swapped.verdicts[1].message
    assert swapped.exit_code == 4
    other = check(slim, target, Options(baseline=dense, device=record()))
    said = "the baseline is not the dense model that the file records"
    assert {verdict.name for verdict in other.verdicts if said in verdict.message} == set(names)


@pytest.mark.parametrize("name", ["latency", "macs", "params"])
def test_a_relative_budget_needs_a_reference(record: Record, files: Files, name: str) -> None:
    with pytest.raises(InputError, match="--baseline"):
        check(files[0], profile({name: 0.7}), Options(device=record()))


def test_a_trusted_baseline_is_said_to_be_trusted(record: Record, files: Files) -> None:
    target = profile({"latency": 0.7}, proxy_for="a phone")
    report = check(files[0], target, Options(baseline=files[1], device=record()))
    assert report.notes == ("t stands in for a phone",)
    said = "the file records no dense model: the baseline is taken on trust"
    assert said in report.verdicts[0].message


@pytest.mark.parametrize("limit", [0.991, 1.0, 1.009, 0.0, -1.0, float("nan"), float("inf")])
def test_limits_that_cannot_be_told_from_parity(
    record: Record, files: Files, limit: float
) -> None:
    with pytest.raises(InputError, match="--max-ratio"):
        options = Options(baseline=files[1], max_ratio=limit, device=record())
        check(files[0], profile(), options)


def test_a_profile_limit_near_parity_is_named(record: Record, files: Files) -> None:
    with pytest.raises(InputError, match=r"budget\.relative\.latency = 1"):
        check(files[0], profile({"latency": 1.0}), Options(baseline=files[1], device=record()))


@pytest.mark.parametrize("limit", [0.99, 1.01])
def test_limits_at_the_edge_are_taken(record: Record, files: Files, limit: float) -> None:
    options = Options(baseline=files[1], max_ratio=limit, device=record(ratios=[0.5]))
    assert outcomes(check(files[0], profile(), options))["latency"] == "met"


def test_another_input_shape_cannot_be_compared(record: Record, files: Files, net: Net) -> None:
    files[1].write_bytes(net(8, (1, 3, 16, 16)))
    with pytest.raises(InputError, match="cannot be compared"):
        options = Options(baseline=files[1], device=record())
        check(files[0], profile({"latency": 0.7}), options)


def test_no_budget_is_no_check(record: Record, files: Files) -> None:
    with pytest.raises(InputError, match="sets no budget"):
        check(files[0], profile(), Options(device=record()))


@pytest.mark.parametrize(
    ("dense", "slim", "outcome"),
    [("0.95", "0.94", "inconclusive"), ("0.95", "0.93", "missed")],  # without counts never met
)
def test_recorded_accuracy(
    record: Record, net: Net, tmp_path: Path, dense: str, slim: str, outcome: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(net(4, accuracy_dense=dense, accuracy_slim=slim))
    report = check(path, profile({"accuracy_drop": 1.0}), Options(device=record()))
    assert outcomes(report)["accuracy_drop"] == outcome


@pytest.mark.parametrize(("policy", "code"), [("warn", 0), ("fail", 4)])
def test_an_unrecorded_accuracy_is_undecided(
    record: Record, files: Files, policy: Any, code: int
) -> None:
    target = profile({"latency": 0.7, "accuracy_drop": 1.0})
    options = Options(baseline=files[1], device=record(), on_inconclusive=policy)
    report = check(files[0], target, options)
    assert outcomes(report)["accuracy_drop"] == "inconclusive"
    assert report.exit_code == code
    assert to_text(Report.from_plain(json.loads(report.to_json()), "a report")) == to_text(report)


@pytest.mark.parametrize("relative", [{}, {"latency": 0.7}])
def test_outputs_that_are_no_numbers_fail(
    record: Record, files: Files, relative: dict[str, float]
) -> None:
    device, budget = record(finite=(False, True)), profile(relative, {"file_bytes": 1e9})
    report = check(files[0], budget, Options(baseline=files[1], device=device))
    assert outcomes(report)["outputs"] == "missed"
    assert report.exit_code == 1


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.67, "60 s reached for 6 of 32 sessions; raise --max-seconds to about 290"),
        (0.651, "0.1% from the limit is less than 32 sessions tell apart here; move the limit"),
    ],
)
def test_an_undecided_latency_says_why_and_what_to_do(
    record: Record, files: Files, ratio: float, words: str
) -> None:
    device = record(ratios=[ratio * 0.97, ratio * 1.03] * 32, seconds=10.0)
    options = Options(baseline=files[1], device=device, now=lambda: device.clock)
    report = check(files[0], profile({"latency": 0.65}), options)
    assert outcomes(report)["latency"] == "inconclusive"
    assert words in report.verdicts[0].message


def test_a_ratio_far_over_its_limit_is_never_exit_0(record: Record, files: Files) -> None:
    device = record(ratios=[1.0, 3.0] * 32, seconds=10.0)
    options = Options(baseline=files[1], device=device, now=lambda: device.clock)
    with pytest.raises(MachineError, match=r"far over its limit of 0\.7x and undecided: 60 s rea"):
        check(files[0], profile({"latency": 0.7}), options)


def test_a_raised_limit_is_said(record: Record, files: Files) -> None:
    device = record(run_seconds=5.0)
    report = check(files[0], profile({"latency": 0.7}), Options(baseline=files[1], device=device))
    assert "the limit of 60 s was raised to" in report.verdicts[0].message
    for own in (Options(baseline=files[1], device=device, max_seconds=60.0),):
        with pytest.raises(MachineError, match="60 s reach for"):
            check(files[0], profile({"latency": 0.7}), own)
    short = profile({"latency": 0.7}, measure={"max_seconds": 30})
    with pytest.raises(MachineError, match="30 s reach for"):
        check(files[0], short, Options(baseline=files[1], device=device))


def test_a_file_that_was_changed_after_its_export(
    record: Record, net: Net, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(net(4, seal="0" * 64, macs="1"))
    report = check(path, profile(absolute={"macs": 5}), Options(device=record()))
    assert outcomes(report) == {"seal": "missed", "macs": "met"}
    assert "seal broken" in report.verdicts[0].evidence


PROVENANCE = Provenance(
    version="0.1.0",
    model="convnet",
    target="t",
    target_sha256="0" * 64,
    input_shape=(3, 8, 8),
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
    classes=("a", "b", "c", "d"),
    macs=400,
    params=40,
)


def write_sealed(path: Path, content: bytes, **recorded: Any) -> str:
    """Seal an ONNX file; its sha256."""
    provenance = PROVENANCE.model_copy(update=recorded)
    return seal.write(path, onnx.ModelProto.FromString(content), provenance)


def test_a_sealed_file_is_judged_by_what_it_records(
    record: Record, net: Net, tmp_path: Path
) -> None:
    dense, slim = tmp_path / "dense.onnx", tmp_path / "model.onnx"
    answers = PairedCounts(both=8940, dense=60, slim=10, neither=990)
    smaller = {"macs": 100, "params": 30, "accuracy_dense": 0.9, "accuracy_slim": 0.895}
    smaller["answers"] = answers
    write_sealed(slim, net(4), dense_sha256=write_sealed(dense, net(8)), **smaller)
    target = profile({"latency": 0.7, "macs": 0.3, "params": 0.7, "accuracy_drop": 1.0})
    report = check(slim, target, Options(device=record()))
    assert outcomes(report) == {
        "seal": "met",
        "latency": "met",
        "macs_ratio": "met",
        "params_ratio": "missed",
        "accuracy_drop": "met",
        "kernel_layout": "met",
    }
    assert report.notes == ()
    assert [verdict.value for verdict in report.verdicts[2:5]] == [0.25, 0.75, 0.5]


def answers(content: bytes, pixels: Any) -> Any:
    """What the file gives for these images."""
    size, mean, std = PROVENANCE.input_shape[1:], PROVENANCE.mean, PROVENANCE.std
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    images = parity_samples.network_input(pixels, size, mean, std)
    return np.concatenate([session.run(None, {"input": image[None]})[0] for image in images])


def test_a_file_that_is_swapped_while_it_is_checked_is_judged_as_it_was(
    record: Record, net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.arange(2 * 3 * 8 * 8, dtype=np.uint8).reshape(2, 3, 8, 8)
    samples = parity_samples.pack(pixels, answers(net(4), pixels))
    dense, slim = tmp_path / "dense.onnx", tmp_path / "model.onnx"
    recorded = {"dense_sha256": write_sealed(dense, net(8)), "parity": samples, "macs": 100}
    sha256 = write_sealed(slim, net(4), **recorded)
    swapped = {slim: net(16, seal="broken"), dense: net(16)}
    reads, opened = Counter[Path](), Path.open

    def swapping(path: Path, mode: str = "r", **options: Any) -> Any:
        if path not in swapped or mode != "rb":
            return opened(path, mode, **options)
        reads[path] += 1
        with opened(path, "rb") as file:
            content = file.read()
        path.write_bytes(swapped[path])
        return io.BytesIO(content)

    monkeypatch.setattr(Path, "open", swapping)
    report = check(slim, profile({"latency": 0.7, "macs": 0.3}), Options(device=record()))
    assert reads == {slim: 1, dense: 1}
    assert set(outcomes(report).values()) == {"met"}
    assert {"seal", "parity", "macs_ratio"} <= outcomes(report).keys()
    assert report.reference is not None
    assert report.model["sha256"] == sha256
    assert report.reference["sha256"] == recorded["dense_sha256"]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_milliseconds_elsewhere_are_an_estimate(record: Record, files: Files) -> None:
    limits = {"fingerprint": "another", "p50_ms": 99.0, "p90_ms": 0.1, "load_ms": 9.0}
    report = check(files[0], profile(absolute=limits), Options(device=record(ratios=[2.0])))
    assert outcomes(report) == dict.fromkeys(("p50_ms", "p90_ms", "load_ms"), "estimate")
    assert report.exit_code == 0
    assert report.verdicts[0].interval is None
    assert "says nothing about the device, measure there" in report.verdicts[0].message
    assert "%" not in report.verdicts[0].message
    strict = Options(device=record(), on_inconclusive="fail")
    assert check(files[0], profile(absolute=limits), strict).exit_code == 4


@pytest.mark.parametrize("fingerprint", [None, "here"])
def test_the_health_of_the_machine_is_told_without_a_reference_too(
    record: Record, files: Files, fingerprint: str | None
) -> None:
    device = record(ratios=[1.0], counters={"steal_ticks": 3})
    limits = {"fingerprint": fingerprint and identify(device.machine), "p90_ms": 1.5}
    report = check(files[0], profile(absolute=limits), Options(device=device))
    assert report.health is not None
    assert report.health.steal == pytest.approx(0.3)
    assert any("hypervisor" in note for note in report.notes)
    assert "health: " in to_text(report)
    assert report.latency["candidate"]["median_ms"] == pytest.approx(1.0, rel=0.01)


def test_what_is_off_the_blocked_layout_is_told_without_a_reference(
    record: Record, files: Files, graph: Callable[..., bytes]
) -> None:
    target = profile(absolute={"macs": 1e9})
    device = record(graphs=(graph(NCHWC, "", reorders=["gap"]),))
    notes = check(files[0], target, Options(device=device)).notes
    assert notes == ("kernel layout: 1 of 2 blocked; plain: w1; reorders: after gap",)
    for graphs in ((graph(NCHWC),), (graph("", ""),)):
        assert check(files[0], target, Options(device=record(graphs=graphs))).notes == ()


def test_bytes_are_those_of_the_file_whatever_it_says(
    record: Record, net: Net, tmp_path: Path
) -> None:
    path = write(tmp_path / "m.onnx", net(4, file_bytes="1", macs="1"))
    report = check(path, profile(absolute={"file_bytes": 10}), Options(device=record()))
    found = next(verdict for verdict in report.verdicts if verdict.name == "file_bytes")
    assert (found.value, found.outcome) == (path.stat().st_size, "missed")


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 0.0, -1.0])
def test_a_time_that_never_ends_is_refused(record: Record, files: Files, seconds: float) -> None:
    options = Options(baseline=files[1], max_seconds=seconds, device=record())
    with pytest.raises(InputError, match="--max-seconds"):
        check(files[0], profile({"latency": 0.7}), options)


def test_a_long_time_is_a_timeout_that_a_queue_takes(record: Record, files: Files) -> None:
    device = record()
    options = Options(baseline=files[1], max_seconds=1e12, device=device)
    check(files[0], profile({"latency": 0.7}), options)
    assert {job.timeout for job in device.jobs} == {86400.0}


@pytest.mark.parametrize(
    ("p50", "p90", "expected"),
    [
        (1.5, 1.5, {"p50_ms": "met", "p90_ms": "met"}),
        (1.5, 0.5, {"p50_ms": "met", "p90_ms": "missed"}),
        (1.0001, 2.0, {"p50_ms": "inconclusive", "p90_ms": "met"}),  # every other run is over
    ],
)
def test_percentiles_on_the_device(
    record: Record, files: Files, p50: float, p90: float, expected: dict[str, str]
) -> None:
    device = record(ratios=[1.0])
    limits = {"fingerprint": identify(device.machine), "p50_ms": p50, "p90_ms": p90}
    report = check(files[0], profile(absolute=limits), Options(device=device))
    assert outcomes(report) == expected
    timed = device.timed
    assert {job.clock for job in timed} == {"wall"}
    assert {len(job.epochs) for job in timed} == {16}
    assert len(timed) == (12 if "inconclusive" in expected.values() else 4 if p90 > 1 else 3)


@pytest.mark.parametrize(
    ("limit", "expected", "processes"),
    [(99.0, "met", 4), (20.0, "inconclusive", 12), (0.1, "missed", 3)],
)
def test_a_device_that_warms_up_must_keep_a_limit_with_as_much_to_spare(
    record: Record, files: Files, limit: float, expected: str, processes: int
) -> None:
    device = record(ratios=[1.0 + 0.1 * epoch for epoch in range(200)])
    limits = {"fingerprint": identify(device.machine), "p90_ms": limit}
    report = check(files[0], profile(absolute=limits), Options(device=device))
    assert outcomes(report) == {"p90_ms": expected}
    assert len(device.timed) == processes
    assert "let it cool down" in report.verdicts[0].evidence


def test_percentiles_stop_after_max_seconds(record: Record, files: Files) -> None:
    device = record(ratios=[1.0], seconds=0.5)
    limits = {"fingerprint": identify(device.machine), "p50_ms": 1.0001}
    options = Options(device=device, max_seconds=36, now=lambda: device.clock)
    report = check(files[0], profile(absolute=limits), options)
    assert outcomes(report) == {"p50_ms": "inconclusive"}
    words = "36 s reached for 72 sessions; raise --max-seconds to about"
    assert words in report.verdicts[0].message
    assert [len(job.epochs) for job in device.timed] == [16] * 5


def test_a_percentile_far_over_its_limit_is_never_exit_0(record: Record, files: Files) -> None:
    device = record(ratios=[5.0, 1.0, 5.0, 1.0, 5.0] * 40, seconds=1.0)
    limits = {"fingerprint": identify(device.machine), "p50_ms": 2.0}
    options = Options(device=device, now=lambda: device.clock)
    with pytest.raises(MachineError, match=r"p50_ms 5\.000 ms is far over its limit of 2\.000 ms"):
        check(files[0], profile(absolute=limits), options)


def test_three_processes_measure_however_long_they_take_to_start(
    record: Record, files: Files
) -> None:
    device = record(ratios=[1.0])
    limits = {"fingerprint": identify(device.machine), "p50_ms": 99.0}
    options = Options(device=device, max_seconds=2, now=lambda: 5.0 * len(device.jobs))
    report = check(files[0], profile(absolute=limits), options)
    assert outcomes(report) == {"p50_ms": "met"}
    assert [len(job.epochs) for job in device.timed] == [16] * 3


def test_too_few_sessions_for_a_percentile_are_an_error(record: Record, files: Files) -> None:
    device = record(ratios=[1.0], seconds=2.0)
    limits = {"fingerprint": identify(device.machine), "p90_ms": 1.5}
    options = Options(device=device, now=lambda: device.clock)
    with pytest.raises(MachineError, match="60 s reach for 30 of 58 sessions; raise --max-sec"):
        check(files[0], profile(absolute=limits), options)
    device = record(run_seconds=1.0)
    for p50, ok in ((2.0, True), (None, False)):
        limits = {"fingerprint": identify(device.machine)}
        limits |= {"p50_ms": p50} if p50 else {"p90_ms": 2.0}
        options = Options(device=device, max_seconds=60)
        if ok:
            report = check(files[0], profile(absolute=limits), options)
            assert outcomes(report) == {"p50_ms": "met"}
        else:
            with pytest.raises(MachineError, match="60 s reach for 20 of 58 sessions"):
                check(files[0], profile(absolute=limits), options)


@pytest.mark.parametrize(
    ("memory", "outcome"),
    [
        ([(2_000_000, 50)] * 3, "met"),
        ([(2_000_000, 50), (2_000_000, 90), (9_000_000, 101)], "inconclusive"),
        ([(9_000_000, 101)] * 3, "missed"),
    ],
)
def test_footprint_on_the_device(record: Record, files: Files, memory: Any, outcome: str) -> None:
    device = record(memory=memory)
    limits = {"fingerprint": identify(device.machine), "load_ms": 5.0, "peak_bytes": 100}
    report = check(files[0], profile(absolute=limits), Options(device=device))
    assert outcomes(report) == {"load_ms": outcome, "peak_bytes": outcome}
    assert ("on both sides" in report.verdicts[0].message) == (outcome == "inconclusive")
    assert len([job for job in device.jobs if job.memory]) == 3


def test_a_system_that_hides_its_memory(record: Record, files: Files) -> None:
    device = record(memory=[(2_000_000, 0)])
    with pytest.raises(MachineError, match="peak_bytes cannot be read"):
        check(files[0], profile(absolute={"peak_bytes": 100}), Options(device=device))


def test_the_report_names_what_was_measured_and_where(record: Record, files: Files) -> None:
    device = record(counters={"steal_ticks": 3})
    report = check(files[0], profile({"latency": 0.7}), Options(baseline=files[1], device=device))
    body = json.loads(report.to_json())
    assert body["schema"] == "edgeprune.check/1"
    assert body["model"]["sha256"] == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert body["model"]["file"] == "model.onnx"
    assert body["machine"]["fingerprint"] == identify(device.machine)
    assert body["machine"]["device"] == "recorded://"
    assert body["health"]["steal"] == pytest.approx(0.3)
    assert body["latency"]["reference"]["median_ms"] == pytest.approx(1.0)
    assert len(body["verdicts"][0]["raw"]["attempts"][0]["epochs"]) == 4
    assert any("hypervisor" in note for note in report.notes)
    assert str(files[0].parent) not in report.to_json()


def test_the_shape_of_the_target_reaches_the_device(
    record: Record, files: Files, net: Net
) -> None:
    for path in files:
        path.write_bytes(net(8, ("n", 3, "h", "w")))
    device = record()
    target = profile({"latency": 0.7}, input={"shape": [1, 3, 8, 8]})
    check(files[0], target, Options(baseline=files[1], device=device))
    assert all(job.shapes == ({"input": (1, 3, 8, 8)},) * 2 for job in device.jobs)


def test_a_report_is_read_back_as_it_was_written(record: Record, files: Files) -> None:
    device = record(counters={"steal_ticks": 3})
    target = profile({"latency": 0.7, "accuracy_drop": 1.0}, {"p90_ms": 1.0, "macs": 1})
    report = check(files[0], target, Options(baseline=files[1], device=device))
    again = Report.from_plain(json.loads(report.to_json()), "a report")
    assert json.loads(again.to_json()) == json.loads(report.to_json())
    assert to_text(again) == to_text(report)
    assert again.exit_code == report.exit_code == 1


def test_more_threads_than_cores_are_noted(record: Record, files: Files) -> None:
    target = profile({"latency": 0.7}, runtime={"threads": 4})
    report = check(files[0], target, Options(baseline=files[1], device=record()))
    assert "t runs 4 threads, this machine allows 2 cores" in report.notes
    assert report.verdicts[0].raw["attempts"][0]["clock"] == "wall"


def test_a_real_check_without_torch(files: Files, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from edgeprune.deploy.gate import check as gate, formats, resolution\n"
        "from edgeprune.target import load_target\n"
        f"options = gate.Options(baseline=Path({str(files[1])!r}), max_ratio=50.0)\n"
        f"report = gate.check(Path({str(files[0])!r}), load_target('mobile-cpu'), options)\n"
        "print(report.exit_code, report.verdicts[0].outcome, sys.modules['torch'])\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "0 met None\n"
