"""Video containers through PyAV: opened, their packets, and the pictures that these turn into.

Never switch on PyAV's own logging (`av.logging.set_level`): it calls Python from decoder threads, which then wait for
each other for good on a damaged file. Its default, no logging, is what is wanted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mulde.errors import UsageError, VideoError
from mulde.images import MAX_PIXELS

# What threads that share a picture decode the same way each time, damaged or not. Other codecs' threads, and any that
# decode several pictures at a time, fill the holes of a damaged picture with whatever is there by then.
_THREADS_AGREE = ("h264", "vp9", "av1")
_ISO_MEDIA_MARK = slice(4, 8)  # an mp4, mov or 3gp file starts with a box of type `ftyp`


@dataclass
class Damage:
    """What went wrong while a file was decoded; `num_out_of_place` pictures had no stamp that numbers them."""

    num_bad_packets: int = 0
    num_out_of_place: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, error: Exception) -> None:
        self.num_bad_packets += 1
        if len(self.reasons) < 3:
            self.reasons.append(error_text(error))


@contextmanager
def open_stream(path: Path, number: int | None) -> Iterator[tuple[Any, Any]]:
    """The container and one of its video streams, by number or, with None, libav's choice (as in decord).

    Raises VideoError.
    """
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
        if number is not None:
            stream = _numbered(path, container, number)
        if stream.codec_context is None:
            raise VideoError(f"{path} is coded in a way that this build of PyAV cannot decode")
        stream.thread_type = "SLICE" if stream.codec_context.codec.canonical_name in _THREADS_AGREE else "NONE"
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield container, stream


def main_stream(path: Path) -> int:
    """The number, among the video streams of a file, of the one that libav takes for the main one."""
    with open_stream(path, None) as (container, main):
        return [stream.index for stream in container.streams.video].index(main.index)


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


def _numbered(path: Path, container: Any, number: int) -> Any:
    streams = container.streams.video
    if not 0 <= number < len(streams):
        there = ", ".join(f"{at} ({s.name}, {s.width} x {s.height})" for at, s in enumerate(streams))
        raise VideoError(f"The video streams of {path}", expected=f"one of {there}", got=f"stream {number}")
    return streams[number]


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
