"""doctor and inspect as the shell runs them."""

import json
import sys

import onnx
import pytest

from tests.endings import refused
from tests.graphs import chain


@pytest.fixture
def file(tmp_path):
    """A small file, clean but for nothing."""
    onnx.save(chain(16, 32), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_doctor_tells_and_ends_with_0(run, file):
    code, out, _ = run("doctor", file, "--max-seconds", 5)
    assert code == 0
    assert out.startswith("m.onnx: ")
    assert "not the cause:" in out
    assert "where the time goes" in out


def test_doctor_writes_json_alone(run, file):
    code, out, _ = run("doctor", file, "--max-seconds", 5, "--json", "-")
    assert code == 0
    assert json.loads(out)["schema"] == "edgeprune.doctor/1"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nix.onnx"], 2, "cannot be read"),
        (["{file}", "--json", "{file}"], 2, "is a file that is judged"),
        (["{file}", "--shape", "1x3x8x8"], 2, "--shape 1x3x8x8: input input takes"),
        (["{file}", "--shape", "none"], 2, "wants sizes such as"),
        (["{file}", "--target", "mobile"], 2, "unknown target"),
        (["{file}", "--device", "ftp://x"], 2, "neither local://"),
        (["{file}", "--max-seconds", "1"], 2, "max-seconds"),
        (["{file}", "--baseline", "nix.onnx"], 2, "cannot be read"),
    ],
)
def test_doctor_refuses_in_one_line(run, file, words, code, said):
    refused(run("doctor", *(word.format(file=file) for word in words)), code, said)


def test_neither_needs_torch(run, file, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run("doctor", file, "--max-seconds", 5)[0] == 0


def test_inspect_describes_as_text_and_as_json(run, file):
    code, out, _ = run("inspect", file)
    assert code == 0
    assert "edgeprune did not export this file" in out
    assert "conv0  Conv  3 -> 16" in out
    code, out, _ = run("inspect", file, "--json", "-")
    assert code == 0
    assert json.loads(out)["schema"] == "edgeprune.inspect/1"


def test_inspect_refuses_in_one_line(run, file):
    refused(run("inspect", "nix.onnx"), 2, "cannot be read")
    refused(run("inspect", file, "--json", file), 2, "is a file that is judged")
