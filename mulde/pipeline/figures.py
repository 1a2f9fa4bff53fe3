"""Pictures of results. The only file that imports matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mulde.pipeline.files import whole_file
from mulde.records import ScoreTrack, UInt8

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _GREY, _ORANGE = "#0072b2", "#9a9a9a", "#e69f00"  # told apart by colour-blind readers and in greyscale


def plot_scores(
    track: ScoreTrack,
    path: Path,
    *,
    anomalous_spans: Sequence[tuple[int, int]] | None = None,
    moments: Sequence[tuple[int, UInt8]] = (),
) -> None:
    """Score curve of one video as PNG; true anomalies are shaded where `anomalous_spans` (half-open frames) are given.

    moments: (frame index, RGB picture) pairs shown above the curve and marked on it.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.4 if moments else 3.2), layout="constrained")
    grid = figure.add_gridspec(2 if moments else 1, max(len(moments), 1), height_ratios=[1, 1.1] if moments else [1])
    axes = figure.add_subplot(grid[-1, :])
    _draw_curve(axes, track, anomalous_spans)
    for column, (frame, picture) in enumerate(moments):
        letter = chr(ord("A") + column)
        view = figure.add_subplot(grid[0, column])
        view.imshow(picture)
        view.set_title(f"{letter}: frame {frame}", fontsize=9)
        view.set_axis_off()
        axes.axvline(frame, color="black", linewidth=0.8, linestyle=":")
        axes.annotate(letter, (frame, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110)


def _draw_curve(axes: Axes, track: ScoreTrack, spans: Sequence[tuple[int, int]] | None) -> None:
    for i, (first, last) in enumerate(spans or ()):
        axes.axvspan(first - 0.5, last - 0.5, color=_ORANGE, alpha=0.3, lw=0, label="" if i else "labelled anomalous")
    axes.plot(track.frame_index, track.fused, color=_GREY, linewidth=0.7, label="raw")
    axes.plot(track.frame_index, track.smoothed, color=_BLUE, linewidth=1.8, label="smoothed")
    axes.set_xlabel("frame")
    axes.set_ylabel("anomaly score")
    axes.set_title(track.video, loc="left", fontsize=10)
    axes.margins(x=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.05), frameon=False, fontsize=8, ncols=3)
