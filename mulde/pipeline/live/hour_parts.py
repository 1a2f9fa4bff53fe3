"""The scores of one hour of a live camera on disk: a table as every run folder has it, and a part of its own while the
hour lasts, with rows as lines of text, which a kill leaves readable.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from mulde.errors import MuldeError, cannot
from mulde.files import read_bytes
from mulde.names import output_path
from mulde.parquet import Kind, read_parquet, reading
from mulde.pipeline.scoring.frames import read_score_table, score_path, write_scores
from mulde.records import Int64, ScoredVideo, ScoreTrack
from mulde.typed import Count, FileModel, Number, Positive, Probability, VideoName

PARTS = ".score_parts"
UTC_COLUMN, OBJECTS_COLUMN, MODEL_FACT = "utc_ms", "num_objects", "model_sha256"
_MAX_PART_BYTES = 2**28
_FURTHER: dict[str, Kind] = {OBJECTS_COLUMN: "whole"}


@dataclass(frozen=True)
class HourScores:
    """The scores of a camera in an hour, when each frame was taken: utc_ms (T,) int64, how many objects it has:
    num_objects (T,), None where that is not known of all, and the model that was used last."""

    scored: ScoredVideo
    utc_ms: Int64
    num_objects: Int64 | None = None
    model_sha256: str = ""


class HourFacts(FileModel):
    """What the rows of a part have in common: the video, frames per second, the smoothing in frames, and the model."""

    video: VideoName
    rate: Positive
    sigma_frames: Positive
    model_sha256: str = ""


class ScoreRow(FileModel):
    """A line of a part: a `LiveScore` at its place."""

    frame_index: Count
    time_s: Number
    utc_ms: Count
    fused: Number
    smoothed: Number
    streams: dict[str, Number]
    p_value: Probability | None
    has_rows: bool
    num_objects: Count | None = None


def part_path(root: Path, video: str) -> Path:
    """Where the rows of an hour are that its table does not hold yet."""
    return output_path(root / PARTS, video, ".jsonl")


def read_hour(root: Path, video: str) -> HourScores | None:
    """The scores of an hour of a camera, finished or not, up to the last flush; None where there are none.

    Raises MuldeError for a table that is damaged.
    """
    # The part first: it goes when the table has its rows, so that the other way round they might be in neither.
    facts, rows = _read_part(part_path(root, video))
    path = score_path(root / "scores", video)
    table = _read_table(path) if path.is_file() else None
    return table if facts is None else _joined(facts, table, rows)


def _read_table(path: Path) -> HourScores:
    scored = read_score_table(path)
    with reading("score table", path):
        table = read_parquet(path, {UTC_COLUMN: "whole"}, others=lambda name: _FURTHER.get(name))
    model = table.facts.get(MODEL_FACT) if isinstance(table.facts, dict) else None
    return HourScores(scored, table.whole[UTC_COLUMN], table.whole.get(OBJECTS_COLUMN), str(model or ""))


def append_rows(path: Path, facts: HourFacts, rows: list[ScoreRow]) -> None:
    """Add rows to a part, all or none. Raises FileError."""
    # The first line break ends what a kill may have left of a line.
    rest = memoryview("".join(["\n", *(f"{line.model_dump_json()}\n" for line in (facts, *rows))]).encode())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", buffering=0) as file:
            end = file.tell()
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), end)
                raise
    except OSError as error:
        raise cannot("written", path, error) from error


def _read_part(path: Path) -> tuple[HourFacts | None, list[ScoreRow]]:
    """The last facts of a part and its rows, by number; lines that a kill or a damaged disk cut are left out. None and
    none where there is no part."""
    facts, rows = None, dict[int, ScoreRow]()
    try:
        content = read_bytes(path, max_bytes=_MAX_PART_BYTES)
    except MuldeError:
        if os.path.lexists(path):
            raise
        content = b""
    for line in content.split(b"\n"):
        try:
            if line.startswith(b'{"video"'):
                facts = HourFacts.model_validate_json(line)
            elif line:
                row = ScoreRow.model_validate_json(line)
                rows.setdefault(row.frame_index, row)
        except ValidationError:
            continue
    return facts, [rows[number] for number in sorted(rows)]


def gather(root: Path, part: Path) -> str:
    """Bring a part into the table of its hour; the name of the video."""
    facts, rows = _read_part(part)
    if facts is None or part != part_path(root, facts.video):
        raise MuldeError("The first line", expected="the hour that it is of", got="another one" if facts else "none")
    path = score_path(root / "scores", facts.video)
    hour = _joined(facts, _read_table(path) if path.is_file() else None, rows)
    if hour is not None:
        objects = {} if hour.num_objects is None else {OBJECTS_COLUMN: hour.num_objects}
        columns = {UTC_COLUMN: hour.utc_ms, **objects}
        write_scores(hour.scored, root / "scores", columns, {MODEL_FACT: hour.model_sha256})
    part.unlink()
    return facts.video


def _joined(facts: HourFacts, table: HourScores | None, rows: list[ScoreRow]) -> HourScores | None:
    """The table of an hour with the rows behind its last one.

    Where the model changed within the hour, the streams are those that all its frames have.
    """
    before = None if table is None else table.scored.track
    if before is not None and len(before):
        rows = [row for row in rows if row.frame_index > before.frame_index[-1]]  # a kill came before the part went
    if not rows:
        return table
    names = [name for name in rows[0].streams if all(name in row.streams for row in rows)]
    p_values = [row.p_value for row in rows if row.p_value is not None]
    track = ScoreTrack(
        facts.video,
        np.array([row.frame_index for row in rows], np.int64),
        np.array([row.time_s for row in rows]),
        np.array([row.fused for row in rows]),
        np.array([row.smoothed for row in rows]),
        {name: np.array([row.streams[name] for row in rows]) for name in names},
        np.array(p_values) if len(p_values) == len(rows) else None,
    )
    num_empty, utc_ms = sum(not row.has_rows for row in rows), np.array([row.utc_ms for row in rows], np.int64)
    counts = [row.num_objects for row in rows if row.num_objects is not None]
    objects = np.array(counts, np.int64) if len(counts) == len(rows) else None
    if table is not None and before is not None:
        track, num_empty = _behind(before, track), num_empty + table.scored.frames_without_rows
        utc_ms = np.concatenate([table.utc_ms, utc_ms])
        has_both = objects is not None and table.num_objects is not None
        objects = np.concatenate([table.num_objects, objects]) if has_both else None
    scored = ScoredVideo(track, facts.sigma_frames, num_empty, facts.rate, is_causal=True)
    return HourScores(scored, utc_ms, objects, facts.model_sha256)


def _behind(first: ScoreTrack, second: ScoreTrack) -> ScoreTrack:
    has_p = first.p_value is not None and second.p_value is not None
    return ScoreTrack(
        first.video,
        np.concatenate([first.frame_index, second.frame_index]),
        np.concatenate([first.time_s, second.time_s]),
        np.concatenate([first.fused, second.fused]),
        np.concatenate([first.smoothed, second.smoothed]),
        {
            name: np.concatenate([values, second.streams[name]])
            for name, values in first.streams.items()
            if name in second.streams
        },
        np.concatenate([first.p_value, second.p_value]) if has_p else None,
    )
