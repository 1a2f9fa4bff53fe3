"""Video containers through PyAV: what a file says about itself, and its packets turned into pictures.

Never switch on PyAV's own logging (`av.logging.set_level`): it calls Python from decoder threads, which then wait for
each other for good on a damaged file. Its default, no logging, is what is wanted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mulde.errors import UsageError, VideoError
from mulde.media.reader import DEFAULT_RATE
from mulde.records import Int64

_ISO_MEDIA_MARK = slice(4, 8)  # an mp4, mov or 3gp file starts with a box of type `ftyp`


@dataclass(frozen=True)
class VideoFacts:
    """What one pass over a file's packets tells, without decoding more than its first picture.

    size_hw is after rotation; quarter_turns counter-clockwise turn the stored picture upright; num_frames_estimated is
    what the header's duration and rate come to where it names no number; stamps (N,) int64 are the presentation times
    of the pictures from the first one that can be decoded, ascending, in units of time_base. `stamps_are_times` is
    False where the container carries no usable ones, `pictures_carry_times` where a decoded picture's own stamp is not
    its time.
    """

    size_hw: tuple[int, int]
    quarter_turns: int
    rate: Fraction
    num_frames_from_header: int | None
    num_frames_estimated: int
    num_frames_hidden_by_edit_list: int
    num_packets_before_first_picture: int
    duration_from_header_s: float | None
    stamps: Int64
    time_base: Fraction
    stamps_are_times: bool
    pictures_carry_times: bool

    @property
    def num_packets_without_picture(self) -> int:
        """How many packets of the file come before the first picture that is delivered."""
        return self.num_frames_hidden_by_edit_list + self.num_packets_before_first_picture

    def time_s(self, index: int, stamp: int | None = None) -> float:
        """Seconds from the first stamp to `stamp` (by default the index-th); index / rate where there are none."""
        if not self.stamps_are_times or index >= len(self.stamps):
            return float(index / self.rate)
        at = int(self.stamps[index]) if stamp is None else stamp
        return float((at - int(self.stamps[0])) * self.time_base)


@dataclass
class Damage:
    """What went wrong while a file was decoded."""

    num_bad_packets: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, error: Exception) -> None:
        self.num_bad_packets += 1
        if len(self.reasons) < 3:
            self.reasons.append(error_text(error))


@contextmanager
def open_stream(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its main video stream (libav's choice, as in decord). Raises VideoError."""
    av = import_av()
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)", hint="copy or record the file again")
    try:
        # An absolute path: libav would take what stands before a colon in a relative one for a protocol.
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except av.FFmpegError as error:
        raise _unreadable(path, error) from error
    with container:
        stream = container.streams.best("video")
        if stream is None or bool(stream.disposition & av.stream.Disposition.attached_pic):
            kinds = sorted({other.type for other in container.streams}) or ["nothing"]
            raise VideoError(f"{path} has no video stream", expected="moving pictures", got=" and ".join(kinds))
        if stream.codec_context is None:
            raise VideoError(f"{path} is coded in a way that this build of PyAV cannot decode")
        stream.thread_type = "AUTO"
        yield container, stream


def probe(path: Path, default_rate: Fraction | None) -> VideoFacts:
    """Read a file's packets once and decode its first picture. Raises VideoError where no picture can be had."""
    found: list[int | None] = []
    num_hidden, first, damage = 0, None, Damage()
    with open_stream(path) as (container, stream):
        for packet in packets(container, stream, damage):
            if first is None:
                first = next(iter(pictures(stream, packet, damage)), None)
            if packet is not None and packet.is_discard:
                num_hidden += 1
            elif packet is not None:
                found.append(packet.pts)
        if first is None:
            raise VideoError(
                f"No picture of {path} could be decoded",
                got=f"{len(found)} video packets ({'; '.join(damage.reasons) or 'no error reported'})",
                hint="copy the file again, or convert it with ffmpeg",
            )
        # AVI numbers its packets in coding order, and a decoder hands these numbers on to reordered pictures.
        pictures_carry_times = not (container.format.name == "avi" and stream.codec_context.has_b_frames)
        stamps, usable = _stamps(found, first.pts if pictures_carry_times else None)
        quarter_turns, size_hw = _quarter_turns(first), (int(first.height), int(first.width))
        return VideoFacts(
            size_hw=size_hw[::-1] if quarter_turns % 2 else size_hw,
            quarter_turns=quarter_turns,
            rate=_named_rate(stream) or _measured_rate(stream, stamps, usable) or default_rate or DEFAULT_RATE,
            num_frames_from_header=stream.frames or None,
            num_frames_estimated=int(stream.frames or (stream.average_rate or 0) * (container.duration or 0) / 10**6),
            num_frames_hidden_by_edit_list=num_hidden,
            num_packets_before_first_picture=len(found) - len(stamps),
            duration_from_header_s=_duration_from_header_s(container, stream),
            stamps=stamps,
            time_base=Fraction(stream.time_base or 1),
            stamps_are_times=usable,
            pictures_carry_times=pictures_carry_times,
        )


def packets(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    """The stream's packets in file order, then None. A container that breaks off ends the packets and is noted."""
    av = import_av()
    source = container.demux(stream)
    while True:
        try:
            packet = next(source, None)
        except (av.FFmpegError, IndexError) as error:  # IndexError: a stream that appears in the middle of the file
            damage.add(error)
            packet = None
        if packet is None:
            yield None
            return
        # An empty packet tells the decoder that the stream ends: PyAV's own comes last, another would end it too soon.
        if packet.size:
            yield packet


def pictures(stream: Any, packet: Any, damage: Damage) -> list[Any]:
    """The pictures that become ready with `packet` (None: with the end). A packet that cannot be decoded is noted."""
    try:
        decoded: list[Any] = stream.decode(packet)
    except import_av().FFmpegError as error:
        damage.add(error)
        return []
    return decoded


def import_av() -> Any:
    """PyAV, or a UsageError that says what to install."""
    try:
        import av
    except ImportError as error:
        raise UsageError("Video files need PyAV, which is not installed", hint="pip install av") from error
    return av


def error_text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _unreadable(path: Path, error: Exception) -> VideoError:
    if _starts_like_mp4(path):
        return VideoError(
            f"{path} is cut off: it starts like an mp4 but its index (moov) is missing or damaged",
            got=error_text(error),
            hint="copy the file again, or let a repair tool rebuild the index from a whole file of the same camera",
        )
    return VideoError(f"{path} cannot be opened as a video", got=error_text(error))


def _starts_like_mp4(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8)[_ISO_MEDIA_MARK] == b"ftyp"
    except OSError:
        return False


def _quarter_turns(picture: Any) -> int:
    # libav counts degrees counter-clockwise. Other angles than quarter turns are left alone, as decord does.
    degrees = int(picture.rotation)
    return degrees // 90 % 4 if degrees % 90 == 0 else 0


def _stamps(found: list[int | None], first: int | None) -> tuple[Int64, bool]:
    """The stamps from `first` on in ascending order and whether they are times; else one number per packet."""
    stamps = np.array(sorted(stamp for stamp in found if stamp is not None), np.int64)
    if len(stamps) < len(found) or not (np.diff(stamps) > 0).all():
        return np.arange(len(found), dtype=np.int64), False
    return (stamps if first is None or first > stamps[-1] else stamps[stamps >= first]), True


def _named_rate(stream: Any) -> Fraction | None:
    named = stream.guessed_rate or stream.average_rate
    return Fraction(named) if named else None


def _measured_rate(stream: Any, stamps: Int64, usable: bool) -> Fraction | None:
    if not usable or len(stamps) < 2 or not stream.time_base:
        return None
    return (len(stamps) - 1) / (int(stamps[-1] - stamps[0]) * Fraction(stream.time_base))


def _duration_from_header_s(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1  # sound may last longer than the pictures
    return container.duration / 1e6 if container.duration and alone else None
