"""Stage 3: stored features and a model into one score per frame, as tables and pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mulde.errors import BundleError, MuldeError
from mulde.evaluation.smoothing import smooth
from mulde.files import whole_file
from mulde.pipeline.bundle import Bundle
from mulde.pipeline.extract import StoredVideo
from mulde.pipeline.fusion import combine, frame_maximum
from mulde.records import ScoreTrack

if TYPE_CHECKING:
    import pandas as pd

_METADATA_KEY = b"mulde"
_STREAM_PREFIX = "score_"


@dataclass(frozen=True)
class ScoredVideo:
    """The scores of one video, the smoothing that `smoothed` was made with, and how many frames had no rows."""

    track: ScoreTrack
    sigma_frames: float
    frames_without_rows: int


def score_video(stored: StoredVideo, bundle: Bundle) -> ScoredVideo:
    """Score every decoded frame of a video; higher = more anomalous.

    Raises BundleError when the features do not have the width that the model was trained on.
    """
    streams, without = {}, np.ones(stored.num_frames, np.bool_)
    for name, stream in bundle.streams.items():
        table = stored.features(name)
        if table.dim != stream.dim:
            raise BundleError(f"{name} of {stored.video.name}", expected=f"{stream.dim} columns", got=table.dim)
        calibrated = stream.calibration(stream.density.anomaly_score(table.values))
        streams[name] = frame_maximum(calibrated, table.frame_index, stored.frame_index, stream.calibration.floor)
        without &= ~np.isin(stored.frame_index, table.frame_index)
    fused = combine(streams, bundle.settings.fusion.combine)
    sigma_frames = bundle.settings.fusion.smoothing_s * float(stored.rate)
    track = ScoreTrack(
        video=stored.video.name,
        frame_index=stored.frame_index,
        time_s=stored.time_s,
        fused=fused,
        smoothed=smooth(fused, sigma_frames, "centred"),
        streams=streams,
    )
    return ScoredVideo(track, sigma_frames, int(without.sum()))


def to_frame(track: ScoreTrack) -> pd.DataFrame:
    """One row per decoded frame: video, frame_index, time_s, score_<stream>..., fused, smoothed."""
    import pandas as pd

    return pd.DataFrame(
        {
            "video": track.video,
            "frame_index": track.frame_index,
            "time_s": track.time_s,
            **{f"{_STREAM_PREFIX}{name}": values for name, values in track.streams.items()},
            "fused": track.fused,
            "smoothed": track.smoothed,
        }
    )


def write_scores(scored: ScoredVideo, folder: Path) -> Path:
    """Write `<folder>/<video>.parquet` and `.csv`; the path of the Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = score_path(folder, scored.track.video)
    frame = to_frame(scored.track)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    extra = {"sigma_frames": scored.sigma_frames, "frames_without_rows": scored.frames_without_rows}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _METADATA_KEY: json.dumps(extra)})
    with whole_file(path.with_suffix(".csv")) as partial:
        frame.to_csv(partial, index=False)
    with whole_file(path) as partial:
        pq.write_table(table, partial)
    return path


def score_path(folder: Path, video: str) -> Path:
    return folder / f"{video}.parquet"


def read_scores(folder: Path) -> dict[str, ScoredVideo]:
    """All score tables below a folder, by video. Raises MuldeError when there is none or one is damaged."""
    scored = [_read_one(path) for path in sorted(folder.rglob("*.parquet")) if not path.name.startswith(".")]
    if not scored:
        raise MuldeError(f"no score tables in {folder}", hint="mulde score, or mulde run")
    return {one.track.video: one for one in scored}


def _read_one(path: Path) -> ScoredVideo:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        extra = json.loads(table.schema.metadata[_METADATA_KEY])
        columns = {name: table[name].to_numpy() for name in table.column_names}
        streams = {k.removeprefix(_STREAM_PREFIX): v for k, v in columns.items() if k.startswith(_STREAM_PREFIX)}
        track = ScoreTrack(
            str(columns["video"][0]),
            columns["frame_index"],
            columns["time_s"],
            columns["fused"],
            columns["smoothed"],
            streams,
        )
        return ScoredVideo(track, extra["sigma_frames"], extra["frames_without_rows"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, IndexError) as error:
        raise MuldeError(
            f"score table {path} cannot be read ({error})", expected="a table written by `mulde score`"
        ) from None
