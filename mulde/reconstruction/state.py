"""Stored arrays of a network, held to what the network has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from mulde.errors import BundleError
from mulde.reconstruction.pixel_model import Arrays


def check_arrays(kind: str, arrays: Arrays, wanted: Mapping[str, Tensor]) -> None:
    """Raises BundleError unless names, types and shapes are those of `wanted` and all numbers are finite."""
    what = f"stored model {kind}"
    if arrays.keys() != wanted.keys():
        odd = sorted(arrays.keys() ^ wanted.keys())[:3]
        raise BundleError(what, expected=f"its {len(wanted)} arrays", got=f"a difference in {', '.join(odd)}")
    for name, value in wanted.items():
        array = arrays[name]
        shown = f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
        if f"{array.dtype} {array.shape}" != shown:
            raise BundleError(f"{what}, {name}", expected=shown, got=f"{array.dtype} {array.shape}")
        if not np.isfinite(array).all():
            raise BundleError(f"{what}, {name}", expected="finite numbers", got="NaN or infinity")
