"""Cameras that do what a test says, on a clock that stands until they move it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from mulde.errors import StreamEnded
from mulde.media.packets import StreamPacket, StreamPicture
from mulde.pipeline.live.camera import Clocks

JOIN_S = 20


@dataclass
class FakeTime:
    """now_s: the monotonic clock; utc_offset_s: UTC less it; waits_s: how long was waited each time, which took no
    time at all."""

    now_s: float = 1000.0
    utc_offset_s: float = 1_795_935_600.0 - 1000.0 + 60  # a minute past a full hour
    waits_s: list[float] = field(default_factory=list)
    at_wait: Callable[[], object] = lambda: None

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.now_s, lambda: self.now_s + self.utc_offset_s, self._wait, lambda a, b: (a + b) / 2)

    def _wait(self, event: threading.Event, seconds: float) -> None:
        self.waits_s.append(seconds)
        if not event.is_set():
            self.now_s += seconds
        self.at_wait()


@dataclass
class Shot:
    """A packet with a picture. after_s: since the one before arrived; do: is done before it arrives."""

    stamp_s: float | None
    after_s: float = 0.1
    value: int = 0
    num_corrupt: int = 0
    has_picture: bool = True
    do: Callable[[], object] = lambda: None


class FakeStream:
    template = None
    size_hw = (4, 6)
    camera_time_s: float | None = None

    def __init__(self, fake: FakeTime, shots: Iterable[Shot], end: Exception | None = None) -> None:
        self._fake, self._shots, self._end = fake, shots, end

    def __iter__(self) -> Iterator[StreamPacket]:
        for shot in self._shots:
            shot.do()
            self._fake.now_s += shot.after_s
            image = np.full((4, 6, 3), shot.value, np.uint8)
            picture = StreamPicture(shot.stamp_s, (4, 6), lambda image=image: image)
            pictures = (picture,) if shot.has_picture else ()
            yield StreamPacket(None, shot.value == 0, self._fake.now_s, pictures, shot.num_corrupt)
        if self._end is not None:
            raise self._end


class Opener:
    """Each connect gives the next of what was planned; an exception is raised. Then the camera is over."""

    def __init__(self, *planned: FakeStream | Exception) -> None:
        self._planned = list(planned)
        self.num_calls = 0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[FakeStream]:
        self.num_calls += 1
        stream = self._planned.pop(0) if self._planned else StreamEnded("the plan is over")
        if isinstance(stream, Exception):
            raise stream
        yield stream


def steady(count: int, *, interval_s: float = 0.1, stamp_s: float = 0.0, value: int = 0) -> list[Shot]:
    return [Shot(stamp_s + n * interval_s, interval_s, (value + n) % 250) for n in range(count)]


def wait_until(is_so: Callable[[], bool], timeout_s: float = JOIN_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)
