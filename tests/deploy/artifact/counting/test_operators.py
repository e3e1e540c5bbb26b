"""A small graph for every operator in the table, against counts made by hand."""

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgeprune.deploy.artifact.counting.count import count_macs, count_params
from edgeprune.deploy.artifact.counting.operators import FREE, MACS, MICROSOFT, ML

F32, U8, I8 = np.float32, np.uint8, np.int8
SCALE, ZERO, ZERO_I8 = ((), F32), ((), U8), ((), I8)

# operator: input shape (or several), stored inputs in order (None: the input, "": left out),
# attributes, output shape, MACs, parameters.
CASES: dict[tuple[str, str], Any] = {
    ("", "AffineGrid"): ([(1, 2, 3)], [None, np.array([1, 1, 4, 5])], {}, (1, 4, 5, 2), 120, 0),
    ("", "Attention"): (
        # 2 x 4 heads, 3 queries, 5 keys: products of width 6, then sums of width 7
        [(2, 4, 3, 6), (2, 4, 5, 6), (2, 4, 5, 7)],
        [None, None, None],
        {},
        (2, 4, 3, 7),
        2 * 4 * 3 * 5 * (6 + 7),
        0,
    ),
    ("", "Conv"): (
        # 4 channels by 6 x 6 positions, each over 2 channels of its group and 3 x 3
        [(1, 4, 8, 8)],
        [None, ((4, 2, 3, 3), F32), ((4,), F32)],
        {"group": 2},
        (1, 4, 6, 6),
        4 * 36 * 18,
        72 + 4,
    ),
    ("", "ConvInteger"): (
        [(1, 2, 4, 4)],
        [None, ((3, 2, 2, 2), U8)],
        {},
        (1, 3, 3, 3),
        27 * 8,
        24,
    ),
    ("", "ConvTranspose"): (
        # 4 channels by 25 positions, each spread over 3 channels of its group and 2 x 2
        [(1, 4, 5, 5)],
        [None, ((4, 3, 2, 2), F32), ((6,), F32)],
        {"group": 2, "strides": [2, 2]},
        (1, 6, 10, 10),
        100 * 12,
        48 + 6,
    ),
    ("", "DeformConv"): (
        [(1, 2, 4, 4), (1, 8, 3, 3)],
        [None, ((3, 2, 2, 2), F32), None, ((3,), F32)],
        {"kernel_shape": [2, 2]},
        (1, 3, 3, 3),
        27 * 8,
        24 + 3,
    ),
    ("", "Einsum"): (
        [(2, 3, 4, 5)],
        [None, ((6, 3), F32), ((5, 7), F32)],
        {"equation": "nchw,kc,wd->nkhd"},
        (2, 6, 4, 7),
        2 * 3 * 4 * 5 * 6 + 2 * 6 * 4 * 5 * 7,  # c goes with the first join, w with the second
        18 + 35,
    ),
    ("", "GRU"): (
        # 7 steps of 2 rows: 3 gates of 5 units over 4 inputs and 5 states, both directions
        [(7, 2, 4)],
        [None, ((2, 15, 4), F32), ((2, 15, 5), F32), ((2, 30), F32)],
        {"hidden_size": 5, "direction": "bidirectional"},
        (7, 2, 2, 5),
        7 * 2 * 2 * 15 * 9,
        120 + 150 + 60,
    ),
    ("", "Gemm"): (
        [(6, 5)],
        [None, ((7, 6), F32), ((7,), F32)],
        {"transA": 1, "transB": 1},
        (5, 7),
        5 * 6 * 7,
        42 + 7,
    ),
    ("", "LSTM"): (
        [(7, 2, 4)],
        [None, ((1, 20, 4), F32), ((1, 20, 5), F32), ((1, 40), F32), "", "", "", ((1, 15), F32)],
        {"hidden_size": 5},
        (7, 1, 2, 5),
        7 * 2 * 20 * 9,
        80 + 100 + 40 + 15,
    ),
    ("", "MatMul"): ([(2, 5, 6)], [None, ((6, 7), F32)], {}, (2, 5, 7), 2 * 5 * 6 * 7, 42),
    ("", "MatMulInteger"): ([(5, 6)], [None, ((6, 7), U8)], {}, (5, 7), 5 * 6 * 7, 42),
    ("", "QLinearConv"): (
        [(1, 2, 4, 4)],
        [None, SCALE, ZERO, ((3, 2, 2, 2), U8), SCALE, ZERO, SCALE, ZERO, ((3,), np.int32)],
        {},
        (1, 3, 3, 3),
        27 * 8,
        24 + 3,
    ),
    ("", "QLinearMatMul"): (
        [(5, 6)],
        [None, SCALE, ZERO, ((6, 7), U8), SCALE, ZERO, SCALE, ZERO],
        {},
        (5, 7),
        5 * 6 * 7,
        42,
    ),
    ("", "RNN"): (
        [(7, 2, 4)],
        [None, ((1, 5, 4), F32), ((1, 5, 5), F32)],
        {"hidden_size": 5},
        (7, 1, 2, 5),
        7 * 2 * 5 * 9,
        20 + 25,
    ),
    (MICROSOFT, "Attention"): (
        # projections of 12 values, then 3 x 3 scores and sums over 4 values each
        [(2, 3, 8)],
        [None, ((8, 12), F32), ((12,), F32)],
        {"num_heads": 2},
        (2, 3, 4),
        2 * 3 * 8 * 12 + 2 * 3 * 3 * (4 + 4),
        96 + 12,
    ),
    (MICROSOFT, "ConvTransposeWithDynamicPads"): (
        [(1, 4, 5, 5)],
        [None, ((4, 3, 2, 2), F32)],
        {},
        (1, 3, 6, 6),
        100 * 12,
        48,
    ),
    (MICROSOFT, "DynamicQuantizeLSTM"): (
        [(7, 2, 4)],
        [None, ((1, 4, 20), I8), ((1, 5, 20), I8), ((1, 40), F32)],
        {"hidden_size": 5},
        (7, 1, 2, 5),
        7 * 2 * 20 * 9,
        80 + 100 + 40,
    ),
    (MICROSOFT, "DynamicQuantizeMatMul"): (
        [(5, 6)],
        [None, ((6, 7), U8), SCALE, ZERO, ((7,), F32)],
        {},
        (5, 7),
        5 * 6 * 7,
        42 + 7,
    ),
    (MICROSOFT, "FusedConv"): (
        [(1, 4, 8, 8)],
        [None, ((4, 4, 3, 3), F32), ((4,), F32)],
        {"activation": "Relu"},
        (1, 4, 6, 6),
        4 * 36 * 36,
        144 + 4,
    ),
    (MICROSOFT, "FusedGemm"): (
        [(5, 6)],
        [None, ((6, 7), F32), ((7,), F32)],
        {"activation": "Relu"},
        (5, 7),
        5 * 6 * 7,
        42 + 7,
    ),
    (MICROSOFT, "FusedMatMul"): (
        [(6, 2, 5)],
        [None, ((2, 6, 7), F32)],
        {"transA": 1, "transBatchA": 1},
        (2, 5, 7),
        2 * 5 * 6 * 7,
        84,
    ),
    (MICROSOFT, "MatMulBnb4"): (
        [(5, 32)],
        [None, ((16 * 7,), U8), ((14,), F32)],
        {"K": 32, "N": 7, "block_size": 16, "quant_type": 1},
        (5, 7),
        5 * 32 * 7,
        32 * 7,
    ),
    (MICROSOFT, "MatMulInteger16"): (
        [(5, 6)],
        [None, ((6, 7), np.int16)],
        {},
        (5, 7),
        5 * 6 * 7,
        42,
    ),
    (MICROSOFT, "MatMulIntegerToFloat"): (
        [(5, 6)],
        [None, ((6, 7), U8), SCALE, SCALE, ZERO, ZERO, ((7,), F32)],
        {},
        (5, 7),
        5 * 6 * 7,
        42 + 7,
    ),
    (MICROSOFT, "MatMulNBits"): (
        # 7 columns of 32 weights in 2 blocks of 16, two weights a byte
        [(5, 32)],
        [None, ((7, 2, 8), U8), ((14,), F32)],
        {"K": 32, "N": 7, "bits": 4, "block_size": 16},
        (5, 7),
        5 * 32 * 7,
        32 * 7,
    ),
    (MICROSOFT, "MultiHeadAttention"): (
        [(2, 3, 8), (2, 5, 8), (2, 5, 6)],
        [None, None, None, ((22,), F32)],
        {"num_heads": 2},
        (2, 3, 6),
        2 * 3 * 5 * (8 + 6),
        22,
    ),
    (MICROSOFT, "QAttention"): (
        [(2, 3, 8)],
        [None, ((8, 12), I8), ((12,), F32), SCALE, SCALE, "", ZERO, ZERO_I8],
        {"num_heads": 2},
        (2, 3, 4),
        2 * 3 * 8 * 12 + 2 * 3 * 3 * 8,
        96 + 12,
    ),
    (MICROSOFT, "QGemm"): (
        [(5, 6)],
        [None, SCALE, ZERO, ((6, 7), U8), SCALE, ZERO, ((7,), np.int32), SCALE, ZERO],
        {},
        (5, 7),
        5 * 6 * 7,
        42 + 7,
    ),
    (MICROSOFT, "QLinearConv"): (
        [(1, 4, 4, 2)],
        [None, SCALE, ZERO, ((3, 2, 2, 2), U8), SCALE, ZERO, SCALE, ZERO],
        {"channels_last": 1},
        (1, 3, 3, 3),
        27 * 8,
        24,
    ),
    (MICROSOFT, "TransposeMatMul"): (
        [(2, 6, 5)],
        [None, ((6, 7), F32)],
        {"transA": 1},
        (2, 5, 7),
        2 * 5 * 6 * 7,
        42,
    ),
    (ML, "LinearClassifier"): (
        [(4, 3)],
        [None],
        {"coefficients": [0.1] * 6, "intercepts": [0.0, 0.0]},
        (4,),
        4 * 6,
        6 + 2,
    ),
    (ML, "LinearRegressor"): ([(4, 3)], [None], {"coefficients": [0.1] * 3}, (4, 1), 12, 3),
}


def graph_of(key: tuple[str, str]) -> tuple[Any, dict[str, Any]]:
    """The model of one case, and the shapes of its inputs."""
    inputs, given, attributes, *_ = CASES[key]
    shapes = {f"x{place}": shape for place, shape in enumerate(inputs)}
    free, names, stored = iter(shapes), list[str](), list[Any]()
    for place, each in enumerate(given):
        if each is None or isinstance(each, str):
            names.append(next(free) if each is None else "")
            continue
        array = each if isinstance(each, np.ndarray) else np.ones(each[0], each[1])
        names.append(f"w{place}")
        stored.append(numpy_helper.from_array(np.asarray(array), names[-1]))
    node = helper.make_node(key[1], names, ["y"], domain=key[0], **attributes)
    quantised = any(tensor.data_type == 2 for tensor in stored) and key[1] != "MatMulNBits"
    element = 2 if quantised else 1
    return model_of([node], shapes, stored, element), shapes


def model_of(nodes: list[Any], shapes: dict[str, Any], stored: list[Any], element: int = 1) -> Any:
    given = [helper.make_tensor_value_info(name, element, s) for name, s in shapes.items()]
    result = [helper.make_empty_tensor_value_info("y")]
    graph = helper.make_graph(nodes, "g", given, result, stored)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(MICROSOFT, 1)]
    opsets.append(helper.make_opsetid(ML, 3))
    return helper.make_model(graph, opset_imports=opsets)


def test_every_operator_in_the_table_has_a_case() -> None:
    assert CASES.keys() == MACS.keys()
    assert not FREE & MACS.keys()


@pytest.mark.parametrize("key", CASES, ids=lambda key: ".".join(filter(None, key)))
def test_counts_by_hand(key: tuple[str, str]) -> None:
    model, shapes = graph_of(key)
    *_, out, macs, params = CASES[key]
    found = count_macs(model, shapes, lambda names: {"y": out} if "y" in names else {})
    assert (found.total, found.lacking) == (macs, "")
    assert not found.observed or key[0] == MICROSOFT  # onnx infers no shapes there
    counted = count_params(model)
    assert (counted.total, counted.lacking) == (params, "")


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("ij,jk", [(2, 3), (3, 4)], 24),
        ("...ij,...jk->...ik", [(5, 1, 2, 3), (6, 3, 4)], 5 * 6 * 24),
        ("ij->i", [(2, 3)], 0),
        ("i,i->", [(7,), (7,)], 7),
        ("bii,bj->bj", [(2, 3, 3), (2, 4)], 2 * 3 * 4),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]], macs: int) -> None:
    names = [f"x{place}" for place in range(len(shapes))]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    pairs = dict(zip(names, shapes, strict=True))
    assert count_macs(model_of([node], pairs, []), pairs).total == macs
