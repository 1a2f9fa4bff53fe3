"""The heat map of models by footage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulde.report.colours import shades
from mulde.report.plots import new_figure, save

_NOTHING = (225, 225, 225)
_DARK = 110


@dataclass(frozen=True)
class HeatCell:
    """strength: 0 to 1, more is brighter; None where there is no figure. text: what stands in the cell."""

    strength: float | None
    text: str


def plot_transfer(
    models: Sequence[str], footage: Sequence[str], cells: Sequence[Sequence[HeatCell]], path: Path
) -> None:
    """Cells by model (rows) and footage (columns) as PNG: brighter means more false alarms than promised."""
    colours = np.array(
        [[_NOTHING if cell.strength is None else shades(np.array(cell.strength)) for cell in row] for row in cells],
        np.uint8,
    )
    figure = new_figure(2.2 + 1.3 * len(footage), 1.6 + 0.9 * len(models))
    axes = figure.subplots()
    axes.imshow(colours, aspect="auto")
    for (row, column), _ in np.ndenumerate(np.zeros((len(models), len(footage)))):
        colour = "white" if colours[row, column].mean() < _DARK else "black"
        axes.text(column, row, cells[row][column].text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(footage)), footage, fontsize=8, rotation=20, parse_math=False)
    axes.set_yticks(range(len(models)), models, fontsize=8, parse_math=False)
    axes.set(xlabel="normal footage of", ylabel="model of")
    axes.set_title("false alarms per hour, brighter where beyond the promise", loc="left", fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save(figure, path)
