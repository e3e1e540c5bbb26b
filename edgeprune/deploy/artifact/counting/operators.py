"""Multiply-accumulates of each ONNX operator that has any, and the operators that have none.

A bias, an activation and a quantisation step are no multiply-accumulates, nor is what the field
does not count: element-wise operators, pooling, normalisation, resizing, sums, movement of data.
What is in neither list is not known, and never counts as nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Shape = tuple[int, ...]
Key = tuple[str, str]  # domain and operator; the default domain is ""
MICROSOFT = "com.microsoft"
ML = "ai.onnx.ml"


class UnknownShapeError(Exception):
    """A shape that a formula needs is not known, or not one that it can take."""


@dataclass(frozen=True)
class Call:
    """One node and the shapes around it.

    Attributes:
        node: The ``onnx.NodeProto``.
        shapes: Shapes by the name of the tensor, where they are known.
    """

    node: Any
    shapes: Callable[[str], Shape | None]

    def data(self, place: int) -> Shape:
        """Shape of an input."""
        return self._known(self.node.input, place)

    def out(self) -> Shape:
        """Shape of the first output."""
        return self._known(self.node.output, 0)

    def has(self, place: int) -> bool:
        """Whether an optional input is given."""
        return place < len(self.node.input) and bool(self.node.input[place])

    def number(self, name: str, otherwise: int = 0) -> int:
        """An integer attribute."""
        return next((int(a.i) for a in self.node.attribute if a.name == name), otherwise)

    def _known(self, names: Sequence[str], place: int) -> Shape:
        shape = self.shapes(names[place]) if place < len(names) else None
        if shape is None:
            raise UnknownShapeError
        return shape


def _convolution(weight: int) -> Callable[[Call], int]:
    # A weight is (out, in / groups, *kernel): each output element sums over the rest of it.
    return lambda call: math.prod(call.out()) * math.prod(call.data(weight)[1:])


def _transposed(call: Call) -> int:
    # A weight is (in, out / groups, *kernel): each input element is spread over the rest of it.
    return math.prod(call.data(0)) * math.prod(call.data(1)[1:])


def _product(call: Call) -> int:
    left, axis = call.data(0), -1
    if call.number("transA"):
        # transBatchA first moves axis 0 behind the others but the last.
        axis = 0 if call.number("transBatchA") else -2
    macs: int = math.prod(call.out()) * left[axis]
    return macs


def _packed_product(call: Call) -> int:
    return math.prod(call.out()) * call.number("K")


def _recurrent(call: Call) -> int:
    # X is (steps, batch, inputs), or (batch, steps, inputs); W and R are used once a step.
    weights = math.prod(call.data(1)) + math.prod(call.data(2))
    return math.prod(call.data(0)[:2]) * weights


def _attention(call: Call) -> int:
    """Standard attention, causal masks counted in full: queries by keys, then by values."""
    query, key, value = call.data(0), call.data(1), call.data(2)
    if len(query) == 4:  # (batch, heads, length, width)
        batch, heads, length, width = query
        keys, wide = key[2], value[3]
    else:  # (batch, length, heads * width)
        batch, length, hidden = query
        heads, kv_heads = call.number("q_num_heads"), call.number("kv_num_heads")
        if not heads or not kv_heads:
            raise UnknownShapeError
        width, keys, wide = hidden // heads, key[1], value[2] // kv_heads
    keys += call.data(4)[2] if call.has(4) else 0  # of the past
    return batch * heads * length * keys * (width + wide)


def _multi_head(call: Call) -> int:
    """Attention on three separate projections, (batch, length, hidden) each."""
    if not (call.has(1) and call.has(2)) or any(map(call.has, range(6, len(call.node.input)))):
        raise UnknownShapeError  # packed, or with a past
    query, key, value = call.data(0), call.data(1), call.data(2)
    if not len(query) == len(key) == len(value) == 3:
        raise UnknownShapeError
    return math.prod(query[:2]) * key[1] * (query[2] + value[2])


def _projected_attention(past: int) -> Callable[[Call], int]:
    """Attention that makes query, key and value itself, with one weight (inputs, 3 * hidden)."""

    def macs(call: Call) -> int:
        batch, length, _ = call.data(0)
        weight = call.data(1)
        sizes = next(
            (list(a.ints) for a in call.node.attribute if a.name == "qkv_hidden_sizes"), []
        )
        query, _, value = map(int, sizes or [weight[1] // 3] * 3)
        keys = length + (call.data(past)[3] if call.has(past) else 0)
        return batch * length * (math.prod(weight) + keys * (query + value))

    return macs


def _einsum(call: Call) -> int:
    """Operands joined from the left, as onnxruntime does: every join runs over all its labels.

    A single operand is only moved and summed.
    """
    equation = next((a.s.decode() for a in call.node.attribute if a.name == "equation"), "")
    left, arrow, right = equation.replace(" ", "").partition("->")
    shapes = [call.data(place) for place in range(len(call.node.input))]
    terms = [_labels(term, len(s)) for term, s in zip(left.split(","), shapes, strict=True)]
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))  # 1 is broadcast
    every = [label for term in terms for label in term]
    kept = {label for label in every if label.startswith(".") and (not arrow or "..." in right)}
    kept |= set(right) if arrow else {label for label in every if every.count(label) == 1}
    total, joined = 0, set(terms[0])
    for place, (_, term) in enumerate(pairwise(terms), 1):
        joined |= set(term)
        total += math.prod(sizes[label] for label in joined)
        later = {label for rest in terms[place + 1 :] for label in rest}
        joined &= kept | later
    return total


def _labels(term: str, rank: int) -> list[str]:
    """Labels of one operand; those of an ellipsis are counted from its end, as in broadcasting."""
    before, dots, after = term.partition("...")
    free = rank - len(before) - len(after)
    if free < 0 or (free and not dots):
        raise UnknownShapeError
    return [*before, *(f".{place}" for place in range(free, 0, -1)), *after]


def _grid(call: Call) -> int:
    # theta is (N, 2, 3) or (N, 3, 4): every coordinate of the grid is a product with a row of it.
    return math.prod(call.out()) * call.data(0)[-1]


def _linear(call: Call) -> int:
    stored = next((len(a.floats) for a in call.node.attribute if a.name == "coefficients"), 0)
    rows = call.data(0)[:-1]  # (N, features), or one row alone
    return math.prod(rows) * stored


MACS: dict[Key, Callable[[Call], int]] = {
    ("", "AffineGrid"): _grid,
    ("", "Attention"): _attention,
    ("", "Conv"): _convolution(1),
    ("", "ConvInteger"): _convolution(1),
    ("", "ConvTranspose"): _transposed,
    ("", "DeformConv"): _convolution(1),
    ("", "Einsum"): _einsum,
    ("", "GRU"): _recurrent,
    ("", "Gemm"): _product,
    ("", "LSTM"): _recurrent,
    ("", "MatMul"): _product,
    ("", "MatMulInteger"): _product,
    ("", "QLinearConv"): _convolution(3),
    ("", "QLinearMatMul"): _product,
    ("", "RNN"): _recurrent,
    (MICROSOFT, "Attention"): _projected_attention(4),
    (MICROSOFT, "ConvTransposeWithDynamicPads"): _transposed,
    (MICROSOFT, "DynamicQuantizeLSTM"): _recurrent,
    (MICROSOFT, "DynamicQuantizeMatMul"): _product,
    (MICROSOFT, "FusedConv"): _convolution(1),
    (MICROSOFT, "FusedGemm"): _product,
    (MICROSOFT, "FusedMatMul"): _product,
    (MICROSOFT, "MatMulBnb4"): _packed_product,
    (MICROSOFT, "MatMulInteger16"): _product,
    (MICROSOFT, "MatMulIntegerToFloat"): _product,
    (MICROSOFT, "MatMulNBits"): _packed_product,
    (MICROSOFT, "MultiHeadAttention"): _multi_head,
    (MICROSOFT, "QAttention"): _projected_attention(8),
    (MICROSOFT, "QGemm"): _product,
    (MICROSOFT, "QLinearConv"): _convolution(3),
    (MICROSOFT, "TransposeMatMul"): _product,
    (ML, "LinearClassifier"): _linear,
    (ML, "LinearRegressor"): _linear,
}

_FREE = {
    "": """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool
        BatchNormalization Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr
        BitwiseXor BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Clip Col2Im Compress
        Concat ConcatFromSequence Constant ConstantOfShape Cos Cosh CumProd CumSum
        DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Elu Equal Erf Exp
        Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu GlobalAveragePool
        GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization
        HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity ImageDecoder
        InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual
        Log LogSoftmax LpNormalization LpPool Max MaxPool MaxRoiPool MaxUnpool Mean
        MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul Multinomial Neg
        NegativeLogLikelihoodLoss
        NonMaxSuppression NonZero Not OneHot Optional OptionalGetElement OptionalHasElement
        Or PRelu Pad Pow QuantizeLinear RMSNormalization RandomNormal RandomNormalLike
        RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
        ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
        RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round
        Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty
        SequenceErase SequenceInsert SequenceLength Shape Shrink Sigmoid Sign
        SimplifiedLayerNormalization Sin Sinh Size Slice Softmax SoftmaxCrossEntropyLoss
        Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze StringConcat
        StringNormalizer StringSplit Sub Sum SwiGLU Swish Tan Tanh TensorScatter
        TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample
        Where Xor""",
    ML: """
        ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer
        FeatureVectorizer Imputer LabelEncoder Normalizer OneHotEncoder Scaler ZipMap""",
    MICROSOFT: """
        BiasAdd BiasGelu BiasSoftmax BiasSplitGelu CropAndResize DequantizeLinear
        EmbedLayerNormalization ExpandDims FastGelu GatherND Gelu GridSample GroupNorm
        IsAllFinite MaxpoolWithMask MulInteger NhwcMaxPool Pad QLinearAdd QLinearAveragePool
        QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean
        QLinearSigmoid QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu Range
        ReduceSumInteger RotaryEmbedding SkipGroupNorm SkipLayerNormalization
        SkipSimplifiedLayerNormalization Trilu UnfoldTensor Unique""",
}
FREE: frozenset[Key] = frozenset((d, op) for d, text in _FREE.items() for op in text.split())
