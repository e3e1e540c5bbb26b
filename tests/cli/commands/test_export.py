"""export as the shell runs it: what it says, and what it refuses."""

import pytest
import torch

from edgeprune.deploy.artifact import seal
from edgeprune.prune.models.zoo import ModelSpec, build
from tests.endings import refused


@pytest.fixture
def weights(tmp_path):
    """Dense weights of a network with three classes."""
    torch.save(build(ModelSpec("resnet20", 3)).state_dict(), tmp_path / "w.pt")
    return tmp_path / "w.pt"


def test_a_dense_checkpoint_is_exported_by_name(run, weights, tmp_path):
    words = ["--model", "resnet20", "--classes", 3, "--licence", "MIT", "--ort", "-o", "d.onnx"]
    code, out, _ = run("export", weights, *words)
    assert code == 0
    assert "from torch on" in out
    assert "d.ort: the same in ORT format" in out
    assert "travel inside the file; --parity-images none leaves them out" in out
    assert seal.verify(tmp_path / "d.onnx").licence == "MIT"
    code, out, _ = run(
        "export", weights, *words, "--overwrite", "--parity-images", "none", "--dynamic-batch"
    )
    assert code == 0
    assert "travel inside" not in out
    code, out, _ = run("inspect", "d.onnx")
    assert code == 0
    assert "no images" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{w}", "--classes", "3"], "--classes goes with --model"),
        (["{w}", "--mean", ".5", ".5", ".5"], "--mean goes with --model"),
        (["{w}", "--model", "resnet20", "--classes", "3", "--data", "digits"], "name the classes"),
        (["{w}", "--model", "resnet20", "--classes", "4"], "w.pt"),
        (["{w}", "--model", "resnet21"], "resnet21"),
        (["{w}", "--parity-images", "few"], "neither a number of images nor none"),
        (["{w}", "--opset", "3"], "opset"),
        (["none.pt", "--model", "resnet20"], "none.pt"),
    ],
)
def test_what_cannot_be_meant_is_one_line(run, weights, words, said):
    refused(run("export", *(word.format(w=weights) for word in words)), 2, said)
