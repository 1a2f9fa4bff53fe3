"""The times of a video's frames as its source lists them, without decoding it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from mulde.filetypes import is_image_file, list_frames
from mulde.media.content_hash import no_images
from mulde.media.facts import probe
from mulde.media.reader import DEFAULT_RATE
from mulde.records import BoxesAlone, Float64


@dataclass(frozen=True)
class FrameTimes:
    """How many frames a source lists: their rate per second and the time of each in seconds, (T,) float64."""

    rate: Fraction
    time_s: Float64


def read_frame_times(path: Path, frame_rate: Fraction | None = None, *, boxes: BoxesAlone | None = None) -> FrameTimes:
    """The times of the frames of a video file, a folder of frames or one image; a reader of a sound source delivers
    exactly these.

    Of a file all packets are read and the first picture is decoded, of a folder the names are listed. frame_rate: of a
    source that has none of its own; without it, 25. boxes: what is known of a video without pixels, as `open_video`
    takes it; nothing is opened then. Raises VideoError for a source that cannot be read.
    """
    if boxes is not None:
        return FrameTimes(boxes.frame_rate, np.arange(boxes.num_frames) / float(boxes.frame_rate))
    if path.is_dir() or is_image_file(path):
        num_frames, rate = len(list_frames(path)) if path.is_dir() else 1, frame_rate or DEFAULT_RATE
        if not num_frames:
            raise no_images(path)
        return FrameTimes(rate, np.arange(num_frames) / float(rate))
    facts = probe(path, None, frame_rate)
    return FrameTimes(facts.rate, np.array([facts.time_s(i) for i in range(len(facts.stamps))]))
