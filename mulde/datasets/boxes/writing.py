"""Folders of videos of boxes alone, written by programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulde.datasets.base import check_split
from mulde.datasets.boxes.dataset import COLUMNS, VIDEOS_FILE
from mulde.errors import RecordError
from mulde.files import atomic_write, write_csv
from mulde.records import BoxesAlone, Int64, Regions

_CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class BoxesVideo:
    """One video to be written. name: unique in its split; track_id (N,): of each box, -1 on no track."""

    split: str
    name: str
    regions: Regions
    track_id: Int64
    facts: BoxesAlone

    def __post_init__(self) -> None:
        check_split(self.split)
        frames = self.regions.frame_index
        if self.track_id.shape != frames.shape:
            raise RecordError("BoxesVideo.track_id", expected=f"{len(frames)} numbers", got=self.track_id.shape)
        if len(frames) and frames[-1] >= self.facts.num_frames:
            raise RecordError(f"BoxesVideo {self.name}", expected=f"{self.facts.num_frames} frames", got=frames[-1])


def write_boxes_folder(
    root: Path, videos: Iterable[BoxesVideo], ranges: Mapping[str, Iterable[tuple[int, int]]] | None = None
) -> Path:
    """A folder that `boxes:ROOT` opens: a Parquet file per video, videos.csv, and labels.csv where `ranges` are given.

    ranges: the anomalous frames of test videos by name, half-open; None writes no labels. Frames are counted from 0,
    and the same boxes always make the same bytes. Returns `root`; raises FileError where it cannot be written.
    """
    import pandas as pd

    lines = []
    for video in videos:
        write_boxes(root / video.split / f"{video.name}.parquet", video.regions, video.track_id)
        height, width = video.facts.size_hw
        known = (width, height, str(video.facts.frame_rate), video.facts.num_frames, 0)
        lines.append((f"{video.split}/{video.name}", *known))
    write_csv(pd.DataFrame(lines, columns=list(COLUMNS)), root / VIDEOS_FILE)
    if ranges is not None:
        spans = [(name, start, end) for name, several in ranges.items() for start, end in several]
        write_csv(pd.DataFrame(spans, columns=["video", "start_frame", "end_frame"]), root / "labels.csv")
    return root


def write_boxes(path: Path, regions: Regions, track_id: Int64) -> None:
    """A Parquet file of boxes that `read_boxes` reads back to the same bits; frames are counted from 0."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    boxes = dict(zip(_CORNERS, np.ascontiguousarray(regions.box_xyxy.T), strict=True))
    table = pa.table(
        {
            "frame_index": regions.frame_index,
            **boxes,
            "confidence": regions.confidence,
            "class_id": regions.class_id,
            "track_id": track_id,
        }
    )
    with atomic_write(path) as partial:
        pq.write_table(table, partial, compression="zstd")
