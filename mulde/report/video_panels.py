"""The curves of videos for a page: thinned polylines on one scale, each with a text that describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mulde.evaluation.metrics import roc_auc
from mulde.records import Float64, Int64, LabelTrack, ScoreTrack
from mulde.report.curves import columns_per_video, thin_track, truth_frames

WIDTH, HEIGHT = 1000, 500  # of the template's drawings
_MAX_SPANS_IN_WORDS = 12
_MIN_P = 1e-12  # where a p-value of 0 would be drawn


@dataclass(frozen=True)
class Scale:
    """Values from `bottom` to `top` on the height of a drawing."""

    bottom: float
    top: float

    @classmethod
    def over(cls, values: Sequence[Float64]) -> Scale:
        """From the lowest to the highest of all values; 0 to 1 without any."""
        full = [scores for scores in values if scores.size]
        if not full:
            return cls(0.0, 1.0)
        return cls(min(float(scores.min()) for scores in full), max(float(scores.max()) for scores in full))

    def height(self, values: Float64) -> Float64:
        """Distances (N,) from the upper edge of the drawing."""
        return HEIGHT * (self.top - values) / ((self.top - self.bottom) or 1.0)


@dataclass(frozen=True)
class Panel:
    """One drawing: lines as (style, SVG points), and what stands beside it. level: distance from the upper edge."""

    key: str
    name: str
    top: str
    bottom: str
    text: str
    lines: Sequence[tuple[str, str]]
    level: int | None = None


@dataclass(frozen=True)
class VideoView:
    """What a page shows of one video. auc: of its own frames; None with one class only. spans: x and width."""

    id: str
    name: str
    num_frames: int
    num_anomalous: int
    auc: float | None
    panels: Sequence[Panel]
    spans: Sequence[tuple[int, int]]
    ticks: Sequence[str]
    caption: str

    @property
    def facts(self) -> str:
        """The video in half a line: frames, share of anomalous ones, AUC."""
        auc = "AUC undefined (one class only)" if self.auc is None else f"AUC {100 * self.auc:.2f} %"
        return f"{self.num_frames:,} frames, {100 * self.share:.1f} % anomalous, {auc}"

    @property
    def share(self) -> float:
        """Of the frames that are labelled anomalous."""
        return self.num_anomalous / max(self.num_frames, 1)


def show_videos(
    tracks: Mapping[str, ScoreTrack],
    labels: Mapping[str, LabelTrack],
    alarm_level: float | None,
    p_values: Mapping[str, Float64],
) -> list[VideoView]:
    """A view of each video, all on one scale of scores, in the order of `tracks`.

    labels: one per scored frame of the same videos. p_values: video -> (T,), of those that have any.
    """
    heights = [values for track in tracks.values() for values in (track.fused, track.smoothed)]
    scores = Scale.over([*heights, np.array([] if alarm_level is None else [alarm_level])])
    rarity = {name: -np.log10(np.maximum(values, _MIN_P)) for name, values in p_values.items()}
    rarities = Scale(0.0, Scale.over(list(rarity.values())).top)
    columns = columns_per_video(len(tracks))
    views = []
    for number, (name, track) in enumerate(tracks.items(), start=1):
        panels = [_score_panel(track, scores, columns, alarm_level)]
        if name in rarity:
            panels.append(_p_panel(track, rarity[name], rarities, columns))
        truth, spans = labels[name], truth_frames(track.frame_index, labels[name].spans())
        views.append(
            VideoView(
                id=f"video-{number}",
                name=name,
                num_frames=len(track),
                num_anomalous=int(truth.anomalous.sum()),
                auc=roc_auc(track.smoothed, truth.anomalous),
                panels=panels,
                spans=span_rectangles(track.frame_index, spans),
                ticks=[tick(track, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] if len(track) else [],
                caption=spans_in_words(spans),
            )
        )
    return views


def _score_panel(track: ScoreTrack, scale: Scale, columns: int, alarm_level: float | None) -> Panel:
    lines = [
        (style, svg_points(track.frame_index, values, scale, columns))
        for style, values in (("raw", track.fused), ("smoothed", track.smoothed))
    ]
    level = None if alarm_level is None else round(float(scale.height(np.array(alarm_level))))
    text = f"Scores of {track.video}"
    if len(track):
        peak = int(track.smoothed.argmax())
        text += f": highest smoothed score {track.smoothed[peak]:.4g} at frame {track.frame_index[peak]}"
    return Panel("score", "score", f"{scale.top:.3g}", f"{scale.bottom:.3g}", text, lines, level)


def _p_panel(track: ScoreTrack, rarity: Float64, scale: Scale, columns: int) -> Panel:
    """rarity: -log10 of the p-values (T,)."""
    lowest = 10 ** -float(rarity.max(initial=0.0))
    text = f"p-values of {track.video}, the least likely on top: least {lowest:.2g}"
    lines = [("p-value", svg_points(track.frame_index, rarity, scale, columns))]
    return Panel("p", "p-value", f"{10**-scale.top:.2g}", "1", text, lines)


def svg_points(frame_index: Int64, values: Float64, scale: Scale, columns: int) -> str:
    """The points of a polyline of values (T,), thinned to the lowest and the highest of each of `columns` stretches."""
    keep = thin_track(values, columns)
    points = np.stack([_across(frame_index, frame_index[keep]), scale.height(values[keep])], axis=1)
    return " ".join(f"{x},{y}" for x, y in points.round().astype(int).tolist())


def span_rectangles(frame_index: Int64, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Left edge and width, at least 1, of half-open ranges of frames, from the middle between two frames."""
    edges = _across(frame_index, np.array(spans, np.float64).reshape(-1, 2) - 0.5).clip(0, WIDTH).round().astype(int)
    return [(min(int(a), WIDTH - 1), max(int(b - a), 1)) for a, b in edges]


def _across(frame_index: Int64, frames: Float64 | Int64) -> Float64:
    """Distances of frames from the left edge of a drawing that runs from the first frame to the last."""
    if not len(frame_index):
        return np.zeros(np.shape(frames))
    span = max(int(frame_index[-1] - frame_index[0]), 1)
    return np.asarray(WIDTH * (frames - frame_index[0]) / span, np.float64)


def tick(track: ScoreTrack, share: float) -> str:
    """Frame and time at a share of the way through a video."""
    at = round(share * (len(track) - 1))
    seconds = float(track.time_s[at])
    clock = (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:02.0f}"
    )
    return f"frame {track.frame_index[at]} ({clock})"


def spans_in_words(spans: Sequence[tuple[int, int]]) -> str:
    """A sentence on half-open ranges of labelled frames."""
    if not spans:
        return "No frame is labelled anomalous."
    words = ", ".join(f"{first}-{last - 1}" for first, last in spans[:_MAX_SPANS_IN_WORDS])
    more = len(spans) - _MAX_SPANS_IN_WORDS
    return f"Labelled anomalous: frames {words}" + (f" and {more} more stretches." if more > 0 else ".")
