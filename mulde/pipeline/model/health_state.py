"""The reference of camera health in a bundle: tensors and JSON, checked like everything in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mulde.density.state import take
from mulde.health.picture import THUMBNAIL_PX
from mulde.health.reference import MIN_SIDE_PX, REGIMES, HealthReference, Regime, RegimeReference
from mulde.health.view import GRID

_MAX_PICTURES = 10_000
_PICTURES = ("background", "lost", "sharpness", "dark", "bright")


class RegimeFacts(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    brightness: float = Field(ge=0, le=255)


class HealthFacts(BaseModel):
    """The JSON of a reference. still_share: as `HealthReference` has it."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    still_share: float = Field(0.0, ge=0, le=1)
    regimes: dict[Regime, RegimeFacts] = Field(min_length=1)


def health_state(reference: HealthReference) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The tensors, by `regime/name`, and the JSON."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, regime in reference.regimes.items():
        tensors |= {f"{name}/{key}": getattr(regime, key) for key in ("image", "usual", *_PICTURES)}
        tensors[f"{name}/edges"] = regime.edges.astype(np.uint8)
    facts = HealthFacts(
        still_share=reference.still_share,
        regimes={name: RegimeFacts(brightness=regime.brightness) for name, regime in reference.regimes.items()},
    )
    return tensors, facts.model_dump(mode="json")


def health_from_state(facts: HealthFacts, tensors: Mapping[str, NDArray[Any]]) -> HealthReference:
    """Raises BundleError or ValueError for tensors that no reference has."""
    wanted = {f"{name}/{key}" for name in facts.regimes for key in ("image", "edges", "usual", *_PICTURES)}
    if wanted != tensors.keys():
        raise ValueError(f"tensors of camera health {sorted(tensors)[:20]}")
    regimes = {
        name: _regime(f"{name}/", facts.regimes[name], dict(tensors)) for name in REGIMES if name in facts.regimes
    }
    if len({regime.image.shape for regime in regimes.values()}) > 1:
        raise ValueError("references of camera health of several sizes")
    return HealthReference(regimes, facts.still_share)


def _regime(prefix: str, facts: RegimeFacts, tensors: dict[str, NDArray[Any]]) -> RegimeReference:
    image = take(tensors, f"{prefix}image", np.uint8, (None, None))
    if not all(MIN_SIDE_PX <= side <= THUMBNAIL_PX for side in image.shape):
        raise ValueError(f"a reference of camera health of {image.shape}")
    edges = take(tensors, f"{prefix}edges", np.uint8, image.shape)
    usual = take(tensors, f"{prefix}usual", np.float32, GRID)
    pictures = {key: take(tensors, f"{prefix}{key}", np.float32, (None,)) for key in _PICTURES}
    if edges.max(initial=0) > 1 or not ((usual >= 0) & (usual <= 1)).all():
        raise ValueError("a reference of camera health out of range")
    if any(len(values) > _MAX_PICTURES or (np.abs(values) > 1e6).any() for values in pictures.values()):
        raise ValueError("pictures of camera health out of range")
    return RegimeReference(image=image, edges=edges > 0, usual=usual, brightness=facts.brightness, **pictures)
