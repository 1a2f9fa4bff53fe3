"""Pictures of how far the days of a camera have drifted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mulde.records import Float64, UInt8
from mulde.report.plots import new_figure, save

if TYPE_CHECKING:
    from mulde.report.plots import Axes

_BLUE, _GREY, _ORANGE = "#0072b2", "#9a9a9a", "#e69f00"
_LOWEST = 0.01
_MAX_LABELS = 12


@dataclass(frozen=True)
class DriftPanel:
    """A stream day by day: evidence (D,), NaN for days of reference; spans: of days that have drifted, half-open."""

    title: str
    evidence: Float64
    spans: Sequence[tuple[int, int]]


def plot_drift(
    panels: Sequence[DriftPanel],
    days: Sequence[str],
    threshold: float,
    path: Path,
    *,
    then: Sequence[UInt8] = (),
    now: Sequence[UInt8] = (),
) -> None:
    """The evidence of each stream against the days (D,) on a logarithmic scale, as PNG; days that have drifted are
    shaded. then, now: RGB pictures of before and since, in a row each."""
    rows = [(name, pictures) for name, pictures in (("then", then), ("now", now)) if len(pictures)]
    heights = [1.5] * len(panels) + [1.7] * len(rows)
    figure = new_figure(10, sum(heights) + 0.5)
    columns = max([1, *(len(pictures) for _, pictures in rows)])
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(grid[number, :])
        _draw_panel(axes, panel, threshold)
        axes.set_xlim(-0.5, len(days) - 0.5)
        step = max(-(-len(days) // _MAX_LABELS), 1)
        shown = range(0, len(days), step) if number == len(panels) - 1 else ()
        axes.set_xticks(list(shown), [days[day] for day in shown], fontsize=7, rotation=20)
    for number, (name, pictures) in enumerate(rows):
        for column, picture in enumerate(pictures):
            view = figure.add_subplot(grid[len(panels) + number, column])
            view.imshow(picture)
            view.set_axis_off()
            if column == 0:
                view.set_title(name, loc="left", fontsize=9)
    save(figure, path)


def _draw_panel(axes: Axes, panel: DriftPanel, threshold: float) -> None:
    for first, end in panel.spans:
        axes.axvspan(first - 0.5, end - 0.5, color=_ORANGE, alpha=0.3, linewidth=0)
    place = np.arange(len(panel.evidence))
    axes.plot(place, np.maximum(panel.evidence, _LOWEST), color=_BLUE, marker="o", markersize=3, linewidth=1.2)
    axes.axhline(threshold, color="black", linewidth=1, linestyle="--")
    axes.axhline(1, color=_GREY, linewidth=0.6)
    axes.set_yscale("log")
    axes.set_ylabel("evidence", fontsize=8)
    axes.set_title(panel.title, loc="left", fontsize=9, parse_math=False)
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
