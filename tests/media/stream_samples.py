"""What a camera sends, without one: the packets of a small file, as a reader of streams hands them on."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from mulde.media.packets import StreamPacket

from .media_samples import encode, pictures

RATE = 25
GROUP = 10
"""Frames from one key frame to the next."""


@functools.cache
def camera_file(num_frames: int = 60, *, num_b_frames: int = 0) -> Path:
    """H.264, a key frame every 10 frames, 25 frames per second, of 64 x 48 pixels; made once per process."""
    path = Path(tempfile.mkdtemp(prefix="mulde-camera-")) / "camera.mp4"
    options = {"g": str(GROUP), "bf": str(num_b_frames), "x264-params": "scenecut=0:b-adapt=0"}
    return encode(path, pictures(num_frames), rate=RATE, options=options)


@contextmanager
def camera(path: Path, first_s: float = 0.0) -> Iterator[list[StreamPacket]]:
    """All packets of a file, the first arriving at first_s and the others by their stamps; inside the block, the
    stream that they came from is open."""
    with av.open(str(path)) as file:
        demuxed = [packet for packet in file.demux(video=0) if packet.size]
        start = demuxed[0].dts or 0
        yield [StreamPacket(p, p.is_keyframe, first_s + float(((p.dts or 0) - start) * p.time_base)) for p in demuxed]


def decoded(path: Path) -> list[tuple[float, np.ndarray]]:
    """Every picture of a file, in the order of showing: its time in seconds, and its planes as they were decoded."""
    with av.open(str(path)) as file:
        return [(float(frame.pts * frame.time_base), frame.to_ndarray()) for frame in file.decode(video=0)]
