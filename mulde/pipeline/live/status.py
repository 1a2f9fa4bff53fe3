"""What can be said of a camera at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class CameraState(StrEnum):
    """connecting: not reached yet; live: pictures come; stalled: connected, but none comes; lost: it is tried again
    and again; refused: the server says no, and is asked once an hour."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    LOST = "lost"
    REFUSED = "refused"


CONNECT_OUTCOMES = ("ok", "refused", "timeout", "lost")
SKIP_REASONS = ("busy", "corrupt", "backlog", "light")


@dataclass(frozen=True)
class CameraStatus:
    """A camera at one moment.

    since_utc_s: when it came into its state; reason: one sentence, empty while all is well; remark: what is odd about
    its time stamps, or empty; num_connects: by outcome; num_received: pictures, also those that are not wanted;
    num_skipped: by reason, for `busy`, `backlog` and `light` (a sudden change of it) frames that were wanted, for
    `corrupt` pictures; num_decode_errors: packets behind which a picture could not be trusted; session: the id of the
    running one, 0 without; last_utc_s: of the newest picture, None before the first; clock_offset_s: the camera's clock
    less ours, None where it does not tell; next_try_in_s: None while connected or trying; is_finished: its thread has
    ended.
    """

    camera: str
    state: CameraState
    since_utc_s: float
    reason: str = ""
    remark: str = ""
    num_connects: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(CONNECT_OUTCOMES, 0))
    num_received: int = 0
    num_skipped: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(SKIP_REASONS, 0))
    num_decode_errors: int = 0
    session: int = 0
    last_utc_s: float | None = None
    clock_offset_s: float | None = None
    next_try_in_s: float | None = None
    is_finished: bool = False

    @property
    def text(self) -> str:
        """The state, and why, for a line."""
        return f"{self.camera}: {self.state}" + (f": {self.reason}" if self.reason else "")


class StatusBoard:
    """The status as its camera's thread writes it and any thread reads it."""

    def __init__(self, camera: str, utc: Callable[[], float]) -> None:
        self._lock, self._utc = threading.Lock(), utc
        self._status = CameraStatus(camera, CameraState.CONNECTING, utc())

    def read(self) -> CameraStatus:
        with self._lock:
            return self._status

    def enter(self, state: CameraState, reason: str) -> None:
        """Come into a state, or stay in it for another reason."""
        with self._lock:
            since_utc_s = self._status.since_utc_s if state == self._status.state else self._utc()
            self._status = replace(self._status, state=state, since_utc_s=since_utc_s, reason=reason)

    def note(self, **facts: object) -> None:
        """Replace fields of the status."""
        with self._lock:
            self._status = replace(self._status, **facts)  # type: ignore[arg-type]

    def count_connect(self, outcome: str) -> None:
        with self._lock:
            self._status = replace(self._status, num_connects=_more(self._status.num_connects, outcome, 1))

    def count_skipped(self, reason: str, count: int = 1) -> None:
        with self._lock:
            self._status = replace(self._status, num_skipped=_more(self._status.num_skipped, reason, count))

    def count_decode_error(self) -> None:
        with self._lock:
            self._status = replace(self._status, num_decode_errors=self._status.num_decode_errors + 1)


def _more(counts: Mapping[str, int], name: str, count: int) -> dict[str, int]:
    return {**counts, name: counts[name] + count}
