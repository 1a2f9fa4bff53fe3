"""Image networks of the package timm (DINOv2, DINOv3, SigLIP 2, EVA-02, ConvNeXt ...) on a box or on a whole frame.

The only file that imports timm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field

from mulde.errors import MuldeError, UsageError, first_line
from mulde.extractors.base import local_weights
from mulde.extractors.formats import is_exported
from mulde.extractors.hub import cached_files, is_hub_name, quieten_hub
from mulde.extractors.known_networks import NON_COMMERCIAL, KnownNetwork, NetworkKind, first_file
from mulde.extractors.spec import ExtractorSpec, Shared
from mulde.section import PathText, Section, Text

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mulde.extractors.crops import CropEmbedding, FrameEmbedding
    from mulde.extractors.networks import Loaded, Preprocessing

Embedding = TypeVar("Embedding", "CropEmbedding", "FrameEmbedding")

_DEFAULT = "vit_small_patch14_dinov2.lvd142m"
_HUB = "hf-hub:"
_MAX_SIDE = 4096
_NAME = re.compile(r"[A-Za-z0-9_]{1,200}(\.[A-Za-z0-9_]{1,200})?", re.ASCII)
_APACHE, _MIT, _DINO3 = "Apache-2.0", "MIT", "DINOv3 License"
_KNOWN: Mapping[str, tuple[int, int, str]] = {  # numbers, MB (4 bytes per parameter), licence as timm states it
    "vit_small_patch14_dinov2.lvd142m": (384, 88, _APACHE),
    "vit_base_patch14_dinov2.lvd142m": (768, 346, _APACHE),
    "vit_large_patch14_dinov2.lvd142m": (1024, 1217, _APACHE),
    "vit_small_patch14_reg4_dinov2.lvd142m": (384, 88, _APACHE),
    "vit_base_patch14_reg4_dinov2.lvd142m": (768, 346, _APACHE),
    "vit_small_patch16_dinov3.lvd1689m": (384, 86, _DINO3),
    "vit_base_patch16_dinov3.lvd1689m": (768, 343, _DINO3),
    "vit_large_patch16_dinov3.lvd1689m": (1024, 1212, _DINO3),
    "convnext_tiny.dinov3_lvd1689m": (768, 111, _DINO3),
    "convnext_base.dinov3_lvd1689m": (1024, 350, _DINO3),
    "vit_base_patch32_siglip_256.v2_webli": (768, 378, _APACHE),
    "vit_base_patch16_siglip_224.v2_webli": (768, 372, _APACHE),
    "vit_large_patch16_siglip_256.v2_webli": (1024, 1264, _APACHE),
    "vit_so400m_patch14_siglip_224.v2_webli": (1152, 1711, _APACHE),
    "eva02_tiny_patch14_224.mim_in22k": (192, 22, _MIT),
    "eva02_small_patch14_224.mim_in22k": (384, 86, _MIT),
    "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k": (768, 345, _MIT),
    "eva02_large_patch14_448.mim_m38m_ft_in22k_in1k": (1024, 1216, _MIT),
    "convnext_tiny.in12k_ft_in1k": (768, 111, _APACHE),
    "convnext_base.fb_in22k_ft_in1k": (1024, 350, _APACHE),
    "convnext_base.clip_laion2b_augreg_ft_in12k_in1k": (1024, 350, _APACHE),
    "convnextv2_tiny.fcmae_ft_in22k_in1k": (768, 111, NON_COMMERCIAL),
    "vit_small_patch16_224.dino": (384, 87, _APACHE),
}


class TimmSettings(Section):
    model: Text = Field(
        _DEFAULT, min_length=1, description="timm model with the tag of its weights, or hf-hub:OWNER/NAME"
    )
    weights: PathText = Field(
        "DEFAULT",
        min_length=1,
        description="DEFAULT: those published, or path of a state dict or of an exported network",
    )
    pooling: Literal["own", "cls", "patches", "cls+patches"] = Field(
        "own", description="what a row is; own: as the model pools, cls: its class token, patches: mean of its patches"
    )
    size_px: int = Field(
        0,
        ge=0,
        le=_MAX_SIDE,
        description="side of the square that the model sees, fewer are faster; 0: the model's own",
    )
    fit: Literal["stretch", "pad"] = Field(
        "stretch", description="how a crop or frame comes to the square; pad: it keeps its shape"
    )


def timm_appearance(
    settings: TimmSettings | None = None, *, device: str = "cpu", precision: str = "float32", batch_size: int = 64
) -> CropEmbedding:
    """What a timm network makes of the crop of each box (384 numbers for vit_small_patch14_dinov2.lvd142m).

    Published weights are downloaded once; a local state dict (.safetensors, .pth) has to hold every weight of the
    network, its classifier aside; a network exported to ONNX or OpenVINO pools by itself. Size, mean, standard
    deviation and interpolation are those that timm has for the network. Raises UsageError for a name that is none, and
    at the first box for an unknown model, for a file that does not fit and for a pooling that the network does not
    have; MuldeError for a failed download.
    """
    from mulde.extractors.crops import CropEmbedding

    return _embedding(CropEmbedding, "timm", settings or TimmSettings(), device, precision, batch_size)


def frame_timm(
    settings: TimmSettings | None = None, *, device: str = "cpu", precision: str = "float32", batch_size: int = 64
) -> FrameEmbedding:
    """`timm_appearance` of each whole frame."""
    from mulde.extractors.crops import FrameEmbedding

    return _embedding(FrameEmbedding, "frame_timm", settings or TimmSettings(), device, precision, batch_size)


def _embedding(
    kind: type[Embedding], name: str, settings: TimmSettings, device: str, precision: str, batch_size: int
) -> Embedding:
    _check_name(settings.model)
    return kind(
        name,
        settings.model,
        settings.weights,
        lambda: _load(settings, device),
        device=device,
        precision=precision,
        batch_size=batch_size,
        options={"pooling": settings.pooling, "size_px": settings.size_px, "fit": settings.fit},
    )


def load_network(model: str, weights: str) -> nn.Module:
    """A network of timm by its name without its classifier, with published weights or those of a local state dict.

    Raises UsageError for an unknown name and for a file that does not fit, MuldeError for a failed download.
    """
    settings = TimmSettings(model=model, weights=weights)
    if not _NAME.fullmatch(model):
        raise UsageError(f"timm model {model!r}", expected=f"the name of a model, as {_DEFAULT}")
    quieten_hub()
    try:
        network: nn.Module = _create(settings, _config(settings), {})
    except UsageError:
        raise
    except MuldeError as error:
        hint = "connect to a network and run this again, or the path of a local state dict instead of a name"
        raise MuldeError(error.problem, hint=hint) from error
    return network


def _check_name(model: str) -> None:
    """timm would also take folders, and choose weights by itself where a name has no tag."""
    if not (is_hub_name(model.removeprefix(_HUB)) if model.startswith(_HUB) else _NAME.fullmatch(model)):
        raise UsageError(f"timm model {model!r}", expected=f"the name of a model, as {_DEFAULT}, or {_HUB}OWNER/NAME")


def _load(settings: TimmSettings, device: str) -> Loaded:
    quieten_hub()
    from mulde.extractors.networks import ready

    config, path = _config(settings), local_weights(settings.weights)
    own = _preprocessing(settings, config)
    expects = replace(own, size_px=settings.size_px or own.size_px)
    if path is not None and is_exported(path):
        return _exported(settings, expects, path, device)
    is_resized = expects != own and config.get("fixed_input_size")
    network = _create(settings, config, {"img_size": expects.size_px} if is_resized else {})
    run = _pooled(ready(network, device), settings)
    return run, expects, _width(run, expects, settings, device)


def _preprocessing(settings: TimmSettings, config: Mapping[str, Any]) -> Preprocessing:
    """What the model was trained to see; a configuration of the hub may say anything."""
    import timm

    from mulde.extractors.networks import INTERPOLATIONS, Preprocessing

    try:
        said = timm.data.resolve_data_config(pretrained_cfg=dict(config), verbose=False)
        size, interpolation = int(said["input_size"][-1]), str(said["interpolation"])
        mean, std = (tuple(float(number) for number in said[key]) for key in ("mean", "std"))
        numbers = (*mean, *(1 / number for number in std))
        is_sound = len(mean) == len(std) == 3 and all(map(isfinite, numbers)) and interpolation in INTERPOLATIONS
    except (ValueError, TypeError, LookupError, ArithmeticError):
        is_sound = False
    if not is_sound or not 1 <= size <= _MAX_SIDE:
        raise UsageError(
            f"configuration of {settings.model}",
            expected=f"input_size up to {_MAX_SIDE}, mean and std of three colours, and a known interpolation",
        )
    return Preprocessing(size, mean, std, interpolation=interpolation, fit=settings.fit)


def _exported(settings: TimmSettings, default: Preprocessing, path: Path, device: str) -> Loaded:
    """A network exported to ONNX or OpenVINO, which sees what the model would see."""
    from mulde.extractors.exported import load_exported

    if settings.pooling != "own":
        raise UsageError(
            f"features.timm.pooling={settings.pooling} has no effect on {path}",
            expected="own: an exported network pools by itself",
        )
    loaded = load_exported(path, default, device)
    if settings.size_px not in (0, loaded[1].size_px):
        raise UsageError(f"features.timm.size_px for {path}", expected=loaded[1].size_px, got=settings.size_px)
    return loaded


def _config(settings: TimmSettings) -> dict[str, Any]:
    """What timm knows of the model. Raises UsageError for an unknown model, MuldeError for a failed download."""
    import timm

    model = settings.model
    if model.startswith(_HUB):
        try:
            config, _, _ = timm.models.load_model_config_from_hf(model.removeprefix(_HUB))
        except Exception as error:  # connection, repository and file errors have no common class
            raise _not_there(settings, error) from error
        return dict(config)
    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), 5) or [_DEFAULT]
        raise UsageError(f"timm model {model!r}", expected=f"a model of timm, such as {', '.join(near)}")
    known = timm.list_pretrained(f"{name}.*")
    if settings.weights == "DEFAULT" and model not in known:
        raise UsageError(
            f"weights of the timm model {model!r}",
            expected=f"one of {', '.join(known)}" if known else "the path of a local state dict, as none are published",
        )
    config = timm.get_pretrained_cfg(model if not tag or model in known else name)
    return config.to_dict() if config is not None else {}


def _create(settings: TimmSettings, config: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """The network without its classifier, with the published weights or those of a local file."""
    import timm

    path = local_weights(settings.weights)
    if path is None and settings.weights != "DEFAULT":
        raise UsageError(f"timm weights {settings.weights!r}", expected="DEFAULT, or an existing file")
    if path is None:
        try:
            network = timm.create_model(settings.model, pretrained=True, **options)  # with all weights, or none
            network.reset_classifier(0)
            return network
        except Exception as error:  # connection, repository and file errors have no common class
            raise _not_there(settings, error) from error
    from mulde.extractors.pretrained import read_state

    heads = config.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    state = {key: value for key, value in read_state(path).items() if not key.startswith(heads)}
    if not state:
        raise UsageError(f"weights {path}", expected=f"those of {settings.model}", got="a file without any")
    as_file = {"state_dict": state, "source": "", "custom_load": False, "num_classes": 0, "label_offset": 0}
    try:
        network = timm.create_model(
            settings.model, pretrained=True, pretrained_cfg_overlay=as_file, num_classes=0, **options
        )
    except Exception as error:  # timm's loaders raise many kinds for a file that does not fit
        raise UsageError(
            f"weights {path} do not fit {settings.model}",
            expected="a state dict with every weight of this network",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
        ) from error
    network.pretrained_cfg.pop("state_dict", None)  # else they stay in memory twice
    return network


def _not_there(settings: TimmSettings, error: Exception) -> MuldeError:
    return MuldeError(
        f"timm model {settings.model} cannot be had ({type(error).__name__}: {first_line(error)})",
        hint="connect to a network and run this again, or features.timm.weights with the path of a local state dict",
    )


def _pooled(network: Any, settings: TimmSettings) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network as a function of pictures (n, 3, S, S) that gives rows (n, D)."""
    import torch

    pooling = settings.pooling
    if pooling == "own":
        return lambda batch: network(batch)
    if "cls" in pooling and getattr(network, "cls_token", None) is None:
        raise UsageError(
            f"features.timm.pooling={pooling} for {settings.model}",
            expected="own or patches",
            got="a network without a class token",
        )
    num_prefix = int(getattr(network, "num_prefix_tokens", 0))
    rows_axis = 1 if getattr(network, "output_fmt", "NCHW") == "NHWC" else 2

    def run(batch: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = network.forward_features(batch)
        if features.ndim == 4:
            return features.mean((rows_axis, rows_axis + 1))
        parts = {"cls": lambda: features[:, 0], "patches": lambda: features[:, num_prefix:].mean(1)}
        return torch.cat([parts[part]() for part in pooling.split("+")], dim=1)

    return run


def _width(run: Callable[..., Any], expects: Preprocessing, settings: TimmSettings, device: str) -> int:
    """How many numbers the network gives for a picture, by one blank picture."""
    import torch

    size = expects.size_px
    try:
        with torch.inference_mode():
            output = run(torch.zeros(1, 3, size, size, device=device))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"{settings.model} takes no picture of {size} x {size} pixels",
            expected="another features.timm.size_px, 0 for the model's own",
            got=first_line(error),
        ) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        got = f"{tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
        raise UsageError(
            f"features.timm.pooling={settings.pooling} for {settings.model}",
            expected="one row per picture",
            got=f"an output {got}",
            hint="another features.timm.pooling, or another model",
        )
    return int(output.shape[1])


def _build(settings: TimmSettings, shared: Shared) -> CropEmbedding:
    return timm_appearance(settings, **shared.network_options)


def _build_of_frames(settings: TimmSettings, shared: Shared) -> FrameEmbedding:
    return frame_timm(settings, **shared.network_options)


def _known() -> Iterator[KnownNetwork]:
    for name, (numbers, size_mb, licence) in _KNOWN.items():
        present = first_file(cached_files(f"timm/{name}", "*"))
        yield KnownNetwork("timm", name, f'features.timm.model="{name}"', numbers, size_mb, licence, present)


def _remark() -> str:
    return (
        "timm knows more models; with their tags they are listed by "
        "python -c 'import timm; print(*timm.list_pretrained())'; their licences are on the hub under timm/NAME"
    )


TIMM = ExtractorSpec(
    name="timm",
    object_centric=True,
    settings=TimmSettings,
    build=_build,
    networks=NetworkKind("timm", _known, _remark),
)
FRAME_TIMM = ExtractorSpec(
    name="frame_timm", object_centric=False, settings=TimmSettings, section="timm", build=_build_of_frames
)
