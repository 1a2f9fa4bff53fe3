"""Cameras and other streams through PyAV, packet by packet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from mulde.errors import StreamLost, StreamRefused, StreamTimeout
from mulde.media.container import import_av
from mulde.media.pacing import Pacer
from mulde.media.packets import StreamPacket
from mulde.media.stream_decoding import StreamDecoder
from mulde.media.stream_source import StreamSource

# libav looks at 5 s of a stream before it hands out the first packet, which is as old by then.
_QUICK = {"analyzeduration": "200000"}  # microseconds
_PACED_FORMATS, _MAX_AHEAD_S = ("hls",), 2.0
_REFUSED = {401: "asks for another user or password", 403: "does not allow it to this user", 404: "does not have it"}


class Stream(Protocol):
    """An open stream. Iterating reads it, for ever or until StreamLost is raised; every end of a stream is an error."""

    @property
    def template(self) -> Any:
        """PyAV's video stream, for muxing its packets without encoding them again."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the upright pictures; before the first one, what the stream's header says."""

    @property
    def camera_time_s(self) -> float | None:
        """UTC at stamp 0 of the stream by the camera's own clock (RTCP), None where it does not say so."""

    def __iter__(self) -> Iterator[StreamPacket]: ...


StreamOpener = Callable[[], AbstractContextManager[Stream]]


@contextmanager
def open_stream(source: StreamSource, clock: Callable[[], float] = time.monotonic) -> Iterator[Stream]:
    """Connect to a camera; `clock` stamps the arrival of its packets.

    Raises StreamRefused where the server answers 401, 403 or 404, StreamTimeout where it is silent for longer than
    `open_timeout_s` in a step of connecting, StreamLost for all else, UsageError where PyAV is not installed.
    """
    container = _connected(source, clock)
    try:
        yield _CameraStream(source, container, clock)
    finally:
        container.close()


class _CameraStream:
    def __init__(self, source: StreamSource, container: Any, clock: Callable[[], float]) -> None:
        self._source, self._container, self._clock = source, container, clock
        self.template = container.streams.best("video")
        self._decoder = StreamDecoder(self.template, source.shown)
        # A playlist names seconds of video at once, which are read at their own pace: all else comes as it is made.
        self._pacer = Pacer(1.0 if container.format.name in _PACED_FORMATS else 0.0, max_ahead_s=_MAX_AHEAD_S)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self._decoder.size_hw

    @property
    def camera_time_s(self) -> float | None:
        start_us = self._container.start_time_realtime
        return None if start_us is None else float(start_us / 1e6)

    def __iter__(self) -> Iterator[StreamPacket]:
        packets = self._container.demux()
        while True:
            packet = self._next(packets)
            stamp = packet.pts if packet.dts is None else packet.dts
            self._pacer.wait(None if stamp is None else float(stamp * packet.time_base))
            yield self._decoder.decode(packet, self._clock())

    def _next(self, packets: Iterator[Any]) -> Any:
        """The next packet of the video: others do not count, sound may go on where the pictures stand still."""
        asked_s, why, packet = self._clock(), "was lost: it ended", None
        timeout_s = self._source.read_timeout_s
        try:
            for packet in packets:
                if packet.stream_index == self.template.index or self._clock() - asked_s >= timeout_s:
                    break
        except (import_av().FFmpegError, IndexError) as error:  # IndexError: a stream that appears in the middle
            packet, why = None, f"was lost: {_reason(error)}"
        # Raised outside of the `except`: the text of libav's error holds the address with the password.
        if packet is None or not packet.size or packet.stream_index != self.template.index:
            raise _lost(self._source, why, self._clock() - asked_s, timeout_s)
        return packet


def _connected(source: StreamSource, clock: Callable[[], float]) -> Any:
    """An open container with a video stream of known size: looked at shortly first, then as long as libav does."""
    for options in (_QUICK, {}):
        asked_s = clock()
        container = _opened(source, options, clock)
        best = container.streams.best("video")
        if best is not None and best.codec_context is not None and best.codec_context.width:
            return container
        found = sorted({stream.type for stream in container.streams}) or ["nothing"]
        container.close()
        if clock() - asked_s >= source.open_timeout_s:  # libav takes what it has by then, if only nothing
            raise _lost(source, "", clock() - asked_s, source.open_timeout_s)
    raise StreamLost(f"{source.shown} sends no picture that can be decoded", got=" and ".join(found))


def _opened(source: StreamSource, options: dict[str, str], clock: Callable[[], float]) -> Any:
    av = import_av()
    asked_s = clock()
    status, why = 0, ""
    try:
        return av.open(
            source.address(),
            format="v4l2" if source.url.startswith("/") else None,
            container_options={**options, **source.libav_options()},
            timeout=(source.open_timeout_s, source.read_timeout_s),
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        status, why = _http_status(av, error), f"cannot be opened: {_reason(error)}"
    if status in _REFUSED:
        raise StreamRefused(f"{source.shown}: the server {_REFUSED[status]} ({status})")
    raise _lost(source, why, clock() - asked_s, source.open_timeout_s)


def _http_status(av: Any, error: Exception) -> int:
    names = {401: "HTTPUnauthorizedError", 403: "HTTPForbiddenError", 404: "HTTPNotFoundError"}
    return next((status for status, name in names.items() if isinstance(error, getattr(av.error, name))), 0)


def _reason(error: Exception) -> str:
    """What libav's number of the error means, without the address that its text holds."""
    strerror = getattr(error, "strerror", None)
    return strerror if isinstance(strerror, str) and strerror else type(error).__name__


def _lost(source: StreamSource, why: str, waited_s: float, timeout_s: float) -> StreamLost:
    # By the clock: a time-out of libav comes with whatever error its innermost call had.
    if waited_s >= timeout_s:
        return StreamTimeout(f"{source.shown} was silent for {waited_s:.1f} s")
    return StreamLost(f"{source.shown} {why}")
