"""Every operator test of onnx's backend suite, counted a second time from the arrays of a run.

The own count reads no shape inference: it has the arrays that onnx's reference evaluator makes,
and counts products by running the operator's sum over arrays of ones, or by loops.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.op_matmul import MatMul

from edgeprune.deploy.artifact.counting.count import count_macs, count_params
from edgeprune.deploy.artifact.counting.operators import FREE, MACS

# What the suite has and nobody counts; a new onnx may bring more, which are then named as well.
UNCOUNTED = {
    "CausalConvWithState",
    "DFT",
    "Det",
    "LinearAttention",
    "STFT",
    "MatMul of unknown shape",  # in one body of Scan, where inference stops at a Reshape
    "ai.onnx.ml.TreeEnsemble",
    "ai.onnx.preview.FlexAttention",
    "ai.onnx.preview.training.Adagrad",
    "ai.onnx.preview.training.Adam",
    "ai.onnx.preview.training.Momentum",
}


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    with warnings.catch_warnings():  # of numpy, while onnx computes its expected outputs
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        return list(load_model_tests(kind="node"))


def fed(case: Any) -> dict[str, Any]:
    stored = {tensor.name for tensor in case.model.graph.initializer}
    names = [value.name for value in case.model.graph.input if value.name not in stored]
    return dict(zip(names, case.data_sets[0][0], strict=False))


def arrays(case: Any) -> dict[str, Any]:
    """Every array of a run; of one operator, those that the suite gives."""
    known = fed(case)
    graph = case.model.graph
    if len(graph.node) == 1:
        return known | dict(zip([v.name for v in graph.output], case.data_sets[0][1], strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(ReferenceEvaluator(case.model).run(None, known, intermediate=True))


def in_bodies(case: Any) -> int:
    """Products of every matrix product of a run, those in bodies of Scan included."""
    tally: list[int] = []

    def counted(self: Any, a: Any, b: Any) -> Any:
        tally.append(int((np.ones(a.shape, int) @ np.ones(b.shape, int)).sum()))
        return run(self, a, b)

    run = MatMul._run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MatMul, "_run", counted)
        arrays(case)
    return sum(tally)


def own(case: Any) -> int:
    """Products of all operators of a run."""
    total = 0
    interesting = {key[1] for key in MACS}
    if any(node.op_type == "Scan" for node in case.model.graph.node):
        return in_bodies(case)
    if not any(node.op_type in interesting for node in case.model.graph.node):
        return 0
    values = arrays(case)
    for node in case.model.graph.node:
        if node.op_type in interesting:
            given = [np.asarray(values[name]) for name in node.input if name]
            result = np.asarray(values.get(node.output[0]))
            total += products(node, given, result)
    return total


def products(node: Any, given: list[Any], result: Any) -> int:
    told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    ones = [np.ones(array.shape, np.int64) for array in given]
    kernel = {"QLinearConv": 3}.get(node.op_type, 1)

    def turned(place: int, key: str) -> Any:
        return ones[place].T if told.get(key) else ones[place]

    def recurrent() -> int:
        rows = int(np.prod(given[0].shape[:2]))
        return sum(rows * gate.size for side in given[1:3] for gate in side)

    def einsum() -> int:
        text = told["equation"].decode()
        return int(np.einsum(text, *ones).sum()) if len(ones) > 1 else 0

    ways: dict[str, Callable[[], int]] = {
        "MatMul": lambda: int((ones[0] @ ones[1]).sum()),
        "QLinearMatMul": lambda: int((ones[0] @ ones[3]).sum()),
        "Gemm": lambda: int((turned(0, "transA") @ turned(1, "transB")).sum()),
        "Einsum": einsum,
        "Conv": lambda: sum(given[kernel][0].size for _ in result.flat),
        "ConvTranspose": lambda: sum(given[1][0].size for _ in given[0].flat),
        "LSTM": recurrent,
        # Each coordinate is a row of theta by (x, y, [z,] 1).
        "AffineGrid": lambda: sum(given[0].shape[-1] for _ in result.flat),
        "Attention": lambda: attention(node, told, given),
    }
    like = {"MatMulInteger": "MatMul", "GRU": "LSTM", "RNN": "LSTM"}
    like |= dict.fromkeys(("ConvInteger", "DeformConv", "QLinearConv"), "Conv")
    return ways[like.get(node.op_type, node.op_type)]()


def attention(node: Any, told: dict[str, Any], given: list[Any]) -> int:
    """Scores, then their sums over values, head by head."""
    by_name = dict(zip([name for name in node.input if name], given, strict=True))
    names = [*node.input, *[""] * 6]
    query, key, value = (by_name[name] for name in names[:3])

    def heads(array: Any, number: int) -> Any:
        if array.ndim == 4:
            return array
        batch, length, hidden = array.shape
        return array.reshape(batch, length, number, hidden // number).swapaxes(1, 2)

    query = heads(query, told.get("q_num_heads", 1))
    key, value = (heads(array, told.get("kv_num_heads", 1)) for array in (key, value))
    if names[4]:
        key = np.concatenate([by_name[names[4]], key], axis=2)
        value = np.concatenate([by_name[names[5]], value], axis=2)
    times = query.shape[1] // key.shape[1]
    key, value = np.repeat(key, times, axis=1), np.repeat(value, times, axis=1)
    scores = np.ones(query.shape, int) @ np.ones(key.shape, int).swapaxes(-1, -2)
    mixed = np.ones(scores.shape, int) @ np.ones(value.shape, int)
    return int(scores.sum() + mixed.sum())


def test_every_operator_of_the_suite(cases: list[Any]) -> None:
    missing, checked = Counter[str](), Counter[str]()
    wrong = []
    for case in cases:
        given = fed(case)
        shapes = {name: np.shape(a) for name, a in given.items() if isinstance(a, np.ndarray)}

        def observe(names: list[str], case: Any = case) -> dict[str, Any]:
            found = arrays(case)
            return {name: np.shape(found[name]) for name in names if name in found}

        count = count_macs(case.model, shapes, observe)
        count_params(case.model)
        missing.update(dict(count.missing))
        if not count.missing:
            expected = own(case)
            checked.update(node.op_type for node in case.model.graph.node if expected)
            if count.total != expected:
                wrong.append(f"{case.name}: {count.total}, not {expected}")
    assert not wrong
    assert set(missing) <= UNCOUNTED
    assert checked.keys() >= {
        *("AffineGrid", "Attention", "Conv", "ConvInteger", "ConvTranspose", "DeformConv"),
        *("Einsum", "GRU", "Gemm", "LSTM", "MatMul", "MatMulInteger", "QLinearConv"),
        *("QLinearMatMul", "RNN"),
    }


def test_an_operator_is_counted_free_or_named(cases: list[Any]) -> None:
    known = {key for key in (*FREE, *MACS) if not key[0]}
    known |= {("", op) for op in ("If", "Loop", "Scan", "SequenceMap")}
    for case in cases:
        unknown = {n.op_type for n in case.model.graph.node if (n.domain, n.op_type) not in known}
        unknown -= {op for domain, op in (*FREE, *MACS) if domain}
        found = count_macs(case.model, {}).lacking
        assert all(op in found for op in unknown), case.name
