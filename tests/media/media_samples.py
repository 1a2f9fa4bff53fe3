"""Small videos and image folders whose frames say which frame they are. Written without any code of `mulde`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

NUM_BITS = 6
SIZE_HW = (48, 64)


def picture(index: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """Six upright bars that spell `index` in binary (left: lowest bit), the lower half tinted red to blue."""
    height, width = size_hw
    bits = np.arange(width) * NUM_BITS // width
    image = np.where(index >> bits & 1, 210, 40).astype(np.uint8)
    image = np.repeat(np.tile(image, (height, 1))[..., None], 3, axis=2)
    image[3 * height // 4 :] = np.linspace((200, 60, 30), (30, 60, 200), width).astype(np.uint8)
    return image


def index_of(image: np.ndarray) -> int:
    """What `picture` was called with, read from the bars."""
    height, width, _ = image.shape
    centres = ((np.arange(NUM_BITS) + 0.5) * width / NUM_BITS).astype(int)
    return int(sum(1 << bit for bit, x in enumerate(centres) if image[height // 4, x].mean() > 125))


def pictures(count: int, size_hw: tuple[int, int] = SIZE_HW) -> list[np.ndarray]:
    return [picture(index, size_hw) for index in range(count)]


def encode(
    path: Path,
    images: list[np.ndarray],
    *,
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts_ms: list[int] | None = None,
    container: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    **context: object,
) -> Path:
    """A video file through PyAV; `pts_ms` replaces the even time stamps, `context` sets fields of the codec.

    In a thread of its own: SVT-AV1, run by root, gives the calling thread a real-time priority for good, and threads
    that inherit it and wait busily then keep everything else from running.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_encode, path, images, rate, codec, pix_fmt, pts_ms, container, options, context).result()


def _encode(
    path: Path,
    images: list[np.ndarray],
    rate: Fraction | int,
    codec: str,
    pix_fmt: str,
    pts_ms: list[int] | None,
    container: dict[str, str] | None,
    options: dict[str, str] | None,
    context: dict[str, object],
) -> Path:
    time_base = Fraction(1, 1000) if pts_ms else 1 / Fraction(rate)
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgba" if image.shape[2] == 4 else "rgb24")
            frame.pts, frame.time_base = (pts_ms[index] if pts_ms else index), time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def encode_planes(path: Path, luma: np.ndarray, u: int, v: int, *, color_range: int, colorspace: int) -> Path:
    """Three lossless frames with the given luma plane and constant chroma, so that RGB is a matter of arithmetic."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "0"})
        stream.height, stream.width = luma.shape
        stream.pix_fmt = "yuv420p"
        stream.codec_context.color_range, stream.codec_context.colorspace = color_range, colorspace
        half = (luma.shape[0] // 2, luma.shape[1] // 2)
        planes = np.concatenate([luma.ravel(), np.full(half, u).ravel(), np.full(half, v).ravel()]).astype(np.uint8)
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(planes.reshape(-1, luma.shape[1]), format="yuv420p")
            frame.color_range, frame.colorspace, frame.pts = color_range, colorspace, index
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def encode_sound(path: Path, *, cover: bool = False) -> Path:
    """An mp4 without moving pictures, on request with the picture of a record's cover."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000, layout="mono")
        if cover:
            art = file.add_stream("mjpeg", rate=1)
            art.height, art.width = SIZE_HW
            art.pix_fmt = "yuvj420p"
            art.disposition = av.stream.Disposition.attached_pic
            file.mux(art.encode(av.VideoFrame.from_ndarray(picture(1), format="rgb24")))
        for index in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, index * 1024
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def rotate_mp4(source: Path, target: Path, degrees_clockwise: int) -> Path:
    """A copy whose track header asks the player to turn the pictures (ISO 14496-12, `tkhd` matrix)."""
    a, b, c, d = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees_clockwise]
    content = bytearray(source.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    target.write_bytes(content)
    return target


def encode_streams(path: Path, streams: list[list[np.ndarray]]) -> Path:
    """One file with several video streams, each with pictures of its own size."""
    with av.open(str(path), "w") as file:
        added = [file.add_stream("mpeg4", rate=25, options={"qscale": "2"}) for _ in streams]
        for stream, images in zip(added, streams, strict=True):
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = "yuv420p"
        for stream, images in zip(added, streams, strict=True):
            for index, image in enumerate(images):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = index
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return path


def restamp(source: Path, target: Path, pts_ms: list[int]) -> Path:
    """A copy without re-encoding whose packets carry these presentation stamps, in any order."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.dts is not None]
        for number, (packet, pts) in enumerate(zip(packets, pts_ms, strict=True)):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts, packet.dts = pts, number - 1000
            new.mux(packet)
    return target


def remux(source: Path, target: Path, pts_ms: Sequence[int], container: str | None = None) -> Path:
    """A copy of the same packets, without reordered ones, with other times and no rate of its own."""
    with av.open(str(source)) as old, av.open(str(target), "w", format=container) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.dts is not None]
        for packet, pts in zip(packets, pts_ms, strict=True):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = int(pts)
            packet.duration = 0
            new.mux(packet)
    return target


def overwrite_packets(path: Path, numbers: list[int], filling: bytes = b"\0") -> Path:
    """Replace the coded bytes of some packets, counted in file order from 0, inside the file itself."""
    with av.open(str(path)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for number in numbers:
        start, size = places[number]
        content[start : start + size] = filling * size
    path.write_bytes(content)
    return path


def claim_frames(source: Path, target: Path, num_frames: int) -> Path:
    """A copy of an AVI whose headers promise `num_frames` frames."""
    content = bytearray(source.read_bytes())
    for box, field in ((b"avih", 16), (b"strh", 32)):
        start = content.index(box) + 8 + field
        content[start : start + 4] = struct.pack("<I", num_frames)
    target.write_bytes(content)
    return target


def copy_packets(source: Path, target: Path, first: int) -> Path:
    """A copy without re-encoding that leaves out the first packets, as a recorder does that starts anywhere."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(packet for packet in old.demux(video=0) if packet.dts is not None):
            if number >= first:
                packet.stream = stream
                new.mux(packet)
    return target


def write_images(folder: Path, images: list[np.ndarray], pattern: str = "{:03d}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        assert cv2.imwrite(str(folder / pattern.format(index)), image if image.ndim == 2 else image[..., ::-1])
    return folder
