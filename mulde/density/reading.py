"""Reading a trained network at all its noise levels, in bounded memory (docs/method.md, equation 5)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mulde.density.devices import memory_at_hand
from mulde.density.objective import Net
from mulde.density.rows import Float32, Rows, parts

INDICATORS = {"energy": "energies", "score_norm": "score_norms"}
"""Name of an indicator: the method of a network that gives it."""
_NUMBERS_AT_A_TIME = {"cpu": 2**21, "cuda": 2**28}
"""Numbers in one hidden layer that go through the network at once: what fits a CPU's caches, what fills a GPU."""
_MAX_ROWS = 4096
_MIN_PADDED = 8
"""Below 4 rows, products on a CPU round differently from those of many rows; from 8 up no row was seen to change."""
_COPIES = 8  # arrays of that size, in float32, that are alive at once
_SHARE_OF_MEMORY = 0.25


def read_levels(
    net: Net,
    rows: Rows,
    sigma: Tensor,
    indicator: str,
    prepare: Callable[[Rows], Tensor],
    precision: torch.dtype | None = None,
) -> Float32:
    """The indicator of rows (N, D) at each level of sigma (L,): (N, L) float32, as many rows at a time as fit.

    prepare: rows as they came (n, D) as the network takes them, (n, K) on its device. precision: of the products, if
    not that of the training. Always the same number of rows at a time, the last ones padded: a row's reading then does
    not depend, to the last bit, on the rows around it. (Matrix products of other sizes round differently, and a mixture
    over almost collinear levels magnifies that.)
    """
    read: Callable[[Tensor, Tensor], Tensor] = getattr(net, INDICATORS[indicator])
    return _in_parts(lambda x: read(x, sigma), len(sigma), net, rows, len(sigma), prepare, precision)


def read_gradients(
    net: Net,
    rows: Rows,
    sigma: Tensor,
    prepare: Callable[[Rows], Tensor],
    precision: torch.dtype | None = None,
) -> Float32:
    """The mean of dE/dx over the levels of sigma (L,), x being the K columns that `prepare` makes of rows (N, D):
    (N, K) float32. In parts as `read_levels`, so a row's gradient does not depend on the rows around it."""
    return _in_parts(
        lambda x: net.gradients(x, sigma).mean(dim=1), net.num_features, net, rows, len(sigma), prepare, precision
    )


def _in_parts(
    read: Callable[[Tensor], Tensor],
    num_columns: int,
    net: Net,
    rows: Rows,
    num_scales: int,
    prepare: Callable[[Rows], Tensor],
    precision: torch.dtype | None,
) -> Float32:
    """What `read` makes of (n, K), (n, num_columns), for all rows."""
    size, device = rows_at_a_time(net, num_scales), next(net.parameters()).device
    out = np.empty((len(rows), num_columns), np.float32)
    with torch.inference_mode(), net.cast_once(precision):
        for part in parts(len(rows), size):
            some = rows[part]
            padded = np.zeros((_padded_size(len(some), size, device), rows.shape[1]), rows.dtype)
            padded[: len(some)] = some
            out[part] = read(prepare(padded))[: len(some)].cpu().numpy()
    return out


def _padded_size(num_rows: int, size: int, device: torch.device) -> int:
    """How many rows are read in place of `num_rows`: on a CPU the least power of two from 8 up, so that few rows cost
    little; on a GPU, which is fast at it and chooses its kernels by size, always `size`."""
    if device.type != "cpu":
        return size
    return min(max(1 << (num_rows - 1).bit_length(), _MIN_PADDED), size)


def rows_at_a_time(net: Net, num_scales: int) -> int:
    """A power of two that depends on the network and the kind of device, and shrinks only where memory is short."""
    device = next(net.parameters()).device
    widest = max(*net.hidden, net.num_features)
    fits = memory_at_hand(device) * _SHARE_OF_MEMORY / (4 * _COPIES)
    numbers = min(_NUMBERS_AT_A_TIME.get(device.type, 2**22), fits)
    rows = min(max(numbers / (num_scales * widest), 1), _MAX_ROWS)
    return int(2 ** np.floor(np.log2(rows)))
