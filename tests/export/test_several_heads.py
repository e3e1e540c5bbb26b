"""Networks with several heads: every output is exported, cut, timed and compared."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgeprune.deploy.table.assemble import assemble
from edgeprune.errors import PromiseError
from edgeprune.export.exporter import parity, parity_samples, to_onnx
from edgeprune.export.slim_export import slim_export
from edgeprune.prune.models.outputs import tensors
from edgeprune.prune.slimming.proof import proven
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.space.plan import PruningPlan
from edgeprune.prune.tracing.trace import Trace
from tests.models import draw_plan, lively
from tests.several_heads import Heads

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
HOWS = ["dict", "tuple", "nested"]


def answers(model: onnx.ModelProto | bytes, image: Tensor) -> list[np.ndarray]:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content)
    found: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    return found


def heads(how: str) -> tuple[nn.Module, Trace]:
    torch.manual_seed(0)
    model = lively(Heads(how)).eval()
    return model, proven(model, IMAGES[:1])


def without_branch(traced: Trace) -> PruningPlan:
    gone = {group for block in traced.blocks for group in block.groups}
    kept = {
        group.name: () if place in gone else tuple(range(0, group.width, 3))
        for place, group in enumerate(traced.groups)
    }
    return PruningPlan(model="heads", kept=kept)


@pytest.mark.parametrize("how", HOWS)
def test_a_cut_network_gives_every_output_in_order(how: str) -> None:
    model, traced = heads(how)
    assert len(traced.blocks) == 1
    assert not traced.unfollowed
    export = slim_export(traced)
    assert export.opened is not None, export.reason
    for plan in (draw_plan(traced, 1), without_branch(traced)):
        thin = slim(traced, plan)
        with torch.inference_mode():
            expected = tensors(thin(IMAGES[:1]))
        found = answers(export(thin), IMAGES[:1])
        assert len(found) == len(expected) == 2
        for ours, theirs in zip(found, expected, strict=True):
            assert ours == pytest.approx(theirs.numpy(), abs=1e-4)
    named = [output.name for output in export(model).graph.output]
    assert named == [output.name for output in to_onnx(model, (1, 3, 8, 8)).graph.output]


def test_what_is_timed_computes_every_head() -> None:
    _, traced = heads("dict")
    network = slim_export(traced).network()
    kinds = [op.kind for block in network.blocks for op in block.ops]
    assert sum(block.answers != () for block in network.blocks) == 1
    timed = onnx.ModelProto.FromString(assemble(network.at(network.full)))
    made = [node.op_type for node in timed.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(made) == kinds.count("Conv") + kinds.count("Gemm") == 6
    assert answers(timed.SerializeToString(), IMAGES[:1])[0].shape == (1, 2)


def test_two_outputs_that_become_one_tensor_are_both_given() -> None:
    """Without the branch both are what the stem makes."""

    class Both(Heads):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.stem(x).relu()
            return self.linear((x + self.inner(x).relu()).mean((2, 3))), x

    torch.manual_seed(0)
    model = lively(Both()).eval()
    traced = proven(model, IMAGES[:1])
    export = slim_export(traced)
    with torch.inference_mode():
        expected = [tensor.numpy() for tensor in tensors(model(IMAGES[:1]))]
    for ours, theirs in zip(answers(export(model), IMAGES[:1]), expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_parity_covers_every_output() -> None:
    model, _ = heads("dict")
    proto = to_onnx(model, (1, 3, 8, 8))
    report = parity(model, proto.SerializeToString(), IMAGES)
    assert (report.passed, report.images) == (True, 3)
    bias = next(one for one in proto.graph.initializer if one.name == "maps.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1, bias.name))
    with pytest.raises(PromiseError, match="first at layer maps"):
        parity(model, proto.SerializeToString(), IMAGES)


def test_samples_hold_every_logit_and_thin_out_maps() -> None:
    model, _ = heads("nested")
    pixels = np.zeros((2, 3, 40, 40), np.uint8)
    found = parity_samples(model, pixels, (80, 80), (0.5,) * 3, (0.5,) * 3)
    # 2 logits and 1024 of the 3 * 40 * 40 values of the map
    assert {len(row) for row in found.logits} == {1024 + 2}
