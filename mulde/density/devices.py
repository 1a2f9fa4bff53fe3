"""What a device has and does: how much memory is left on it, in which number format it multiplies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

PRECISIONS = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
"""Number format of the activations by name of the precision; tf32 rounds float32 inside the products alone."""
_SHARE_FOR_ROWS = 0.5
_UNKNOWN_MEMORY = 2**32


def memory_at_hand(device: torch.device) -> int:
    """Bytes that are free on a GPU, or free in the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return _UNKNOWN_MEMORY


def fits_on(device: torch.device, rows: Tensor) -> bool:
    """Whether rows, which lie on the host, may move to the device and leave half of its free memory to the training."""
    return rows.nbytes <= memory_at_hand(device) * _SHARE_FOR_ROWS


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """While the block runs, GPUs multiply float32 matrices in TF32 if `precision` is tf32, and exactly otherwise."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
