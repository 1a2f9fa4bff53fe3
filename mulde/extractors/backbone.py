"""Appearance of a box by a torchvision network without its classifier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from mulde.extractors.known_networks import KnownNetwork, NetworkKind, torchvision_network
from mulde.extractors.spec import ExtractorSpec, Shared
from mulde.section import PathText, Section, Text

if TYPE_CHECKING:
    from mulde.extractors.crops import CropEmbedding

_IMAGE_DIMS = {
    "alexnet": 4096,
    "convnext_base": 1024, "convnext_large": 1536, "convnext_small": 768, "convnext_tiny": 768,
    "densenet121": 1024, "densenet161": 2208, "densenet169": 1664, "densenet201": 1920,
    "efficientnet_b0": 1280, "efficientnet_b1": 1280, "efficientnet_b2": 1408, "efficientnet_b3": 1536,
    "efficientnet_b4": 1792, "efficientnet_b5": 2048, "efficientnet_b6": 2304, "efficientnet_b7": 2560,
    "efficientnet_v2_l": 1280, "efficientnet_v2_m": 1280, "efficientnet_v2_s": 1280,
    "maxvit_t": 512,
    "mnasnet0_5": 1280, "mnasnet0_75": 1280, "mnasnet1_0": 1280, "mnasnet1_3": 1280,
    "mobilenet_v2": 1280, "mobilenet_v3_large": 1280, "mobilenet_v3_small": 1024,
    "regnet_x_16gf": 2048, "regnet_x_1_6gf": 912, "regnet_x_32gf": 2520, "regnet_x_3_2gf": 1008,
    "regnet_x_400mf": 400, "regnet_x_800mf": 672, "regnet_x_8gf": 1920,
    "regnet_y_128gf": 7392, "regnet_y_16gf": 3024, "regnet_y_1_6gf": 888, "regnet_y_32gf": 3712,
    "regnet_y_3_2gf": 1512, "regnet_y_400mf": 440, "regnet_y_800mf": 784, "regnet_y_8gf": 2016,
    "resnet101": 2048, "resnet152": 2048, "resnet18": 512, "resnet34": 512, "resnet50": 2048,
    "resnext101_32x8d": 2048, "resnext101_64x4d": 2048, "resnext50_32x4d": 2048,
    "shufflenet_v2_x0_5": 1024, "shufflenet_v2_x1_0": 1024, "shufflenet_v2_x1_5": 1024, "shufflenet_v2_x2_0": 2048,
    "swin_b": 1024, "swin_s": 768, "swin_t": 768, "swin_v2_b": 1024, "swin_v2_s": 768, "swin_v2_t": 768,
    "vgg11": 4096, "vgg11_bn": 4096, "vgg13": 4096, "vgg13_bn": 4096,
    "vgg16": 4096, "vgg16_bn": 4096, "vgg19": 4096, "vgg19_bn": 4096,
    "vit_b_16": 768, "vit_b_32": 768, "vit_h_14": 1280, "vit_l_16": 1024, "vit_l_32": 1024,
    "wide_resnet101_2": 2048, "wide_resnet50_2": 2048,
}  # fmt: skip


class BackboneSettings(Section):
    model: Text = Field("mobilenet_v2", min_length=1, description="torchvision classification model")
    weights: PathText = Field(
        "DEFAULT",
        min_length=1,
        description="torchvision weights tag, or path of a state dict or of an exported network",
    )


def backbone_appearance(
    model: str = "mobilenet_v2",
    weights: str = "DEFAULT",
    *,
    device: str = "cpu",
    precision: str = "float32",
    batch_size: int = 64,
) -> CropEmbedding:
    """What goes into the last layer of a torchvision classification network, per box (1280 numbers for mobilenet_v2).

    `weights` is a torchvision tag (as `DEFAULT`), downloaded once, or a local state dict (.safetensors, .pth) of the
    whole network or of its `features` part, or a network exported to ONNX or OpenVINO, which sees what `model` would
    see and whose output is the row. Raises, at the first box, UsageError for an unknown model or tag or a
    file that does not fit, MuldeError for a failed download.
    """
    from torchvision import models

    from mulde.extractors.crops import CropEmbedding
    from mulde.extractors.pretrained import load_torchvision

    return CropEmbedding(
        "backbone",
        model,
        weights,
        lambda: load_torchvision(models, model, weights, device),
        device=device,
        precision=precision,
        batch_size=batch_size,
    )


def _build(settings: BackboneSettings, shared: Shared) -> CropEmbedding:
    options = shared.network_options
    if shared.precision == "auto":  # bfloat16 changes MobileNetV2's numbers by a seventh
        options = {**options, "precision": "float32"}
    return backbone_appearance(settings.model, settings.weights, **options)


def _known() -> Iterator[KnownNetwork]:
    for name, dim in _IMAGE_DIMS.items():
        yield from torchvision_network("image", name, "features.backbone.model", dim)


BACKBONE = ExtractorSpec(
    name="backbone",
    object_centric=True,
    settings=BackboneSettings,
    build=_build,
    networks=NetworkKind("image", _known),
)
