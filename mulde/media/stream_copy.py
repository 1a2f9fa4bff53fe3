"""Packets of a stream into a file as they are: nothing is encoded again, so the pictures stay what they were.

The file grows in pieces that can be played, under a hidden name, so that a process that dies leaves what it had.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mulde.errors import FileError, MuldeError, SourceError, VideoError, cannot
from mulde.filetypes import is_hidden
from mulde.media.container import DecodeDamage, error_text, import_av, open_stream, packets, pictures
from mulde.media.packets import StreamPacket

_PIECE_MS = 500
"""What a process that dies may lose. A piece also ends before each key frame."""
_MP4 = {
    # Pieces while it grows, and an ordinary file with an index once it is closed, which players can seek in. Without
    # `delay_moov` the first picture of reordered ones would not be shown at 0.
    "movflags": "hybrid_fragmented+frag_keyframe+delay_moov",
    "frag_duration": str(1000 * _PIECE_MS),
    "flush_packets": "1",
}
_MATROSKA = {"cluster_time_limit": str(_PIECE_MS), "flush_packets": "1"}
_PART = ".part"


@dataclass(frozen=True)
class StreamTemplate:
    """The codec of a stream with its parameters, for files. It outlives the connection of the stream, whose own record
    of them is gone once that is closed."""

    codec: str
    stream: Any = field(repr=False)

    @classmethod
    def of(cls, stream: Any) -> StreamTemplate:
        """Copy the parameters of a stream of PyAV, whose container is still open. Raises VideoError for a codec that no
        file of ours can hold."""
        if stream.codec_context is None:
            raise VideoError("The stream is coded in a way that this build of PyAV does not know")
        codec = stream.codec_context.codec.canonical_name
        # Never written to; a stream of PyAV lives in some container.
        holder = import_av().open(io.BytesIO(), "w", format="matroska")
        return cls(codec, _add_stream(holder, stream, codec))


class StreamCopy:
    """Writes the packets of one stream to a file, from the first key frame on, which is shown at 0 s.

    The file is `path`, or with `-2`, `-3`, ... before the suffix where there is one already, and Matroska (`.mkv`) for
    a codec that mp4 cannot hold; `self.path` says which. Until `close` it has a hidden name. A packet that has no time
    stamp, or one before that of its predecessor, is dropped with all that build on it, up to the next key frame, and
    counted in `num_dropped`; those before the first key frame are not counted. After `failure`, which `write` raised,
    only `close` is left. Raises FileError where the file cannot be begun, VideoError for a codec that fits no file.
    """

    def __init__(self, path: Path, template: StreamTemplate) -> None:
        self.num_written = self.num_dropped = 0
        self.failure: MuldeError | None = None
        self._start: int | None = None  # pts of the first key frame
        self._last_dts = 0
        self._is_broken = True  # until a key frame comes
        is_mp4 = template.codec in _mp4_codecs()
        self.path, self._partial, self._file = _begin(path if is_mp4 else path.with_suffix(".mkv"))
        try:
            self._container = import_av().open(
                self._file,
                "w",
                format="mp4" if is_mp4 else "matroska",
                container_options=_MP4 if is_mp4 else _MATROSKA,
            )
            self._stream = _add_stream(self._container, template.stream, template.codec)
        except BaseException:
            self._file.close()
            self._partial.unlink(missing_ok=True)
            raise

    def follows(self, packet: StreamPacket) -> bool:
        """Whether the time stamps of a packet continue those of the file."""
        dts, pts = _stamps(packet)
        return dts is not None and pts >= dts and (self._start is None or dts > self._last_dts)

    def write(self, packet: StreamPacket) -> bool:
        """Add a packet, and say whether it is in the file now. Raises FileError where the disk takes no more,
        VideoError for a packet that the file format refuses."""
        dts, pts = _stamps(packet)
        if self._start is None and not packet.is_key:
            return False
        if not self.follows(packet) or (self._is_broken and not packet.is_key):
            self.num_dropped += 1
            self._is_broken = True
            return False
        self._start = pts if self._start is None else self._start
        self._is_broken, self._last_dts = False, dts
        try:
            self._container.mux(self._copy(packet, pts - self._start, dts - self._start))
        except import_av().FFmpegError as error:
            self.failure = self._sentence(error)
            raise self.failure from error
        self._file.keep()
        self.num_written += 1
        return True

    def close(self) -> Path | None:
        """End the file and give it its name: its path, or None where there is no picture to keep.

        Where the disk takes no more (`failure` says so), what is there up to the cut is kept. Raises FileError where
        that cannot be given its name.
        """
        try:
            self._container.close()
        except import_av().FFmpegError as error:
            self.failure = self.failure or self._sentence(error)
        self._file.close()
        if self._file.error is not None and self.failure is None:
            self.failure = self._sentence(self._file.error)
        if self.failure is not None or self._start is None:
            return self.path if rescue(self._partial, self.path) else None
        try:
            os.replace(self._partial, self.path)
        except OSError as error:
            raise cannot("written", self.path, error) from error
        return self.path

    def _copy(self, packet: StreamPacket, pts: int, dts: int) -> Any:
        """A packet of the file with the same bytes; others may be writing the same source meanwhile."""
        source = packet.packet
        copy = import_av().Packet(source)
        copy.time_base, copy.pts, copy.dts, copy.is_keyframe = source.time_base, pts, dts, packet.is_key
        if source.duration:
            copy.duration = source.duration
        copy.stream = self._stream
        return copy

    def _sentence(self, error: Exception) -> MuldeError:
        cause = self._file.error or error
        if isinstance(cause, OSError) and cause.errno:
            return cannot("written", self.path, cause)
        return VideoError(f"{self.path} cannot be written ({error_text(error)})")


def _stamps(packet: StreamPacket) -> tuple[Any, Any]:
    """When a packet is decoded and shown, in its time base; None without any stamp. Some containers, as AVI, have the
    first one alone."""
    source = packet.packet
    return source.dts, source.dts if source.pts is None else source.pts


class _TargetFile:
    """A file for `av.open` without a buffer, so that nothing waits in this process.

    After its first error it takes nothing more, and ends where `keep` was called last: a file with a hole, or half of a
    piece, could not be played to its end.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._file, self._end = io.FileIO(path, "x"), 0

    def keep(self) -> None:
        """What is written up to here is a file that can be played."""
        self._end = self._file.tell()

    # No exception may leave these: PyAV would keep it, and raise it some calls later or print it.

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest and self.error is None:
            try:
                rest = rest[self._file.write(rest) or 0 :]
            except OSError as error:
                self.error = error
        return len(data) if self.error is None else -(self.error.errno or errno.EIO)

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            return -(error.errno or errno.EIO)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        try:
            if self.error is not None:
                self._file.truncate(self._end)
            self._file.close()
        except OSError as error:
            self.error = self.error or error


@cache
def _mp4_codecs() -> frozenset[str]:
    with import_av().open(io.BytesIO(), "w", format="mp4") as container:
        return frozenset(container.supported_codecs)


def _add_stream(container: Any, stream: Any, codec: str) -> Any:
    try:
        # opaque: by the decoder, as not every codec has an encoder here.
        return container.add_stream_from_template(stream, opaque=True)
    except (ValueError, import_av().FFmpegError) as error:
        raise VideoError(
            f"A stream in {codec} cannot be written to a file ({error_text(error)})",
            hint="set the camera to H.264 or H.265",
        ) from error


def _begin(path: Path) -> tuple[Path, Path, _TargetFile]:
    """The first name after `path` that no file has, its hidden name, and a new file under that."""
    for name in _names(path):
        target = path.with_name(name)
        partial = target.with_name(f".{name}{_PART}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(target):
                return target, partial, _TargetFile(partial)
        except FileExistsError:
            if not path.parent.is_dir():
                raise FileError(
                    f"{path} cannot be written", expected="a folder", got=f"the file {path.parent}"
                ) from None
        except OSError as error:
            raise cannot("written", path, error) from error
    raise AssertionError("names do not end")


def _names(path: Path) -> Iterator[str]:
    yield path.name
    number = 2
    while True:
        yield f"{path.stem}-{number}{path.suffix}"
        number += 1


def rescue(partial: Path, path: Path) -> bool:
    """Whether the file that a copy left as `partial` holds a picture; then it gets the name `path`, else it is removed.

    A file that the disk does not deliver stays where it is. Raises FileError where it cannot be named or removed.
    """
    try:
        is_playable = _holds_picture(partial)
        if is_playable:
            os.replace(partial, path)
        else:
            partial.unlink(missing_ok=True)
    except SourceError:
        return False
    except OSError as error:
        raise cannot("written", path, error) from error
    return is_playable


def _holds_picture(path: Path) -> bool:
    damage = DecodeDamage()
    try:
        with open_stream(path, None) as (source, container, stream):
            return any(pictures(stream, packet, damage) for packet in packets(source, container, stream, damage))
    except SourceError:
        raise
    except VideoError:
        return False


def rescue_all(folder: Path) -> tuple[list[Path], int]:
    """Of a folder whose copies nobody writes any more: the files that got their name, and how many others were removed.

    Links are left alone. Raises FileError like `rescue`.
    """
    rescued, num_removed = list[Path](), 0
    for partial in sorted(folder.glob(f".*{_PART}")):
        if not partial.is_file() or partial.is_symlink() or not is_hidden(partial.name):
            continue
        name = partial.name.removeprefix(".").removesuffix(_PART)
        path = next(path for path in map(folder.joinpath, _names(Path(name))) if not os.path.lexists(path))
        if rescue(partial, path):
            rescued.append(path)
        else:
            num_removed += not partial.exists()
    return rescued, num_removed
