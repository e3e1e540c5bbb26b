"""A model.pt comes back as the network that was written, and runs no code unasked."""

from pathlib import Path

import pytest
import torch

from edgeprune.errors import InputError
from edgeprune.prune.models import checkpoint
from edgeprune.prune.models.checkpoint import Checkpoint
from edgeprune.prune.models.shortcuts import rewrite_shortcuts
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.slimming.reload import load_slim
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import trace


def _record(model: torch.nn.Module, name: str, plan: PruningPlan | None) -> Checkpoint:
    return Checkpoint(
        model=name,
        kwargs={"num_classes": 3},
        plan=None if plan is None else plan.to_plain(),
        state_dict=model.state_dict(),
        input_shape=(3, 32, 32),
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        classes=("a", "b", "c"),
    )


def test_a_slim_model_comes_back_as_it_was(tmp_path: Path) -> None:
    dense = rewrite_shortcuts(build(ModelSpec("resnet20", num_classes=3))).eval()
    example = torch.zeros(1, 3, 32, 32)
    groups = trace(dense, example).groups
    kept = {group.name: tuple(range(group.width)) for group in groups}
    kept["layer1.0.conv1"] = (1, 4, 5, 9)
    kept["layer2.1.conv1"] = ()
    plan = PruningPlan(model="resnet20", kept=kept)
    pruned = slim(dense, plan, example)
    checkpoint.write(tmp_path / "model.pt", _record(pruned, "resnet20", plan))
    loaded, record = load_slim(tmp_path / "model.pt")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(images), pruned(images))
    assert record.classes == ("a", "b", "c")
    assert loaded.get_parameter("layer1.0.conv1.weight").shape == (4, 16, 3, 3)


def test_a_plan_for_another_model_is_refused(tmp_path: Path) -> None:
    plan = PruningPlan(model="resnet32", kept={})
    model = build(ModelSpec("resnet20", num_classes=3))
    checkpoint.write(tmp_path / "model.pt", _record(model, "resnet20", plan))
    with pytest.raises(InputError, match="a plan for resnet32, but its model is resnet20"):
        load_slim(tmp_path / "model.pt")


def test_a_published_dense_model_comes_back_rewritten(tmp_path: Path) -> None:
    dense = build(ModelSpec("resnet20", num_classes=3)).eval()
    checkpoint.write(tmp_path / "model.pt", _record(dense, "resnet20", None))
    loaded, _ = load_slim(tmp_path / "model.pt")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(images), dense(images))
    assert "layer2.0.shortcut.weight" in loaded.state_dict()


def test_code_named_in_a_file_runs_only_when_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trusted_of_test.py").write_text(
        "import pathlib\nimport torch\n\npathlib.Path('ran').touch()\n\n\n"
        "def make(num_classes):\n    return torch.nn.Linear(4, num_classes)\n"
    )
    monkeypatch.chdir(tmp_path)
    record = _record(torch.nn.Linear(4, 3), "trusted_of_test:make", None)
    checkpoint.write(tmp_path / "model.pt", record)
    with pytest.raises(InputError, match="--trust-factory"):
        load_slim(tmp_path / "model.pt")
    assert not (tmp_path / "ran").exists()
    loaded, _ = load_slim(tmp_path / "model.pt", trust_factory=True)
    assert torch.equal(loaded.get_parameter("weight"), record.state_dict["weight"])
