"""The densities by name. A new one is a file and a line in `DENSITIES`; the conformance suite then applies to it."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from mulde.density.limits import check_known
from mulde.errors import BundleError, UsageError

if TYPE_CHECKING:
    from mulde.density.base import Density
    from mulde.density.rows import Meta, Tensors

DENSITIES: dict[str, str] = {
    "mulde": "mulde.density.estimator:MuldeDensity",
    "msma": "mulde.density.msma:MsmaDensity",
    "mixture": "mulde.density.baselines:MixtureDensity",
    "neighbours": "mulde.density.baselines:NeighbourDensity",
    "mahalanobis": "mulde.density.baselines:MahalanobisDensity",
}
"""Name of each density and where its class stands, imported when it is asked for."""


def find_density(name: str) -> type[Density]:
    """The class of the density `name`. Raises UsageError for an unknown name."""
    if name not in DENSITIES:
        raise UsageError("density", expected=f"one of {', '.join(DENSITIES)}", got=repr(name))
    kind: type[Density] = resolve_name(DENSITIES[name])
    return kind


def build_density(name: str, *, device: str = "cpu", preset: str | None = None, **settings: Any) -> Density:
    """The density `name` with these settings, over those of its `preset`. Raises UsageError for an unknown name or
    setting, and for a value out of its limits."""
    kind = find_density(name)
    check_known(f"density {name}", settings, kind.setting_names(), kind.REMOVED)
    density = kind(**(dict(kind.PRESETS.get(preset or "", {})) | settings), device=device)
    density.check_settings()
    return density


def density_from_state(tensors: Tensors, meta: Meta, device: str = "cpu") -> Density:
    """The fitted density of which `Density.state` was taken, of whichever kind. Raises BundleError, UsageError."""
    name = meta.get("density")
    if not isinstance(name, str) or name not in DENSITIES:
        raise BundleError("stored density", expected=f"one of {', '.join(DENSITIES)}", got=repr(name))
    return find_density(name).from_state(tensors, meta, device)
