"""Maps of a pixel model beside the masks of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mulde.config import Settings
from mulde.datasets.base import Dataset, Video
from mulde.errors import LabelError
from mulde.evaluation.pixels import PixelCounts, PixelFigures
from mulde.names import output_path
from mulde.pipeline.evaluation.evaluate import original_size
from mulde.pipeline.scoring.pixel_maps import read_pixel_maps
from mulde.progress import Reporter
from mulde.records import Bool, LabelTrack


def pixel_figures(
    folder: Path, labels: Mapping[str, LabelTrack], dataset: Dataset, settings: Settings, reporter: Reporter
) -> dict[str, PixelFigures]:
    """The figures of each map over the labelled videos, by its name; nothing without maps, or without masks.

    A map is stretched to the size of the mask, or of the frame where there is none. Where masks are missing or are not
    as many as the maps, it is said and there are no figures. Raises MuldeError for files that are no maps.
    """
    try:
        return _figures(folder, labels, dataset, settings, reporter)
    except LabelError as error:  # the figures of frames need no masks
        reporter.warn(f"{error}; no pixel figures are made")
        return {}


def _figures(
    folder: Path, labels: Mapping[str, LabelTrack], dataset: Dataset, settings: Settings, reporter: Reporter
) -> dict[str, PixelFigures]:
    videos = [video for video in dataset.videos("test") if video.name in labels]
    there = [video for video in videos if output_path(folder, video.name, ".npy").is_file()]
    if not there or not any(dataset.masks(video) is not None for video in there):
        return {}
    if len(there) < len(videos):
        reporter.warn(f"pixel figures: maps of {len(there)} of {len(videos)} labelled videos; none are made")
        return {}
    counts: dict[str, PixelCounts] = {}
    with reporter.bar("pixel figures", len(videos), "videos") as advance:
        for video in videos:
            _count(video, labels[video.name], dataset, settings, folder, counts)
            advance(1)
    return {name: one.figures() for name, one in counts.items()}


def _count(
    video: Video,
    labels: LabelTrack,
    dataset: Dataset,
    settings: Settings,
    folder: Path,
    counts: dict[str, PixelCounts],
) -> None:
    names, maps = read_pixel_maps(folder, video.name)
    masks = dataset.masks(video)
    if masks is None and labels.anomalous.any():
        raise LabelError(f"{video.name}: pixel figures", expected="masks of its anomalous frames", got="none")
    size_hw: tuple[int, ...] = original_size(video, settings) if masks is None else ()
    num_frames = 0
    mask: Bool | None = None
    for frame in maps:
        if masks is not None:
            mask = next(masks, None)
            if mask is None:
                break
            size_hw = mask.shape
        num_frames += 1
        for name, one in zip(names, frame, strict=True):
            counts.setdefault(name, PixelCounts()).add(_stretched(one, size_hw), mask)
    if num_frames != len(labels.anomalous):
        raise LabelError(
            f"{video.name}: pixel figures", expected=f"maps and masks of {len(labels.anomalous)} frames", got=num_frames
        )


def _stretched(one: NDArray[np.float16], size_hw: tuple[int, ...]) -> NDArray[np.float16]:
    import cv2

    height, width = size_hw
    if one.shape == (height, width):
        return one
    resized = cv2.resize(one.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float16)
