"""When the pictures of a camera were taken, and which of them are wanted."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from mulde.media.conversion import EARLY

MAX_JUMP_S = 1.0
"""A stamp that is further off its arrival than this ends the session."""
_WRAPS_S = (2**32 / 90_000, 2**33 / 90_000, 2**32 / 1000)
"""What the counters of RTP, MPEG-TS and RTMP hold, in seconds."""
_MAX_WITHOUT_STAMP, _MAX_REPEATED = 10, 3
_MAX_RATE_ERROR, _RATE_SPAN_S = 0.05, 60
# The least lag of each second of arrival is kept. The first seconds may hold a backlog, which comes at another rate.
_FLOOR_S, _NUM_FIRST, _NUM_RECENT = 1.0, 5, 3
_DRIFT_S = 0.25


@dataclass(frozen=True)
class PictureTime:
    """The time of a picture, in seconds.

    time_s: since the first picture of its session; captured_s: when it was taken, on the clock that its arrival is
    told by; behind_s: how much later it arrived than it would have at the least lag.
    """

    time_s: float
    captured_s: float
    behind_s: float


class SessionTimes:
    """The times of the pictures of one session, spaced by their stamps and placed by their arrival.

    A picture was taken at its arrival less the least lag between stamps and arrivals seen so far. A least lag that
    pictures have not come near to for some seconds gives way to a later one: the two clocks drift. A picture with the
    stamp of the one before is that one, sent again. A picture without a stamp is placed by arrival alone; so are all
    others as soon as many in a row have none or the same one, or as the stamps run more than 5 % faster or slower than
    the pictures arrive, over 60 s (or are off by that much, 3 s, in fewer): `uses_stamps` is False then, and `remark`
    says why. Times never decrease.
    """

    def __init__(self, uses_stamps: bool = True) -> None:
        self.uses_stamps, self.remark = uses_stamps, ""
        self._last: PictureTime | None = None
        self._last_arrived_s = 0.0
        self._last_stamp: tuple[float, float] | None = None  # with its arrival
        self._unwrapped_s = 0.0
        self._origin_s = self._least_lag_s = 0.0
        self._num_without_stamp = self._num_repeated = 0
        self._floors: deque[tuple[float, float]] = deque(maxlen=_RATE_SPAN_S + _NUM_RECENT)
        self._recent_lags_s: deque[float] = deque(maxlen=_NUM_RECENT)
        self._num_floors, self._floor_began_s, self._floor = 0, 0.0, (0.0, math.inf)

    def place(self, stamp_s: float | None, arrived_s: float) -> PictureTime | None:
        """The time of the next picture; None where its stamp jumps, so that the session ends in front of it."""
        stamp_s = self._usable(stamp_s, arrived_s)
        if self._is_repeated(stamp_s) and self._last is not None:
            return self._last
        if stamp_s is not None and self._last_stamp is not None:
            went_back = stamp_s < self._last_stamp[0] - MAX_JUMP_S
            if went_back or arrived_s - stamp_s < self._least_lag_s - MAX_JUMP_S:
                return None
        if stamp_s is not None:
            self._learn(stamp_s, arrived_s)
        if stamp_s is None or not self.uses_stamps:
            placed = PictureTime(self._time_by_arrival_s(arrived_s), arrived_s, 0.0)
        else:
            captured_s = stamp_s + self._least_lag_s
            placed = PictureTime(stamp_s - self._origin_s, captured_s, arrived_s - captured_s)
        last = self._last or placed
        self._last = PictureTime(
            max(placed.time_s, last.time_s), max(placed.captured_s, last.captured_s), placed.behind_s
        )
        self._last_arrived_s = max(arrived_s, self._last_arrived_s)
        return self._last

    def _time_by_arrival_s(self, arrived_s: float) -> float:
        return 0.0 if self._last is None else self._last.time_s + max(0.0, arrived_s - self._last_arrived_s)

    def _usable(self, stamp_s: float | None, arrived_s: float) -> float | None:
        """The stamp as if its counter had no end; None without one that says anything."""
        if not self.uses_stamps:
            return None
        if stamp_s is not None:
            stamp_s += self._unwrapped_s
            if self._last_stamp is not None:
                off_s = (stamp_s - self._last_stamp[0]) - (arrived_s - self._last_stamp[1])
                wrap_s = next((wrap for wrap in _WRAPS_S if abs(off_s + wrap) < MAX_JUMP_S), 0.0)
                self._unwrapped_s += wrap_s
                stamp_s += wrap_s
        self._num_without_stamp = self._num_without_stamp + 1 if stamp_s is None else 0
        self._num_repeated = self._num_repeated + 1 if self._is_repeated(stamp_s) else 0
        if self._num_without_stamp == _MAX_WITHOUT_STAMP:
            self._stop_using("its pictures carry no time stamps")
        elif self._num_repeated == _MAX_REPEATED:
            self._stop_using("its pictures carry the same time stamp")
        return stamp_s if self.uses_stamps else None

    def _is_repeated(self, stamp_s: float | None) -> bool:
        return stamp_s is not None and self._last_stamp is not None and stamp_s == self._last_stamp[0]

    def _learn(self, stamp_s: float, arrived_s: float) -> None:
        lag_s = arrived_s - stamp_s
        if self._last_stamp is None:
            self._origin_s, self._least_lag_s = stamp_s - self._time_by_arrival_s(arrived_s), lag_s
            self._floor_began_s, self._floor = arrived_s, (arrived_s, lag_s)
        self._last_stamp = (stamp_s, arrived_s)
        self._least_lag_s = min(self._least_lag_s, lag_s)
        if arrived_s - self._floor_began_s >= _FLOOR_S:
            self._num_floors += 1
            if self._num_floors > _NUM_FIRST:
                self._floors.append(self._floor)
            self._recent_lags_s.append(self._floor[1])
            self._floor_began_s, self._floor = arrived_s, (arrived_s, lag_s)
            self._follow_drift()
            self._check_rate()
        elif lag_s < self._floor[1]:
            self._floor = (arrived_s, lag_s)

    def _follow_drift(self) -> None:
        recent_s = min(self._recent_lags_s)
        if len(self._recent_lags_s) == _NUM_RECENT and recent_s > self._least_lag_s + _DRIFT_S:
            self._least_lag_s = recent_s

    def _check_rate(self) -> None:
        """Compare the lags at the beginning, in the middle and at the end: a single delay is not another rate."""
        floors = list(self._floors)
        if len(floors) < 4 * _NUM_RECENT:
            return
        at = (0, (len(floors) - _NUM_RECENT) // 2, len(floors) - _NUM_RECENT)
        (began_s, early_s), (_, middle_s), (ended_s, late_s) = (
            min(floors[first : first + _NUM_RECENT], key=lambda floor: floor[1]) for first in at
        )
        drift_s, span_s = late_s - early_s, ended_s - began_s
        is_steady = all(part / drift_s > 0.25 for part in (middle_s - early_s, late_s - middle_s)) if drift_s else False
        if is_steady and abs(drift_s) > _MAX_RATE_ERROR * max(span_s, _RATE_SPAN_S):
            percent, word = 100 * abs(drift_s) / span_s, "slower" if drift_s > 0 else "faster"
            self._stop_using(f"its time stamps run {percent:.0f} % {word} than its pictures arrive")

    def _stop_using(self, why: str) -> None:
        self.uses_stamps, self.remark = False, f"{why}: they are placed by their arrival"


class WantedFrames:
    """Numbers the pictures of a session on a grid of `fps` per second, 0 for every picture, and says which are wanted.

    The grid is that of files (`mulde.media.Conversion`): a picture that comes a tenth of an interval early still counts
    for its place.
    """

    def __init__(self, fps: float) -> None:
        self._fps, self._last = fps, -1

    def number(self, time_s: float) -> int | None:
        """The number of the picture at `time_s` since the session's first, None where its place is taken."""
        number = math.floor(time_s * self._fps + EARLY) if self._fps else self._last + 1
        if number <= self._last:
            return None
        self._last = number
        return number


class BacklogEnd:
    """Says when the pictures that a new connection delivers at once are over.

    The first picture that comes no faster than twice the pace of its stamps is not one of them. Where stamps say
    nothing, or a stream is faster than that for 10 s, what comes is taken as it is.
    """

    _MAX_S = 10.0

    def __init__(self) -> None:
        self.is_over = False
        self._began_s: float | None = None
        self._last: tuple[float | None, float] | None = None

    def take(self, stamp_s: float | None, arrived_s: float) -> bool:
        """Whether the backlog is over with this picture."""
        last, self._last = self._last, (stamp_s, arrived_s)
        if last is None:
            self._began_s = arrived_s
            return False
        last_stamp_s, last_arrived_s = last
        if stamp_s is None or last_stamp_s is None:
            self.is_over = stamp_s is None
        else:  # one that goes back says nothing of the pace
            self.is_over = stamp_s >= last_stamp_s and arrived_s - last_arrived_s >= (stamp_s - last_stamp_s) / 2
        self.is_over = self.is_over or arrived_s - (self._began_s or 0.0) > self._MAX_S
        return self.is_over
