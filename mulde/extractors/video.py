"""Frame features by a video network: one row per frame from the clip centred on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from mulde.errors import UsageError
from mulde.extractors.hub import cached_files, is_hub_name
from mulde.extractors.known_networks import (
    ASK,
    NON_COMMERCIAL,
    KnownNetwork,
    NetworkKind,
    first_file,
    hub_folder,
    torchvision_network,
)
from mulde.extractors.spec import ExtractorSpec, Requirement, Shared
from mulde.section import PathText, Section, Text

if TYPE_CHECKING:
    from mulde.extractors.clips import VideoBackbone
    from mulde.extractors.networks import Loaded
    from mulde.extractors.transformers_video import Pooling

_VIDEO_DIMS = {
    "mvit_v1_b": 768, "mvit_v2_s": 768, "swin3d_t": 768, "swin3d_s": 768, "swin3d_b": 1024,
    "r2plus1d_18": 512, "r3d_18": 512, "mc3_18": 512, "s3d": 1024,
}  # fmt: skip
_HIERA: Mapping[str, tuple[int, float | None]] = {  # of the package hiera-transformer: numbers, MB
    "hiera_base_16x224": (768, None),
    "hiera_base_plus_16x224": (896, None),
    "hiera_large_16x224": (1152, 852),
    "hiera_huge_16x224": (2048, None),
}


class _OfHub(NamedTuple):
    numbers: int
    frames: int
    size_mb: float | None
    licence: str


_HUB: Mapping[str, _OfHub] = {
    "facebook/vjepa2-vitl-fpc64-256": _OfHub(1024, 64, 1304, "MIT"),
    "facebook/vjepa2-vith-fpc64-256": _OfHub(1280, 64, None, ASK),
    "facebook/vjepa2-vitg-fpc64-256": _OfHub(1408, 64, None, ASK),
    "MCG-NJU/videomae-base": _OfHub(768, 16, 377, NON_COMMERCIAL),
    "MCG-NJU/videomae-large": _OfHub(1024, 16, None, NON_COMMERCIAL),
}


class VideoBackboneSettings(Section):
    model: Text = Field(
        "mvit_v2_s", min_length=1, description="torchvision video model (mvit_v2_s, swin3d_t, r2plus1d_18, s3d ...), "
        "one of the package hiera-transformer (hiera_large_16x224 ...), or of the hub for the package transformers "
        "(V-JEPA 2, VideoMAE) as OWNER/NAME"
    )  # fmt: skip
    weights: PathText = Field(
        "DEFAULT",
        min_length=1,
        description="weights tag of the model's library, or path of a state dict or of an exported network",
    )
    stride: int = Field(4, ge=1, le=100, description="frames from one frame of a clip to the next")
    frames: int = Field(0, ge=0, le=256, description="frames of a clip, for a network of the hub; 0: as it was trained")
    pooling: Literal["mean", "centre"] = Field(
        "mean", description="for a network of the hub: mean of all tokens of a clip, or of those at its centre"
    )


def video_backbone(
    model: str = "mvit_v2_s",
    weights: str = "DEFAULT",
    *,
    stride: int = 4,
    frames: int = 0,
    pooling: Pooling = "mean",
    device: str = "cpu",
    precision: str = "float32",
    batch_size: int = 64,
) -> VideoBackbone:
    """What goes into the last layer of a video network trained on Kinetics-400, per frame.

    `model` is one of torchvision's (mvit_v2_s and swin3d_t give 768 numbers, r2plus1d_18 512, s3d 1024) or of the
    package hiera-transformer (hiera_large_16x224: 1152, as in the MULDE paper, section 4). `weights` is a tag of that
    library, downloaded once, or the path of a local state dict (.safetensors, .pth).
    A model `OWNER/NAME` is a V-JEPA 2 or VideoMAE of the hub, run by the package transformers, its `weights` DEFAULT or
    the folder of a local copy; `frames` (0: as it was trained) and `pooling` are for these.
    Raises UsageError for an unknown model; at the first frame UsageError for an unknown tag, a file that does not fit
    or a missing package, and MuldeError for a failed download.
    """
    from torchvision.models import list_models, video

    from mulde.extractors.clips import VideoBackbone

    options: dict[str, Any] = {"device": device, "precision": precision, "batch_size": batch_size}
    if is_hub_name(model):
        return _of_the_hub(model, weights, stride, frames, pooling, options)
    if frames or pooling != "mean":
        raise UsageError(
            f"frames and pooling of the video model {model!r}", expected="none: only models of the hub have them"
        )
    if model not in _HIERA and model not in list_models(module=video):
        known = ", ".join([*list_models(module=video), *_HIERA])
        raise UsageError(f"video model {model!r}", expected=f"one of {known}, or OWNER/NAME of the hub")
    frames = 32 if model.startswith("swin3d") else 16  # as they were trained; s3d, trained on more, takes any number

    def load() -> Loaded:
        if model in _HIERA:
            from mulde.extractors.hiera import load_hiera

            return load_hiera(model, weights, device)
        from mulde.extractors.pretrained import load_torchvision

        return load_torchvision(video, model, weights, device, frames=frames)

    return VideoBackbone(model, weights, load, frames=frames, stride=stride, **options)


def _of_the_hub(
    model: str, weights: str, stride: int, frames: int, pooling: Pooling, options: Mapping[str, Any]
) -> VideoBackbone:
    from mulde.extractors.clips import VideoBackbone
    from mulde.extractors.transformers_video import configured_frames, load_transformers, local_folder

    folder = local_folder(weights)
    if not frames and folder is not None:
        frames = configured_frames(folder)
    elif not frames and model in _HUB:
        frames = _HUB[model].frames
    if not frames:
        raise UsageError(
            f"features.video.frames of {model}", expected="a number, as mulde does not know what it was trained on"
        )
    return VideoBackbone(
        model,
        weights,
        lambda: load_transformers(model, weights, options["device"], frames=frames, pooling=pooling),
        frames=frames,
        stride=stride,
        options={"pooling": pooling},
        **options,
    )


def _build(settings: VideoBackboneSettings, shared: Shared) -> VideoBackbone:
    return video_backbone(**settings.model_dump(), **shared.network_options)


def _known() -> Iterator[KnownNetwork]:
    setting = "features.video.model"
    for name, dim in _VIDEO_DIMS.items():
        yield from torchvision_network("video", name, setting, dim)
    for name, (numbers, size_mb) in _HIERA.items():
        present = first_file([hub_folder() / f"{name}.pth"])
        yield KnownNetwork("video", name, f'{setting}="{name}"', numbers, size_mb, NON_COMMERCIAL, present)
    for name, hub in _HUB.items():
        present = first_file(cached_files(name, "*.safetensors"))
        yield KnownNetwork("video", name, f'{setting}="{name}"', hub.numbers, hub.size_mb, hub.licence, present)


def _remark() -> str:
    needs = {"hiera": ("hiera models", "hiera"), "transformers": ("models OWNER/NAME", "transformers")}
    missing = [who for package, who in needs.items() if not find_spec(package)]
    return " ".join(f"The {who} need their package: pip install 'mulde[{extra}]'." for who, extra in missing)


VIDEO = ExtractorSpec(
    name="video",
    object_centric=False,
    settings=VideoBackboneSettings,
    build=_build,
    requirements=tuple(
        Requirement(key, 'model="facebook/vjepa2-vitl-fpc64-256"', lambda s: is_hub_name(s.model))
        for key in ("frames", "pooling")
    ),
    networks=NetworkKind("video", _known, _remark),
)
