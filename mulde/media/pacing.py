"""Playing packets at the pace of their stamps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Pacer:
    """Waits until a stamp is due: `speed` seconds of the stream in one of the clock's, no wait at 0 or infinity.

    Late packets are not waited for until the clock is met again. A stamp that is more than `max_ahead_s`
    ahead, or behind the one before, begins a new pace.
    """

    def __init__(
        self,
        speed: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        max_ahead_s: float = 60.0,
    ) -> None:
        self._speed = 0.0 if math.isinf(speed) else speed
        self._clock, self._sleep, self._max_ahead_s = clock, sleep, max_ahead_s
        self._start: tuple[float, float] | None = None
        self._last_stamp_s = -math.inf

    def wait(self, stamp_s: float | None) -> None:
        if stamp_s is None or not self._speed:
            return
        now_s = self._clock()
        if self._start is None or stamp_s < self._last_stamp_s:
            self._start = (stamp_s, now_s)
        first_stamp_s, started_s = self._start
        self._last_stamp_s = stamp_s
        ahead_s = started_s + (stamp_s - first_stamp_s) / self._speed - now_s
        if ahead_s > self._max_ahead_s:
            self._start = (stamp_s, now_s)
        elif ahead_s > 0:
            self._sleep(ahead_s)
