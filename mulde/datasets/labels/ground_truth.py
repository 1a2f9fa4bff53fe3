"""From ranges and mask images to one label per frame; every refusal names the video and the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mulde.errors import ImageError, LabelError
from mulde.images import read_image
from mulde.records import Bool, LabelTrack

# A jpg mask has non-zero pixels all around its edges, so "non-zero = anomalous" would not hold.
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg"})
COUNT_HINT = "labels and frames of one copy; a tool that drops or doubles a frame on extraction is the usual cause"


def track_from_ranges(video: str, ranges: Sequence[tuple[int, int]], num_frames: int, source: str) -> LabelTrack:
    """Labels from 0-based, half-open frame ranges, which may overlap.

    Raises LabelError, with `source` in its text, for a range that is empty or leaves 0..num_frames.
    """
    anomalous = np.zeros(num_frames, dtype=np.bool_)
    for start, end in ranges:
        if not 0 <= start < end <= num_frames:
            raise LabelError(
                f"{source}: range of {video}",
                expected=f"0 <= start_frame < end_frame <= {num_frames}, the number of decoded frames"
                " (0-based, end_frame is the first frame after the range)",
                got=f"start_frame {start}, end_frame {end}",
            )
        anomalous[start:end] = True
    return LabelTrack(video, anomalous)


def track_from_masks(video: str, mask_paths: Sequence[Path], num_frames: int, source: str) -> LabelTrack:
    """Labels from one mask image per frame: a frame is anomalous when its mask has a non-zero pixel.

    Raises LabelError when the count differs from `num_frames` or an image cannot be read.
    """
    if len(mask_paths) != num_frames:
        raise LabelError(
            f"{source}: masks of {video}", expected=f"{num_frames}, one per decoded frame", got=len(mask_paths)
        )
    return track_from_mask_arrays(video, iter_masks(mask_paths), num_frames, source)


def track_from_mask_arrays(video: str, masks: Iterator[Bool], num_frames: int, source: str) -> LabelTrack:
    """Labels from one (H, W) mask per frame. Raises LabelError when their count differs from `num_frames`."""
    anomalous = np.array([mask.any() for mask in masks], dtype=np.bool_)
    if len(anomalous) != num_frames:
        raise LabelError(
            f"{source}: masks of {video}",
            expected=f"{num_frames}, one per decoded frame",
            got=len(anomalous),
            hint=COUNT_HINT,
        )
    return LabelTrack(video, anomalous)


def iter_masks(mask_paths: Sequence[Path]) -> Iterator[Bool]:
    """The masks as (H, W) bool arrays, non-zero = anomalous, read one at a time.

    Raises LabelError for an image that cannot be read, a jpg, or one of another size than the first.
    """
    first_size_hw: tuple[int, ...] | None = None
    for path in mask_paths:
        mask = _read_mask(path)
        first_size_hw = first_size_hw or mask.shape
        if mask.shape != first_size_hw:
            raise LabelError(
                f"mask {path}", expected=f"height x width {first_size_hw}, as in {mask_paths[0].name}", got=mask.shape
            )
        yield mask


def _read_mask(path: Path) -> Bool:
    if path.suffix.lower() in LOSSY_SUFFIXES:
        raise LabelError(f"mask {path}", expected="a lossless image (png, bmp, tif)", got="a jpg, which smears edges")
    try:
        # Colour drops an alpha channel, any depth keeps the 1 of a 16-bit mask: else both are invented or lost.
        image = read_image(path, "bgr", single=True)
    except ImageError as error:
        raise LabelError(f"mask {error.problem}", expected=error.expected or "an image file", got=error.got) from None
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise LabelError(f"mask {path}", expected="finite numbers", got="nan or infinity")
    lit = image != 0
    return np.asarray(lit[..., 0] | lit[..., 1] | lit[..., 2], dtype=np.bool_)  # .any(axis=2) takes five times as long
