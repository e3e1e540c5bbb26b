"""Networks of timm: no crash, no other answer, exact counts, parity with ONNX Runtime.

``pytest -m zoo tests/prune/test_timm_zoo.py``, about half an hour on 2 quiet cores; ``-k NAME``
runs one network. It needs ``pip install "edgeprune[zoo]"``.
"""

import warnings

import pytest

from benchmarks import zoo
from benchmarks.zoo_networks import FAMILIES

pytestmark = pytest.mark.zoo
pytest.importorskip("timm", reason='networks of timm: pip install "edgeprune[zoo]"')


@pytest.mark.parametrize("name", [name for names in FAMILIES.values() for name in names])
def test_slim_networks_answer_cost_and_export_as_they_should(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's own, about names that it gave up
        row = zoo.judged(name)
    assert row.error < zoo.EXACT
    assert row.counted
    assert row.onnx < zoo.PARITY
