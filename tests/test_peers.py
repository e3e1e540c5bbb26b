"""The benchmark that decides: results survive a stop, the climb is fair, the table is honest."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from torch import nn

from edgeprune.deploy.timing.statistics import Interval
from edgeprune.export.exporter import to_onnx
from edgeprune.prune.models.shortcuts import ZeroPadShortcut, rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.search.strategies.names import NAMES


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))


def part(name: str) -> Any:
    """A module of the benchmark."""
    return importlib.import_module(f"contest.{name}")


# The ledger


KEY = {"kind": "run", "schedule": "short", "model": "m", "weights": "w", "limit": "latency 0.7"}


def test_a_result_is_found_again_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    part("ledger").Ledger(file, "cpu").append(1.23, **KEY, arm="joint", seed=1, accuracy=0.9)
    again = part("ledger").Ledger(file, "cpu")
    row = again.find(**KEY, arm="joint", seed=1)
    assert row["accuracy"] == 0.9
    assert (row["seconds"], row["machine"]) == (1.2, "cpu")
    assert again.find(**KEY, arm="joint", seed=2) is None
    assert again.find(**{**KEY, "schedule": "full"}, arm="joint", seed=1) is None


def test_a_line_cut_short_by_a_stop_is_run_again(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    ledger = part("ledger").Ledger(file, "cpu")
    ledger.append(1, **KEY, arm="joint", seed=0)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"kind": "run", "arm": "ra')
    again = part("ledger").Ledger(file, "cpu")
    assert [row["arm"] for row in again.rows] == ["joint"]
    assert file.read_bytes() == whole
    again.append(1, **KEY, arm="random", seed=0)
    assert [row["arm"] for row in part("ledger").read(file)] == ["joint", "random"]


# The climb


def climb(latency: Any, confirmed: Any = None) -> tuple[Any, list[tuple[float, bool]]]:
    """A climb on a made-up clock, and what it asked for."""
    asked: list[tuple[float, bool]] = []

    def measure(ratios: Sequence[float], final: bool) -> list[Interval]:
        asked.extend((ratio, final) for ratio in ratios)
        clock = confirmed if final and confirmed else latency
        return [Interval(clock(r) * 0.99, clock(r), clock(r) * 1.01) for r in ratios]

    return part("climbing").Climb(measure), asked


def test_the_smallest_ratio_that_fits_is_taken() -> None:
    tried, asked = climb(lambda ratio: 1 - ratio)
    tried.up_to(0.7)
    found = tried.fit(0.8)
    assert found == pytest.approx(0.2, abs=part("climbing").FINEST)
    assert 1 - found <= 0.8
    assert asked[-1] == (found, True), "what is reported was measured in full"


def test_a_fast_island_among_slow_widths_is_found() -> None:
    # Published widths are slow but where they happen to fill the blocks: at 0.25 here.
    tried, _ = climb(lambda ratio: 0.7 if ratio == 0.25 else 1.1 if ratio < 0.6 else 0.5)
    tried.up_to(0.7)
    assert tried.fit(0.75) == 0.25


def test_a_screening_that_flattered_is_not_reported() -> None:
    tried, _ = climb(lambda r: 1 - r, lambda r: 1.02 * (1 - r))
    tried.up_to(0.7)
    found = tried.fit(0.8)
    assert tried.rungs[found].mid <= 0.8
    assert 1.02 * (1 - found) <= 0.8


def test_an_arm_that_never_fits_says_how_low_it_came() -> None:
    tried, _ = climb(lambda ratio: max(0.9, 1 - ratio))
    tried.up_to(0.7)
    assert tried.fit(0.7) is None
    assert tried.lowest == 0.9


# The peer's networks (Torch-Pruning is an extra)


def small() -> nn.Module:
    """A network with padded shortcuts, rewritten; its BatchNorms look trained."""
    network = rewrite_shortcuts(build(ModelSpec("resnet20", 10))).eval()
    draw = torch.Generator().manual_seed(0)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.weight.data.uniform_(0.5, 1.5, generator=draw)
        norm.bias.data.uniform_(-0.5, 0.5, generator=draw)
    return network


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("importance", ["l1", "bn", "taylor"])
def test_a_pruned_peer_survives_a_restart(importance: str, stream: bool) -> None:
    pytest.importorskip("torch_pruning", reason='needs the extra "bench"')
    peer, dense = part("peer"), small()
    arm = peer.Arm(importance, everywhere=True, stream=stream, round_to=8)
    ones = {name: torch.ones_like(p) for name, p in dense.named_parameters()}
    slim = peer.pruned(dense, arm, 0.4, ones)
    full, left = peer.widths(dense), peer.widths(slim)
    assert sum(left) < sum(full)
    assert left[-1] == 10, "the classifier keeps its classes"
    assert all(width % 8 == 0 for width in left[:-1])
    assert (left[0] < full[0] or min(left[:-1]) < 16) if stream else left[0] == full[0]
    shortcuts = [m for m in slim.modules() if isinstance(m, ZeroPadShortcut)]
    assert shortcuts
    assert not any(m.weight.requires_grad for m in shortcuts)
    again = peer.rebuilt(dense, slim.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(images), slim(images))
    assert peer.widths(dense) == full


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stream", [False, True])
def test_a_resized_file_has_the_graph_of_the_exported_one(stream: bool) -> None:
    pytest.importorskip("torch_pruning", reason='needs the extra "bench"')
    peer, dense = part("peer"), small()
    ones = {name: torch.ones_like(p) for name, p in dense.named_parameters()}
    slim = peer.pruned(dense, peer.Arm("l1", False, stream, None), 0.3, ones)
    sized = onnx.load_from_string(part("resizing").resized(to_onnx(dense, (3, 32, 32)), slim))
    exported = to_onnx(slim, (3, 32, 32))
    onnx.checker.check_model(sized, full_check=True)
    assert [n.op_type for n in sized.graph.node] == [n.op_type for n in exported.graph.node]
    assert [tuple(i.dims) for i in sized.graph.initializer] == [
        tuple(i.dims) for i in exported.graph.initializer
    ]
    session = InferenceSession(sized.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": np.ones((1, 3, 32, 32), np.float32)})
    assert logits.shape == (1, 10)
    assert np.isfinite(logits).all()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stream", [False, True])
def test_a_peers_network_has_a_plan_by_which_it_is_refitted(stream: bool) -> None:
    pytest.importorskip("torch_pruning", reason='needs the extra "bench"')
    peer, dense = part("peer"), small()
    for norm in (m for m in dense.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_var.copy_(torch.rand(len(norm.running_var)) + 0.5)
    whole = part("network").DenseNetwork("resnet20", dense, _Pictures(), None)
    ones = {name: torch.ones_like(p) for name, p in dense.named_parameters()}
    slim = peer.pruned(dense, peer.Arm("l1", True, stream, 8), 0.4, ones)
    plan = peer.plan_of(whole, slim)
    kept = {name: len(channels) for name, channels in plan.kept.items()}
    assert kept["layer1.0.conv1"] == slim.layer1[0].conv1.out_channels < 16
    assert (kept["layer3"] < 64) is stream
    with torch.no_grad():
        slim.layer1[0].conv1.weight[0] += 1.0
    assert peer.plan_of(whole, slim) is None, "weights of its own: no plan makes them"


class _Pictures:
    input_shape = (3, 32, 32)


def test_every_use_of_the_peer_is_an_arm_of_its_own() -> None:
    pytest.importorskip("torch_pruning", reason='needs the extra "bench"')
    names = [arm.name for arm in part("peer").arms(small(), 16)]
    assert len(set(names)) == len(names) == 3 * 2 * 2 * 4
    assert {"tp-l1-global-aligned16", "tp-taylor-uniform-published-stream"} <= set(names)
    plain = part("peer").arms(build(ModelSpec("vgg16", 10)), 16)
    assert not any(arm.stream for arm in plain), "no stream, nothing to keep or prune of it"


# The table


def net(arm: str, limit: float, before: float | None, **more: Any) -> dict[str, Any]:
    """A row of a slim network; without accuracy it did not reach its limit."""
    reached = {"measured": [limit - 0.02, limit - 0.01, limit], "macs": 0.5, "params": 0.5}
    row = {"kind": "net", "arm": arm, "limit": f"latency {limit:g}", "before": before}
    base = {"machine": "cpu", "date": "2026-11-21T10:00:00", **more}
    return row | base | (reached if before is not None else {"lowest": 0.9})


def bar(rows: list[dict[str, Any]]) -> list[Any]:
    """Verdicts of the bar of resnet20 on these rows."""
    contest = part("schedule").BAR[0]
    return list(part("report").verdicts([{**row, **contest.base} for row in rows], contest))


@pytest.mark.parametrize(
    ("ours", "theirs", "missed", "word"),
    [
        (0.80, 0.765, False, "+3.50 points, wanted +3.00: met"),
        (0.80, 0.78, True, "+2.00 points, wanted +3.00: MISSED"),
        (None, 0.78, True, "MISSED, joint did not reach it"),
        (0.80, None, False, "open, not reached by it"),
    ],
)
def test_bars_before_fine_tuning(
    ours: float | None, theirs: float | None, missed: bool, word: str
) -> None:
    rows = [net("joint", 0.8, ours), net("tp-l1", 0.8, theirs), net("tp-bn", 0.8, theirs)]
    (verdict,) = [each for each in bar(rows) if "0.8:" in each.what]
    assert verdict.missed is missed
    assert word in verdict.line()


def test_the_best_peer_is_what_has_to_be_beaten() -> None:
    rows = [net("joint", 0.88, 0.8), net("tp-l1", 0.88, 0.5), net("tp-bn", 0.88, 0.79)]
    (verdict,) = [each for each in bar(rows) if "0.88" in each.what]
    assert verdict.got == pytest.approx(1.0)


def test_what_was_not_run_is_no_success() -> None:
    rows = [net("tp-l1", 0.8, 0.7)]
    assert {each.why for each in bar(rows)} == {"joint has not been run"}
    contest = part("schedule").BAR[0]
    text = part("report").text([{**row, **contest.base} for row in rows], [contest])
    assert "not run at latency 0.74: joint, depth" in text


def test_after_fine_tuning_means_over_seeds_decide() -> None:
    contest = part("schedule").short()[0]
    rows = [net("joint", 0.7, 0.5), net("tp-l1", 0.7, 0.6), net("random", 0.7, None)]
    for arm, seeds in (("joint", (0.80, 0.81, 0.82)), ("tp-l1", (0.79, 0.80, 0.81))):
        rows += [
            {**rows[0], "kind": "run", "arm": arm, "seed": seed, "accuracy": accuracy}
            for seed, accuracy in enumerate(seeds)
        ]
    rows = [{**row, **contest.base} for row in rows]
    peer, depth, random = part("report").verdicts(rows, contest)[:3]
    assert peer.got == pytest.approx(1.0)
    assert not peer.missed
    assert depth.why == "it has not been run"
    assert random.why == "not reached by it"
    text = part("report").text(rows, [contest])
    assert "81.00 [80.00, 82.00] 3 seeds" in text
    assert "not reached, lowest 0.900 (measured)" in text
    assert "+1.00 points, wanted +1.00: met, but the runs overlap: inconclusive" in text


@pytest.mark.parametrize(("lead", "missed"), [(0.0, True), (0.01, False)])
def test_a_tie_with_a_control_is_a_miss(lead: float, missed: bool) -> None:
    contest = part("schedule").short()[0]
    rows = [net("joint", 0.7, 0.5), net("depth", 0.7, 0.5)]
    for arm, accuracy in (("joint", 0.8 + lead), ("depth", 0.8)):
        for seed in range(3):
            rows.append({**rows[0], "kind": "run", "arm": arm, "seed": seed, "accuracy": accuracy})
    rows = [{**row, **contest.base} for row in rows]
    (depth,) = [
        v for v in part("report").verdicts(rows, contest) if "0.7: joint over depth" in v.what
    ]
    assert depth.missed is missed
    assert "wanted more than 0" in depth.line()
    assert ("inconclusive" in depth.line()) is missed


@pytest.mark.parametrize(
    ("second", "word"),
    [
        (0.82, "+2.00 points, wanted more than 0: met"),
        (0.76, "-1.00 points, wanted more than 0: MISSED, but the runs overlap: inconclusive"),
        (None, "open, not fine-tuned with 3 seeds yet"),
    ],
)
def test_searches_from_several_seeds_count_with_their_mean(
    second: float | None, word: str
) -> None:
    contest = part("schedule").repeated(part("schedule").short()[0], 2)
    assert contest.own[-2:] == ("joint#1", "random#1")
    arms = {"joint": 0.80, "joint#1": second, "random": 0.79, "random#1": 0.79}
    rows = [net(arm, 0.7, 0.5) for arm in arms]
    for arm, accuracy in arms.items():
        runs = range(3 if accuracy else 0)
        rows += [net(arm, 0.7, 0.5, kind="run", seed=n, accuracy=accuracy) for n in runs]
    rows = [{**row, **contest.base} for row in rows]
    (found,) = [
        v for v in part("report").verdicts(rows, contest) if "0.7: joint over random" in v.what
    ]
    assert found.line().endswith(word)


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_a_bar_after_fine_tuning_stays_open_until_every_seed_is_there(seeds: int) -> None:
    contest = part("schedule").short()[0]
    rows = [net("joint", 0.7, 0.9), net("tp-l1", 0.7, 0.5)]
    for arm, count in (("joint", 3), ("tp-l1", seeds)):
        for seed in range(count):
            rows.append({**rows[0], "kind": "run", "arm": arm, "seed": seed, "accuracy": 0.9})
    rows = [{**row, **contest.base} for row in rows]
    peer = part("report").verdicts(rows, contest)[0]
    assert (peer.got, peer.why) == (None, "not fine-tuned with 3 seeds yet")


def test_schedules_never_share_a_result() -> None:
    schedule, ours = part("schedule"), part("ours")
    contests = [*schedule.BAR, *schedule.short(), *schedule.PAPERS, *schedule.full()]
    recipes: dict[tuple[Any, ...], Any] = {}
    for contest in contests:
        base = tuple(contest.base.values())
        assert recipes.setdefault(base, contest.recipe) == contest.recipe, base
        assert set(contest.own) <= {*NAMES, *ours.ABLATIONS}
    assert all(contest.needs_cuda for contest in schedule.full())


def test_networks_without_weights_keep_what_they_know_apart() -> None:
    pytest.importorskip("torch_pruning", reason='needs the extra "bench"')
    running = part("running")
    judges = [
        part("judging").Judge(None, None, {"schedule": "full", "model": m, "weights": None})
        for m in ("vgg14", "vgg16")
    ]
    assert running._words(judges[0], "joint") != running._words(judges[1], "joint")


def test_without_a_run_the_table_says_so() -> None:
    contests = part("schedule").full()
    text = part("report").text([], contests)
    assert text.count("not run (for a CUDA device)") == sum(c.needs_cuda for c in contests)
    assert not part("report").missed([], contests)
