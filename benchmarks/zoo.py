"""Networks of timm, one or two a family: how much of each lies inside channel groups, and why not.

    python benchmarks/zoo.py              # the table of channels.md, about 15 minutes
    python benchmarks/zoo.py NAME ...     # only these networks

Printed for each network, at random weights in float64: the share of its convolution and linear
weights that a channel group can remove, the difference of the slim networks from the masked dense
one (relative; everything kept, and random plans with dropped branches), and what stayed whole.
The status is 1 when a network crashed or answered otherwise.
"""

import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

from edgeprune.arrays import Bools
from edgeprune.prune.models.zoo import ModelSpec, build
from edgeprune.prune.slimming.proof import carried
from edgeprune.prune.slimming.slim import slim
from edgeprune.prune.tracing.trace import Trace, trace

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.models import draw_plan, lively, whole

EXACT = 1e-10
"""Largest relative difference in float64 that rounding explains."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "ByoaNet (BoTNet, HaloNet, LambdaNet)": ("botnet26t_256", "lambda_resnet26t"),
    "ByobNet (GENet, RepVGG, MobileOne)": ("gernet_s", "repvgg_a0", "mobileone_s0"),
    "CoAtNet": ("coatnet_nano_rw_224",),
    "ConvFormer, PoolFormer": ("poolformer_s12", "poolformerv2_s12"),
    "ConvNeXt": ("convnext_atto", "convnextv2_atto"),
    "CSPNet, DarkNet": ("cspresnet50", "darknet17", "cs3darknet_s"),
    "DenseNet": ("densenet121",),
    "DLA": ("dla46_c",),
    "DPN": ("dpn48b",),
    "EdgeNeXt": ("edgenext_xx_small",),
    "EfficientFormer": ("efficientformer_l1",),
    "EfficientNet": ("efficientnet_b0", "tf_efficientnet_lite0"),
    "EfficientNet V2": ("tf_efficientnetv2_b0",),
    "EfficientViT (MIT)": ("efficientvit_b0",),
    "EfficientViT (MSRA)": ("efficientvit_m0",),
    "FastViT": ("fastvit_t8",),
    "FBNet, HardCoRe-NAS, MNASNet": ("fbnetc_100", "hardcorenas_a", "mnasnet_small"),
    "FocalNet": ("focalnet_tiny_srf",),
    "GhostNet": ("ghostnet_050", "ghostnetv2_100", "repghostnet_050"),
    "HGNet": ("hgnet_tiny", "hgnetv2_b0"),
    "HRNet": ("hrnet_w18_small",),
    "Inception": ("inception_v3",),
    "Inception-ResNet": ("inception_resnet_v2",),
    "InceptionNeXt": ("inception_next_atto",),
    "LCNet, TinyNet": ("lcnet_050", "tinynet_e"),
    "LeViT": ("levit_128s", "levit_conv_128s"),
    "MixNet": ("mixnet_s", "tf_mixnet_s"),
    "MobileNet V2, V3, V4": (
        "mobilenetv2_050",
        "mobilenetv3_small_100",
        "mobilenetv4_conv_small_035",
    ),
    "MobileViT": ("mobilevit_xxs", "mobilevitv2_050"),
    "NFNet": ("nf_resnet26", "nf_regnet_b0", "eca_nfnet_l0"),
    "RDNet": ("rdnet_tiny",),
    "RegNet": ("regnetx_002", "regnety_002"),
    "RepViT": ("repvit_m0_9",),
    "Res2Net": ("res2net50_26w_4s",),
    "ResNeSt": ("resnest14d",),
    "ResNet": ("resnet10t", "seresnet33ts", "ecaresnet26t", "resnetblur50"),
    "ResNet V2, BiT": ("resnetv2_50", "resnetv2_50x1_bit"),
    "SelecSLS": ("selecsls42",),
    "SKNet": ("skresnet18",),
    "StarNet": ("starnet_s050",),
    "TResNet": ("tresnet_m",),
    "VGG": ("vgg11", "vgg11_bn"),
    "Visformer": ("visformer_tiny",),
    "VoVNet": ("vovnet39a", "ese_vovnet19b_slim"),
    "Xception": ("xception41", "legacy_xception"),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network of the table.

    Attributes:
        name: As timm calls it.
        inside: Share of convolution and linear weights that some group can remove.
        error: Largest relative difference of a slim network from the masked one.
        reasons: What stayed whole and why, with the number of places.
    """

    name: str
    inside: float
    error: float
    reasons: dict[str, int]


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network in evaluation mode, float64, and two images of 64 pixels, or of its own size."""
    model: nn.Module = lively(build(ModelSpec(f"timm/{name}"))).eval().double()
    config: dict[str, object] = getattr(model, "default_cfg", {})
    own: object = config.get("input_size", (3, 224, 224))
    generator = torch.Generator().manual_seed(1)
    for shape in ((2, 3, 64, 64), (2, *own)):  # type: ignore[misc]
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        try:
            with torch.no_grad():
                model(x)
        except (AssertionError, RuntimeError, ValueError):
            continue  # made for one image size, or too small for its strides
        return model, x
    raise RuntimeError(f"{name} takes no image of its own size")


def inside(traced: Trace) -> float:
    """Share of the elements of convolution and linear weights on a channel that may go."""
    total = free = 0.0
    for name, layer in traced.graph.named_modules():
        if isinstance(layer, (_ConvNd, nn.Linear)):
            rows, columns = (_prunable(traced, f"{name}.weight", axis) for axis in (0, 1))
            count = layer.weight.numel()
            total += count
            if rows is not None or columns is not None:
                none = np.zeros(1, np.bool_)
                left, right = (none if m is None else m for m in (rows, columns))
                free += count * float((left[:, None] | right[None, :]).mean())
    return free / total if total else 0.0


def _prunable(traced: Trace, name: str, axis: int) -> Bools | None:
    layout = traced.tensors.get((name, axis))
    return None if layout is None else layout.group >= 0


def judged(name: str, plans: int = 2) -> Row:
    """Trace a network and compare slim networks with the masked one."""
    model, x = network(name)
    traced = trace(model, x)
    with torch.no_grad():
        errors = [_difference(slim(traced, whole(traced))(x), model(x))]
        for seed in range(plans):
            plan = draw_plan(traced, seed)
            thin = slim(traced, plan, fold_constants=False)
            errors.append(_difference(thin(x), carried(traced, plan, x)))
    reasons = Counter(place.reason for place in traced.unfollowed)
    return Row(name=name, inside=inside(traced), error=max(errors), reasons=dict(reasons))


def _difference(found: object, expected: object) -> float:
    """The largest relative difference of any tensor."""
    pairs = zip(tree_leaves(found), tree_leaves(expected), strict=True)
    return max(float((a - b).norm() / b.norm().clamp_min(1e-300)) for a, b in pairs)


def main(names: list[str]) -> int:
    """Print the table; 1 where a network crashed or answered otherwise."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    right, many, families = True, 0, 0
    print("| family | network | inside | difference | what stayed whole |\n|---|---|---|---|---|")
    for family, members in FAMILIES.items():
        rows = [judged(member) for member in members if not names or member in names]
        families += bool(rows)
        many += bool(rows) and max(row.inside for row in rows) >= 0.8
        for row in rows:
            right &= row.error < EXACT
            whole_parts = "; ".join(f"{r} ({n})" for r, n in row.reasons.items()) or "nothing"
            cells = row.name, f"{row.inside:.0%}", f"{row.error:.0e}", whole_parts
            print(f"| {family} | {' | '.join(cells)} |", flush=True)
    print(f"\n{many} of {families} families have a network with at least 80 % inside.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
