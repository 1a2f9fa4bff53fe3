"""The densities by name. A new one is a line in `DENSITIES`; the conformance suite then applies to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from mulde.density.base import Density
from mulde.density.rows import Meta, Tensors
from mulde.errors import BundleError, UsageError


def _mulde() -> type[Density]:
    from mulde.density.estimator import MuldeDensity

    return MuldeDensity


def _msma() -> type[Density]:
    from mulde.density.msma import MsmaDensity

    return MsmaDensity


def _mixture() -> type[Density]:
    from mulde.density.baselines import MixtureDensity

    return MixtureDensity


def _neighbours() -> type[Density]:
    from mulde.density.baselines import NeighbourDensity

    return NeighbourDensity


def _mahalanobis() -> type[Density]:
    from mulde.density.baselines import MahalanobisDensity

    return MahalanobisDensity


DENSITIES: dict[str, Callable[[], type[Density]]] = {
    "mulde": _mulde,
    "msma": _msma,
    "mixture": _mixture,
    "neighbours": _neighbours,
    "mahalanobis": _mahalanobis,
}


def build_density(name: str, **settings: Any) -> Density:
    """The density `name` with these settings of its constructor. Raises UsageError for an unknown name or setting."""
    if name not in DENSITIES:
        raise UsageError("density", expected=f"one of {', '.join(DENSITIES)}", got=repr(name))
    kind = DENSITIES[name]()
    known = list(inspect.signature(kind).parameters)
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise UsageError(f"density {name}", expected=f"settings among {', '.join(known)}", got=", ".join(unknown))
    density = kind(**settings)
    density.check_settings()
    return density


def density_from_state(tensors: Tensors, meta: Meta, device: str = "cpu") -> Density:
    """The fitted density of which `Density.state` was taken, of whichever kind. Raises BundleError, UsageError."""
    name = meta.get("density")
    if name not in DENSITIES:
        raise BundleError("stored density", expected=f"one of {', '.join(DENSITIES)}", got=repr(name))
    return DENSITIES[name]().from_state(tensors, meta, device)
