"""A camera and the thread that reads it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from mulde.errors import MuldeError, StreamEnded, StreamLost, StreamRefused, StreamTimeout, first_line
from mulde.media.packets import StreamPacket, StreamPicture
from mulde.media.stream import Stream, StreamOpener
from mulde.pipeline.live.frames import FrameSlot, LiveFrame
from mulde.pipeline.live.sessions import SessionCutter
from mulde.pipeline.live.status import CameraState, CameraStatus, StatusBoard

log = logging.getLogger(__name__)

OnPacket = Callable[[StreamPacket, float, int], object]
"""Takes every packet of a camera, UTC of its pictures (of its arrival, without any) and the id of its session, 0 where
none has begun. It is called in the camera's thread, so it must not wait."""

_FIRST_WAIT_S, _MAX_WAIT_S, _REFUSED_WAIT_S = 0.5, 30.0, 3600.0
_STEADY_S = 60.0
_MAX_REFUSALS = 2


@dataclass(frozen=True)
class Clocks:
    """Time and chance, to be replaced in tests. wait: sleep until the event is set or so many seconds are over."""

    monotonic: Callable[[], float] = time.monotonic
    utc: Callable[[], float] = time.time
    wait: Callable[[threading.Event, float], object] = threading.Event.wait
    uniform: Callable[[float, float], float] = random.uniform


class BackOff:
    """How long to wait for the next try: 0.5 s, doubled up to 30 s, each a quarter longer or shorter by chance so that
    many cameras behind one switch do not all come at once."""

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._next_s = _FIRST_WAIT_S

    def wait_s(self) -> float:
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, _MAX_WAIT_S)
        return wait_s * self._uniform(0.75, 1.25)

    def reset(self) -> None:
        self._next_s = _FIRST_WAIT_S


class CameraReader:
    """Reads one camera in a thread of its own, connects again after every loss, and holds its newest wanted frame.

    `opener` connects, as `partial(open_stream, source)` or `FileAsStream(...).open`; `fps` is the grid of wanted
    frames, 0 for every picture. With `lossless` the thread waits until each frame was taken, for files; otherwise the
    newest one wins, and a backlog is left out. `ready` is set whenever there is a frame to take, so that one event can
    stand for many cameras. A camera is called stalled when no picture came for `stalled_after_s`.
    """

    def __init__(
        self,
        camera: str,
        opener: StreamOpener,
        fps: float,
        *,
        lossless: bool = False,
        on_packet: OnPacket | None = None,
        ready: threading.Event | None = None,
        stalled_after_s: float = 2.0,
        clocks: Clocks | None = None,
    ) -> None:
        self.camera = camera
        self._opener, self._fps, self._lossless, self._on_packet = opener, fps, lossless, on_packet
        self._ready, self._stalled_after_s = ready, stalled_after_s
        self._clocks = clocks or Clocks()
        self._slot, self._board = FrameSlot(), StatusBoard(camera, self._clocks.utc)
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._back_off, self._num_refusals = BackOff(self._clocks.uniform), 0
        self._last_session = 0
        self._next_try_s: float | None = None
        self._last_picture_s: float | None = None
        self._has_failed_callback = False
        # A daemon: libav can be silent for longer than a program that ends may wait.
        self._thread = threading.Thread(target=self._run, name=f"camera {camera}", daemon=True)

    def start(self) -> None:
        """Begin to connect. A reader is started once."""
        self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def take(self, timeout_s: float) -> LiveFrame | None:
        """The newest wanted frame that was not taken yet; None where none comes within `timeout_s`."""
        return self._slot.take(timeout_s)

    def count_skipped(self, reason: str) -> None:
        """Count a frame that was taken and not scored."""
        self._board.count_skipped(reason)

    def retry(self) -> None:
        """Try to connect at once, also where the server has refused: after a password was changed."""
        self._num_refusals = 0
        self._wake.set()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """End the thread; returns whether it has ended within `timeout_s`.

        A thread that still waits for a server ends with the time-out of its connection, and delivers nothing more. With
        0 this only tells it to end, so that many readers can end side by side.
        """
        self._stopping.set()
        self._wake.set()
        self._slot.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def status(self) -> CameraStatus:
        """The camera as it is now."""
        status, now_s = self._board.read(), self._clocks.monotonic()
        next_try_s, last_s = self._next_try_s, self._last_picture_s
        if next_try_s is not None:
            status = replace(status, next_try_in_s=max(0.0, next_try_s - now_s))
        if last_s is not None and now_s - last_s > self._stalled_after_s:
            silent_s = now_s - last_s
            status = replace(
                status,
                state=CameraState.STALLED,
                since_utc_s=self._clocks.utc() - silent_s,
                reason=f"connected, but no picture that can be trusted came for {silent_s:.1f} s",
            )
        return status

    def _run(self) -> None:
        while not self._stopping.is_set():
            wait_s = self._connect()
            if wait_s is None:
                break
            self._next_try_s = self._clocks.monotonic() + wait_s
            if not self._stopping.is_set():
                self._clocks.wait(self._wake, wait_s)
                self._wake.clear()
            self._next_try_s = None
        self._board.note(is_finished=True, session=0)
        self._slot.close()
        if self._ready is not None:
            self._ready.set()

    def _connect(self) -> float | None:
        """Connect and read until the stream is lost; returns how long to wait then, None for a stream that is over."""
        opened_s: float | None = None
        try:
            with self._opener() as stream:
                opened_s = self._last_picture_s = self._clocks.monotonic()  # from here on one should come
                self._board.count_connect("ok")
                self._num_refusals = 0
                self._read(stream)
            return None  # told to stop
        except StreamEnded as error:
            self._lose(CameraState.LOST, error)
            return None
        except StreamRefused as error:
            return self._refused(error)
        except Exception as error:  # whatever it is, the other cameras go on and this one is tried again
            if opened_s is None:
                self._board.count_connect("timeout" if isinstance(error, StreamTimeout) else "lost")
            self._lose(CameraState.LOST, error)
        if opened_s is not None and self._clocks.monotonic() - opened_s >= _STEADY_S:
            self._back_off.reset()
        return self._back_off.wait_s()

    def _refused(self, error: StreamRefused) -> float:
        self._board.count_connect("refused")
        self._num_refusals += 1
        self._lose(CameraState.REFUSED, error)
        # A camera locks an account that comes with a wrong password again and again.
        return self._back_off.wait_s() if self._num_refusals < _MAX_REFUSALS else _REFUSED_WAIT_S

    def _lose(self, state: CameraState, error: Exception) -> None:
        if isinstance(error, MuldeError):
            reason = str(error)
        else:  # its text may hold anything, an address with a password too
            reason = f"unexpected {type(error).__name__}"
            log.warning("camera %s: %s", self.camera, reason)
        log.info("camera %s is %s: %s", self.camera, state, reason)
        self._last_picture_s = None
        self._board.enter(state, reason)
        self._board.note(session=0, clock_offset_s=None, remark="")

    def _read(self, stream: Stream) -> None:
        clocks = self._clocks
        cutter = SessionCutter(
            self.camera, self._fps, lambda: clocks.utc() - clocks.monotonic(), self._last_session, self._lossless
        )
        for packet in stream:
            if self._stopping.is_set():
                return
            utc_s = cutter.utc_s(packet.arrived_s)
            if packet.num_corrupt:
                self._board.count_decode_error()
                self._board.count_skipped("corrupt", packet.num_corrupt)
            for picture in packet.pictures:
                utc_s = self._take_picture(picture, packet.arrived_s, cutter, stream.camera_time_s)
            self._hand_on(packet, utc_s, cutter.session)
        raise StreamLost(f"{self.camera} ended")

    def _take_picture(
        self, picture: StreamPicture, arrived_s: float, cutter: SessionCutter, camera_time_s: float | None
    ) -> float:
        placed = cutter.place(picture, arrived_s)
        self._last_picture_s = self._clocks.monotonic()
        self._last_session = placed.session or self._last_session
        status = self._board.read()
        if status.state is not CameraState.LIVE and placed.session:
            self._board.enter(CameraState.LIVE, "")
        offset_s = None
        if camera_time_s is not None and picture.stamp_s is not None:
            offset_s = camera_time_s + picture.stamp_s - placed.utc_s
        self._board.note(
            num_received=status.num_received + 1,
            session=placed.session,
            last_utc_s=placed.utc_s,
            remark=cutter.remark,
            clock_offset_s=offset_s,
        )
        if placed.number is not None and placed.is_backlog:
            self._board.count_skipped("backlog")
        elif placed.number is not None:
            image = np.array(picture.load())  # what is loaded may be overwritten by the next picture
            self._offer(
                LiveFrame(self.camera, placed.session, image, placed.number, placed.time_s, placed.utc_s, arrived_s)
            )
        return placed.utc_s

    def _offer(self, frame: LiveFrame) -> None:
        if self._lossless:
            self._slot.put_when_free(frame)
        elif self._slot.put(frame):
            self._board.count_skipped("busy")
        if self._ready is not None:
            self._ready.set()

    def _hand_on(self, packet: StreamPacket, utc_s: float, session: int) -> None:
        if self._on_packet is None or self._stopping.is_set():
            return
        try:
            self._on_packet(packet, utc_s, session)
        except Exception as error:
            # Once: the next thousand packets would say the same.
            if not self._has_failed_callback:
                self._has_failed_callback = True
                log.warning("camera %s: its packets cannot be handed on: %s", self.camera, first_line(error))
