"""`mulde models`: which networks can be named in the settings, what they cost, and which of them are here already.

torchvision says itself what its models weigh. Numbers per row are the width of the layer before the classifier. The
download of an Ultralytics file is about 2 bytes per parameter of their tables, those of CLIP and Hiera are as their
hub lists them. Licences are of the weights; "see the project" where the publisher names none for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mulde.errors import UsageError
from mulde.extractors.yolo import weights_folder

_ASK = "see the project"
_AGPL, _NC = "AGPL-3.0 (or Ultralytics Enterprise)", "CC-BY-NC-4.0"
_OPENAI, _MIT, _APACHE = "MIT (OpenAI), Apache-2.0 (hub copy)", "MIT", "Apache-2.0"

# millions of parameters by size: n, s, m, l, x
_YOLO: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "detector": {"yolov8": (3.2, 11.2, 25.9, 43.7, 68.2), "yolo11": (2.6, 9.4, 20.1, 25.3, 56.9)},
    "pose": {"yolov8": (3.3, 11.6, 26.4, 44.4, 69.4), "yolo11": (2.9, 9.9, 20.9, 26.2, 58.8)},
}
_POSE_NUMBERS = 17 * 3  # x, y and confidence of each key point

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
_VIDEO_DIMS = {
    "mvit_v1_b": 768, "mvit_v2_s": 768, "swin3d_t": 768, "swin3d_s": 768, "swin3d_b": 1024,
    "r2plus1d_18": 512, "r3d_18": 512, "mc3_18": 512, "s3d": 1024,
}  # fmt: skip
_HIERA: Mapping[str, tuple[int, float | None]] = {  # numbers, MB
    "hiera_base_16x224": (768, None),
    "hiera_base_plus_16x224": (896, None),
    "hiera_large_16x224": (1152, 852),
    "hiera_huge_16x224": (2048, None),
}
_FLOW = ("raft_small", "raft_large")


@dataclass(frozen=True)
class KnownNetwork:
    """A network that the settings can name; `present` is where its weights lie on this machine."""

    kind: str
    name: str
    setting: str
    numbers_per_row: int | None
    download_mb: float | None
    licence: str
    present: str | None


@dataclass(frozen=True)
class _Clip:
    model: str
    weights: str
    dim: int
    size_mb: float
    licence: str
    repository: str


_CLIP = (
    _Clip("ViT-B-32", "openai", 512, 605, _OPENAI, "timm/vit_base_patch32_clip_224.openai"),
    _Clip("ViT-B-32", "laion2b_s34b_b79k", 512, 605, _MIT, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    _Clip("ViT-B-16", "openai", 512, 599, _OPENAI, "timm/vit_base_patch16_clip_224.openai"),
    _Clip("ViT-B-16", "laion2b_s34b_b88k", 512, 599, _MIT, "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"),
    _Clip("ViT-B-16", "datacomp_xl_s13b_b90k", 512, 599, _MIT, "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K"),
    _Clip("ViT-L-14", "openai", 768, 1710, _OPENAI, "timm/vit_large_patch14_clip_224.openai"),
    _Clip("ViT-L-14", "laion2b_s32b_b82k", 768, 1710, _MIT, "laion/CLIP-ViT-L-14-laion2B-s32B-b82K"),
    _Clip("ViT-H-14", "laion2b_s32b_b79k", 1024, 3940, _MIT, "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
    _Clip("ViT-B-16-SigLIP", "webli", 768, 813, _APACHE, "timm/ViT-B-16-SigLIP"),
)


def list_models(kind: str | None = None) -> list[KnownNetwork]:
    """Every model that `mulde` names, or those of one kind. Raises UsageError for an unknown kind."""
    if kind is not None and kind not in KINDS:
        raise UsageError("--kind", expected=f"one of {', '.join(KINDS)}", got=kind)
    return [model for name, build in KINDS.items() if kind in (None, name) for model in build()]


def as_json(models: Sequence[KnownNetwork]) -> list[dict[str, Any]]:
    return [asdict(model) for model in models]


def remarks(kind: str | None = None) -> list[str]:
    """What is not in the table."""
    said = []
    if kind in (None, "detector", "pose"):
        said.append("Any other file of Ultralytics can be named, and own weights by their path.")
    if kind in (None, "video") and find_spec("hiera") is None:
        said.append("The hiera models need their package: pip install 'mulde[hiera]'")
    if kind in (None, "clip"):
        said.append(
            f"open_clip knows {_num_clip_models()} models; with their weights they are listed by "
            "python -c 'import open_clip; print(open_clip.list_pretrained())'"
        )
    return said


def _yolo(kind: str) -> Iterator[KnownNetwork]:
    setting, ending, numbers = {
        "detector": ("regions.yolo.weights", "", None),
        "pose": ("features.pose.weights", "-pose", _POSE_NUMBERS),
    }[kind]
    for family, millions in _YOLO[kind].items():
        for size, parameters in zip("nsmlx", millions, strict=True):
            name = f"{family}{size}{ending}.pt"
            present = _first([Path(name), weights_folder() / name])
            yield KnownNetwork(kind, name, f'{setting}="{name}"', numbers, round(2 * parameters, 1), _AGPL, present)


def _image() -> Iterator[KnownNetwork]:
    for name, dim in _IMAGE_DIMS.items():
        yield from _torchvision("image", name, f'features.backbone.model="{name}"', dim)


def _video() -> Iterator[KnownNetwork]:
    for name, dim in _VIDEO_DIMS.items():
        yield from _torchvision("video", name, f'features.video.model="{name}"', dim)
    for name, (dim, size_mb) in _HIERA.items():
        present = _first([_hub_folder() / f"{name}.pth"])
        yield KnownNetwork("video", name, f'features.video.model="{name}"', dim, size_mb, _NC, present)


def _flow() -> Iterator[KnownNetwork]:
    for name in ("dis", "farneback"):
        yield KnownNetwork("flow", name, f'features.flow.method="{name}"', None, 0, "no weights", "opencv")
    for name in _FLOW:
        yield from _torchvision("flow", name, f'features.flow.method="{name}"', None)


def _torchvision(kind: str, name: str, setting: str, dim: int | None) -> Iterator[KnownNetwork]:
    """The model with its default weights, where the installed torchvision knows it."""
    from torchvision import models

    try:
        weights = models.get_model_weights(name).DEFAULT
    except ValueError:  # another version of torchvision
        return
    licence = _NC if "SWAG" in str(weights.meta.get("license", "")) else weights.meta.get("license", _ASK)
    present = _first([_hub_folder() / weights.url.rsplit("/", 1)[-1]])
    yield KnownNetwork(kind, name, setting, dim, round(weights.meta["_file_size"], 1), licence, present)


def _clip() -> Iterator[KnownNetwork]:
    from huggingface_hub import constants

    for one in _CLIP:
        folder = Path(constants.HF_HUB_CACHE) / f"models--{one.repository.replace('/', '--')}" / "snapshots"
        files = [p for p in sorted(folder.glob("*/open_clip_*")) if p.suffix in (".safetensors", ".bin")]
        setting = f'features.clip.model="{one.model}" features.clip.weights="{one.weights}"'
        yield KnownNetwork(
            "clip", f"{one.model} {one.weights}", setting, one.dim, one.size_mb, one.licence, _first(files)
        )


KINDS: Mapping[str, Callable[[], Iterator[KnownNetwork]]] = {
    "detector": lambda: _yolo("detector"),
    "pose": lambda: _yolo("pose"),
    "image": _image,
    "video": _video,
    "clip": _clip,
    "flow": _flow,
}


def _hub_folder() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _first(paths: Sequence[Path]) -> str | None:
    return next((str(path) for path in paths if path.is_file()), None)


def _num_clip_models() -> int:
    spec = find_spec("open_clip")
    return len(list(Path(spec.origin).parent.glob("model_configs/*.json"))) if spec and spec.origin else 0
