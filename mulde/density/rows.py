"""What goes in and out of every density: checked (N, D) rows, states of plain arrays, the progress callback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mulde.errors import MuldeError

Rows = NDArray[np.floating[Any]]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Tensors = dict[str, NDArray[Any]]
Meta = dict[str, Any]


@dataclass(frozen=True)
class TrainingProgress:
    """How a training is getting on: means since the last look of the two terms of the loss, the largest element of the
    parameters' gradient in this step, the learning rate, and the held-out L_dsm if measured by now, over all and per
    band of noise levels from low to high."""

    step: int
    num_steps: int
    loss_dsm: float
    loss_reg: float
    largest_gradient: float
    lr: float
    heldout_loss: float | None = None
    heldout_bands: tuple[float, ...] = ()


Progress = Callable[[TrainingProgress], None]

_LARGEST = float(np.finfo(np.float32).max)
_ROWS_AT_A_TIME = 8192


def parts(num_rows: int, size: int = _ROWS_AT_A_TIME) -> Iterator[slice]:
    """Consecutive slices that cover `num_rows` rows, `size` rows each but the last."""
    return (slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size))


def check_rows(X: ArrayLike, what: str, error: type[MuldeError], num_columns: int | None = None) -> Rows:
    """X as a float32 or float64 array (N, D); no rows are fine, and so is any D unless `num_columns` is given.

    Raises `error` when X is not a dense matrix of real numbers, has another number of columns, or holds NaN, infinity
    or a number that float32 cannot hold; TypeError for an object that is no number.
    """
    if hasattr(X, "toarray"):
        raise error(what, expected="a dense matrix", got="a sparse one", hint="X.toarray()")
    rows = np.asarray(X)
    if rows.dtype == object:
        rows = rows.astype(np.float64)
    if rows.dtype.kind == "c":
        raise error(what, expected="real numbers", got=f"{rows.dtype}. Complex data not supported")
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        hint = "Reshape your data: X.reshape(-1, 1) for one column, X.reshape(1, -1) for one row"
        shown = f"{rows.dtype} of shape {rows.shape}"
        raise error(
            what, expected="a matrix of numbers (rows, columns)", got=shown, hint=hint if rows.ndim == 1 else None
        )
    if num_columns is not None and rows.shape[1] != num_columns:
        raise error(
            what,
            expected=f"{num_columns} columns as in training",
            got=f"{rows.shape[1]}",
            hint="extract these rows with the settings that the density was trained on",
        )
    if rows.dtype not in (np.float32, np.float64):
        rows = rows.astype(np.float64)
    for part in parts(len(rows)):
        bad = np.argwhere(~(np.abs(rows[part]) <= _LARGEST))  # NaN compares false, so it is caught as well
        if bad.size:
            row, column = int(bad[0, 0]) + part.start, int(bad[0, 1])
            got = f"{rows[row, column]} in row {row}, column {column}"
            raise error(what, expected="finite numbers", got=got, hint="leave out rows with NaN, inf or beyond float32")
    return rows
