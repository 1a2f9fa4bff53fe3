"""Stage 3: stored features and a model into one score per frame, as tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from mulde.errors import BundleError, MuldeError
from mulde.evaluation.conformal import frame_p_values
from mulde.evaluation.smoothing import Smoothing
from mulde.files import atomic_write, write_csv
from mulde.names import output_path
from mulde.parquet import METADATA_KEY, Kind, ParquetTable, finite, read_parquet, reading
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle, Stream
from mulde.pipeline.model.calibration import combine, frame_maximum
from mulde.pipeline.scoring.regions import (
    STREAM_PREFIX,
    ScoredRows,
    region_scores,
    repeated_regions,
    stream_columns,
    tables_below,
)
from mulde.records import Analysed, Bool, FeatureTable, Float64, Int64, ScoredVideo, ScoreTrack
from mulde.typed import Count, FileModel, Positive, VideoName, distinct, validated

if TYPE_CHECKING:
    import pandas as pd


_ANALYSED = "analysed_frame"
_FRAMES_PER_ROW = 1000
"""A table with fewer than one frame in this many of its video is taken to be damaged."""


@dataclass(frozen=True)
class FrameScores:
    """Calibrated scores of the frames of a video by stream and combined, (T,) each; frames without any row (T,)."""

    streams: Mapping[str, Float64]
    fused: Float64
    empty: Bool
    rows: Mapping[str, ScoredRows]


def score_frames(
    features: Callable[[str], FeatureTable], frame_index: Int64, streams: Mapping[str, Stream], how: str
) -> FrameScores:
    """Score the frames frame_index (T,) by the rows that `features` gives for each stream.

    Raises BundleError when the features do not have the width that the model was trained on.
    """
    frames, rows, empty = {}, {}, np.ones(len(frame_index), np.bool_)
    for name, stream in streams.items():
        table = features(name)
        if table.dim != stream.dim:
            raise BundleError(f"features {name}", expected=f"{stream.dim} columns", got=table.dim)
        scores, floor = stream.score_rows(table.values), stream.empty_score
        frames[name] = frame_maximum(scores, table.frame_index, frame_index, floor)
        empty &= ~np.isin(frame_index, table.frame_index)
        if table.box_xyxy is not None:
            rows[name] = ScoredRows(table, scores, floor)
    return FrameScores(frames, combine(frames, how), empty, rows)


def score_described(frames: Sequence[Mapping[str, FeatureTable]], bundle: Bundle) -> list[FrameScores]:
    """Score single frames, each given as its rows by stream, of one video or of several. One call of each density takes
    the rows of all of them; that changes no score, as a row's does not depend on the rows beside it."""
    if not frames:
        return []
    how = bundle.settings.fusion.combine
    scored: list[dict[str, Float64]] = [{} for _ in frames]
    rows: list[dict[str, ScoredRows]] = [{} for _ in frames]
    empty = [True] * len(frames)
    for name, stream in bundle.streams.items():
        tables = [tables[name] for tables in frames]
        of_rows = stream.score_rows(np.concatenate([table.values for table in tables]))
        ends = np.cumsum([len(table) for table in tables])[:-1]
        for i, (table, scores) in enumerate(zip(tables, np.split(of_rows, ends), strict=True)):
            scored[i][name] = np.array([scores.max() if len(scores) else stream.empty_score])
            empty[i] &= not len(scores)
            if table.box_xyxy is not None:
                rows[i][name] = ScoredRows(table, scores, stream.empty_score)
    return [FrameScores(scored[i], combine(scored[i], how), np.array([empty[i]]), rows[i]) for i in range(len(frames))]


def score_video(stored: StoredVideo, bundle: Bundle) -> ScoredVideo:
    """Score every decoded frame of a video, and its boxes; higher = more anomalous.

    Frames that were skipped, so that the video has the frame rate of the training, take the scores and the boxes of the
    last frame before them that was not skipped.

    Raises BundleError when the features do not have the width that the model was trained on.
    """
    name, how = stored.video.name, bundle.settings.fusion.combine
    described, source_row = stored.frame_index[stored.described], stored.described_index
    scores = score_frames(stored.features, described, bundle.streams, how)
    scores = FrameScores(
        {stream: values[source_row] for stream, values in scores.streams.items()},
        scores.fused[source_row],
        scores.empty[source_row],
        scores.rows,
    )
    fusion, rate, analysed = bundle.settings.fusion, float(stored.rate), stored.analysed
    smoothing = Smoothing.of_times(fusion.smoothing_s * rate, stored.time_s, rate, analysed)
    smoothed, normal = smoothing(scores.fused, fusion.smoothing), bundle.smoothed_normal[fusion.smoothing]
    # Frames this close belong to one event or share smoothed scores, so they are not independent among normal frames.
    stretch_s = max(bundle.settings.alarms.merge_gap_s, 4 * fusion.smoothing_s)
    track = ScoreTrack(
        video=name,
        frame_index=stored.frame_index,
        time_s=stored.time_s,
        fused=scores.fused,
        smoothed=smoothed,
        streams=scores.streams,
        p_value=frame_p_values(smoothed, normal, stretch_s=stretch_s) if normal else None,
    )
    regions = region_scores(name, stored.size_hw, scores.rows, how) if scores.rows else None
    if regions is not None and not stored.described.all():
        regions = repeated_regions(regions, stored.frame_index, described[source_row])
    empty, is_causal = int(scores.empty.sum()), fusion.smoothing == "causal"
    return ScoredVideo(track, smoothing.sigma_frames, empty, rate, regions, analysed, is_causal)


def to_frame(track: ScoreTrack, analysed: Analysed | None = None) -> pd.DataFrame:
    """One row per decoded frame: video, frame_index, time_s, score_<stream>..., fused, smoothed, p_value; where not
    every frame was looked at, also `analysed_frame`, the number of the one whose score it has."""
    import pandas as pd

    return pd.DataFrame(
        {
            "video": track.video,
            "frame_index": track.frame_index,
            "time_s": track.time_s,
            **{f"{STREAM_PREFIX}{name}": values for name, values in track.streams.items()},
            "fused": track.fused,
            "smoothed": track.smoothed,
            **({} if track.p_value is None else {"p_value": track.p_value}),
            **({} if analysed is None else {_ANALYSED: analysed.number}),
        }
    )


def write_scores(
    scored: ScoredVideo,
    folder: Path,
    further: Mapping[str, Int64] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write `<folder>/<video>.parquet` and `.csv`; the path of the Parquet file.

    further: more columns (T,) by name, and facts: more of the file, both of which `read_scores` leaves out.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = score_path(folder, scored.track.video)
    frame = to_frame(scored.track, scored.analysed).assign(**(further or {}))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    extra = {
        "sigma_frames": scored.sigma_frames,
        "frames_without_rows": scored.frames_without_rows,
        "rate": scored.rate,
        "is_causal": scored.is_causal,
        "analysed_rate": None if scored.analysed is None else scored.analysed.rate,
        **(facts or {}),
    }
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), METADATA_KEY: json.dumps(extra)})
    write_csv(frame, path.with_suffix(".csv"))
    with atomic_write(path) as partial:
        pq.write_table(table, partial)
    return path


def score_path(folder: Path, video: str) -> Path:
    return output_path(folder, video, ".parquet")


def read_scores(folder: Path) -> dict[str, ScoredVideo]:
    """All score tables below a folder, by video. Raises MuldeError when there is none or one is damaged."""
    scored = [read_score_table(path) for path in tables_below(folder)]
    if not scored:
        raise MuldeError(f"no score tables in {folder}", hint="mulde score, or mulde run")
    distinct((video.track.video for video in scored), f"videos of the tables in {folder}")
    return {video.track.video: video for video in scored}


class _ScoreFacts(FileModel):
    sigma_frames: Positive
    frames_without_rows: Count
    rate: Annotated[float, Field(gt=0, le=1e6)]
    is_causal: bool = False
    analysed_rate: Annotated[float, Field(gt=0, le=1e6)] | None = None


_COLUMNS: dict[str, Kind] = {
    "video": "text", "frame_index": "whole", "time_s": "number", "fused": "number", "smoothed": "number",
}  # fmt: skip


def read_score_table(path: Path) -> ScoredVideo:
    """The scores of one video. Raises MuldeError for a table that is damaged."""

    def further(name: str) -> Kind | None:
        if name == _ANALYSED:
            return "whole"
        return "number" if name == "p_value" or name.startswith(STREAM_PREFIX) else None

    with reading("score table", path, hint="mulde score"):
        table = read_parquet(path, _COLUMNS, others=further)
        facts = validated(table.facts, _ScoreFacts, "facts")
        names = set(table.text["video"])
        if len(names) != 1:
            raise MuldeError("column video", expected="one name", got=f"{len(names)}")
        numbers = {name: finite(f"column {name}", values).astype(np.float64) for name, values in table.number.items()}
        if "p_value" in numbers:
            finite("column p_value", numbers["p_value"], 0, 1)
        frame_index = table.whole["frame_index"]
        if frame_index[-1] >= _FRAMES_PER_ROW * max(len(frame_index), _FRAMES_PER_ROW):
            raise MuldeError("column frame_index", expected="frames of one video", got=frame_index[-1])
        track = ScoreTrack(
            validated(names.pop(), VideoName, "column video"),
            frame_index,
            numbers["time_s"],
            numbers["fused"],
            numbers["smoothed"],
            stream_columns(numbers),
            numbers.get("p_value"),
        )
        counts = facts.sigma_frames, facts.frames_without_rows, facts.rate
        return ScoredVideo(track, *counts, None, _analysed(table, facts.analysed_rate), facts.is_causal)


def _analysed(table: ParquetTable, rate: float | None) -> Analysed | None:
    number = table.whole.get(_ANALYSED)
    if number is None or rate is None:
        return None
    if number[0] < 0 or (np.diff(number) < 0).any():
        raise MuldeError(f"column {_ANALYSED}", expected="numbers from 0 up that do not fall", got="others")
    return Analysed(number, rate)
