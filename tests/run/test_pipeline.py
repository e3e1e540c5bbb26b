"""One real search, small: image folders in, run folder out; nothing is replaced by a stand-in."""

import csv
import json
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from edgeprune.cli import console, next_steps
from edgeprune.deploy.artifact import seal
from edgeprune.deploy.devices.fingerprint import identify
from edgeprune.deploy.devices.sessions import open as open_session
from edgeprune.deploy.gate import check, relative
from edgeprune.deploy.table import carried
from edgeprune.deploy.timing import protocol
from edgeprune.deploy.timing.statistics import Interval
from edgeprune.errors import InputError, MachineError, PromiseError
from edgeprune.export.checkpoint_file import export_checkpoint
from edgeprune.files import write_whole
from edgeprune.prune.images import datasets
from edgeprune.prune.models.zoo import ModelSpec
from edgeprune.prune.search.engine.population import Settings
from edgeprune.prune.search.evaluation.effort import Effort
from edgeprune.prune.slimming.reload import load_slim
from edgeprune.prune.training.recipe import Recipe
from edgeprune.run import basis, delivery, lowest_latency, pipeline, pruner
from edgeprune.run.measured_search import PairedTiming
from edgeprune.run.outcome import Recovered
from edgeprune.run.pipeline import run_search
from edgeprune.run.request import Request
from edgeprune.run.search_options import SearchOptions
from edgeprune.target import RelativeBudget, Runtime, TargetProfile

SMALL = Effort(evaluations=30, calibration=32, judged=64, finalists=2, rungs=((4, 1),))


@pytest.fixture(scope="module")
def request_(here):
    profile = {
        "schema": 1,
        "name": "here",
        "channels": {"grid": [8, 16]},
        "measure": {"max_seconds": 2},
        "budget": {"relative": {"latency": 0.97}},
    }
    (here / "targets").mkdir()
    text = 'schema = 1\nname = "here"\n[channels]\ngrid = [8, 16]\n[measure]\nmax_seconds = 2\n'
    write_whole(
        here / "targets" / "here.toml", (text + "[budget.relative]\nlatency = 0.97").encode()
    )
    return Request(
        target=TargetProfile.model_validate(profile),
        model=ModelSpec("mynets:net"),
        budget=RelativeBudget(latency=0.97),
        source="data",
        size=(16, 16),
        out=Path("run"),
        baseline=Recipe(epochs=4, batch=32, lr=0.1),
        recovery=Recipe(epochs=1, batch=32),
        search=Settings(population=8, generations=4),
        strategy="gwcs",
    )


@pytest.fixture(scope="module")
def outcome(request_):
    steps = []
    found = run_search(request_, lambda step, *_: steps.append(step))
    return found, list(dict.fromkeys(steps))


def test_every_step_is_told(outcome):
    _, steps = outcome
    assert steps[:2] == ["decoding images", "training the dense model"]
    remarks = [step for step in steps if step.startswith(("candidate measured at ", "strategy "))]
    assert remarks
    others = [step for step in steps if step not in remarks]
    assert others[-1] == "fine-tuning"
    # The same steps again where a candidate missed its limit and the search aims lower.
    assert {"measuring curvature", "searching", "scoring networks"} <= set(others)


def test_a_short_training_begins_with_a_refit_that_is_judged(outcome, here):
    (event,) = [e for e in events(here / "run") if e["event"] == "compensated"]
    assert event["divergence"][event["method"]] == min(event["divergence"].values())
    assert set(event["divergence"]) == {"none", "refit"}
    _, record = load_slim(here / "run" / "model.pt", trust_factory=True)
    assert record.history["finetune"]["compensation"]["method"] == event["method"]


def test_the_run_folder_holds_everything(outcome, here):
    names = {path.name for path in (here / "run").iterdir()}
    assert names == {
        "run.json", "events.jsonl", "latency.json", "front.csv", "plan.json", "layers.json",
        "model.pt", "dense.onnx", "dense.pt", "model.onnx", "check.json", "search",
        "tried.csv", "report.html",
    }  # fmt: skip
    record = json.loads((here / "run" / "run.json").read_text())
    assert record["status"] == "done"
    assert record["results"]["MACs"]["slim"] < record["results"]["MACs"]["dense"]


def test_the_summary_names_what_was_promised(outcome):
    found, _ = outcome
    events = (found.folder / "events.jsonl").read_text().splitlines()
    (tuned,) = [e for e in map(json.loads, events) if e["event"] == "fine-tuned"]
    assert [row.name for row in found.rows if row.dense] == [
        "accuracy", "MACs", "params", "file size", "latency",
    ]  # fmt: skip
    assert {verdict.name for verdict in found.report.verdicts} >= {"seal", "parity", "latency"}
    # We trained the dense model: it has not seen the validation images, and no note says so.
    lowered = tuned["val_slim"] < tuned["val_before_finetune"] - 0.005
    table, grid, *others = found.notes
    assert grid == "channel grid: 8 16; assumed: a list in the profile"
    assert [note.startswith("fine-tuning worsened") for note in others] == [True] * lowered
    assert table.startswith("latency table: this machine's (")
    assert ", predicted from " in table  # a sum of blocks, or whole networks where a clock says so


def test_the_files_say_where_they_come_from_and_hold_no_path(outcome, here):
    slim = seal.verify(here / "run" / "model.onnx")
    dense = seal.verify(here / "run" / "dense.onnx")
    assert slim.dense_sha256 == seal.file_sha256(here / "run" / "dense.onnx")
    assert slim.checkpoint_sha256 == seal.file_sha256(here / "run" / "model.pt")
    assert (slim.target, slim.classes, slim.input_shape) == (
        "here",
        ("digit0", "digit1"),
        (3, 16, 16),
    )
    assert slim.macs < dense.macs
    assert slim.answers is not None and slim.answers.slim_share == slim.accuracy_slim
    assert slim.answers.dense_share == slim.accuracy_dense
    assert slim.accuracy_slim is not None and dense.accuracy_dense == slim.accuracy_dense
    for name in ("model.onnx", "dense.onnx", "model.pt", "run.json"):
        assert str(here).encode() not in (here / "run" / name).read_bytes()


def test_model_pt_rebuilds_the_network_that_was_exported(outcome, here):
    model, record = load_slim(here / "run" / "model.pt", trust_factory=True)
    kept = json.loads((here / "run" / "plan.json").read_text())["kept"]
    assert model.get_submodule("0").out_channels == len(kept[next(iter(kept))])
    proto = onnx.load(here / "run" / "model.onnx")
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in proto.graph.initializer}
    linear = next(
        w for w in weights.values() if w.shape == tuple(model.get_submodule("8").weight.shape)
    )
    assert np.array_equal(linear, model.get_submodule("8").weight.detach().numpy())
    assert torch.is_tensor(record.images)


def test_exporting_again_gives_the_same_operators_and_answers(outcome, here):
    """The run cuts its file out of the dense network, ``export`` lets torch write it."""
    files = here / "again.onnx", here / "run" / "model.onnx"
    export_checkpoint(here / "run" / "model.pt", files[0], trust_factory=True)
    image = np.ones((1, 3, 16, 16), np.float32)
    again, once = (open_session(path, Runtime()).run(image) for path in files)
    assert again == pytest.approx(once, abs=1e-5)
    kinds = [sorted(node.op_type for node in seal.load(path).graph.node) for path in files]
    assert kinds[0] == kinds[1]


def test_a_file_with_other_weights_under_a_new_seal_fails_its_own_images(outcome, request_, here):
    proto = seal.load(here / "run" / "model.onnx")
    weight = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    changed = onnx.numpy_helper.to_array(weight) * 1.5
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    provenance = seal.read(here / "run" / "model.onnx")
    seal.write(here / "forged.onnx", proto, provenance)
    options = check.Options(baseline=here / "run" / "dense.onnx")
    profile = request_.target.with_budget(request_.judged_by())
    verdicts = {v.name: v for v in check.check(here / "forged.onnx", profile, options).verdicts}
    assert verdicts["seal"].outcome == "met"
    assert verdicts["parity"].outcome == "missed"
    assert "wrongly" in verdicts["parity"].message


def test_a_budget_out_of_reach_keeps_the_run_folder_and_says_the_best(outcome, request_, here):
    wanted = replace(request_, budget=RelativeBudget(latency=0.01), out=Path("tight"))
    with pytest.raises(PromiseError, match="best that can be had"):
        run_search(wanted)
    record = json.loads((here / "tight" / "run.json").read_text())
    assert record["status"] == "failed"
    assert "best that can be had" in record["reason"]


def test_a_search_in_vain_still_tells_what_it_saw(outcome, request_, here, monkeypatch):
    monkeypatch.setattr(PairedTiming, "ratio", lambda *_: Interval(0.8, 0.9, 1.0))
    wanted = replace(request_, strategy="joint", effort=SMALL, out=Path("vain"))
    told = []
    with pytest.raises(PromiseError, match=r"best that can be had is 1\.000x \(measured\)"):
        run_search(wanted, lambda step, *_: told.append(step))
    remark = "candidate measured at 0.900x [0.800, 1.000], not surely within 0.97x"
    assert remark in told
    with (here / "vain" / "front.csv").open(newline="") as file:
        seen = list(csv.DictReader(file))
    assert len(seen) > 1
    assert {row["chosen"] for row in seen} == {""}
    page = (here / "vain" / "report.html").read_text()
    assert "This run made no model" in page and "timed, not taken" in page


def test_a_report_that_cannot_be_drawn_costs_no_result(outcome, request_, here, monkeypatch):
    def refuse(folders):
        raise MachineError("a report needs plotly")

    monkeypatch.setattr(pipeline, "write_report", refuse)
    found = run_search(replace(request_, out=Path("undrawn")))
    assert json.loads((found.folder / "run.json").read_text())["status"] == "done"
    (event,) = [e for e in events(found.folder) if e["event"] == "no report"]
    assert event["reason"] == "a report needs plotly"


def test_an_interrupted_run_leaves_a_readable_folder(outcome, request_, here, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(pruner, "train_in", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_search(replace(request_, out=Path("broken")))
    assert json.loads((here / "broken" / "run.json").read_text())["status"] == "interrupted"
    events = (here / "broken" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events][-1] == "interrupted"
    assert (here / "broken" / "plan.json").exists()


class Counted:
    """Test images that count how often they are read."""

    def __init__(self, images):
        self._images, self.reads = images, 0

    def __getattr__(self, name):
        return getattr(self._images, name)

    def __len__(self):
        return len(self._images)

    def to(self, device):
        return self

    def batches(self, size, **options):
        self.reads += 1
        return self._images.batches(size, **options)


@pytest.fixture
def counted(monkeypatch):
    """The sets that were loaded, with test images that count."""
    loaded = []

    def load(*args, **options):
        images = datasets.load(*args, **options)
        loaded.append(replace(images, test=Counted(images.test)))
        return loaded[-1]

    monkeypatch.setattr(basis, "datasets", SimpleNamespace(load=load))
    return loaded


def events(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def evaluations(folder):
    """Keys of what the search scored, in the order it did."""
    path = folder / "search" / "evaluations.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line[: line.find('"loss"')] for line in lines]


def test_the_front_of_a_strategy_without_one_is_what_it_chose(outcome, here):
    lines = list(csv.DictReader((here / "run" / "front.csv").read_text().splitlines()))
    kept = json.loads((here / "run" / "plan.json").read_text())["kept"]
    widths = " ".join(str(len(stay)) for stay in kept.values())
    assert [(row["widths"], row["chosen"], row["strategy"]) for row in lines] == [
        (widths, "yes", "gwcs")
    ]
    assert 0 < float(lines[0]["predicted_latency_ratio"]) < 0.97
    assert float(lines[0]["predicted_loss"]) > 0


def test_a_kept_layer_is_whole_in_everything_that_a_run_writes(outcome, request_, here):
    budget = RelativeBudget(macs=0.9)  # counted: the clock hardly tells such small networks apart
    wanted = replace(
        request_, keep=("3.conv1",), budget=budget, out=Path("kept"), strategy="uniform"
    )
    found = run_search(wanted)
    plan = json.loads((here / "kept" / "plan.json").read_text())
    assert list(plan["left_whole"]) == ["3.conv1"]
    assert plan["kept"]["3.conv1"] == list(range(16)) != plan["kept"]["5.conv1"]
    model, record = load_slim(here / "kept" / "model.pt", trust_factory=True)
    assert model.get_submodule("3.conv1").out_channels == 16
    assert record.plan["left_whole"] == plan["left_whole"]
    known = json.loads((here / "kept" / "run.json").read_text())
    assert (known["left_whole"], known["request"]["keep"]) == (plan["left_whole"], ["3.conv1"])
    assert known["not_dropped"] == {"3": "keep names 3.conv1"}
    said = "keep 3.conv1: left whole 1 of 3 channel groups (3.conv1); not dropped: 3"
    assert said in found.notes
    page = (here / "kept" / "report.html").read_text()
    assert said in page and "--keep 3.conv1" in page
    with pytest.raises(InputError, match=r"keep was .*3\.conv1.*, now it is"):
        run_search(replace(wanted, keep=("5.conv1",), resume=True))
    tight = replace(wanted, budget=RelativeBudget(latency=0.01), out=Path("kept-tight"))
    with pytest.raises(PromiseError, match="with 1 channel groups left whole"):
        run_search(tight)
    nothing = replace(request_, only=("3.conv2",), out=Path("nothing"))
    with pytest.raises(InputError, match="leave nothing to prune"):
        run_search(nothing)
    assert not (here / "nothing").exists()


def test_a_family_is_one_search_and_a_folder_for_each_model(outcome, request_, here, counted):
    wanted = replace(
        request_, family=(0.97, 0.9, 0.05), out=Path("family"), strategy="joint", effort=SMALL
    )
    found = run_search(wanted)
    assert [member.latency for member in found.members] == [0.97, 0.9, 0.05]
    assert [member.outcome is None for member in found.members] == [False, False, True]
    assert "best that can be had" in found.members[2].reason
    assert found.exit_code == 1
    for member in found.members[:2]:
        made = {path.name for path in member.folder.iterdir()}
        assert made >= {"model.onnx", "dense.onnx", "model.pt", "plan.json", "check.json"}
        assert "recovery.pt" not in made
        limits = [v.limit for v in member.outcome.report.verdicts if v.name == "latency"]
        assert limits == [member.latency]
    assert counted[0].test.reads == 3  # the dense model, and each model that was made
    record = json.loads((here / "family" / "run.json").read_text())
    assert [line["folder"] for line in record["family"]] == ["0.97", "0.90", "0.05"]
    assert record["baseline_saw_validation"] is False
    evaluated = evaluations(here / "family")
    assert len(evaluated) == len(set(evaluated))
    rows = list(csv.DictReader((here / "family" / "front.csv").read_text().splitlines()))
    scored = [r for r in rows if not (r["refit_loss"] or r["measured_latency_ratio"])]
    losses = [float(row["predicted_loss"]) for row in scored]
    assert losses == sorted(losses, reverse=True)
    assert {row["chosen"] for row in rows} <= {"", "yes"} and any(r["chosen"] for r in rows)
    assert all(row["why"] for row in rows)
    again = run_search(replace(wanted, resume=True))
    assert [m.to_plain() for m in again.members] == [m.to_plain() for m in found.members]
    assert len(counted) == 1  # nothing was looked at again


@pytest.mark.parametrize(
    ("strategy", "where"), [("joint", "search/evaluations.jsonl"), ("gwcs", "recovery.pt")]
)
def test_a_killed_run_goes_on(outcome, request_, here, strategy, where):
    out = Path(f"killed-{strategy}")
    long = replace(request_.recovery, epochs=4)
    wanted = replace(request_, out=out, strategy=strategy, effort=SMALL, recovery=long)
    process = multiprocessing.get_context("spawn").Process(target=run_search, args=(wanted,))
    process.start()
    while not (out / where).exists() and process.is_alive():
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -9
    assert json.loads((out / "run.json").read_text())["status"] == "running"
    known = evaluations(out)[:-1]  # the last line may be cut off
    found = run_search(replace(wanted, resume=True))
    told = [event["event"] for event in events(out)]
    assert told.index("resumed") < told.index("exported") and told[-1] == "done"
    assert [e["origin"] for e in events(out) if e["event"] == "baseline"][-1] == "cached"
    assert evaluations(out)[: len(known)] == known
    assert len(set(evaluations(out))) == len(evaluations(out))
    assert ("candidate" in told[told.index("resumed") :]) == (strategy == "joint")
    assert (found.folder, found.exit_code in (0, 1)) == (out, True)
    assert (out / "model.onnx").exists() and not (out / "recovery.pt").exists()


def test_going_on_with_another_request_is_refused_and_changes_nothing(outcome, request_, here):
    before = (here / "run" / "run.json").read_bytes()
    for other, said in (
        (replace(request_, strategy="joint"), "strategy was gwcs, now it is joint"),
        (replace(request_, recovery=Recipe(epochs=2, batch=32)), "recovery.epochs was 1"),
    ):
        with pytest.raises(InputError, match=said):
            run_search(replace(other, resume=True))
    with pytest.raises(InputError, match="holds no run"):
        run_search(replace(request_, resume=True, out=Path("nowhere")))
    assert (here / "run" / "run.json").read_bytes() == before
    assert not (here / "nowhere").exists()


def test_accuracy_alone_walks_down_and_delivers_the_last_that_kept_it(
    outcome, request_, here, monkeypatch, counted
):
    monkeypatch.setattr(lowest_latency, "RATIOS", (0.97, 0.05))
    free = RelativeBudget(accuracy_drop=100)
    found = run_search(replace(request_, budget=free, out=Path("walked")))
    record = json.loads((here / "walked" / "run.json").read_text())
    assert [step["kept"] for step in record["walk"][:2]] == [True, False]
    assert [v.name for v in found.report.verdicts if v.name in ("latency", "accuracy_drop")] == [
        "accuracy_drop"
    ]
    assert (here / "walked" / "0.97" / "plan.json").exists()
    lost = record["walk"][0]["lost_points"]
    said = f"points lost on validation images on the way: 0.97x {lost:.2f}, 0.05x not reached"
    assert found.notes[-1].startswith(said)
    assert (here / "walked" / "model.onnx").exists()
    assert counted[0].test.reads == 2


def test_an_accuracy_that_nothing_keeps_names_the_best(outcome, request_, here, monkeypatch):
    monkeypatch.setattr(lowest_latency, "RATIOS", (0.97,))
    monkeypatch.setattr(Recovered, "lost", property(lambda _: 3.0, lambda *_: None), raising=False)
    free = RelativeBudget(accuracy_drop=1)
    theirs = here / "run" / "dense.pt"  # a checkpoint: nobody knows what it was trained on
    said = r"best that can be had loses 3.00 .* at 0\.\d+x .*may have seen these images"
    with pytest.raises(PromiseError, match=said):
        run_search(replace(request_, budget=free, weights=theirs, out=Path("lossy")))
    assert json.loads((here / "lossy" / "run.json").read_text())["status"] == "failed"


def test_milliseconds_are_judged_on_the_device_they_were_asked_for(outcome, request_, here):
    free = RelativeBudget()
    theirs = replace(request_, weights=here / "run" / "dense.pt")
    found = run_search(replace(theirs, budget=free, latency_ms=1000.0, out=Path("ms")))
    assert any("may have seen the validation images" in note for note in found.notes)
    assert json.loads((here / "ms" / "run.json").read_text())["baseline_saw_validation"] is True
    verdict = next(v for v in found.report.verdicts if v.name == "p50_ms")
    assert (verdict.outcome, verdict.limit) == ("met", 1000.0)
    with pytest.raises(PromiseError, match=r"best that can be had is about 0\.\d+ ms"):
        run_search(replace(request_, budget=free, latency_ms=1e-6, out=Path("fast")))


BOARD = {"arch": "aarch64", "system": "Linux", "cpu": "A76", "cores": 4, "isa": ["asimd"]}


@pytest.fixture
def carried_table(outcome, request_, here):
    """This machine's table under the name of a board, as if it had been carried from there."""
    (path,) = (here / "cache").rglob("calibration/latency/here/*.json")
    content = json.loads(path.read_text())
    content["conditions"]["machine"] = identify(BOARD)
    content["origin"] = {"target": "here", "machine": BOARD, "measured": "2026-11-20"}
    (here / "board.json").write_text(json.dumps(content))
    kept, _ = carried.add(here / "board.json")
    yield kept
    kept.path.unlink()


def test_a_carried_table_predicts_and_nothing_is_measured_in_its_place(
    request_, here, carried_table, monkeypatch
):
    def never(*args, **kwargs):
        raise AssertionError("timed")

    for module, name in ((protocol, "compare"), (delivery, "compare"), (relative, "compare")):
        monkeypatch.setattr(module, name, never)
    wanted = replace(request_, carried=True, out=Path("carried"), strategy="joint", effort=SMALL)
    told = []
    found = run_search(wanted, lambda step, *_: told.append(step))
    verdicts = {verdict.name: verdict for verdict in found.report.verdicts}
    assert verdicts["latency"].outcome == "inconclusive"
    assert "the table carried from A76, 4 cores predicts 0." in verdicts["latency"].evidence
    assert (found.report.outcome, found.exit_code) == ("inconclusive", 0)
    rows = {row.name: row for row in found.rows}
    assert "latency" not in rows
    assert 0 < rows["predicted latency"].slim < 0.97 * rows["predicted latency"].dense
    assert found.notes[0].startswith(
        f"latency table: carried from A76, 4 cores ({identify(BOARD)})"
    )
    assert any("predicted at" in step and "not timed" in step for step in told)
    record = json.loads((here / "carried" / "run.json").read_text())
    assert record["chosen"]["measured"] is None
    assert record["stand_in"]["machine"] == identify(BOARD)
    front = list(csv.DictReader((here / "carried" / "front.csv").read_text().splitlines()))
    assert {row["measured_latency_ratio"] for row in front} == {""}
    assert [row["why"] for row in front if row["chosen"]] == [
        "the best by the last score; its latency is predicted, the device was not here"
    ]
    page = (here / "carried" / "report.html").read_text()
    assert "at a predicted 0." in page and "Latency, predicted" in page
    assert "--device ssh://USER@HOST" in page and "damaged" not in page
    (command,) = next_steps.after(found, wanted, "here")
    assert command.endswith("--device ssh://USER@HOST")
    assert run_search(replace(wanted, resume=True)) == found


def test_a_carried_family_and_milliseconds_are_predicted_too(
    request_, here, carried_table, capsys
):
    simple = replace(request_, carried=True, strategy="uniform")
    wanted = replace(simple, family=(0.95, 0.9), out=Path("carried-family"))
    found = run_search(wanted)
    console.show_family(found, wanted, "here")
    out = capsys.readouterr().out
    assert out.count("x predicted") == 2 and "0 of 2 models met" in out
    assert "note: latency table: carried from A76" in out
    free = replace(simple, budget=RelativeBudget(), latency_ms=1000.0)
    found = run_search(replace(free, out=Path("carried-ms")))
    (verdict,) = [v for v in found.report.verdicts if v.name == "p50_ms"]
    assert verdict.outcome == "inconclusive" and "not timed" in verdict.evidence
    command = next_steps.check(found, free, "here")
    assert f"--budget fingerprint={identify(BOARD)}" in command
    with pytest.raises(PromiseError, match="best that can be had is"):
        run_search(replace(free, latency_ms=1e-6, out=Path("carried-fast")))


def test_a_named_device_keeps_carried_tables_out_and_another_network_is_refused(
    request_, here, carried_table
):
    options = SearchOptions(target="here", device="local://").request()
    assert not options.carried and SearchOptions(target="here").request().carried
    plain = request_.target.model_dump(by_alias=True) | {"precision": {"mode": "int8"}}
    in_int8 = TargetProfile.model_validate(plain)
    content = json.loads(carried_table.path.read_text())
    content["conditions"]["dtype"] = "u8s8"
    (carried_table.path.with_name("int8.json")).write_text(json.dumps(content))
    with pytest.raises(InputError, match="only the device can time both: name it with --device"):
        run_search(replace(request_, carried=True, target=in_int8, out=Path("larger")))
    carried_table.path.with_name("int8.json").unlink()
    larger = replace(request_, carried=True, model=ModelSpec("resnet20"), out=Path("larger"))
    with pytest.raises(InputError, match="does not know resnet20 at this input and grid"):
        run_search(larger)
    assert not (here / "larger").exists()


def test_a_table_that_no_longer_holds_is_not_taken_and_says_so(request_, here, carried_table):
    content = json.loads(carried_table.path.read_text())
    content["conditions"]["onnxruntime"] = "1.2.3"
    carried_table.path.write_text(json.dumps(content))
    found = run_search(replace(request_, carried=True, out=Path("stale"), strategy="uniform"))
    assert "this machine's" in found.notes[0]
    assert "not taken: " in found.notes[0] and "onnxruntime 1.2.3" in found.notes[0]


def test_a_run_goes_on_with_the_table_that_it_was_begun_with(
    request_, here, carried_table, monkeypatch
):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    wanted = replace(request_, carried=True, out=Path("begun"), strategy="uniform")
    with monkeypatch.context() as patch:
        patch.setattr(pruner, "train_in", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_search(wanted)
    again = replace(wanted, resume=True)
    with pytest.raises(InputError, match="holds a run on the latency table of a76-4c-"):
        run_search(replace(again, carried=False))
    assert run_search(again).rows[-1].name == "predicted latency"


def test_an_int8_target_is_searched_and_delivered_in_int8(outcome, request_, here):
    table = {"mode": "int8", "calibration_images": 32, "min_integer_conv_fraction": 0.5}
    plain = request_.target.model_dump(by_alias=True) | {"precision": table}
    # Two random digits and one epoch: classes may flip, and the file may gain little.
    plain["parity"] |= {"agreement": 0.5, "sqnr_db": 5.0}
    # So small a network may not gain at all by int8: the limit that has to be kept is MACs.
    target, budget = TargetProfile.model_validate(plain), RelativeBudget(latency=1.5, macs=0.8)
    request = replace(request_, target=target, budget=budget, out=Path("run8"), strategy="uniform")
    found = run_search(request)
    folder = here / "run8"
    assert json.loads((folder / "latency.json").read_text())["conditions"]["dtype"] != "fp32"
    slim, control = (seal.verify(folder / name) for name in ("model.onnx", "dense-int8.onnx"))
    twin = seal.verify(folder / "model-fp32.onnx")
    assert (slim.precision, control.precision, twin.precision) == ("int8", "int8", "fp32")
    assert slim.quantisation.twin_sha256 == seal.file_sha256(folder / "model-fp32.onnx")
    assert slim.quantisation.calibration_images == 32
    listed = json.loads((folder / "calibration.json").read_text())
    assert listed["sha256"] == slim.quantisation.calibration_sha256
    rows = {row.name: row for row in found.rows}
    assert rows["accuracy"].slim == pytest.approx(100 * slim.accuracy_slim)
    assert rows["accuracy"].dense_int8 == pytest.approx(100 * control.accuracy_slim)
    assert rows["latency"].dense_int8 > 0 and rows["MACs"].dense_int8 is None
    names = {verdict.name for verdict in found.report.verdicts}
    assert {"float_convolutions", "int8_gain"} <= names and "kernel_layout" not in names
    low, mid, high = json.loads((folder / "run.json").read_text())["dense_int8_latency"]
    assert 0 < low <= mid <= high
    assert run_search(replace(request, resume=True)).rows == found.rows


def test_a_run_without_time_ends_soon_with_the_best_so_far_and_says_so(
    outcome, request_, here, monkeypatch
):
    told = []
    long = replace(request_.recovery, epochs=20)
    wanted = replace(
        request_, strategy="joint", effort=SMALL, recovery=long, out=Path("hurried"),
        time_budget=1.0,
    )  # fmt: skip
    found = run_search(wanted, lambda step, *_: told.append(step))
    record = json.loads((here / "hurried" / "run.json").read_text())
    asked = record["request"]["recovery"]["epochs"] * record["finetune_steps"]
    assert f"the time budget shortened the fine-tuning to {asked // 20} of {asked} steps" in (
        found.notes
    )
    assert any("no time for more than the rules" in step for step in told)
    assert record["evaluations"]["scored"] <= 6 < record["evaluations"]["asked"]
    assert record["time"]["budget"] == 1.0 < record["time"]["used"]
    # Another budget may be given to go on with it; what was used before counts.
    again = run_search(replace(wanted, resume=True, time_budget=600.0))
    assert again.notes == found.notes
