"""The sessions of a camera: stretches of pictures whose times go together."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from mulde.media.packets import StreamPicture
from mulde.pipeline.live.timing import MAX_JUMP_S, BacklogEnd, PictureTime, SessionTimes, WantedFrames

log = logging.getLogger(__name__)

_HOUR_S = 3600


@dataclass(frozen=True)
class PlacedPicture:
    """Where a picture belongs. session: its session's id, 0 where none has begun; number: its place on the grid, None
    where it is not wanted; is_backlog: it is older than what the camera sees now."""

    session: int
    number: int | None
    time_s: float
    utc_s: float
    is_backlog: bool


class SessionCutter:
    """Cuts what one connection delivers into sessions.

    A session begins with the first picture behind the backlog of a new connection. It ends where a stamp jumps, where
    the clock of this machine is set by more than a second, and at the full hour in UTC. Its id is the UTC of its first
    picture in milliseconds; `last_session` is the one before, which no other may have. `utc_offset` is UTC less the
    monotonic clock, now. With `keeps_all` there is no backlog.
    """

    def __init__(
        self, camera: str, fps: float, utc_offset: Callable[[], float], last_session: int, keeps_all: bool
    ) -> None:
        self._camera, self._fps, self._utc_offset, self._keeps_all = camera, fps, utc_offset, keeps_all
        self.session, self._last_session = 0, last_session
        self.remark = ""
        self._offset_s = utc_offset()
        self._times, self._wanted = SessionTimes(), WantedFrames(fps)
        self._backlog = BacklogEnd()

    def place(self, picture: StreamPicture, arrived_s: float) -> PlacedPicture:
        """The picture's place; a new session begins with it where it has to."""
        is_early = not (self.session or self._keeps_all or self._backlog.take(picture.stamp_s, arrived_s))
        if self.session:
            self._follow_clock()
        elif not is_early:
            self._renew()
        time = self._place(picture, arrived_s)
        utc_s = time.captured_s + self._offset_s
        if self.session and utc_s // _HOUR_S != self.session / 1000 // _HOUR_S:
            self._end("the full hour")
            time = self._place(picture, arrived_s)
            utc_s = time.captured_s + self._offset_s
        if not (self.session or is_early):
            self._begin(utc_s)
        is_late = time.behind_s > MAX_JUMP_S and not self._keeps_all
        return PlacedPicture(
            self.session, self._wanted.number(time.time_s), time.time_s, utc_s, is_backlog=is_early or is_late
        )

    def utc_s(self, arrived_s: float) -> float:
        """UTC of an arrival."""
        return arrived_s + self._offset_s

    def _place(self, picture: StreamPicture, arrived_s: float) -> PictureTime:
        time = self._times.place(picture.stamp_s, arrived_s)
        if time is None:
            self._end("a time stamp that jumps")
            time = self._times.place(picture.stamp_s, arrived_s)
        assert time is not None, "the first picture of a session has no stamp to jump from"
        if self._times.remark and self.remark != self._times.remark:
            self.remark = self._times.remark
            log.warning("camera %s: %s", self._camera, self.remark)
        return time

    def _follow_clock(self) -> None:
        offset_s = self._utc_offset()
        if abs(offset_s - self._offset_s) > MAX_JUMP_S:
            self._end("a clock of this machine that was set")
            self._offset_s = offset_s

    def _begin(self, utc_s: float) -> None:
        self.session = round(utc_s * 1000)
        self.session += self.session == self._last_session
        self._last_session = self.session

    def _end(self, why: str) -> None:
        if self.session:
            log.info("camera %s: session %d ends by %s", self._camera, self.session, why)
        self.session = 0
        self._renew()

    def _renew(self) -> None:
        # A camera whose stamps are of no use keeps them so until it is connected to again.
        self._times, self._wanted = SessionTimes(self._times.uses_stamps), WantedFrames(self._fps)
