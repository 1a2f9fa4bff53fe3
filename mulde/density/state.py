"""A fitted density as plain arrays and JSON, read back against what is expected. No pickle anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mulde.density.rows import Meta, Tensors
from mulde.errors import BundleError

VERSION = 1


def write_meta(kind: str, settings: dict[str, Any], learnt: dict[str, Any]) -> Meta:
    """The JSON side of a state: which density, its constructor's settings, and small learnt facts."""
    return {"density": kind, "version": VERSION, "settings": settings, "learnt": learnt}


def read_meta(meta: Meta, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and learnt facts of a state of this kind of density. Raises BundleError when it is of another."""
    if meta.get("density") != kind:
        raise BundleError("stored density", expected=kind, got=repr(meta.get("density")))
    what = f"stored density {kind}"
    if meta.get("version") != VERSION:
        raise BundleError(
            what, expected=f"version {VERSION}", got=repr(meta.get("version")), hint="train it again with this mulde"
        )
    settings, learnt = meta.get("settings"), meta.get("learnt")
    if not isinstance(settings, dict) or not isinstance(learnt, dict):
        raise BundleError(what, expected="settings and learnt facts", got=f"entries {sorted(meta)}")
    return settings, learnt


def take(tensors: Tensors, name: str, dtype: DTypeLike, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """The array `name`; raises BundleError unless it is there with this dtype and shape (None matches any length)."""
    wanted = f"{np.dtype(dtype)} of shape ({', '.join('*' if n is None else str(n) for n in shape)})"
    if name not in tensors:
        raise BundleError(
            f"stored density, {name}", expected=wanted, got=f"only {', '.join(sorted(tensors)) or 'none'}"
        )
    array = tensors[name]
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise BundleError(f"stored density, {name}", expected=wanted, got=f"{array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise BundleError(f"stored density, {name}", expected="finite numbers", got="NaN or infinity")
    return array


def with_prefix(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: array for name, array in tensors.items()}


def under_prefix(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
