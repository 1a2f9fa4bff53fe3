"""The scores of cameras by day and hour of UTC: means of each stream, and of the number of objects.

They are read from the hours of a live run, or from the scores of recordings that are named by their time, as
`mulde collect` names them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from mulde.errors import MuldeError
from mulde.evaluation.drift import HOURS
from mulde.filetypes import is_hidden
from mulde.parquet import Kind, finite, read_parquet, reading
from mulde.pipeline.live.hour_parts import OBJECTS_COLUMN
from mulde.pipeline.live.utc import HOUR_MS, day_name, hour_start_ms, second_start_ms
from mulde.pipeline.scoring.regions import STREAM_PREFIX
from mulde.records import Float64
from mulde.typed import FileModel, validated

OBJECTS = "objects"
"""How the number of objects is called among the streams."""
MIN_HOUR_SHARE, MIN_HOURS = 0.1, 4
"""The least that counts: of an hour, and of a day."""
_SHOWN = 3


@dataclass(frozen=True)
class HourScores:
    """Scores of a camera in an hour: over how many seconds, their mean by stream, and the model that gave them."""

    seconds: float
    means: Mapping[str, float]
    model_sha256: str


@dataclass(frozen=True)
class CameraDays:
    """The days of a camera with one model, in order. days (D,): counted from 1970; values: the means (D, 24) of each
    stream, NaN for hours without scores; left_out: sentences on days and tables that do not count."""

    camera: str
    days: tuple[int, ...]
    values: Mapping[str, Float64]
    model_sha256: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The days as text."""
        return [day_name(day) for day in self.days]


class _Facts(FileModel):
    rate: Annotated[float, Field(gt=0, le=1e6)]
    model_sha256: str = ""


@dataclass
class ScoreHours:
    """The hours of a camera, of which each table is read once."""

    camera: str
    folder: Path
    hours: dict[int, HourScores] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _damaged: list[str] = field(default_factory=list)

    def read(self, before_hour: int, stop: threading.Event | None = None) -> None:
        """Read the tables of hours before one, counted from 1970, that were not read yet; until `stop` is set."""
        for path, start_ms in _tables(self.folder):
            if stop is not None and stop.is_set():
                return
            if path.stem in self._known or start_ms // HOUR_MS >= before_hour:
                continue
            self._known.add(path.stem)
            try:
                for hour, scores in _read(path, start_ms).items():
                    self.hours[hour] = _together(self.hours[hour], scores) if hour in self.hours else scores
            except MuldeError as error:
                self._damaged.append(str(error))

    def days(self) -> CameraDays:
        """The days that can be compared: those since the model was last changed, with enough hours."""
        hours = {hour: scores for hour, scores in sorted(self.hours.items()) if _counts(scores)}
        if not hours:
            return CameraDays(self.camera, (), {}, left_out=tuple(self._damaged))
        last = hours[max(hours)]
        others = [hour // HOURS for hour, scores in hours.items() if scores.model_sha256 != last.model_sha256]
        since = max(others, default=-1) + 1
        num_hours: dict[int, int] = {}
        for hour in hours:
            num_hours[hour // HOURS] = num_hours.get(hour // HOURS, 0) + 1
        days = [day for day, num in num_hours.items() if day >= since and num >= MIN_HOURS]
        short = [day for day, num in num_hours.items() if day >= since and num < MIN_HOURS]
        values = {name: np.full((len(days), HOURS), np.nan) for name in last.means}
        row = {day: number for number, day in enumerate(days)}
        for hour, scores in hours.items():
            if hour // HOURS in row:
                for name in values.keys() & scores.means.keys():
                    values[name][row[hour // HOURS], hour % HOURS] = scores.means[name]
        return CameraDays(
            self.camera, tuple(days), values, last.model_sha256, tuple(self._left_out(num_hours, since, short))
        )

    def _left_out(self, num_hours: Mapping[int, int], since: int, short: list[int]) -> Iterator[str]:
        before = sum(day < since for day in num_hours)
        if before:
            yield f"{before} day{'s' * (before != 1)} up to {day_name(since - 1)} had another model"
        if short:
            names = ", ".join(day_name(day) for day in short[:_SHOWN]) + (", ..." if len(short) > _SHOWN else "")
            yield f"{len(short)} day{'s' * (len(short) != 1)} with scores of fewer than {MIN_HOURS} hours: {names}"
        yield from self._damaged


def cameras_of(root: Path) -> list[ScoreHours]:
    """The cameras of a run folder, of which nothing is read yet; recordings without a folder of their own are one
    camera, called like the run. Raises MuldeError where no table of scores is named by its time."""
    scores = root / "scores"
    folders = sorted(path for path in scores.iterdir() if path.is_dir()) if scores.is_dir() else []
    found = [ScoreHours(folder.name, folder) for folder in folders if not is_hidden(folder.name)]
    found += [ScoreHours(root.absolute().name, scores)]
    found = [camera for camera in found if next(_tables(camera.folder), None) is not None]
    if not found:
        raise MuldeError(
            f"{root}: when its videos were taken is not known",
            expected="scores of mulde watch, or of recordings named by UTC as mulde collect does (20261128T130000Z)",
            got="others, or none",
        )
    return found


def _tables(folder: Path) -> Iterator[tuple[Path, int]]:
    """The tables in a folder that are named by their time, and when they begin, in that order."""
    if folder.is_dir():
        for path in sorted(folder.glob("*.parquet")):
            hour_ms = hour_start_ms(path.stem)
            start_ms = second_start_ms(path.stem) if hour_ms is None else hour_ms
            if start_ms is not None and path.is_file():
                yield path, start_ms


def _read(path: Path, start_ms: int) -> dict[int, HourScores]:
    """The hours that a table has scores of. Raises MuldeError for one that is damaged."""

    def kind(name: str) -> Kind | None:
        if name == OBJECTS_COLUMN:
            return "whole"
        return "number" if name.startswith(STREAM_PREFIX) else None

    with reading("score table", path, hint="mulde score"):
        table = read_parquet(path, {"time_s": "number"}, others=kind)
        facts = validated(table.facts, _Facts, "facts")
        columns = {
            name.removeprefix(STREAM_PREFIX): finite(f"column {name}", values).astype(np.float64)
            for name, values in table.number.items()
        }
        time_s = columns.pop("time_s")
        if OBJECTS_COLUMN in table.whole:
            columns[OBJECTS] = table.whole[OBJECTS_COLUMN].astype(np.float64)
    first = start_ms // HOUR_MS
    whole_hour = hour_start_ms(path.stem) is not None  # whose clock may have been set back: all of it counts there
    hour = np.full(len(time_s), first) if whole_hour else ((start_ms + 1000 * time_s) // HOUR_MS).astype(np.int64)
    return {
        int(each): HourScores(
            float((hour == each).sum() / facts.rate),
            {name: float(values[hour == each].mean()) for name, values in columns.items()},
            facts.model_sha256,
        )
        for each in np.unique(hour)
    }


def _counts(scores: HourScores) -> bool:
    return scores.seconds >= MIN_HOUR_SHARE * HOUR_MS / 1000


def _together(one: HourScores, other: HourScores) -> HourScores:
    """Two recordings of one hour; the second one's model."""
    seconds = one.seconds + other.seconds
    return HourScores(
        seconds,
        {
            name: (one.means[name] * one.seconds + value * other.seconds) / seconds
            for name, value in other.means.items()
            if name in one.means
        },
        other.model_sha256,
    )
