"""Each annotated anomaly and the event that found it: what `mulde evaluate --events` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mulde.console import output
from mulde.errors import UsageError
from mulde.evaluation.conformal import COVERAGE
from mulde.files import atomic_write, write_csv
from mulde.pipeline.events.tables import read_events
from mulde.pipeline.run_folder import read_record
from mulde.progress import Reporter
from mulde.records import Event, LabelTrack, ScoredVideo

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
_WIDTH = 110


@dataclass(frozen=True)
class EventsFound:
    """The annotated anomalies with what found them (`table`, a row each, see `events_found`), and counts.

    num_long, num_long_found: anomalies of at least `MIN_LENGTH_S`; num_clips: videos with at least one of these,
    num_clips_found: those in which all of them are found; num_false: alarms that overlap no anomaly; normal_hours: of
    frames labelled normal, of which share_flagged lies inside alarms; num_exempt: events that the operator's word
    keeps from being alarms; wanted_per_hour: the false alarms that the level was set for.
    """

    table: pd.DataFrame
    num_long: int
    num_long_found: int
    num_clips: int
    num_clips_found: int
    num_alarms: int
    num_false: int
    num_exempt: int
    normal_hours: float
    share_flagged: float
    wanted_per_hour: float

    def summary(self) -> list[str]:
        """In sentences."""
        sentences = [
            f"{self.num_long_found} of {self.num_long} annotated anomalies of at least {MIN_LENGTH_S:g} s are found; "
            f"all of a clip's in {self.num_clips_found} of {self.num_clips} clips with any",
            f"{self.num_false} of {self.num_alarms} alarms are false{self._rate()}",
            f"the alarm level was set for {self.wanted_per_hour:.4g} false alarms an hour "
            f"({self.wanted_per_hour / 60:.3g} a minute) on held-out normal video, without labels",
        ]
        if self.num_exempt:
            sentences.append(
                f"{self.num_exempt} exempt {'event counts' if self.num_exempt == 1 else 'events count'} neither as "
                "found nor as a false alarm"
            )
        return sentences

    def _rate(self) -> str:
        if not self.normal_hours:
            return "; no frame is labelled normal, so there is no rate"
        from scipy import stats

        per_hour = self.num_false / self.normal_hours
        most = float(stats.chi2.ppf(COVERAGE, 2 * self.num_false + 2)) / 2 / self.normal_hours  # Garwood, 1936
        return (
            f": {per_hour:.4g} an hour, {per_hour / 60:.3g} a minute of the {60 * self.normal_hours:.3g} minutes "
            f"labelled normal, of which {100 * self.share_flagged:.3g} % lie inside alarms; as much footage leaves "
            f"room for {most / 60:.3g} a minute ({100 * COVERAGE:.0f} % confidence, were alarms independent)"
        )


def show_events_found(
    folder: Path, scored: Mapping[str, ScoredVideo], labels: Mapping[str, LabelTrack], reporter: Reporter
) -> EventsFound:
    """Hold the events of a run folder against labels, as `read_labels` gives them: printed, and as tables beside them.

    Raises UsageError for a run without an alarm level, MuldeError for a folder that is no run or is damaged.
    """
    found = events_found(scored, labels, read_record(folder).get("alarm"), read_events(folder))
    write_events_found(found, folder)
    print_events_found(found)
    reporter.say(f"annotated anomalies and what found them: {folder / EVENTS_FOUND}.csv")
    return found


def events_found(
    scored: Mapping[str, ScoredVideo],
    labels: Mapping[str, LabelTrack],
    alarm_record: Mapping[str, Any] | None,
    events: Sequence[Event],
) -> EventsFound:
    """The anomalous spans of the labels beside the events of a run, in order of the labels.

    labels: as `read_labels` gives them, one value per scored frame; alarm_record: as `AlarmRule.as_record` gives it.
    An anomaly is found when an alarm, an event that is not exempt, overlaps it by at least one frame; delay_s is from
    its start to the first frame of an alarm inside it, 0 where the alarm already stood. The other columns tell of the
    alarm with the lowest p-value of those that overlap it or, where there is none, of such an exempt event. Columns of
    anomalies that nothing overlaps are empty. Raises UsageError without a record: a run without a level has no events.
    """
    import pandas as pd

    if alarm_record is None:
        raise UsageError(
            "--events", expected="a run with an alarm level", got="none in its run.json", hint="mulde score"
        )
    rows: list[dict[str, Any]] = []
    num_false = num_alarms = num_flagged = num_normal = 0
    normal_s = 0.0
    for name, track in labels.items():
        one, own = scored[name], [event for event in events if event.video == name]
        alarms = [event for event in own if not event.exemption]
        rows += _rows(name, one, track, own)
        frames, normal = one.track.frame_index, ~track.anomalous
        inside = [_inside(event, frames) for event in alarms]
        num_alarms += len(alarms)
        num_false += sum(not track.anomalous[within].any() for within in inside)
        flagged = np.zeros(len(frames), np.bool_)
        for within in inside:
            flagged[within] = True
        num_flagged += int(np.sum(flagged & normal))
        num_normal += int(normal.sum())
        normal_s += float(normal.sum()) / one.rate
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
        num_exempt=sum(bool(event.exemption) for event in events if event.video in labels),
        normal_hours=normal_s / 3600,
        share_flagged=num_flagged / num_normal if num_normal else 0.0,
        wanted_per_hour=float(alarm_record["false_alarms_per_hour"]),
    )


def _inside(event: Event, frames: np.ndarray) -> slice:
    """Where in frames (T,) those of an event lie."""
    return slice(*np.searchsorted(frames, [event.start_frame, event.end_frame]).tolist())


def _rows(name: str, scored: ScoredVideo, labels: LabelTrack, events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    frames, time_s = scored.track.frame_index, scored.track.time_s
    for start, end in labels.spans():
        first, last = int(frames[start]), int(frames[end - 1]) + 1
        near = [event for event in events if event.start_frame < last and first < event.end_frame]
        alarms = [event for event in near if not event.exemption]
        best = min(alarms or near, key=lambda event: (event.p_value, -event.score), default=None)
        reason = best.reason if best else None
        seen = max(start, min((_inside(event, frames).start for event in alarms), default=start))
        yield {
            "video": name,
            "start_frame": first,
            "end_frame": last,
            "start_s": time_s[start],
            "end_s": time_s[end - 1],
            "length_s": round(float(time_s[end - 1] - time_s[start]) + 1 / scored.rate, 6),
            "found": bool(alarms),
            "delay_s": time_s[seen] - time_s[start] if alarms else np.nan,
            "event_id": best.event_id if best else "",
            "p_value": best.p_value if best else np.nan,
            "stream": reason.stream if reason else "",
            "reason": reason.text if reason else "",
            "exemption": best.exemption if best else "",
        }


def write_events_found(found: EventsFound, folder: Path) -> None:
    """`<folder>/events_found.csv` and `.parquet`, each whole."""
    write_csv(found.table, folder / f"{EVENTS_FOUND}.csv")
    with atomic_write(folder / f"{EVENTS_FOUND}.parquet") as partial:
        found.table.to_parquet(partial, index=False)


def print_events_found(found: EventsFound) -> None:
    """The anomalies as a table on standard output, and the summary below it."""
    from rich.table import Table

    console = output(_WIDTH)
    table = Table(title="annotated anomalies")
    for column in ("video", "start", "length s", "found", "delay s", "p-value", "stream", "reason"):
        table.add_column(column, justify="right" if column in ("start", "length s", "delay s", "p-value") else "left")
    for row in found.table.to_dict(orient="records"):
        word = "yes" if row["found"] else f"exempt {row['exemption']}" if row["exemption"] else "no"
        numbers = (_number(row["delay_s"], ".2f"), _number(row["p_value"], ".2g"))
        times = (f"{row['start_s']:.2f}", f"{row['length_s']:.2f}")
        table.add_row(row["video"], *times, word, *numbers, row["stream"], row["reason"])
    console.print(table)
    for sentence in found.summary():
        console.print(sentence)


def _number(value: float, form: str) -> str:
    return "-" if np.isnan(value) else f"{value:{form}}"
