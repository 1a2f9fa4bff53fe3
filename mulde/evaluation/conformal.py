"""A threshold without anomalies: p-values and alarm levels from held-out normal video.

Higher scores are more anomalous. All scores are frame scores after fusion and smoothing, new and normal ones alike.
What is promised holds for new normal video that is exchangeable with the held-out one: the same cameras and times of
day. The unit that is exchanged is a video (a stretch of one, where there are few): frames of one video resemble each
other, and its false alarms come in clusters.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulde.errors import UsageError
from mulde.evaluation.events import find_events
from mulde.records import Float64, Int64

COVERAGE = 0.95
_MIN_UNITS = 8  # fewer videos than this are cut into stretches: their spread would otherwise rest on a few numbers
_EVENTS_TO_SEE_CLUSTERS = 16
_ROUNDING = 1 + 1e-12  # 0.1 per hour in 10 hours is one


@dataclass(frozen=True)
class NormalVideo:
    """Frame scores (T,) float64, finite, of a held-out normal video and its frames per second. Raises UsageError."""

    scores: Float64
    rate: float

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or not np.isfinite(self.scores).all():
            raise UsageError("scores of a normal video", expected="finite numbers (T,)", got=f"{self.scores}")
        if not (np.isfinite(self.rate) and self.rate > 0):
            raise UsageError("rate of a normal video", expected="frames per second above 0", got=self.rate)

    @property
    def hours(self) -> float:
        return len(self.scores) / self.rate / 3600

    def frames(self, seconds: float) -> int:
        return round(seconds * self.rate)


@dataclass(frozen=True)
class Threshold:
    """A level for `find_events`, and what to expect at it from held-out normal video.

    expected_per_hour: events in new normal video. lowest_per_hour: the lowest rate that the held-out video supports.
    num_seen: events of the held-out video at this level. clustering: the factor, at least 1, by which alarms in
    clusters raise the variance of their number above that of independent ones, for the interval.
    """

    level: float
    wanted_per_hour: float
    expected_per_hour: float
    lowest_per_hour: float
    num_seen: int
    clustering: float
    hours: float
    num_videos: int

    def interval(self, hours_new: float) -> tuple[float, float]:
        """The false alarms per hour to be seen in `hours_new` of new normal video, in 95 of 100 cases.

        If alarms of old and new video are one Poisson process, each falls on the old one with p = H / (H + H'),
        and the number of new ones above the m-th highest old one is negative binomial (m, p). Clusters of c alarms each
        are c times as many of 1/c as many: c NB(m/c, p), whose variance is c times as large. One cluster is
        always within the interval: where m/c is near 0, that none comes is all but certain only if c is right.
        """
        from scipy import stats

        old = stats.nbinom(self.expected_per_hour * self.hours / self.clustering, self.hours / (self.hours + hours_new))
        low, high = self.clustering * np.maximum(old.ppf([(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]), (0, 1))
        return float(np.floor(low) / hours_new), float(np.ceil(high) / hours_new)

    def statement(self) -> str:
        """What is promised, on which video it rests and how far it may be off, in plain sentences."""
        low, high = self.interval(self.hours)
        return (
            f"{_duration(self.hours)} of normal video in {_videos(self.num_videos)} were held out; they support at best"
            f" {_rate(self.lowest_per_hour, up=True)} false alarms per hour. At level {self.level:.6g}, "
            f"{_rate(self.expected_per_hour)} per hour are expected ({_rate(self.wanted_per_hour)} were asked for);"
            f" the held-out video has {self.num_seen}. In as much new normal video of the same kind, {_rate(low)} to"
            f" {_rate(high)} per hour are to be expected in {100 * COVERAGE:.0f} of 100 cases; this allows for"
            f" alarms in clusters, with {self.clustering:.1f} times the variance of independent ones."
        )


@dataclass(frozen=True)
class FrameReference:
    """Scores (n,) of normal frames, sorted, among which frames are ranked; `weight`: how many frames one stands for."""

    scores: Float64
    weight: float

    @classmethod
    def of(cls, normal: Sequence[NormalVideo], *, stretch_s: float = 0.0) -> FrameReference:
        """As `frame_p_values` takes them. Raises UsageError without normal frames."""
        pooled = np.sort(np.concatenate([video.scores for video in _checked(normal)]))
        return cls(pooled, max(1.0, stretch_s * pooled.size / (3600 * _hours(normal))))

    def p_values(self, scores: Float64) -> Float64:
        """The p-values (T,) of frames with scores (T,)."""
        return _share_above(scores, self.scores, self.weight)


def frame_p_values(scores: Float64, normal: Sequence[NormalVideo], *, stretch_s: float = 0.0) -> Float64:
    """Conformal p-values (T,) of frame scores (T,): (1 + #{normal >= s}) / (n + 1) with n normal frames.

    Of new normal frames, a share of at most a gets a p-value up to a, for every a. This is exact where frames are
    exchangeable. Frames of one moment are not: with `stretch_s` seconds, in which c normal frames lie, c counts instead
    of the 1, as if a moment were seen whole or not at all, and no p-value is below c / (n + c).
    Raises UsageError without normal frames.
    """
    return FrameReference.of(normal, stretch_s=stretch_s).p_values(scores)


def event_p_values(peaks: Float64, normal: Sequence[NormalVideo], *, merge_gap_s: float) -> Float64:
    """Conformal p-values (E,) of the highest scores (E,) of events, among the peaks of normal video.

    A peak is a frame that no frame up to the merge gap away exceeds. The highest frame of an event is one at any
    level and minimum length, and peaks, unlike frames, stand for one moment each: they are what is
    exchanged. Of all peaks of new normal video, alarms or not, a share of at most a gets a p-value up to a.
    Raises UsageError without normal frames.
    """
    levels = [_peaks(video.scores, video.frames(merge_gap_s)) for video in _checked(normal)]
    return _share_above(peaks, np.sort(np.concatenate(levels)), 1.0)


def alarm_level(
    normal: Sequence[NormalVideo], false_alarms_per_hour: float, *, merge_gap_s: float, min_length_s: float
) -> Threshold:
    """The lowest level at which new normal video has at most `false_alarms_per_hour` expected events per hour.

    The level lies just above the (k+1)-th highest event of H hours of normal video. New video then has (k+1)/H per hour
    on average, were events independent. To see how far they cluster, each video in turn is held against the level of
    the others: by exchange, that is how a new one fares. The larger of the two figures has to stay below the wanted
    rate. An event stands where a video first has one more at once, from the highest level down, so that lower counts
    by merging at lower levels win nothing.

    Raises UsageError for a rate that the held-out video cannot support (with the length that would do), or that no
    level has.
    """
    normal = _checked(normal)
    if not (np.isfinite(false_alarms_per_hour) and false_alarms_per_hour > 0):
        raise UsageError("false alarms per hour", expected="a number above 0", got=false_alarms_per_hour)
    hours = _hours(normal)
    max_events = int(np.floor(false_alarms_per_hour * hours * _ROUNDING))
    unit_sets = [_Units.of(units, merge_gap_s, min_length_s, max_events + 1) for units in _partitions(normal)]
    highest = unit_sets[0].highest()
    if highest.size < max_events:
        raise UsageError(
            "false alarms per hour",
            expected=f"at most {_rate(highest.size / hours)} (at no level has the held-out normal video more events)",
            got=_rate(false_alarms_per_hour),
        )
    expected = np.max([units.expected(max(max_events, 1)) for units in unit_sets], axis=0) / hours  # (k,), rising
    k = int(np.searchsorted(expected, false_alarms_per_hour * _ROUNDING, side="right")) - 1
    if k < 0:
        raise _unsupported(false_alarms_per_hour, float(expected[0]), hours, len(normal))
    level = float(np.nextafter(highest[k], np.inf))
    return Threshold(
        level=level,
        wanted_per_hour=false_alarms_per_hour,
        expected_per_hour=float(expected[k]),
        lowest_per_hour=float(expected[0]),
        num_seen=sum(count_events(video, level, merge_gap_s, min_length_s) for video in normal),
        clustering=max(units.clustering(k) for units in unit_sets),
        hours=hours,
        num_videos=len(normal),
    )


def lowest_rate(normal: Sequence[NormalVideo], *, merge_gap_s: float, min_length_s: float) -> float:
    """The lowest rate per hour that `alarm_level` supports with this video. Raises UsageError without any."""
    normal = _checked(normal)
    unit_sets = [_Units.of(units, merge_gap_s, min_length_s, 1) for units in _partitions(normal)]
    return float(max(units.expected(1)[0] for units in unit_sets)) / _hours(normal)


def count_events(video: NormalVideo, level: float, merge_gap_s: float, min_length_s: float) -> int:
    """The events of a video at a level, as `alarm_level` counts them."""
    gap, length = video.frames(merge_gap_s), video.frames(min_length_s)
    return len(find_events(video.scores, level, merge_gap=gap, min_length=length))


def _checked(normal: Sequence[NormalVideo]) -> list[NormalVideo]:
    seen = [video for video in normal if video.scores.size]
    if not seen:
        raise UsageError("p-values and alarm levels", expected="scores of held-out normal video", got="none")
    return seen


def _hours(normal: Sequence[NormalVideo]) -> float:
    return sum(video.hours for video in normal)


def _share_above(scores: Float64, pooled: Float64, weight: float) -> Float64:
    above = pooled.size - np.searchsorted(pooled, scores, side="left")
    return np.asarray((weight + above) / (weight + pooled.size), np.float64)


def _peaks(scores: Float64, gap: int) -> Float64:
    """The scores (P,) of frames that no frame up to gap + 1 away exceeds; of equals that near, the first alone."""
    from scipy import ndimage

    if not scores.size:
        return np.zeros(0)
    at = np.flatnonzero(scores == ndimage.maximum_filter1d(scores, 2 * gap + 3, mode="nearest"))
    return np.asarray(scores[at[np.diff(at, prepend=-2 - gap) > gap + 1]], np.float64)


def _partitions(normal: Sequence[NormalVideo]) -> list[list[NormalVideo]]:
    """The units to exchange: videos, and stretches of them where there are few; of one video, stretches alone."""
    parts = -(-_MIN_UNITS // len(normal))
    stretches = [NormalVideo(part, video.rate) for video in normal for part in np.array_split(video.scores, parts)]
    whole = [list(normal)] if len(normal) > 1 else []
    return whole + ([[stretch for stretch in stretches if stretch.scores.size]] if parts > 1 else [])


@dataclass(frozen=True)
class _Units:
    """Normal video in units that are exchanged: the levels (K,) of each one's events and its share of the time."""

    levels: tuple[Float64, ...]
    share: Float64

    @classmethod
    def of(cls, units: Sequence[NormalVideo], merge_gap_s: float, min_length_s: float, max_events: int) -> _Units:
        max_events = max(max_events, _EVENTS_TO_SEE_CLUSTERS)
        levels = (_event_levels(u.scores, u.frames(merge_gap_s), u.frames(min_length_s), max_events) for u in units)
        return cls(tuple(levels), np.array([unit.hours for unit in units]) / _hours(units))

    def highest(self) -> Float64:
        """The levels of all events, falling."""
        return np.sort(np.concatenate(self.levels))[::-1]

    def left_out(self, num_k: int) -> Int64:
        """Events (units, num_k) of each unit above the (k+1)-th highest event of all others, k = 0 .. num_k - 1."""
        pooled = np.concatenate(self.levels)
        order = np.argsort(-pooled, kind="stable")
        owner = np.repeat(np.arange(len(self.levels)), [levels.size for levels in self.levels])[order]
        counts = np.empty((len(self.levels), num_k), np.int64)
        for i, levels in enumerate(self.levels):
            others = np.full(num_k, -np.inf)  # where the others have fewer, every event of this one stands above
            exceeded = pooled[order][owner != i][:num_k]
            others[: exceeded.size] = exceeded
            counts[i] = levels.size - np.searchsorted(levels[::-1], others, side="right")
        return counts

    def expected(self, num_k: int) -> Float64:
        """Expected events (num_k,) in new video, as long as all units, above the (k+1)-th highest event; rising.

        A unit is held against the level of less video than all units are: its share less.
        """
        return np.maximum(np.arange(1, num_k + 1), (1 - self.share) @ self.left_out(num_k))

    def clustering(self, k: int) -> float:
        """How many times the variance of independent events new video has to be given.

        The quasi-Poisson factor of the units' counts, read where there are events enough to tell, at least 1. It is an
        estimate from few units: so Student's quantile replaces the normal one, like where a variance is estimated.
        """
        from scipy import stats

        counts = self.left_out(max(k + 1, min(len(self.share), _EVENTS_TO_SEE_CLUSTERS)))[:, -1]
        mean, freedom = max(counts.sum(), 1) * self.share, max(len(counts) - 1, 1)
        factor = max(1.0, float(((counts - mean) ** 2 / mean).sum() / freedom))
        tail = (1 + COVERAGE) / 2
        return factor * float(stats.t.ppf(tail, freedom) / stats.norm.ppf(tail)) ** 2


def _event_levels(scores: Float64, gap: int, length: int, max_events: int) -> Float64:
    """The levels (K,), falling, from which on down a video has had 1, 2, 3 ... events at once; about `max_events`
    at most.

    Frames are taken in order of their scores and joined to stretches as find_events joins them.
    """
    order = np.argsort(-scores, kind="stable")
    starts: list[int] = []
    ends: list[int] = []
    num_long, levels = 0, list[float]()
    for n, frame in enumerate(order.tolist()):
        num_long += _insert(starts, ends, frame, gap, length)
        last_of_its_score = n + 1 == len(order) or scores[order[n + 1]] < scores[frame]
        if last_of_its_score and num_long > len(levels):
            levels += [float(scores[frame])] * (num_long - len(levels))
            if len(levels) >= max_events:
                break
    return np.array(levels, np.float64)


def _insert(starts: list[int], ends: list[int], frame: int, gap: int, length: int) -> int:
    """Add a frame to the sorted stretches starts:ends; by how many the long ones among them grew (-1, 0 or 1)."""
    right = bisect_right(starts, frame)
    start, end, first, last = frame, frame + 1, right, right
    if right and frame - ends[right - 1] <= gap:
        first, start, end = right - 1, starts[right - 1], max(end, ends[right - 1])
    if right < len(starts) and starts[right] - end <= gap:
        last, end = right + 1, ends[right]
    before = sum(ends[i] - starts[i] >= length for i in range(first, last))
    starts[first:last], ends[first:last] = [start], [end]
    return int(end - start >= length) - before


def _unsupported(wanted: float, lowest: float, hours: float, num_videos: int) -> UsageError:
    return UsageError(
        "false alarms per hour",
        expected=f"at least {_rate(lowest, up=True)}, the lowest rate that {_duration(hours)} of held-out normal video "
        f"in {_videos(num_videos)} support",
        got=_rate(wanted),
        hint=f"hold out at least {_duration(lowest * hours / wanted)} of normal video",
    )


def _duration(hours: float) -> str:
    if hours < 1 / 30:
        return f"{3600 * hours:.0f} seconds"
    return f"{hours:.1f} hours" if hours >= 2 else f"{60 * hours:.1f} minutes"


def _rate(per_hour: float, *, up: bool = False) -> str:
    """Three digits; rounded up where the number has to be enough."""
    short = float(f"{per_hour:.3g}")
    if up and short < per_hour * (2 - _ROUNDING):
        short = float(f"{short + 10 ** (np.floor(np.log10(short)) - 2):.3g}")
    return f"{short:g}"


def _videos(number: int) -> str:
    return f"{number} video" + ("s" if number != 1 else "")
