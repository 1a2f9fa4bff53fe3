"""CLIP appearance of a box or of a whole frame. The only file that imports open_clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from mulde.errors import MuldeError, UsageError
from mulde.extractors.base import local_weights
from mulde.extractors.formats import is_exported
from mulde.extractors.hub import cached_files, quieten_hub
from mulde.extractors.known_networks import KnownNetwork, NetworkKind, first_file
from mulde.extractors.spec import ExtractorSpec, Shared
from mulde.section import PathText, Section, Text

if TYPE_CHECKING:
    from mulde.extractors.crops import CropEmbedding, FrameEmbedding
    from mulde.extractors.networks import Loaded

_OPENAI, _MIT, _APACHE = "MIT (OpenAI), Apache-2.0 (hub copy)", "MIT", "Apache-2.0"


class ClipSettings(Section):
    model: Text = Field("ViT-B-16", min_length=1, description="open_clip model name")
    weights: PathText = Field(
        "openai", min_length=1, description="open_clip pretrained tag, or path of a local file, also exported"
    )


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


def clip_appearance(
    model: str = "ViT-B-16",
    weights: str = "openai",
    *,
    device: str = "cpu",
    precision: str = "float32",
    batch_size: int = 64,
) -> CropEmbedding:
    """Image embedding of each crop, brought to unit length (Radford et al., 2021; 512 numbers for ViT-B-16).

    `weights` is an open_clip tag (as `openai`), downloaded once, or the path of a local file: .safetensors, .pt, or the
    image half exported to ONNX or OpenVINO, whose metadata then say size, mean and standard deviation.
    Raises, at the first box, UsageError for an unknown model or tag and MuldeError for weights that cannot be loaded.
    """
    from mulde.extractors.crops import CropEmbedding

    return CropEmbedding(
        "clip",
        model,
        weights,
        lambda: _load(model, weights, device),
        device=device,
        precision=precision,
        batch_size=batch_size,
    )


def frame_clip(
    model: str = "ViT-B-16",
    weights: str = "openai",
    *,
    device: str = "cpu",
    precision: str = "float32",
    batch_size: int = 64,
) -> FrameEmbedding:
    """`clip_appearance` of each whole frame, stretched to the square that the model expects."""
    from mulde.extractors.crops import FrameEmbedding

    return FrameEmbedding(
        "frame_clip",
        model,
        weights,
        lambda: _load(model, weights, device),
        device=device,
        precision=precision,
        batch_size=batch_size,
    )


def _load(model: str, weights: str, device: str) -> Loaded:
    quieten_hub()
    import open_clip
    from torch.nn.functional import normalize

    from mulde.extractors.networks import Preprocessing, ready

    known = open_clip.list_pretrained_tags_by_model(model)
    if model not in open_clip.list_models():
        raise UsageError(f"open_clip model {model!r}", expected=f"one of {', '.join(open_clip.list_models())}")
    path = local_weights(weights)
    if path is None and weights not in known:
        raise UsageError(
            f"CLIP weights {weights!r} for {model}",
            expected=f"an existing file or one of the tags {', '.join(known) or '(none)'}",
        )
    if path is not None and is_exported(path):
        from mulde.extractors.exported import load_exported

        run, expects, dim = load_exported(path, None, device)
        return lambda batch: normalize(run(batch), dim=-1), expects, dim
    try:
        network = open_clip.create_model(model, pretrained=weights if path is None else str(path))
    except Exception as error:  # hub, file and state-dict failures have no common class
        raise MuldeError(
            f"CLIP weights {weights} for {model} cannot be loaded ({type(error).__name__}: {error})",
            hint="a local file made for this model, or a machine that reaches the model hub",
        ) from error
    expects = open_clip.get_model_preprocess_cfg(network)
    size = expects["size"] if isinstance(expects["size"], int) else expects["size"][0]
    preprocessing = Preprocessing(size, tuple(expects["mean"]), tuple(expects["std"]))
    dim = int(open_clip.get_model_config(model)["embed_dim"])
    ready(network.eval().visual, device)  # the text half is not used and stays where it is
    return lambda batch: normalize(network.encode_image(batch, normalize=False).float(), dim=-1), preprocessing, dim


def _build(settings: ClipSettings, shared: Shared) -> CropEmbedding:
    return clip_appearance(settings.model, settings.weights, **shared.network_options)


def _build_of_frames(settings: ClipSettings, shared: Shared) -> FrameEmbedding:
    return frame_clip(settings.model, settings.weights, **shared.network_options)


def _known() -> Iterator[KnownNetwork]:
    for clip in _CLIP:
        files = cached_files(clip.repository, "open_clip_*")
        setting = f'features.clip.model="{clip.model}" features.clip.weights="{clip.weights}"'
        name = f"{clip.model} {clip.weights}"
        yield KnownNetwork("clip", name, setting, clip.dim, clip.size_mb, clip.licence, first_file(files))


def _remark() -> str:
    spec = find_spec("open_clip")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    num_models = len(list(folder.glob("model_configs/*.json"))) if folder else 0
    return (
        f"open_clip knows {num_models} models; with their weights they are listed by "
        "python -c 'import open_clip; print(open_clip.list_pretrained())'"
    )


CLIP = ExtractorSpec(
    name="clip",
    object_centric=True,
    settings=ClipSettings,
    build=_build,
    networks=NetworkKind("clip", _known, _remark),
)
FRAME_CLIP = ExtractorSpec(
    name="frame_clip", object_centric=False, settings=ClipSettings, section="clip", build=_build_of_frames
)
