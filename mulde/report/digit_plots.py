"""Pictures of digits that networks reconstruct, and of the fields that bend them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mulde.records import Float32
from mulde.report.plots import new_figure, save

if TYPE_CHECKING:
    from mulde.report.plots import Axes

_GRID_STEP_PX = 2
_ANOMALOUS, _GRID = "#b35900", "#0072b2"
_BAR_HEIGHT = 0.08  # of the scale of colours, in heights of an image


@dataclass(frozen=True)
class BentDigit:
    """One image (H, W) and what became of it.

    Attributes:
        name: The title of its row.
        image: The image, as the reference and the output from 0 to 1.
        reference: What the memory gives.
        output: The reference after bending.
        coarse_px: Offsets (2, H, W) to the right and down, in pixels.
        total_px: Likewise of coarse and fine bending together.
        errors: Absolute errors (H, W) by name of the network.
    """

    name: str
    image: Float32
    reference: Float32
    output: Float32
    coarse_px: Float32
    total_px: Float32
    errors: Mapping[str, Float32]


def plot_rows(rows: Mapping[str, Float32], columns: Sequence[str], num_normal: int, path: Path) -> None:
    """Images (N, H, W) from 0 to 1, a row per entry by its name, a column per digit, `num_normal` normal ones first."""
    figure = new_figure(1 + 0.75 * len(columns), 0.5 + 0.75 * len(rows))
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for (name, images), line in zip(rows.items(), grid, strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for number, (axes, column) in enumerate(zip(grid[0], columns, strict=True)):
        kind, colour = ("normal", "black") if number < num_normal else ("anomalous", _ANOMALOUS)
        axes.set_title(f"{column}\n{kind}", fontsize=8, color=colour)
    save(figure, path)


def plot_bending(digits: Sequence[BentDigit], path: Path) -> None:
    """A row per digit: the image, the reference, the reference under the coarse grid and under both, how far each pixel
    is moved, the output, and the error of each network. Maps of one kind have the same colours in all rows."""
    names = list(digits[0].errors)
    titles = ["input", "reference", "coarse grid", "coarse and\nfine grid", "diversity map,\npixels", "output"]
    titles += [f"error of\n{name}" for name in names]
    figure = new_figure(1.35 * len(titles), 1.4 * len(digits) + 0.9)
    *grid, bars = figure.subplots(
        len(digits) + 1, len(titles), squeeze=False, height_ratios=[*[1] * len(digits), _BAR_HEIGHT]
    )
    lengths = [np.hypot(*digit.total_px) for digit in digits]
    longest = max(1e-6, *(float(length.max()) for length in lengths))
    for digit, length, line in zip(digits, lengths, grid, strict=True):
        for axes, image in zip(line[[0, 1, 2, 3, 5]], (digit.image, *[digit.reference] * 3, digit.output), strict=True):
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        _draw_grid(line[2], digit.coarse_px)
        _draw_grid(line[3], digit.total_px)
        moved = line[4].imshow(length, cmap="viridis", vmin=0, vmax=longest)
        for axes, name in zip(line[6:], names, strict=True):
            wrong = axes.imshow(digit.errors[name], cmap="magma", vmin=0, vmax=1)
        line[0].set_ylabel(digit.name, fontsize=9)
        for axes in line:
            axes.set(xticks=[], yticks=[])
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=8)
    for axes in bars:
        axes.set_axis_off()
    for axes, image in ((bars[4], moved), (bars[-1], wrong)):
        axes.set_axis_on()
        figure.colorbar(image, cax=axes, orientation="horizontal")
    save(figure, path)


def _draw_grid(axes: Axes, offsets_px: Float32) -> None:
    """Where the pixels of every second row and column take their values."""
    reach = axes.axis()
    _, height, width = offsets_px.shape
    row, column = np.mgrid[:height, :width]
    x, y = column + offsets_px[0], row + offsets_px[1]
    for i in range(0, height, _GRID_STEP_PX):
        axes.plot(x[i], y[i], color=_GRID, linewidth=0.5)
    for j in range(0, width, _GRID_STEP_PX):
        axes.plot(x[:, j], y[:, j], color=_GRID, linewidth=0.5)
    axes.axis(reach)
