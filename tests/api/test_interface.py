import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import edgeprune

ROOT = Path(__file__).parents[2]


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_import_is_cheap_and_without_torch():
    code = "import time; t = time.process_time(); import edgeprune; "
    code += "d = time.process_time() - t; import sys; edgeprune.check; edgeprune.doctor; "
    code += "print(d, any(n in sys.modules for n in ('torch', 'onnxruntime', 'typer')))"
    found = [python(code).split() for _ in range(5)]
    assert {loaded for _, loaded in found} == {"False"}
    # Its own time: what a neighbour on the machine adds is not the import's.
    assert min(float(seconds) for seconds, _ in found) < 0.1
    assert statistics.median(float(seconds) for seconds, _ in found) < 0.5


def test_all_that_is_promised_is_there():
    assert all(callable(getattr(edgeprune, n)) for n in edgeprune.__all__ if n != "__version__")
    assert set(edgeprune.api.__all__) == set(edgeprune.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="serch"):
        _ = edgeprune.serch


def test_the_example_of_the_readme_runs(tmp_path):
    text = (ROOT / "README.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.+?)```", text, re.S)
    assert len(example.splitlines()) <= 15
    # Without a cache of the dense model it trains one, a minute.
    words = [sys.executable, "-c", example]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    outcome, folder = done.stdout.splitlines()[0].split()
    assert outcome in ("met", "missed", "inconclusive")
    assert (tmp_path / folder / "model.onnx").exists()
    assert "latency" in done.stdout
