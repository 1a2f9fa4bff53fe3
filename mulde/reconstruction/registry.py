"""Every pixel model, one line each; presets name sets of their options. Its table loads no network library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mulde.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from mulde.reconstruction.pixel_model import PixelModel

MODELS = {
    "pdm": "predictor:PredictionModel",
    "ppdm": "distiller:DistillationModel",
    "patches": "patches:PatchModel",
    "copy": "copying:CopyModel",
    "mean": "mean_image:MeanModel",
}  # kind: file and class
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "pdm": {
        "paper": {},
        "small": {
            "width": 16,
            "side_width": 16,
            "pyramid_width": 16,
            "crop_px": 128,
            "max_steps": 1500,
            "precision": "auto",
        },
    },
    "ppdm": {
        "paper": {},
        "small": {
            "side": 128,
            "teacher": "mobilenet_v2",
            "blocks": 2,
            "pyramid_width": 16,
            "coarse_px": 4.0,
            "fine_px": 1.5,
            "max_steps": 800,
        },
    },
    "patches": {"paper": {}, "small": {"side": 128, "teacher": "mobilenet_v2"}},
    "copy": {"paper": {}, "small": {}},
    "mean": {"paper": {}, "small": {"side": 128}},
}


def model_class(kind: str) -> type[PixelModel]:
    """The class of a kind of pixel model. Raises UsageError for one that is not known."""
    if kind not in MODELS:
        raise UsageError(f"pixel model {kind!r}", expected=f"one of {', '.join(MODELS)}")
    found: type[PixelModel] = resolve_name(f"mulde.reconstruction.{MODELS[kind]}")
    return found


def build_pixel_model(
    kind: str,
    preset: str,
    options: Mapping[str, Any],
    *,
    seed: int = 0,
    device: str = "cpu",
    teacher: Callable[[str], nn.Module] | None = None,
) -> PixelModel:
    """A pixel model that has learnt nothing yet: options over those of the preset. teacher: gives the network of a name
    with its weights, for models that are to be fitted and need one. Raises UsageError for a kind or
    preset that is not known, and for options that the model does not take."""
    model = model_class(kind)
    if preset not in PRESETS[kind]:
        raise UsageError(f"preset {preset!r} of pixel model {kind}", expected=f"one of {', '.join(PRESETS[kind])}")
    try:
        chosen = model.OPTIONS.model_validate({**PRESETS[kind][preset], **options})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "options"
        known = ", ".join(model.OPTIONS.model_fields)
        raise UsageError(
            f"option {name} of pixel model {kind}",
            expected=f"one of {known}" if first["type"] == "extra_forbidden" else first["msg"],
            got=repr(first["input"]),
        ) from None
    if teacher is None or not model.NEEDS_TEACHER:
        return model(chosen, seed=seed, device=device)
    return model(chosen, seed=seed, device=device, teacher=teacher(chosen.model_dump()["teacher"]))
