"""The path of one track: its boxes smoothed over the past, and what it did over the last seconds.

A smoothed point is the mean foot of the boxes of the last `smooth_s` seconds, at their mean time: at constant velocity
it lies exactly on the way, so that smoothing makes no speed wrong. Between points the path is straight. All lengths are
in box heights, a mean over the long window, so that they mean the same near the camera and far from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mulde.records import Float32, Float64, Int64

_SAME_TIME_S = 1e-6
_MIN_SPEED = 0.25
"""Box heights per second from one point of the path to the next: a slower step has no direction."""


@dataclass(frozen=True)
class Spans:
    """What is looked at: points are means of `smooth_s` seconds, motion is that of `window_s` and of `long_s`, a stay
    within `dwell_radius` box heights is followed back for `dwell_s`."""

    smooth_s: float
    window_s: float
    long_s: float
    dwell_s: float
    dwell_radius: float


class PathFacts(NamedTuple):
    """What a track did up to each of n of its boxes.

    rows (n,): their positions among its boxes. velocity (n, 2): over the window, x and y. late_speed, early_speed (n,):
    over it and over the window before. long_speed (n,): way from end to end of the long window, by its seconds.
    turn (n,): by how much the direction of the path has turned in it, radians; left and right turns cancel out.
    length, net (n,): of the path in it, and from end to end. dwell_s (n,): seconds since the track came within the
    radius of where it is. wider (n,): log2 of width by height, against one window earlier. Lengths are in box heights,
    speeds in box heights per second.
    """

    rows: Int64
    velocity: Float64
    late_speed: Float64
    early_speed: Float64
    long_speed: Float64
    turn: Float64
    length: Float64
    net: Float64
    dwell_s: Float64
    wider: Float64


def follow(time_s: Float64, box_xyxy: Float32, spans: Spans) -> PathFacts:
    """What one track did, up to each of its boxes that has enough past: time_s (N,) in order, box_xyxy (N, 4).

    A box has enough past at an age of about twice `smooth_s`: when a point that is fully smoothed lies `smooth_s`
    behind its own. Windows that reach beyond that point end there.
    """
    path = _Path(time_s, box_xyxy, spans)
    known_s = path.time_s - path.start_s
    rows = np.flatnonzero(known_s >= spans.smooth_s - _SAME_TIME_S)
    known_s, now_s, height = known_s[rows], path.time_s[rows], path.height[rows]
    window_s = np.minimum(spans.window_s, known_s)
    part_s = np.minimum(spans.window_s, known_s / 2)  # two of them have to fit
    here, recent, earlier = (path.at(now_s - n * part_s) for n in range(3))
    velocity = (here - path.at(now_s - window_s)) / (height * window_s)[:, None]
    net, length, turn, long_s = _long_window(path, now_s, height, spans)
    dwell_s = _dwell(path, now_s, height, spans)
    # A track that has not moved away since its first box is there as long as it is old.
    dwell_s = np.where(np.isinf(dwell_s), time_s[rows] - time_s[0], dwell_s + time_s[rows] - now_s)
    return PathFacts(
        rows,
        velocity,
        _distance(here, recent, height) / part_s,
        _distance(recent, earlier, height) / part_s,
        net / long_s,
        turn,
        length,
        net,
        np.minimum(dwell_s, spans.dwell_s),
        path.shape_at(now_s) - path.shape_at(now_s - window_s),
    )


class _Path:
    """Smoothed points (N,) of a track, and its position at any time between two of them.

    time_s: of each point; start_s: of the first that is a mean over all of `smooth_s`; height: of its box, px.
    """

    def __init__(self, time_s: Float64, box_xyxy: Float32, spans: Spans) -> None:
        boxes = box_xyxy.astype(np.float64)
        width, height = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3).T
        measured = np.stack([time_s, (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3], np.log2(width / height)], axis=1)
        self.time_s, *self._points = _past_mean(time_s, measured, spans.smooth_s).T
        self.height = np.exp2(_past_mean(time_s, np.log2(height)[:, None], spans.long_s)[:, 0])
        is_smoothed = time_s - time_s[0] >= spans.smooth_s - _SAME_TIME_S
        self._first = int(is_smoothed.argmax()) if is_smoothed.any() else len(time_s) - 1
        self.start_s = float(self.time_s[self._first])

    def at(self, time_s: Float64) -> Float64:
        """Positions (n, 2), px, at times (n,); before the start, that of the start."""
        return np.stack([self._value(0, time_s), self._value(1, time_s)], axis=1)

    def shape_at(self, time_s: Float64) -> Float64:
        """log2 of width by height (n,) at times (n,)."""
        return self._value(2, time_s)

    def _value(self, column: int, time_s: Float64) -> Float64:
        known = slice(self._first, None)
        return np.asarray(np.interp(time_s, self.time_s[known], self._points[column][known]), np.float64)


def _past_mean(time_s: Float64, values: Float64, reach_s: float) -> Float64:
    """Means (N, D) of the values of the last `reach_s` seconds, each row's own included; time_s (N,) in order."""
    first = np.searchsorted(time_s, time_s - reach_s + _SAME_TIME_S, side="right")
    last = np.arange(1, len(values) + 1)
    first = np.minimum(first, last - 1)
    origin = values[:1]  # keeps the sums of a long track small
    sums = np.concatenate([np.zeros_like(origin), np.cumsum(values - origin, axis=0)])
    return np.asarray(origin + (sums[last] - sums[first]) / (last - first)[:, None], np.float64)


def _distance(a: Float64, b: Float64, height: Float64) -> Float64:
    """Of points a and b (n, 2), px, in box heights (n,)."""
    return np.asarray(np.hypot(*(a - b).T) / height, np.float64)


def _long_window(path: _Path, now_s: Float64, height: Float64, spans: Spans) -> tuple[Float64, ...]:
    """net (n,), length (n,) and turn (n,) of the path in the long window, and how many seconds (n,) of it are known.

    The path is seen at points `smooth_s` apart, so that neither the rate nor the jitter of boxes makes it longer.
    """
    n, step_s = len(now_s), spans.smooth_s
    net, length, turn, long_s = np.zeros((4, n))
    end = later = path.at(now_s)
    ahead = np.zeros((n, 2))  # the last step that had a direction
    for k in range(1, max(round(spans.long_s / step_s), 1) + 1):
        is_known = now_s - k * step_s >= path.start_s - _SAME_TIME_S
        if not is_known.any():
            break
        point = path.at(now_s - k * step_s)
        step = np.where(is_known[:, None], later - point, 0)
        reach = np.hypot(*step.T) / height
        length += reach
        net = np.where(is_known, _distance(end, point, height), net)
        long_s += np.where(is_known, step_s, 0)
        has_direction = reach >= _MIN_SPEED * step_s
        cross = step[:, 0] * ahead[:, 1] - step[:, 1] * ahead[:, 0]
        turn += np.where(has_direction, np.arctan2(cross, (step * ahead).sum(axis=1)), 0)  # 0 where there is no `ahead`
        ahead = np.where(has_direction[:, None], step, ahead)
        later = point
    return net, length, np.abs(turn), long_s


def _dwell(path: _Path, now_s: Float64, height: Float64, spans: Spans) -> Float64:
    """Seconds (n,) before now_s at which the track came within the radius of where it is; infinite where it has been
    there from the start."""
    dwell_s = np.full(len(now_s), np.inf)
    here, before_s, away = path.at(now_s), now_s, np.zeros(len(now_s))
    left = np.arange(len(now_s))  # of which the answer is not known yet
    for k in range(1, int(np.ceil(spans.dwell_s / spans.smooth_s)) + 1):
        at_s = np.maximum(now_s[left] - k * spans.smooth_s, path.start_s)
        further = _distance(here[left], path.at(at_s), height[left])
        came = further > spans.dwell_radius
        share = (spans.dwell_radius - away[came]) / (further[came] - away[came])
        entered_s = before_s[came] - share * (before_s[came] - at_s[came])
        dwell_s[left[came]] = now_s[left[came]] - entered_s
        goes_on = ~came & (at_s > path.start_s)
        left, before_s, away = left[goes_on], at_s[goes_on], further[goes_on]
        if not len(left):
            break
    dwell_s[left] = spans.dwell_s
    return dwell_s
