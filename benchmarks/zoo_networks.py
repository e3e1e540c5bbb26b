"""The networks of benchmarks/zoo.py: one to four small ones of each family of timm."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeprune.prune.models.zoo import ModelSpec, build

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.models import lively

FAMILIES: dict[str, tuple[str, ...]] = {
    "ByoaNet (BoTNet, HaloNet, LambdaNet)": ("botnet26t_256", "lambda_resnet26t"),
    "ByobNet (GENet, RepVGG, MobileOne)": ("gernet_s", "repvgg_a0", "mobileone_s0"),
    "CoAtNet": ("coatnet_nano_rw_224",),
    "CoaT": ("coat_lite_tiny",),
    "ConvFormer, PoolFormer": ("poolformer_s12", "poolformerv2_s12"),
    "ConvMixer": ("convmixer_768_32",),
    "ConvNeXt": ("convnext_atto", "convnextv2_atto"),
    "CPUBone": ("cpubone_b0_bfrobust",),
    "CSATv2": ("csatv2",),
    "CSPNet, DarkNet": ("cspresnet50", "darknet17", "cs3darknet_s"),
    "CSPNeXt": ("cspnext_tiny",),
    "DenseNet": ("densenet121",),
    "DLA": ("dla46_c",),
    "DPN": ("dpn48b",),
    "EdgeNeXt": ("edgenext_xx_small",),
    "EfficientFormer": ("efficientformer_l1",),
    "EfficientFormer V2": ("efficientformerv2_s0",),
    "EfficientNet": ("efficientnet_b0", "tf_efficientnet_lite0"),
    "EfficientNet V2": ("tf_efficientnetv2_b0",),
    "EfficientViM": ("efficientvim_m1",),
    "EfficientViT (MIT)": ("efficientvit_b0",),
    "EfficientViT (MSRA)": ("efficientvit_m0",),
    "FasterNet": ("fasternet_t0",),
    "FastViT": ("fastvit_t8",),
    "FBNet, HardCoRe-NAS, MNASNet": ("fbnetc_100", "hardcorenas_a", "mnasnet_small"),
    "FocalNet": ("focalnet_tiny_srf",),
    "GCViT": ("gcvit_xxtiny",),
    "GhostNet": ("ghostnet_050", "ghostnetv2_100", "repghostnet_050"),
    "HGNet": ("hgnet_tiny", "hgnetv2_b0"),
    "HRNet": ("hrnet_w18_small",),
    "iFormer": ("iformer_t",),
    "Inception": ("inception_v3",),
    "Inception-ResNet": ("inception_resnet_v2",),
    "InceptionNeXt": ("inception_next_atto",),
    "LCNet, TinyNet": ("lcnet_050", "lcnetv2_small", "tinynet_e"),
    "LeViT": ("levit_128s", "levit_conv_128s"),
    "LowFormer": ("lowformer_b0",),
    "MambaOut": ("mambaout_femto",),
    "MaxViT": ("maxvit_tiny_rw_224",),
    "MixNet": ("mixnet_s", "tf_mixnet_s"),
    "MobileNet V2, V3, V4": (
        "mobilenetv2_050",
        "mobilenetv3_small_100",
        "mobilenetv4_conv_small_035",
    ),
    "MobileNet V5": ("mobilenetv5_base",),
    "MobileViT": ("mobilevit_xxs", "mobilevitv2_050"),
    "Next-ViT": ("nextvit_small",),
    "NFNet": ("nf_resnet26", "nf_regnet_b0", "eca_nfnet_l0"),
    "RDNet": ("rdnet_tiny",),
    "RegNet": ("regnetx_002", "regnety_002"),
    "RepViT": ("repvit_m0_9",),
    "Res2Net": ("res2net50_26w_4s",),
    "ResNeSt": ("resnest14d",),
    "ResNet": ("resnet10t", "seresnet33ts", "ecaresnet26t", "resnetblur50"),
    "ResNet V2, BiT": ("resnetv2_50", "resnetv2_50x1_bit"),
    "ReXNet": ("rexnet_100",),
    "SelecSLS": ("selecsls42",),
    "SENet": ("legacy_seresnet18",),
    "SHViT": ("shvit_s1",),
    "SKNet": ("skresnet18",),
    "StarNet": ("starnet_s050",),
    "SwiftFormer": ("swiftformer_xs",),
    "TinyViT": ("tiny_vit_5m_224",),
    "TResNet": ("tresnet_m",),
    "VGG": ("vgg11", "vgg11_bn"),
    "Visformer": ("visformer_tiny",),
    "VoVNet": ("vovnet39a", "ese_vovnet19b_slim"),
    "Xception": ("xception41", "legacy_xception"),
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network in evaluation mode, float64, and two images of 64 pixels, or of its own size."""
    model: nn.Module = _lively(build(ModelSpec(f"timm/{name}"))).eval().double()
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


def _lively(model: nn.Module) -> nn.Module:
    """Random numbers in place of equal ones: LayerScale of 1e-6 would hide a whole branch."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in lively(model).parameters():
            first = parameter.flatten()[0]
            if bool((parameter == first).all()):
                low = -0.5 if first == 0 and parameter.numel() > 1 else 0.5
                parameter.uniform_(low, low + 1, generator=generator)
    return model
