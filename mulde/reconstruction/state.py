"""Networks from stored arrays, which are held to what the network has before anything is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mulde.errors import BundleError
from mulde.reconstruction.pixel_model import Arrays

Net = TypeVar("Net", bound=nn.Module)


def restored(kind: str, build: Callable[[], Net], arrays: Arrays, device: str) -> Net:
    """The network that `build` makes, with these arrays as its state, in evaluation mode.

    Its shape alone is made first, so that a small file cannot ask for a large network. Raises BundleError as
    `check_arrays` does.
    """
    try:
        with torch.device("meta"):
            net = build()
    except NotImplementedError:  # a teacher whose layers are computed: none that could have been trained with
        raise BundleError(f"stored model {kind}", expected="networks that it can be made of", got="others") from None
    check_arrays(kind, arrays, net.state_dict())
    net.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, assign=True)
    return net.to(device).to(memory_format=torch.channels_last).eval()


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
