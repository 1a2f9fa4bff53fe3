"""Which columns make a row unusual: the slope of any score, where there is no closed form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mulde.density.rows import Float64, Rows, parts
from mulde.density.standardise import LIMIT, Standardiser

_STEP = 1e-3  # in standard deviations, and further out in shares of the distance: some densities reckon in float32
_FARTHEST = LIMIT / (1 + 2 * _STEP)  # a step from here still counts
_NUMBERS_AT_A_TIME = 2**22


def central_differences(score: Callable[[Rows], Float64], rows: Rows, standardiser: Standardiser) -> Float64:
    """Slopes (N, D) of a score, (n, D) -> (n,), at rows (N, D), per standard deviation of each column.

    Two scores for each number of the rows, as many at a time as fit.
    """
    num_columns = rows.shape[1]
    columns_at_a_time = max(1, min(num_columns, _NUMBERS_AT_A_TIME // (2 * num_columns)))
    rows_at_a_time = max(1, _NUMBERS_AT_A_TIME // (2 * num_columns * columns_at_a_time))
    slopes = np.empty(rows.shape)
    for part in parts(len(rows), rows_at_a_time):
        z = np.clip(standardiser.apply(rows[part]), -_FARTHEST, _FARTHEST)  # (n, D)
        x = standardiser.mean + standardiser.scale * z
        steps = _STEP * np.maximum(1, np.abs(z))
        for some in parts(num_columns, columns_at_a_time):
            columns = np.arange(some.start, some.stop)  # (c,)
            moved = np.repeat(np.stack([x, x])[:, :, None], len(columns), axis=2)  # (2, n, c, D)
            shift = steps[:, some] * standardiser.scale[some]  # (n, c)
            moved[0, :, columns - some.start, columns] += shift.T
            moved[1, :, columns - some.start, columns] -= shift.T
            above, below = score(moved.reshape(-1, num_columns)).reshape(2, len(x), len(columns))
            slopes[part, some] = (above - below) / (2 * steps[:, some])
    return slopes
