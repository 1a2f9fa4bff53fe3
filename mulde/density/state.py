"""A fitted density as plain arrays and JSON, read back against what is expected. No pickle anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mulde import __version__
from mulde.density.rows import Meta, Tensors
from mulde.errors import BundleError

VERSION = 4
_MAX_SHOWN = 20
_NOT_YET_IN_1: dict[str, dict[str, Any]] = {
    "mulde": {
        "indicator": "energy",
        "contamination": 0.01,
        "precision": "float32",
        "reading_precision": "float32",
    },
    "mixture": {"contamination": 0.01},
    "neighbours": {"contamination": 0.01, "engine": "sklearn"},
}
"""Settings that came with version 2, per density of version 1, at the value that means what version 1 did."""
_NOT_YET_IN_3: dict[str, dict[str, Any]] = {
    "mulde": {"base": "none", "gaussians": None, "rank": None, "spacing": "linear"},
    "msma": {"spacing": "linear"},
}
"""Likewise, settings that came with version 4."""
WHITENED = "whitened"
"""Learnt fact: the network takes whitened rows. Up to version 3 a setting, `whiten`, asked for it."""
OLD_PARTS = ("layer_norm", "sigma_everywhere")
"""Learnt facts: what a network has that none trained now has. Settings up to version 2, the second up to 3."""
_ONLY_BEFORE_4 = (*OLD_PARTS, "dropout", "clip_gradient", "compile", "ema")
"""Settings that version 4 has no more: the parts go to the learnt facts, the others change no score."""
_SCHEDULES_UP_TO_2 = {"cosine": "linear", "step": "constant"}
"""Schedules that version 3 has no more, and the nearest that it has; they change no score of a finished training."""


def write_meta(kind: str, settings: dict[str, Any], learnt: dict[str, Any]) -> Meta:
    """The JSON side of a state: which density, its constructor's settings, and small learnt facts."""
    return {"density": kind, "version": VERSION, "settings": settings, "learnt": learnt}


def read_meta(meta: Meta, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and learnt facts of a state of this kind of density, as this version has them.

    A state of version 1 knows no offset: it is None. Raises BundleError for another kind and for a newer version.
    """
    if meta.get("density") != kind:
        raise BundleError("stored density", expected=kind, got=repr(meta.get("density")))
    what = f"stored density {kind}"
    version = check_version(f"{what}, version", meta.get("version"), VERSION)
    settings, learnt = meta.get("settings"), meta.get("learnt")
    if not isinstance(settings, dict) or not isinstance(learnt, dict):
        raise BundleError(what, expected="settings and learnt facts", got=f"entries {sorted(meta)}")
    if version == 1:
        settings, learnt = _NOT_YET_IN_1.get(kind, {}) | settings, {"offset": None} | learnt
    if version <= 3 and kind in ("mulde", "msma"):
        learnt = learnt | {name: settings[name] for name in OLD_PARTS if settings.get(name, False) is not False}
        settings = {name: value for name, value in settings.items() if name not in _ONLY_BEFORE_4}
        settings = _NOT_YET_IN_3[kind] | settings
        if settings.pop("whiten", None) is not None:
            learnt = learnt | {WHITENED: True}
        if version <= 2 and settings.get("schedule") in ("cosine", "step"):
            settings["schedule"] = _SCHEDULES_UP_TO_2[settings["schedule"]]
    return dict(settings), dict(learnt)


def check_version(what: str, version: object, newest: int) -> int:
    """`found`, one of the versions 1 to `newest` that can be read. Raises BundleError for anything else."""
    known = range(1, newest + 1)
    if isinstance(version, int) and version in known:
        return version
    newer = isinstance(version, int) and version > newest
    raise BundleError(
        what,
        expected=f"one that mulde {__version__} reads, {' or '.join(map(str, known))}",
        got=repr(version),
        hint="upgrade mulde, or train again with this one" if newer else "train again",
    )


def take(tensors: Tensors, name: str, dtype: DTypeLike, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """The array `name`; raises BundleError unless it is there with this dtype and shape (None matches any length)."""
    wanted = f"{np.dtype(dtype)} of shape ({', '.join('*' if n is None else str(n) for n in shape)})"
    if name not in tensors:
        others = f"only {', '.join(sorted(tensors)[:_MAX_SHOWN])}" if tensors else "none"
        raise BundleError(f"stored density, {name}", expected=wanted, got=others)
    array = tensors[name]
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise BundleError(f"stored density, {name}", expected=wanted, got=f"{array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise BundleError(f"stored density, {name}", expected="finite numbers", got="NaN or infinity")
    return array


def take_positive(
    tensors: Tensors, name: str, shape: tuple[int | None, ...], dtype: DTypeLike = np.float64
) -> NDArray[Any]:
    """`take`, refused unless every number is above 0."""
    array = take(tensors, name, dtype, shape)
    if not (array > 0).all():
        raise BundleError(f"stored density, {name}", expected="numbers above 0", got=f"{array.min()}")
    return array


def with_prefix(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: array for name, array in tensors.items()}


def under_prefix(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
