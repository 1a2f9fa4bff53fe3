"""Pictures of results. The only file that imports matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from mulde.density.rows import Float64, TrainingProgress
from mulde.files import atomic_write
from mulde.records import ScoreTrack, UInt8
from mulde.report.curves import TradeOff, thin_track

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure as Figure

_BLUE, _GREY, _ORANGE = "#0072b2", "#9a9a9a", "#e69f00"  # distinct for colour-blind readers and in greyscale
_DECADES = 1e-5
_TICKS = (0, 1, 3, 10, 30, 100, 300, 1000)
_BANDS = ("#440154", "#3b528b", "#21918c", "#5ec962")  # viridis, from low to high
_COLUMNS = 2000  # more than the pixels that a curve is wide
_MIN_P = 1e-6


def plot_scores(
    track: ScoreTrack,
    path: Path,
    *,
    anomalous_spans: Sequence[tuple[int, int]] | None = None,
    moments: Sequence[tuple[int, UInt8]] = (),
    alarm_level: float | None = None,
    p_values: Float64 | None = None,
) -> None:
    """Score curve of one video as PNG; true anomalies are shaded where `anomalous_spans` (half-open frames) are given.

    moments: (frame index, RGB picture) pairs shown above the curve and marked on it. alarm_level: drawn across.
    p_values: (T,) of the frames, drawn below on a logarithmic scale, the least likely on top.
    """
    heights = ([2.6, 2.8] if moments else [3.2]) + [1.4] * (p_values is not None)
    figure = new_figure(10, sum(heights))
    grid = figure.add_gridspec(len(heights), max(len(moments), 1), height_ratios=heights)
    axes = figure.add_subplot(grid[1 if moments else 0, :])
    _draw_spans(axes, anomalous_spans)
    _draw_curve(axes, track, alarm_level)
    for column, (frame, picture) in enumerate(moments):
        letter = chr(ord("A") + column)
        view = figure.add_subplot(grid[0, column])
        view.imshow(picture)
        view.set_title(f"{letter}: frame {frame}", fontsize=9)
        view.set_axis_off()
        axes.axvline(frame, color="black", linewidth=0.8, linestyle=":")
        axes.annotate(letter, (frame, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9)
    if p_values is not None:
        below = figure.add_subplot(grid[-1, :], sharex=axes)
        _draw_spans(below, anomalous_spans)
        keep = thin_track(p_values, _COLUMNS)
        below.plot(track.frame_index[keep], np.maximum(p_values[keep], _MIN_P), color="black", linewidth=1)
        below.set(ylabel="p-value", yscale="log", xlabel="frame")
        below.minorticks_off()
        below.invert_yaxis()
        below.margins(x=0)
        below.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("")
    save(figure, path)


def score_curves(tracks: Sequence[ScoreTrack], *, alarm_level: float | None = None) -> Figure:
    """The score curves of several videos, one below the other; a figure that a notebook shows."""
    from matplotlib.figure import Figure

    class Curves(Figure):
        def _repr_png_(self) -> bytes:
            return as_png(self)

    figure = Curves(figsize=(10, 3.2 * len(tracks)), layout="constrained")
    rows = figure.subplots(len(tracks), 1, squeeze=False)[:, 0]
    for axes, track in zip(rows, tracks, strict=True):
        _draw_curve(axes, track, alarm_level)
    return figure


def as_png(figure: Figure, dpi: int = 80) -> bytes:
    content = io.BytesIO()
    _write(figure, content, dpi)
    return content.getvalue()


def _draw_spans(axes: Axes, spans: Sequence[tuple[int, int]] | None) -> None:
    if spans:  # all as one: thousands of shapes of their own would take minutes
        bars = [(first - 0.5, last - first) for first, last in spans]
        across = axes.get_xaxis_transform()  # x in frames, y from 0 to 1
        axes.broken_barh(bars, (0, 1), transform=across, color=_ORANGE, alpha=0.3, lw=0, label="labelled anomalous")


def _draw_curve(axes: Axes, track: ScoreTrack, alarm_level: float | None) -> None:
    for values, colour, width, name in (
        (track.fused, _GREY, 0.7, "raw"),
        (track.smoothed, _BLUE, 1.8, "smoothed"),
    ):
        keep = thin_track(values, _COLUMNS)
        axes.plot(track.frame_index[keep], values[keep], color=colour, linewidth=width, label=name)
    if alarm_level is not None:
        axes.axhline(alarm_level, color="black", linewidth=1, linestyle="--", label="alarm level")
    axes.set_xlabel("frame")
    axes.set_ylabel("anomaly score")
    axes.set_title(track.video, loc="left", fontsize=10, parse_math=False)
    axes.margins(x=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.05), frameon=False, fontsize=8, ncols=4)


def plot_trade_off(trade_off: TradeOff, path: Path) -> None:
    """The lines of a trade-off in the unit square, scores that never look at the video in thin grey, as PNG."""
    figure = new_figure(5.6, 6.2)
    axes = figure.subplots()
    num_results = sum(not line.never_looks for line in trade_off.lines)
    results = iter((("black", ":", 1.2), (_ORANGE, "--", 1.6), (_BLUE, "-", 2.0))[-num_results:])
    nulls = iter(("--", "-.", (0, (1, 2))))
    for line in trade_off.lines:
        colour, style, width = ("0.5", next(nulls), 1.0) if line.never_looks else next(results)
        drawing = "steps-post" if trade_off.steps else "default"
        axes.plot(line.x, line.y, color=colour, linestyle=style, linewidth=width, drawstyle=drawing, label=line.name)
    if trade_off.chance is not None:
        axes.plot((0, 1), trade_off.chance, color="0.75", linewidth=0.8, zorder=0, label="chance")
    axes.set_title(trade_off.title, loc="left", fontsize=11)
    axes.set(xlabel=trade_off.x_label, ylabel=trade_off.y_label, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", frameon=False, fontsize=9, ncols=4)
    save(figure, path)


@dataclass(frozen=True)
class MapPair:
    """One quantity over a square of the plane at one noise level: learnt and exact (G, G), rows from low y to high."""

    sigma: float
    learnt: Float64
    exact: Float64


@dataclass(frozen=True)
class Curve:
    """One indicator at each noise level, learnt and exact (L,)."""

    name: str
    learnt: Sequence[float]
    exact: Sequence[float]


def plot_points(groups: Mapping[str, Float64], path: Path, *, limit: float) -> None:
    """Scatter of up to three groups of points (N, 2) by name, within +-limit."""
    figure = new_figure(6.4, 6)
    axes = figure.subplots()
    for (name, points), colour in zip(groups.items(), (_GREY, _BLUE, _ORANGE), strict=False):
        axes.scatter(points[:, 0], points[:, 1], s=4, color=colour, linewidths=0, label=f"{name} ({len(points):,})")
    _label_plane(axes, limit)
    axes.set_xlabel("first column, standardised")
    axes.set_ylabel("second column, standardised")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, fontsize=9, ncols=3, markerscale=3)
    save(figure, path)


def plot_projection(groups: Mapping[str, Float64], path: Path, *, rank: int) -> None:
    """Scatter of up to three groups by name, (N, 3): their first and second principal component, and their distance
    from the subspace of the first `rank` of them."""
    figure = new_figure(10, 4.6)
    panels = figure.subplots(1, 2)
    for axes, column, label in zip(
        panels, (1, 2), ("second principal component", f"distance from the first {rank} components"), strict=True
    ):
        for (name, points), colour in zip(groups.items(), (_GREY, _BLUE, _ORANGE), strict=False):
            axes.scatter(points[:, 0], points[:, column], s=8, color=colour, linewidths=0, alpha=0.8, label=name)
        axes.set(xlabel="first principal component", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", frameon=False, ncols=3, markerscale=3)
    save(figure, path)


def plot_maps(
    pairs: Sequence[MapPair],
    path: Path,
    *,
    label: str,
    limit: float,
    logarithmic: bool = False,
    points: Mapping[str, Float64] | None = None,
) -> None:
    """Heat maps over the square +-limit, a column per noise level: the learnt above the exact in the same colours.

    The colours run over the range of the exact map, from 0 up; logarithmic: over its five upper decades. points: up to
    two groups (N, 2) drawn over every map.
    """
    figure = new_figure(3 * len(pairs) + 0.4, 7.8)
    rows = figure.subplots(2, len(pairs), sharex=True, sharey=True, squeeze=False)
    reach = limit + limit / (len(pairs[0].exact) - 1)  # the outermost cells are centred on the limit
    for column, pair in zip(rows.T, pairs, strict=True):
        colours, ticks = _colours(float(pair.exact.max()), logarithmic)
        for axes, kind, values in zip(column, ("learnt", "exact"), (pair.learnt, pair.exact), strict=True):
            image = axes.imshow(
                values, cmap="viridis", norm=colours, origin="lower", extent=(-reach, reach, -reach, reach)
            )
            _draw_groups(axes, points or {})
            _label_plane(axes, limit)
            axes.set_title(f"{kind}, sigma {pair.sigma:g}", fontsize=10)
        column[-1].set_xlabel("first column")
        figure.colorbar(
            image, ax=column, location="bottom", extend="both", ticks=ticks, label=label, format=ticks and "%g"
        )
    for axes in rows[:, 0]:
        axes.set_ylabel("second column")
    if points:
        handles = rows[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper right", ncols=2, markerscale=5, facecolor="0.7", fontsize=10)
    save(figure, path)


def _colours(largest: float, logarithmic: bool) -> tuple[Normalize, list[float] | None]:
    """Colours from 0 to `largest` and their ticks. Not logarithmic: linear below 1, then ever more slowly."""
    from matplotlib.colors import AsinhNorm, LogNorm

    if logarithmic:
        return LogNorm(_DECADES * largest, largest), None
    return AsinhNorm(linear_width=1, vmin=0, vmax=largest), [t for t in _TICKS if t <= largest]


def _draw_groups(axes: Axes, points: Mapping[str, Float64]) -> None:
    for (name, group), colour in zip(points.items(), ("white", _ORANGE), strict=False):
        axes.scatter(group[:, 0], group[:, 1], s=1.5, color=colour, linewidths=0, alpha=0.6, label=name)


def _label_plane(axes: Axes, limit: float) -> None:
    axes.set_aspect("equal")
    axes.set_xlim(-limit, limit)
    axes.set_ylim(-limit, limit)


def plot_auc(sigma: Sequence[float], curves: Sequence[Curve], path: Path) -> None:
    """AUC against the noise level: learnt in solid lines with marks, exact in broken ones."""
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    for curve, colour, mark in zip(curves, (_BLUE, _ORANGE), "os", strict=False):
        axes.plot(sigma, curve.learnt, color=colour, marker=mark, markersize=4, label=f"{curve.name}, learnt")
        axes.plot(
            sigma, curve.exact, color="black", linestyle="--" if mark == "o" else ":", label=f"{curve.name}, exact"
        )
    axes.axhline(0.5, color=_GREY, linewidth=0.8, zorder=0)
    axes.annotate("chance", (0.3, 0.5), xycoords=("axes fraction", "data"), color="0.4", fontsize=9, va="bottom")
    axes.set_xlabel("sigma, noise level in standard deviations of the columns")
    axes.set_ylabel("AUC")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", frameon=False, fontsize=9, ncols=4)
    save(figure, path)


def plot_aggregates(names: Sequence[str], curves: Sequence[Curve], path: Path) -> None:
    """Bars of the AUC of each aggregate, a panel per indicator: learnt beside exact, with the figures on top."""
    figure = new_figure(9, 4)
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    place = np.arange(len(names))
    for axes, curve in zip(panels, curves, strict=True):
        for shift, kind, values, colour in (
            (-0.2, "learnt", curve.learnt, _BLUE),
            (0.2, "exact", curve.exact, _ORANGE),
        ):
            bars = axes.bar(place + shift, values, width=0.38, color=colour, label=kind)
            axes.bar_label(bars, [f"{value:.3f}" for value in values], rotation=90, padding=3, fontsize=8)
        axes.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
        axes.set_xticks(place, [name.replace(" ", "\n") for name in names], fontsize=9)
        axes.set_title(curve.name, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("AUC")
    panels[0].set_ylim(0, 1.18)
    panels[0].set_yticks(np.arange(0, 1.01, 0.25))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    save(figure, path)


def plot_training(
    looks: Sequence[TrainingProgress],
    path: Path,
    *,
    band_names: Sequence[str] = (),
    lowest_losses: Sequence[float] = (),
) -> None:
    """The course of a training: both terms of the loss and their sum, held-out loss and its bands, gradient, rate.

    band_names: of the bands of noise levels, from low to high. lowest_losses: the lowest possible L_dsm, over all
    levels and then per band, where it is known.
    """
    figure = new_figure(11, 7)
    loss, heldout, gradient, rate = figure.subplots(2, 2, sharex=True).flat
    step = [look.step for look in looks]
    dsm, reg = [look.loss_dsm for look in looks], [look.loss_reg for look in looks]
    loss.plot(step, np.add(dsm, reg), color=_GREY, linewidth=3, label="total")
    loss.plot(step, dsm, color=_BLUE, linewidth=1, label="dsm")
    loss.plot(step, reg, color=_ORANGE, linewidth=1, label="reg")
    loss.set(ylabel="training loss", yscale="log")
    _draw_heldout(heldout, looks, band_names, lowest_losses)
    gradient.plot(step, [look.largest_gradient for look in looks], color=_BLUE, linewidth=1)
    gradient.set(xlabel="step", ylabel="largest element of the gradient", yscale="log")
    rate.plot(step, [look.lr for look in looks], color=_BLUE)
    rate.set(xlabel="step", ylabel="learning rate")
    for axes in (loss, heldout, gradient, rate):
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (loss, heldout):
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8, ncols=2)
    save(figure, path)


def _draw_heldout(
    axes: Axes, looks: Sequence[TrainingProgress], band_names: Sequence[str], lowest_losses: Sequence[float]
) -> None:
    measured = [look for look in looks if look.heldout_loss is not None]
    curves = [[look.heldout_loss for look in measured], *zip(*[look.heldout_bands for look in measured], strict=True)]
    names, colours = ["all noise levels", *band_names], ["black", *_BANDS]
    for curve, name, colour in zip(curves, names, colours, strict=False):
        axes.plot([look.step for look in measured], curve, color=colour, drawstyle="steps-post", label=name)
    for loss, colour in zip(lowest_losses, colours, strict=False):
        axes.axhline(loss, color=colour, linestyle=":", linewidth=1)
    axes.set_ylabel("held-out loss (dsm)" + ("\ndotted: lowest to be expected" if lowest_losses else ""))


class Bar(NamedTuple):
    """A candidate of a plot: a share, its interval, and whether it was chosen."""

    name: str
    value: float
    low: float
    high: float
    is_chosen: bool


def plot_candidates(groups: Mapping[str, Sequence[Bar]]) -> bytes:
    """The candidates of each group below one another, in percent with their intervals, as PNG."""
    heights = [0.6 + 0.24 * len(bars) for bars in groups.values()]
    figure = new_figure(9, sum(heights) + 0.4)
    rows = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (title, bars) in zip(rows, groups.items(), strict=True):
        for y, bar in enumerate(bars):
            colour = _BLUE if bar.is_chosen else _GREY
            axes.plot([100 * bar.low, 100 * bar.high], [y, y], color=colour, linewidth=1.5)
            axes.plot([100 * bar.value], [y], "o", color=colour, markerfacecolor=colour if bar.is_chosen else "white")
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars], fontsize=8, parse_math=False)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_title(title, loc="left", fontsize=9, parse_math=False)
        axes.grid(axis="x", linewidth=0.4)
        axes.spines[["top", "right"]].set_visible(False)
    rows[-1].set_xlabel("found, %")
    return as_png(figure, 100)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_write(path) as partial:
        _write(figure, partial, 110)


def _write(figure: Figure, target: Path | BinaryIO, dpi: int) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names may be in any script; the font has not all
        figure.savefig(target, format="png", dpi=dpi)
