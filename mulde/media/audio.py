"""The sound of a video file, whose packets are copied unchanged into another file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mulde.media.container import error_text, import_av, open_stream
from mulde.media.facts import VideoFacts, probe


class Sound:
    """The sound of the file at `path`; a context manager.

    Times count from the first picture of the file's video stream number `stream` (None: the main one), as those of the
    readers do. `remarks` says, after the copying, what was left out.
    """

    def __init__(self, path: Path, stream: int | None = None) -> None:
        self.path, self.remarks = path, list[str]()
        facts = probe(path, stream, None)
        self._start_s = _start_s(facts)
        self._opened = ExitStack()
        self._source, self._container, picture = self._opened.enter_context(open_stream(path, stream))
        self.pixel_aspect: Fraction | None = picture.sample_aspect_ratio if facts.quarter_turns % 2 == 0 else None
        self._copies: dict[int, Any] = {}
        self._last_dts: dict[int, int] = {}
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def add_to(self, target: Any) -> None:
        """Add a stream to the file `target`, before anything is written to it, for each one that it can hold."""
        kept = []
        for stream in self._container.streams.audio:
            name = stream.codec_context.name if stream.codec_context is not None else "unknown"
            if (
                stream.codec_context is not None
                and stream.codec_context.codec.canonical_name in target.supported_codecs
            ):
                self._copies[stream.index] = target.add_stream_from_template(stream)
                kept.append(stream)
            else:
                self.remarks.append(f"sound in {name} was left out, which {target.format.name} cannot hold")
        self._packets = self._container.demux(*kept) if kept else iter(())

    def until(self, time_s: float) -> Iterator[Any]:
        """Yield the packets that begin before `time_s` and were not yielded yet, ready to be written. Raises
        SourceError."""
        av = import_av()
        while True:
            if self._waiting is None:
                try:
                    self._waiting = next(self._packets, None)
                except av.FFmpegError as error:
                    self._source.check()
                    self.remarks.append(f"sound ends where the file is damaged ({error_text(error)})")
                    self._packets = iter(())
                self._source.check()
                if self._waiting is None:
                    return
            packet = self._waiting
            if packet.dts is not None and float(packet.dts * packet.time_base) - self._start_s >= time_s:
                return
            self._waiting = None
            if packet.size and packet.dts is not None and self._is_next(packet):
                yield self._moved(packet)

    def _is_next(self, packet: Any) -> bool:
        """Whether the packet continues the one before; an mp4 takes no other."""
        last = self._last_dts.get(packet.stream.index)
        if last is not None and packet.dts <= last:
            text = "sound whose time stamps go backwards was left out"
            self.remarks += [text] if text not in self.remarks else []
            return False
        self._last_dts[packet.stream.index] = packet.dts
        return True

    def _moved(self, packet: Any) -> Any:
        by = round(self._start_s / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - by
        packet.dts -= by
        packet.stream = self._copies[packet.stream.index]
        return packet


def _start_s(facts: VideoFacts) -> float:
    return float(int(facts.stamps[0]) * facts.time_base) if facts.stamps_are_times and len(facts.stamps) else 0.0
