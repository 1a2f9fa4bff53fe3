"""CLIP appearance of a box or of a whole frame. The only file that imports open_clip."""

from __future__ import annotations

import os

from torch.nn.functional import normalize

from mulde.errors import MuldeError, UsageError
from mulde.extractors.base import local_weights
from mulde.extractors.crops import CropEmbedding, FrameEmbedding
from mulde.extractors.networks import Loaded, Preprocessing, ready


def clip_appearance(
    model: str = "ViT-B-16",
    weights: str = "openai",
    *,
    device: str = "cpu",
    precision: str = "float32",
    batch_size: int = 64,
) -> CropEmbedding:
    """Image embedding of each crop, brought to unit length (Radford et al., 2021; 512 numbers for ViT-B-16).

    `weights` is an open_clip tag (as `openai`), downloaded once, or the path of a local file (.safetensors, .pt).
    Raises, at the first box, UsageError for an unknown model or tag and MuldeError for weights that cannot be loaded.
    """
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
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # of the hub that open_clip downloads from
    import open_clip

    known = open_clip.list_pretrained_tags_by_model(model)
    if model not in open_clip.list_models():
        raise UsageError(f"open_clip model {model!r}", expected=f"one of {', '.join(open_clip.list_models())}")
    path = local_weights(weights)
    if path is None and weights not in known:
        raise UsageError(
            f"CLIP weights {weights!r} for {model}",
            expected=f"an existing file or one of the tags {', '.join(known) or '(none)'}",
        )
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
