"""A video file played as if it were a camera: for tests, demonstrations and comparisons with the file itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulde.errors import StreamEnded, StreamLost, UsageError
from mulde.media.container import DecodeDamage, packets
from mulde.media.container import open_stream as open_container
from mulde.media.pacing import Pacer
from mulde.media.packets import StreamPacket
from mulde.media.stream import Stream
from mulde.media.stream_decoding import StreamDecoder


@dataclass(frozen=True)
class FileAsStream:
    """A file that is played, in a loop if wanted; `open` has the interface of a camera.

    speed: seconds of the file in one of the clock's; 0 or infinity: as fast as its reader takes them. Packets arrive
    when their stamps say so, on the clock that stood at the opening's time when the file began: at other speeds than 1
    this is a time of its own, in which a day of video is a day. The end is StreamEnded.
    """

    path: Path
    speed: float = 1.0
    loop: bool = False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep

    def __post_init__(self) -> None:
        if not self.speed >= 0:
            raise UsageError("The speed of a file that is played", expected="at least 0", got=self.speed)

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """Raises VideoError for a file that cannot be read."""
        with ExitStack() as opened:
            yield _PlayedFile(self, opened)


class _PlayedFile:
    """Its stamps go on rising when it begins again, so that what it plays is one stream."""

    camera_time_s = None

    def __init__(self, source: FileAsStream, opened: ExitStack) -> None:
        self._source, self._opened = source, opened
        self._pacer = Pacer(source.speed, source.clock, source.sleep)
        self._started_s = source.clock()
        self._first_stamp: int | None = None
        self._end_stamp = 0  # where the next round begins
        self._begin()

    def _begin(self) -> None:
        self._opened.close()
        self._file, self._container, self.template = self._opened.enter_context(open_container(self._source.path, None))
        self._decoder = StreamDecoder(self.template, str(self._source.path))

    @property
    def size_hw(self) -> tuple[int, int]:
        return self._decoder.size_hw

    def __iter__(self) -> Iterator[StreamPacket]:
        try:
            while True:
                yield from self._round()
                if not self._source.loop:
                    break
                self._begin()
        except StreamLost as error:
            raise StreamEnded(str(error)) from error
        raise StreamEnded(f"{self._source.path} is over")

    def _round(self) -> Iterator[StreamPacket]:
        """The packets of the file once. One is held back, to leave with what its decoder holds at the end."""
        held: StreamPacket | None = None
        shift, damage = None, DecodeDamage()
        for packet in packets(self._file, self._container, self.template, damage):
            if packet is None:
                break
            if shift is None:
                shift = self._shift(packet)
            self._place(packet, shift)
            if held is not None:
                yield held
            held = self._decoder.decode(packet, self._arrival_s(packet))
        if held is None:
            raise StreamEnded(f"{self._source.path} holds no packet of video")
        yield self._decoder.finish(held)

    def _shift(self, packet: Any) -> int:
        """How far the stamps of this round move."""
        first = packet.pts if packet.dts is None else packet.dts
        if first is None:
            return 0
        if self._first_stamp is None:
            self._first_stamp = first
            return 0
        return self._end_stamp - int(first)

    def _place(self, packet: Any, shift: int) -> None:
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is not None:
            self._end_stamp = max(self._end_stamp, int(stamp) + (packet.duration or 1))

    def _arrival_s(self, packet: Any) -> float:
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None or self._first_stamp is None:
            return self._source.clock()
        since_first_s = float((stamp - self._first_stamp) * packet.time_base)
        self._pacer.wait(since_first_s)
        return self._started_s + since_first_s
