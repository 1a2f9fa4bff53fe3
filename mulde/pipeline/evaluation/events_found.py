"""Each annotated anomaly and the event that found it: what `mulde evaluate --events` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mulde.errors import UsageError
from mulde.evaluation.conformal import COVERAGE
from mulde.events import Event, by_likelihood
from mulde.files import atomic_write, write_csv
from mulde.pipeline.events.tables import read_events
from mulde.pipeline.run_folder import AlarmRecord, read_record
from mulde.progress import Reporter
from mulde.records import LabelTrack, ScoredVideo

if TYPE_CHECKING:
    import pandas as pd

EVENTS_FOUND = "events_found"
MIN_LENGTH_S = 1.0
"""Shorter anomalies are listed, but not counted."""
_COLUMNS = {
    "video": str, "start_frame": np.int64, "end_frame": np.int64, "start_s": float, "end_s": float, "length_s": float,
    "found": np.bool_, "delay_s": float, "event_id": str, "p_value": float, "stream": str, "reason": str,
    "exemption": str,
}  # fmt: skip


@dataclass(frozen=True)
class EventsFound:
    """The annotated anomalies with what found them (`table`, a row each, see `events_found`), and counts.

    num_long, num_long_found: anomalies of at least `MIN_LENGTH_S`; num_clips: videos with at least one of these,
    num_clips_found: those in which all of them are found; num_false: alarms that overlap no anomaly; normal_hours: of
    frames labelled normal, of which share_flagged lies inside alarms; num_suppressed: events that a suppression
    keeps from being alarms; wanted_per_hour: the false alarms that the level was set for.
    """

    table: pd.DataFrame
    num_long: int
    num_long_found: int
    num_clips: int
    num_clips_found: int
    num_alarms: int
    num_false: int
    num_suppressed: int
    normal_hours: float
    share_flagged: float
    wanted_per_hour: float

    @property
    def false_per_hour(self) -> float | None:
        """Of the frames labelled normal; None where there are none."""
        return self.num_false / self.normal_hours if self.normal_hours else None

    @property
    def max_false_per_hour(self) -> float | None:
        """Upper end of the rate at `COVERAGE` confidence, were alarms independent (Garwood, 1936)."""
        from scipy import stats

        if not self.normal_hours:
            return None
        return float(stats.chi2.ppf(COVERAGE, 2 * self.num_false + 2)) / 2 / self.normal_hours


def write_events_found(
    folder: Path, scored: Mapping[str, ScoredVideo], labels: Mapping[str, LabelTrack], reporter: Reporter
) -> EventsFound:
    """Hold the events of a run folder against labels, as `read_labels` gives them; `<folder>/events_found.csv` and
    `.parquet`.

    Raises UsageError for a run without an alarm level, MuldeError for a folder that is no run or is damaged.
    """
    result = events_found(scored, labels, read_record(folder).alarm, read_events(folder))
    write_tables(result, folder)
    reporter.say(f"annotated anomalies and what found them: {folder / EVENTS_FOUND}.csv")
    return result


def events_found(
    scored: Mapping[str, ScoredVideo],
    labels: Mapping[str, LabelTrack],
    alarm: AlarmRecord | None,
    events: Sequence[Event],
) -> EventsFound:
    """The anomalous spans of the labels beside the events of a run, in order of the labels.

    labels: as `read_labels` gives them, one value per scored frame; alarm: on the run's record.
    An anomaly is found when an alarm (an event that is not suppressed) overlaps it by at least one frame; delay_s is
    from its start to the first frame of an alarm inside it, 0 if the alarm began earlier. The other columns describe
    the alarm with the lowest p-value among those that overlap it or, without any, the suppressed event with the lowest
    one. They are empty where nothing overlaps. Raises UsageError without `alarm`: a run without a level has no events.
    """
    import pandas as pd

    if alarm is None:
        raise UsageError(
            "--events", expected="a run with an alarm level", got="none in its run.json", hint="mulde score"
        )
    rows: list[dict[str, Any]] = []
    num_false = num_alarms = num_flagged = num_normal = 0
    normal_s = 0.0
    for name, track in labels.items():
        video, events_of_video = scored[name], [event for event in events if event.video == name]
        alarms = [event for event in events_of_video if not event.suppression]
        rows += _rows(name, video, track, events_of_video)
        frames, normal = video.track.frame_index, ~track.anomalous
        spans = [_rows_of(event, frames) for event in alarms]
        num_alarms += len(alarms)
        num_false += sum(not track.anomalous[span].any() for span in spans)
        flagged = np.zeros(len(frames), np.bool_)
        for span in spans:
            flagged[span] = True
        num_flagged += int(np.sum(flagged & normal))
        num_normal += int(normal.sum())
        normal_s += float(normal.sum()) / video.rate
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    long = table[table["length_s"] >= MIN_LENGTH_S]
    clips = long.groupby("video")["found"].all()
    return EventsFound(
        table,
        num_long=len(long),
        num_long_found=int(long["found"].sum()),
        num_clips=len(clips),
        num_clips_found=int(clips.sum()),
        num_alarms=num_alarms,
        num_false=num_false,
        num_suppressed=sum(bool(event.suppression) for event in events if event.video in labels),
        normal_hours=normal_s / 3600,
        share_flagged=num_flagged / num_normal if num_normal else 0.0,
        wanted_per_hour=alarm.false_alarms_per_hour,
    )


def _rows_of(event: Event, frames: np.ndarray) -> slice:
    """Where in frames (T,) those of an event are."""
    return slice(*np.searchsorted(frames, [event.start_frame, event.end_frame]).tolist())


def _rows(name: str, scored: ScoredVideo, labels: LabelTrack, events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    frames, time_s = scored.track.frame_index, scored.track.time_s
    for start, end in labels.spans():
        first, last = int(frames[start]), int(frames[end - 1]) + 1
        near = [event for event in events if event.start_frame < last and first < event.end_frame]
        alarms = [event for event in near if not event.suppression]
        best = min(alarms or near, key=by_likelihood, default=None)
        reason = best.reason if best else None
        found_at = max(start, min((_rows_of(event, frames).start for event in alarms), default=start))
        yield {
            "video": name,
            "start_frame": first,
            "end_frame": last,
            "start_s": time_s[start],
            "end_s": time_s[end - 1],
            "length_s": round(float(time_s[end - 1] - time_s[start]) + 1 / scored.rate, 6),
            "found": bool(alarms),
            "delay_s": time_s[found_at] - time_s[start] if alarms else np.nan,
            "event_id": best.event_id if best else "",
            "p_value": best.p_value if best else np.nan,
            "stream": reason.stream if reason else "",
            "reason": reason.text if reason else "",
            "exemption": best.suppression if best else "",
        }


def write_tables(result: EventsFound, folder: Path) -> None:
    """`<folder>/events_found.csv` and `.parquet`, each whole."""
    write_csv(result.table, folder / f"{EVENTS_FOUND}.csv")
    with atomic_write(folder / f"{EVENTS_FOUND}.parquet") as partial:
        result.table.to_parquet(partial, index=False)
