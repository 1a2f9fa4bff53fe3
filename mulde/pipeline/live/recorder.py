"""Recording a camera as it sends, for training: files by the hour of which a share is kept, nothing encoded again."""

from __future__ import annotations

import math
from pathlib import Path

from mulde.errors import UsageError
from mulde.media.packets import StreamPacket
from mulde.media.stream_copy import StreamCopy, StreamTemplate, rescue_all
from mulde.names import output_path
from mulde.pipeline.live.utc import HOUR_MS, second_name

_MAX_SLICES, _MIN_SLICE_MS = 6, 60_000


def recorded_slice(utc_ms: int, share: float) -> tuple[int, int] | None:
    """The slice of an hour, from and to in milliseconds of UTC, that is recorded and holds utc_ms; None between slices.

    An hour has up to six slices at equal distances, of at least a minute each: 12 minutes of an hour are 2 of each 10.
    So what happens at the same minute of each hour, a bell or a train, is neither always nor never learnt, as it would
    be with one slice; and slices are long enough for the tracks of what passes. A share of 1 is the whole hour.
    """
    if share == 1:
        start = utc_ms // HOUR_MS * HOUR_MS
        return start, start + HOUR_MS
    num_slices = min(max(int(share * HOUR_MS / _MIN_SLICE_MS), 1), _MAX_SLICES)
    period_ms = HOUR_MS // num_slices
    start = utc_ms // period_ms * period_ms
    end = start + math.ceil(share * period_ms)
    return (start, end) if utc_ms < end else None


class Recorder:
    """Writes packets of a camera to `FOLDER/CAMERA/20261128T130000Z.mp4`, named by the UTC of the first one.

    share: of each hour, 0.01 to 1, in slices (`recorded_slice`) that are a file each, or several where the connection
    was lost or the camera began its time stamps again. A file begins at a key frame, and ends before the first one
    behind its slice, so that with a share of 1 no picture is lost between the hours. Files appear when they are whole;
    those that a killed process left are finished at the start, of which `rescued` says how many. `num_files` are
    finished since, with `num_packets`; `num_dropped` packets had no place in the order of time. Not for several
    threads. Raises UsageError for another share.
    """

    def __init__(self, folder: Path, camera: str, share: float = 1.0) -> None:
        if not 0.01 <= share <= 1:
            raise UsageError("share", expected="0.01 to 1 of each hour", got=share)
        self.folder, self.share = output_path(folder, camera), share
        self.rescued = len(rescue_all(self.folder)[0])
        self.num_files = self.num_packets = self.num_dropped = 0
        self._copy: StreamCopy | None = None
        self._stream: object = None
        self._start_ms = self._end_ms = 0

    def write(self, packet: StreamPacket, utc_ms: int) -> None:
        """Take the next packet, of utc_ms milliseconds of UTC since 1970, whose stream is open.

        Raises FileError where the disk takes no more, and VideoError for a codec that no file can hold; what was
        recorded up to then is kept.
        """
        try:
            if self._copy is not None and self._is_over(self._copy, packet, utc_ms):
                self.end_session()
            if self._copy is None:
                self._begin(packet, utc_ms)
            if self._copy is not None:
                self._copy.write(packet)
        except BaseException:
            self.end_session()
            raise

    def end_session(self) -> None:
        """End the file that is open, as no packet follows. Raises FileError where it cannot be given its name."""
        copy, self._copy, self._stream = self._copy, None, None
        if copy is not None:
            self.num_files += copy.close() is not None
            self.num_packets += copy.num_written
            self.num_dropped += copy.num_dropped

    def _is_over(self, copy: StreamCopy, packet: StreamPacket, utc_ms: int) -> bool:
        if packet.packet.stream is not self._stream:
            return True
        is_inside = self._start_ms <= utc_ms < self._end_ms
        return packet.is_key and not (is_inside and copy.follows(packet))

    def _begin(self, packet: StreamPacket, utc_ms: int) -> None:
        span = recorded_slice(utc_ms, self.share)
        if span is None or not packet.is_key:
            return
        self._start_ms, self._end_ms = span
        self._stream = packet.packet.stream
        path = self.folder / f"{second_name(utc_ms)}.mp4"
        self._copy = StreamCopy(path, StreamTemplate.of(self._stream))
