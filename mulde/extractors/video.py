"""Frame features by a video network: one row per frame from the clip centred on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pydantic import Field

from mulde.errors import UsageError
from mulde.extractors.known_networks import (
    NON_COMMERCIAL,
    KnownNetwork,
    NetworkKind,
    first_file,
    hub_folder,
    torchvision_network,
)
from mulde.extractors.spec import ExtractorSpec, Shared
from mulde.section import PathText, Section, Text

if TYPE_CHECKING:
    from mulde.extractors.clips import VideoBackbone
    from mulde.extractors.networks import Loaded

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


class VideoBackboneSettings(Section):
    model: Text = Field(
        "mvit_v2_s", min_length=1, description="torchvision video model (mvit_v2_s, swin3d_t, r2plus1d_18, s3d ...), "
        "or one of the package hiera-transformer (hiera_large_16x224 ...)"
    )  # fmt: skip
    weights: PathText = Field(
        "DEFAULT",
        min_length=1,
        description="weights tag of the model's library, or path of a state dict or of an exported network",
    )
    stride: int = Field(4, ge=1, le=100, description="frames from one frame of a clip to the next")


def video_backbone(
    model: str = "mvit_v2_s",
    weights: str = "DEFAULT",
    *,
    stride: int = 4,
    device: str = "cpu",
    precision: str = "float32",
    batch_size: int = 64,
) -> VideoBackbone:
    """What goes into the last layer of a video network trained on Kinetics-400, per frame.

    `model` is one of torchvision's (mvit_v2_s and swin3d_t give 768 numbers, r2plus1d_18 512, s3d 1024) or of the
    package hiera-transformer (hiera_large_16x224: 1152, as in the MULDE paper, section 4). `weights` is a tag of that
    library, downloaded once, or the path of a local state dict (.safetensors, .pth).
    Raises UsageError for an unknown model; at the first frame UsageError for an unknown tag, a file that does not fit
    or a missing package, and MuldeError for a failed download.
    """
    from torchvision.models import list_models, video

    from mulde.extractors.clips import VideoBackbone

    if model not in _HIERA and model not in list_models(module=video):
        known = ", ".join([*list_models(module=video), *_HIERA])
        raise UsageError(f"video model {model!r}", expected=f"one of {known}")
    frames = 32 if model.startswith("swin3d") else 16  # as they were trained; s3d, trained on more, takes any number

    def load() -> Loaded:
        if model in _HIERA:
            from mulde.extractors.hiera import load_hiera

            return load_hiera(model, weights, device)
        from mulde.extractors.pretrained import load_torchvision

        return load_torchvision(video, model, weights, device, frames=frames)

    return VideoBackbone(
        model,
        weights,
        load,
        frames=frames,
        stride=stride,
        device=device,
        precision=precision,
        batch_size=batch_size,
    )


def _build(settings: VideoBackboneSettings, shared: Shared) -> VideoBackbone:
    return video_backbone(settings.model, settings.weights, stride=settings.stride, **shared.network_options)


def _known() -> Iterator[KnownNetwork]:
    setting = "features.video.model"
    for name, dim in _VIDEO_DIMS.items():
        yield from torchvision_network("video", name, setting, dim)
    for name, (numbers, size_mb) in _HIERA.items():
        present = first_file([hub_folder() / f"{name}.pth"])
        yield KnownNetwork("video", name, f'{setting}="{name}"', numbers, size_mb, NON_COMMERCIAL, present)


def _remark() -> str:
    return "" if find_spec("hiera") else "The hiera models need their package: pip install 'mulde[hiera]'"


VIDEO = ExtractorSpec(
    name="video",
    object_centric=False,
    settings=VideoBackboneSettings,
    build=_build,
    networks=NetworkKind("video", _known, _remark),
)
