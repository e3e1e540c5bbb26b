"""Where ONNX operators take learned weights among their inputs."""

from edgeprune.deploy.artifact.counting.operators import MICROSOFT, Key

# Where an operator's learned weights stand among its inputs. A product takes them on either side.
PRODUCTS: dict[Key, tuple[int, ...]] = {
    ("", "Einsum"): (0, 1, 2, 3),
    ("", "Gemm"): (0, 1),
    ("", "MatMul"): (0, 1),
    ("", "MatMulInteger"): (0, 1),
    ("", "QLinearMatMul"): (0, 3),
    (MICROSOFT, "DynamicQuantizeMatMul"): (0, 1),
    (MICROSOFT, "FusedGemm"): (0, 1),
    (MICROSOFT, "FusedMatMul"): (0, 1),
    (MICROSOFT, "MatMulInteger16"): (0, 1),
    (MICROSOFT, "MatMulIntegerToFloat"): (0, 1),
    (MICROSOFT, "QGemm"): (0, 3),
    (MICROSOFT, "TransposeMatMul"): (0, 1),
}
PACKED = frozenset({(MICROSOFT, "MatMulNBits"), (MICROSOFT, "MatMulBnb4")})
# These have learned weights always: one that is computed is not counted, and said.
WEIGHTS: dict[Key, tuple[int, ...]] = {
    ("", "Conv"): (1,),
    ("", "ConvInteger"): (1,),
    ("", "ConvTranspose"): (1,),
    ("", "DeformConv"): (1,),
    ("", "GRU"): (1, 2),
    ("", "LSTM"): (1, 2),
    ("", "QLinearConv"): (3,),
    ("", "RNN"): (1, 2),
    (MICROSOFT, "Attention"): (1,),
    (MICROSOFT, "ConvTransposeWithDynamicPads"): (1,),
    (MICROSOFT, "DynamicQuantizeLSTM"): (1, 2),
    (MICROSOFT, "FusedConv"): (1,),
    (MICROSOFT, "MatMulBnb4"): (1,),
    (MICROSOFT, "MatMulNBits"): (1,),
    (MICROSOFT, "QAttention"): (1,),
    (MICROSOFT, "QLinearConv"): (3,),
}
# Biases, scales and tables: learned where they are stored, and nothing where they are computed.
STORED: dict[Key, tuple[int, ...]] = {
    ("", "BatchNormalization"): (1, 2),
    ("", "Conv"): (2,),
    ("", "ConvTranspose"): (2,),
    ("", "DeformConv"): (3,),
    ("", "GRU"): (3,),
    ("", "Gather"): (0,),
    ("", "Gemm"): (2,),
    ("", "GroupNormalization"): (1, 2),
    ("", "InstanceNormalization"): (1, 2),
    ("", "LSTM"): (3, 7),
    ("", "LayerNormalization"): (1, 2),
    ("", "PRelu"): (1,),
    ("", "QLinearConv"): (8,),
    ("", "RMSNormalization"): (1,),
    ("", "RNN"): (3,),
    ("", "SimplifiedLayerNormalization"): (1,),
    (MICROSOFT, "Attention"): (2,),
    (MICROSOFT, "BiasAdd"): (1,),
    (MICROSOFT, "BiasGelu"): (1,),
    (MICROSOFT, "BiasSplitGelu"): (1,),
    (MICROSOFT, "ConvTransposeWithDynamicPads"): (3,),
    (MICROSOFT, "DynamicQuantizeLSTM"): (3, 7),
    (MICROSOFT, "DynamicQuantizeMatMul"): (4,),
    (MICROSOFT, "EmbedLayerNormalization"): (2, 3, 4, 5, 6),
    (MICROSOFT, "FastGelu"): (1,),
    (MICROSOFT, "FusedConv"): (2,),
    (MICROSOFT, "FusedGemm"): (2,),
    (MICROSOFT, "GroupNorm"): (1, 2),
    (MICROSOFT, "MatMulIntegerToFloat"): (6,),
    (MICROSOFT, "MatMulNBits"): (5,),
    (MICROSOFT, "MultiHeadAttention"): (3,),
    (MICROSOFT, "QAttention"): (2,),
    (MICROSOFT, "QGemm"): (6,),
    (MICROSOFT, "QLinearConv"): (8,),
    (MICROSOFT, "SkipGroupNorm"): (1, 2, 4),
    (MICROSOFT, "SkipLayerNormalization"): (2, 3, 4),
    (MICROSOFT, "SkipSimplifiedLayerNormalization"): (2, 3),
}
# What changes a stored tensor's form and not its values; of one that is cut, all counts, once.
_FORMS = "Cast Flatten Identity Reshape Slice Split Squeeze Transpose Unsqueeze"
MOVES: frozenset[Key] = frozenset(
    {("", op) for op in (*_FORMS.split(), "QuantizeLinear", "DequantizeLinear")}
    | {(MICROSOFT, "QuantizeLinear"), (MICROSOFT, "DequantizeLinear")}
)
