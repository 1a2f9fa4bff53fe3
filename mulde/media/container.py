"""Video containers through PyAV: opened, their packets, and the pictures that these turn into.

Never switch on PyAV's own logging (`av.logging.set_level`): it calls Python from decoder threads, which then wait for
each other for good on a damaged file. Its default, no logging, is what is wanted here.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mulde.errors import UsageError, VideoError
from mulde.images import MAX_PIXELS
from mulde.media.source_file import SourceFile

# What threads that share a picture decode the same way each time, damaged or not. Other codecs' threads, and any that
# decode several pictures at a time, fill the holes of a damaged picture with whatever is there by then.
_THREADS_AGREE = ("h264", "vp9", "av1")
# A demuxer that is not named here may open other files or addresses, which a text in the file names (concat, hls, dash,
# imf, sdp, mlv), read a device, take any file for raw samples, or draw a text. Those that hold sound alone are for the
# sentence that says so.
_SELF_CONTAINED = (
    "3dostr,4xm,anm,apng,apv,asf,asf_o,av1,avi,avs,avs2,avs3,bethsoftvid,bfi,bink,bmp_pipe,bmv,c93,"
    "cavsvideo,cdg,cdxl,cine,dfa,dhav,dirac,dnxhd,dsicin,dv,dxa,ea,ea_cdata,evc,film_cpk,filmstrip,"
    "flic,flv,frm,gdv,gif,gxf,h261,h263,h264,hevc,hnm,hxvs,idcin,iff,ifv,ingenient,ipmovie,ipu,iv8,"
    "ivf,ivr,jpeg_pipe,jv,kux,live_flv,lmlm4,luodat,lvf,lxf,m4v,matroska,webm,mgsts,mjpeg,mjpeg_2000,"
    "mm,mods,moflex,mov,mp4,mpeg,mpegts,mpegtsraw,mpegvideo,mpjpeg,msnwctcp,mtv,mv,mvi,mxf,mxg,nc,"
    "nsv,nut,nuv,obu,ogg,paf,pmp,png_pipe,psxstr,pva,r3d,rl2,rm,roq,rpl,ser,siff,simbiosis_imx,"
    "smjpeg,smk,smush,swf,thp,tiertexseq,tiff_pipe,tmv,ty,usm,vc1,vc1test,vividas,vivo,vmd,vvc,"
    "wc3movie,webp_pipe,wtv,xmv,yop,yuv4mpegpipe,aac,ac3,aiff,amr,flac,mp3,wav"
)
_OPENING = {"format_whitelist": _SELF_CONTAINED, "protocol_whitelist": "file", "enable_drefs": "0"}
_TEXT_BYTES = 1024
_READ_BYTES = 2**18  # as many as libav reads by itself
_ISO_MEDIA_MARK = slice(4, 8)  # an mp4, mov or 3gp file starts with a box of type `ftyp`


@dataclass
class DecodeDamage:
    """What went wrong while a file was decoded; `num_out_of_place` pictures had no stamp that gives their number."""

    num_bad_packets: int = 0
    num_out_of_place: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, error: Exception) -> None:
        """Raises MemoryError for a lack of memory, which says nothing about the file."""
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise MemoryError(error_text(error)) from error
        self.num_bad_packets += 1
        if len(self.reasons) < 3:
            self.reasons.append(error_text(error))


@contextmanager
def open_stream(path: Path, number: int | None) -> Iterator[tuple[SourceFile, Any, Any]]:
    """The file, its container and one of the video streams, by number or, with None, libav's choice (as in decord).

    Raises VideoError, and SourceError where the disk is at fault.
    """
    av = import_av()
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)", hint="copy or record the file again")
    with SourceFile(path) as source:
        try:
            container = av.open(source, metadata_errors="replace", buffer_size=_READ_BYTES, container_options=_OPENING)
        except av.FFmpegError as error:
            source.check()
            raise _unreadable(path, error) from error
        source.check()
        with container:
            yield source, container, _chosen(path, container, number)


def _chosen(path: Path, container: Any, number: int | None) -> Any:
    stream = container.streams.best("video")
    if stream is None or bool(stream.disposition & import_av().stream.Disposition.attached_pic):
        kinds = sorted({other.type for other in container.streams}) or ["nothing"]
        raise VideoError(f"{path} has no video stream", expected="moving pictures", got=" and ".join(kinds))
    if number is not None:
        stream = _numbered(path, container, number)
    if stream.codec_context is None:
        raise VideoError(f"{path} is coded in a way that this build of PyAV cannot decode")
    stream.thread_type = "SLICE" if stream.codec_context.codec.canonical_name in _THREADS_AGREE else "NONE"
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def main_stream(path: Path) -> int:
    """The number, among the video streams of a file, of the one that libav takes for the main one."""
    with open_stream(path, None) as (_, container, main):
        return [stream.index for stream in container.streams.video].index(main.index)


def packets(source: SourceFile, container: Any, stream: Any, damage: DecodeDamage) -> Iterator[Any]:
    """The stream's packets in file order, then None. A container that ends early ends the packets and is noted.

    Raises SourceError where the disk is at fault, before any packet that was read after the error.
    """
    av = import_av()
    demuxed = container.demux(stream)
    while True:
        try:
            packet = next(demuxed, None)
        except (av.FFmpegError, IndexError) as error:  # IndexError: a stream that appears in the middle of the file
            source.check()
            damage.add(error)
            packet = None
        source.check()
        if packet is None:
            yield None
            return
        # An empty packet tells the decoder that the stream ends: PyAV's own comes last, another would end it too soon.
        if packet.size:
            yield packet


def pictures(stream: Any, packet: Any, damage: DecodeDamage) -> list[Any]:
    """The pictures that become ready with `packet` (None: with the end). A packet that cannot be decoded is noted."""
    try:
        decoded: list[Any] = stream.decode(packet)
    except import_av().FFmpegError as error:
        damage.add(error)
        return []
    return decoded


def import_av() -> Any:
    """Import PyAV. Raises UsageError that says what to install."""
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
    start = _start(path)
    if start[_ISO_MEDIA_MARK] == b"ftyp":
        return VideoError(
            f"{path} is cut off: it starts like an mp4 but its index (moov) is missing or damaged",
            got=error_text(error),
            hint="copy the file again, or let a repair tool rebuild the index from a whole file of the same camera",
        )
    if _is_text(start):
        return VideoError(
            f"{path} is a text file, not a video",
            got=repr(start.partition(b"\n")[0][:60].decode("utf-8", "replace").strip()),
            hint="name the videos themselves; the files and addresses in a playlist are never opened",
        )
    refused = getattr(error, "errno", None) == errno.EINVAL  # the answer of libav to what is not on the list
    why = "a kind of file that is not read as video" if refused else error_text(error)
    return VideoError(f"{path} cannot be opened as a video", got=why)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_TEXT_BYTES)
    except OSError:
        return b""


def _is_text(start: bytes) -> bool:
    """Whether a file that starts like this is one in ASCII or UTF-8, of which the last letter may be cut."""
    text = start.decode("utf-8", "ignore")
    is_whole = len(start) - len(text.encode()) <= 3
    return bool(start) and is_whole and all(letter.isprintable() or letter in "\t\r\n\f\ufeff" for letter in text)
