"""The alarm level, set on held-out normal video alone, and the events above it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mulde.config import AlarmSettings
from mulde.errors import UsageError
from mulde.evaluation.alarms import EventRules
from mulde.evaluation.conformal import Alarm, NormalVideo, alarm_level, event_p_values, least_rate
from mulde.evaluation.events import find_events
from mulde.evaluation.smoothing import SmoothingMode
from mulde.files import whole_file, write_json
from mulde.pipeline.bundle import Bundle
from mulde.pipeline.progress import Reporter
from mulde.pipeline.score import ScoredVideo

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_RATE_PER_HOUR = 1.0
_NAME = "alarm"  # of the level in tables
_COLUMNS = {
    "video": str, "start_frame": np.int64, "end_frame": np.int64, "start_s": float, "end_s": float,
    "peak_frame": np.int64, "peak_s": float, "score": float, "p_value": float,
}  # fmt: skip


@dataclass(frozen=True)
class AlarmRule:
    """When the scores of a model are an alarm: a level for scores smoothed both ways and one for causal ones, and the
    normal video (smoothed both ways) from which they and the p-values of events come."""

    rules: EventRules
    centred: Alarm
    causal: Alarm
    normal: tuple[NormalVideo, ...]

    @property
    def levels(self) -> dict[SmoothingMode, dict[str, float]]:
        """As `evaluate_tracks` takes them."""
        return {"causal": {_NAME: self.causal.level}, "centred": {_NAME: self.centred.level}}

    def as_record(self) -> dict[str, Any]:
        """What a run folder keeps of it."""
        return {
            "false_alarms_per_hour": self.centred.wanted_per_hour,
            "merge_gap_s": self.rules.merge_gap_s,
            "min_length_s": self.rules.min_length_s,
            "levels": self.levels,
            "statement": self.centred.statement(),
        }


def recorded_level(record: Mapping[str, Any]) -> float | None:
    """The level of scores smoothed both ways in a run's record; None where the run had no alarm."""
    alarm = record.get("alarm")
    return None if alarm is None else float(alarm["levels"]["centred"][_NAME])


def learn_alarm(bundle: Bundle, settings: AlarmSettings, reporter: Reporter) -> AlarmRule | None:
    """The alarm level for `settings.false_alarms_per_hour`; None where the model came without normal scores.

    0 asks for one an hour, or as few as the held-out footage supports; where no level has that many, for fewer, and
    for none, with a warning, where that fails too. Raises UsageError for a rate that the footage does not support.
    """
    wanted = settings.false_alarms_per_hour
    modes: tuple[SmoothingMode, ...] = ("centred", "causal")
    normal = {mode: bundle.smoothed_normal[mode] for mode in modes}
    rules = EventRules(settings.merge_gap_s, settings.min_length_s)
    options = {"merge_gap_s": rules.merge_gap_s, "min_length_s": rules.min_length_s}
    if not any(video.scores.size for video in normal["centred"]):
        if wanted:
            raise UsageError(
                "false alarms per hour",
                expected="a model that keeps the scores of its held-out normal video",
                got="one of an older version",
                hint="to train it again",
            )
        return None
    levels = _levels(normal, wanted, options) if wanted else _default_levels(normal, options, reporter)
    if levels is None:
        return None
    return AlarmRule(rules, *levels, tuple(normal["centred"]))


def _default_levels(
    normal: Mapping[SmoothingMode, list[NormalVideo]], options: Mapping[str, float], reporter: Reporter
) -> tuple[Alarm, Alarm] | None:
    least = max(least_rate(videos, **options) for videos in normal.values())
    if least > DEFAULT_RATE_PER_HOUR:
        enough = math.ceil(10 * least - 1e-6) / 10  # rounded up, so that asking for it is not refused
        reporter.say(f"the held-out normal video supports no fewer than {enough:g} false alarms an hour")
    refused: UsageError
    for wanted in (max(DEFAULT_RATE_PER_HOUR, least), least):  # still video has less than one an hour at any level
        try:
            return _levels(normal, wanted, options)
        except UsageError as error:
            refused = error
    reporter.warn(f"no alarm level, so no events; {refused}")
    return None


def _levels(
    normal: Mapping[SmoothingMode, list[NormalVideo]], wanted: float, options: Mapping[str, float]
) -> tuple[Alarm, Alarm]:
    """For scores smoothed both ways, and for causal ones."""
    centred, causal = (alarm_level(normal[mode], wanted, **options) for mode in ("centred", "causal"))
    return centred, causal


def events_table(scored: Mapping[str, ScoredVideo], alarm: AlarmRule) -> pd.DataFrame:
    """One row per event of the scores smoothed both ways, the lowest p-value first.

    start_frame to end_frame is half-open; seconds are of the same frames, end_s of the last one.
    """
    import pandas as pd

    rows = []
    for video, one in scored.items():
        track = one.track
        found = find_events(
            track.smoothed,
            alarm.centred.level,
            merge_gap=alarm.rules.merge_gap(one.rate),
            min_length=alarm.rules.min_length(one.rate),
        )
        for event in found:
            last = event.end - 1
            rows.append(
                (
                    video,
                    track.frame_index[event.start],
                    track.frame_index[last] + 1,
                    track.time_s[event.start],
                    track.time_s[last],
                    track.frame_index[event.peak],
                    track.time_s[event.peak],
                    event.score,
                    np.nan,
                )
            )
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    table["p_value"] = event_p_values(table["score"].to_numpy(), alarm.normal, merge_gap_s=alarm.rules.merge_gap_s)
    return table.sort_values(["p_value", "score"], ascending=[True, False], ignore_index=True)


def write_events(table: pd.DataFrame, folder: Path) -> None:
    """`<folder>/events.csv`, `.parquet` and `.json`, each whole."""
    with whole_file(folder / "events.csv") as partial:
        table.to_csv(partial, index=False)
    with whole_file(folder / "events.parquet") as partial:
        table.to_parquet(partial, index=False)
    write_json(folder / "events.json", table.to_dict(orient="records"))
