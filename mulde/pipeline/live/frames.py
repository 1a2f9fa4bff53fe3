"""The frame of a camera that waits to be scored: one place, and the newest has it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from mulde.records import UInt8


@dataclass(frozen=True)
class LiveFrame:
    """A frame of a camera.

    session: the one it belongs to, by its id; image: (H, W, 3) RGB uint8, upright; number: its place on the grid of
    analysis_fps, from 0 at the session's first picture; time_s: since that picture; utc_s: when it was taken;
    arrived_s: when it was read, by the monotonic clock; is_first: whether it is the first of its session to be taken.
    """

    camera: str
    session: int
    image: UInt8
    number: int
    time_s: float
    utc_s: float
    arrived_s: float
    is_first: bool = False


class FrameSlot:
    """Holds at most one frame between a camera's thread and the one that scores."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: LiveFrame | None = None
        self._last_session: int | None = None
        self._is_closed = False

    def put(self, frame: LiveFrame) -> bool:
        """Put a frame in; returns whether an older one had to go."""
        with self._changed:
            had_one, self._frame = self._frame is not None, frame
            self._changed.notify_all()
            return had_one

    def put_when_free(self, frame: LiveFrame) -> None:
        """Wait until the frame before was taken, or the slot is closed, and put this one in."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is None or self._is_closed)
            self._frame = frame
            self._changed.notify_all()

    def take(self, timeout_s: float) -> LiveFrame | None:
        """The newest frame; None where none came in `timeout_s`, or the slot is empty and closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._is_closed, timeout_s)
            frame, self._frame = self._frame, None
            if frame is None:
                return None
            is_first, self._last_session = frame.session != self._last_session, frame.session
            self._changed.notify_all()
            return replace(frame, is_first=is_first)

    def close(self) -> None:
        """Nobody waits any longer, now or later."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
