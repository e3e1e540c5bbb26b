"""Two targets in one search: everything that no device changes is made once, scores too."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgeprune.errors import InputError, MachineError
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.training.recipe import Recipe
from edgeprune.run import basis, latency, pruner, targets
from edgeprune.run.folder import RunFolder, create
from edgeprune.run.listing import runs_in
from edgeprune.run.pipeline import run_search
from edgeprune.run.request import Request
from edgeprune.run.targets import search_targets
from edgeprune.target import RelativeBudget, TargetProfile

SMALL = Effort(evaluations=16, calibration=32, judged=64, finalists=2, rungs=((4, 1),))


def asked(name, latency, **changes):
    profile = {
        "schema": 1,
        "name": name,
        "channels": {"grid": [8, 16]},
        "measure": {"max_seconds": 2},
        "budget": {"relative": {"latency": latency}},
    }
    given = {
        "target": TargetProfile.model_validate(profile),
        "model": ModelSpec("mynets:net"),
        "budget": RelativeBudget(latency=latency),
        "source": "data",
        "size": (16, 16),
        "out": Path("both"),
        "baseline": Recipe(epochs=4, batch=32, lr=0.1),
        "recovery": Recipe(epochs=1, batch=32),
        "search": Settings(population=8, generations=4),
        "effort": SMALL,
    }
    return Request(**given | changes)


def pair(**changes):
    return asked("gateway", 0.97, **changes), asked("phone", 0.93, **changes)


def in_macs(**changes):
    """As ``pair``, with a limit that no clock decides: whether one failed is what is asked."""
    return pair(strategy="uniform", budget=RelativeBudget(macs=0.8), **changes)


@pytest.fixture(scope="module")
def calls():
    """How often each costly thing was done."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for room, name in (
            (basis, "obtain"), (basis, "measure"), (basis, "proven"), (latency, "probe"),
        ):  # fmt: skip
            patch.setattr(room, name, counting(found, name, getattr(room, name)))
        yield found


def counting(found, name, call):
    def counted(*args, **options):
        found.append(name)
        return call(*args, **options)

    return counted


@pytest.fixture(scope="module")
def both(here, calls):
    return search_targets(pair())


def record(folder):
    return json.loads((Path(folder) / "run.json").read_text())


def tried(folder):
    with (Path(folder) / "tried.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_no_device_changes_is_made_once(both, calls):
    assert [calls.count(name) for name in ("obtain", "measure", "proven")] == [1, 1, 1]
    assert calls.count("probe") == 2


def test_each_target_has_a_run_folder_and_its_own_verdict(both):
    assert [run.name for run in both.runs] == ["gateway", "phone"]
    for run, limit in zip(both.runs, (0.97, 0.93), strict=True):
        folder = both.folder / run.name
        assert (folder / "model.onnx").exists() and (folder / "report.html").exists()
        (verdict,) = [v for v in run.found.report.verdicts if v.name == "latency"]
        assert verdict.limit == limit
        assert record(folder)["request"]["target"]["name"] == run.name
    assert both.exit_code == max(run.found.exit_code for run in both.runs)
    plain = record(both.folder)
    assert (plain["status"], plain["exit_code"]) == ("done", both.exit_code)
    assert [line["folder"] for line in plain["targets"]] == ["gateway", "phone"]


def test_scores_are_shared_and_counted(both):
    first, second = (both.folder / run.name for run in both.runs)
    assert "by score" not in record(first)["evaluations"]
    counted = record(second)["evaluations"]["by score"]
    rows = tried(second)
    assert not any(row["shared"] for row in tried(first))
    for kind, counts in counted.items():
        networks = {(r["widths"], r["steps"], r["loss"]): r for r in rows if r["score"] == kind}
        assert len(networks) == counts["scored"]
        assert sum(r["shared"] == "yes" for r in networks.values()) == counts["shared"]
    assert 0 < counted["F1"]["shared"] <= counted["F1"]["scored"]
    paid = sum(counts["scored"] - counts["shared"] for counts in counted.values())
    own = second / "search" / "evaluations.jsonl"  # is not written where all is shared
    lines = own.read_text().splitlines() if own.exists() else []
    assert len([line for line in lines if line]) == paid  # nothing was scored twice
    f1 = counted["F1"]
    said = f"of {f1['scored']} F1 scores {f1['shared']}"
    assert said in both.runs[1].shared[0] and both.runs[0].shared == ()


def test_one_page_compares_them_and_repeats_the_whole(both):
    page = (both.folder / "report.html").read_text()
    assert "2 targets compared" in page
    assert "edgeprune search --target gateway --target phone" in page
    assert both.runs[1].shared[0] in page
    assert "--target gateway --target phone" in (both.folder / "phone/report.html").read_text()
    (listed,) = runs_in(both.folder)
    met = [run for run in both.runs if run.found.report.outcome == "met"]
    assert (listed.target, listed.verdict) == ("gateway, phone", f"{len(met)} of 2 met")


def test_a_finished_run_is_read_from_its_files(both, calls):
    before = len(calls)
    again = search_targets(pair(resume=True))
    assert [run.to_plain() for run in again.runs] == [run.to_plain() for run in both.runs]
    assert len(calls) == before


def test_going_on_with_other_targets_is_refused_and_changes_nothing(both):
    before = (both.folder / "run.json").read_bytes()
    one, two = pair(resume=True)
    for requests, said in (
        ((two, one), "holds a run for the targets gateway, phone, now it is phone, gateway"),
        ((one, replace(two, strategy="gwcs")), "strategy was joint, now it is gwcs"),
        ((one, replace(two, keep=("3.conv1",))), "keep was"),
    ):
        with pytest.raises(InputError, match=said):
            search_targets(requests)
    with pytest.raises(InputError, match="for several targets; name all"):
        run_search(one)
    assert (both.folder / "run.json").read_bytes() == before


def test_one_run_is_not_taken_for_several(both, here):
    one, two = pair(resume=True, out=both.folder / "phone")
    with pytest.raises(InputError, match="holds a run for one target"):
        search_targets((one, two))


def test_an_interrupted_run_goes_on_where_it_was(both, monkeypatch):
    requests = pair(out=Path("broken"))
    usual, trained = pruner.train_in, []

    def interrupt(*args, **options):
        trained.append(args)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return usual(*args, **options)

    monkeypatch.setattr(pruner, "train_in", interrupt)
    with pytest.raises(KeyboardInterrupt):
        search_targets(requests)
    assert (record("broken")["status"], record("broken/gateway")["status"]) == (
        "interrupted", "done",
    )  # fmt: skip
    kept = (Path("broken/gateway/model.onnx").stat().st_mtime_ns, tried("broken/phone"))
    found = search_targets([replace(request, resume=True) for request in requests])
    assert len(trained) == 3  # of the target that was not finished alone
    assert record("broken")["status"] == "done"
    assert Path("broken/gateway/model.onnx").stat().st_mtime_ns == kept[0]
    plain = [{k: v for k, v in row.items() if k != "seconds"} for row in tried("broken/phone")]
    assert plain == [{k: v for k, v in row.items() if k != "seconds"} for row in kept[1]]
    assert "F1 scores" in found.runs[1].shared[0]


def test_one_that_fails_costs_the_others_nothing(both, monkeypatch):
    one, two = in_macs(out=Path("failing"))
    tight = replace(one, budget=RelativeBudget(latency=0.01))
    found = search_targets((tight, two))
    assert found.runs[0].found is None and "best that can be had" in found.runs[0].reason
    assert found.runs[1].found is not None
    assert found.exit_code == max(1, found.runs[1].exit_code)
    plain = record("failing")
    assert plain["targets"][0]["verdict"] == "failed"
    assert "no scores" in found.runs[1].shared[0]
    page = Path("failing/report.html").read_text()
    assert "2 targets compared" in page


def test_a_device_that_is_gone_is_tried_again_when_the_run_goes_on(both, monkeypatch):
    requests, usual = in_macs(out=Path("gone")), latency.probe

    def probe(network, target, options):
        if target.name == "gateway":
            raise MachineError("the device does not answer")
        return usual(network, target, options)

    monkeypatch.setattr(latency, "probe", probe)
    found = search_targets(requests)
    assert found.exit_code == 3 and found.runs[1].found is not None
    assert record("gone")["status"] == "failed"
    assert record("gone")["reason"] == "gateway: the device does not answer"
    monkeypatch.setattr(latency, "probe", usual)
    again = search_targets([replace(request, resume=True) for request in requests])
    assert again.runs[0].found is not None
    assert record("gone")["status"] == "done" and not record("gone")["reason"]


def test_images_of_another_size_share_nothing_and_it_is_said(both, calls):
    one, two = in_macs(out=Path("sizes"))
    before = calls.count("obtain")
    found = search_targets((one, replace(two, size=(8, 8))))
    assert calls.count("obtain") == before + 2
    assert found.runs[1].shared == (
        "nothing is shared with gateway: its images are 3x16x16, these 3x8x8",
    )


def test_int8_shares_what_is_of_the_float_network(both):
    one, two = pair(out=Path("int8"))
    table = {"mode": "int8", "calibration_images": 32, "min_integer_conv_fraction": 0.5}
    plain = two.target.model_dump(by_alias=True) | {"precision": table}
    plain["parity"] |= {"agreement": 0.5, "sqnr_db": 5.0}
    # Whether so small a network gains by int8 is not asked here: MACs are the limit.
    target, budget = TargetProfile.model_validate(plain), RelativeBudget(latency=1.5, macs=0.8)
    one = replace(one, budget=RelativeBudget(latency=0.97, macs=0.8))
    found = search_targets((one, replace(two, target=target, budget=budget)))
    counted = record("int8/phone")["evaluations"]["by score"]
    assert counted["F1"]["shared"] > 0 == counted["F2"]["shared"]
    assert "int8 networks are shared among equal" in found.runs[1].shared[1]


def test_a_family_of_each_target(both):
    requests = pair(out=Path("families"), family=(0.97, 0.93), budget=RelativeBudget())
    found = search_targets(requests)
    for run in found.runs:
        assert [member.latency for member in run.members] == [0.97, 0.93]
        assert run.exit_code == max(member.exit_code for member in run.members)
    assert Path("families/phone/0.93/run.json").exists()
    assert "F1 scores" in found.runs[1].shared[0]
    assert "2 targets compared" in Path("families/report.html").read_text()


@pytest.fixture
def hollow(monkeypatch):
    """In place of searches, run folders without a result; returns the requests."""
    found = []

    def search(request, progress, shared):
        found.append(request)
        folder = create(request.out, "m", "t", overwrite=request.overwrite)
        folder.record(request=request.to_plain(), time={"used": 10.0})
        raise MachineError("enough")

    monkeypatch.setattr(targets, "run_search", search)
    return found


def test_time_is_shared_out(here, hollow):
    search_targets(pair(out=Path("timed"), time_budget=100.0))
    assert [request.time_budget for request in hollow] == [50.0, 90.0]


def test_a_wrong_request_leaves_no_folder(here):
    with pytest.raises(InputError, match="names no layer"):
        search_targets(pair(out=Path("wrong"), keep=("nothing",)))
    assert not Path("wrong").exists()


def test_an_overwritten_run_is_replaced_as_a_whole(here, hollow):
    requests = pair(out=Path("over"))
    search_targets(requests)
    with pytest.raises(InputError, match="pass --resume to go on"):
        search_targets(requests)
    (here / "over" / "phone" / "mine.txt").write_text("kept")
    with create(Path("over"), "m", "t", overwrite=True).claimed():
        assert not (here / "over" / "phone").exists()
    RunFolder(Path("over")).discard()
    assert (here / "over" / "phone" / "mine.txt").read_text() == "kept"
    search_targets([replace(request, overwrite=True) for request in requests])
    assert not (here / "over" / "phone" / "mine.txt").exists()
    assert not (here / "over" / ".previous").exists()
    with pytest.raises(InputError, match="names no layer"):
        run_search(pair(out=Path("over"), overwrite=True, keep=("nothing",))[0])
    assert list(record("over")["requests"]) == ["gateway", "phone"]
