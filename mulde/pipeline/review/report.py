"""`mulde report`: what a run folder holds, gathered for one page to review the events from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mulde.config import AlarmSettings
from mulde.errors import MuldeError
from mulde.evaluation.alarms import EventRules
from mulde.events import Event
from mulde.files import read_text, write_text
from mulde.filetypes import natural_key
from mulde.names import output_path
from mulde.pipeline.events.suppression import SUPPRESSIONS, Suppression, preview, read_suppressions
from mulde.pipeline.events.tables import picture_path, read_events
from mulde.pipeline.run_folder import (
    CLIPS,
    METRICS,
    NORMAL,
    OVERLAYS,
    RECORD,
    REPORT,
    SETTINGS,
    THUMBNAILS,
    AlarmRecord,
    RunRecord,
    check_metrics,
    check_single_run,
    read_record,
    read_truth,
)
from mulde.pipeline.scoring.frames import read_scores
from mulde.progress import Reporter
from mulde.records import ScoredVideo
from mulde.report.evaluation_tables import evaluation_tables
from mulde.report.page import ReportEvent, ReportPage, ReportVideo, SuppressedEvent, build_page
from mulde.report.templating import run_facts
from mulde.typed import read_typed

MAX_CLIP_BYTES = 150_000_000  # of embedded clips: browsers open larger pages slowly or not at all


@dataclass(frozen=True)
class _Place:
    """A run folder and the page that is written about it. links: whether the page may point to files of the folder."""

    root: Path
    page: Path
    links: bool = True

    def link(self, path: Path) -> str | None:
        """Where a file lies relative to the page, as a URL; None where there is no such file."""
        if not (self.links and path.is_file()):
            return None
        return quote(os.fsencode(Path(os.path.relpath(path, self.page.parent)).as_posix()))


def run_report(run: Path, out: Path | None, reporter: Reporter, *, embed_clips: bool, links: bool = True) -> Path:
    """Write one HTML file about a run folder, or about score tables alone; its path. links: whether it may point to
    pictures and videos of the folder.

    Raises MuldeError where there are no scores or a file is damaged, UsageError for a folder of several runs.
    """
    check_single_run(run)
    place = _Place(run, out or run / REPORT, links)
    report = _gathered(place, reporter, embed_clips)
    with reporter.bar("report", len(report.events), "pictures") as advance:
        page = build_page(report, advance)
    write_text(place.page, page)
    events, videos = len(report.events), len(report.videos)
    counts = f"{events} event{'s' * (events != 1)} of {videos} video{'s' * (videos != 1)}"
    reporter.say(f"{counts}, {len(page) / 1e6:.1f} MB")
    return place.page


def _gathered(place: _Place, reporter: Reporter, embed_clips: bool) -> ReportPage:
    root = place.root
    record = read_record(root) if (root / RECORD).is_file() else RunRecord()
    alarm = record.alarm
    scores = read_scores(root / "scores" if (root / "scores").is_dir() else root)
    events = _known(read_events(root), scores, reporter)
    clips = _clips(place, events, reporter) if embed_clips else {}
    suppressed, num_alarms = _suppressions(root, events)
    tables, remarks = _figures(root / METRICS)
    settings = root / SETTINGS
    facts = {name: value for name, value in record.as_json().items() if name != "alarm"}  # its statement is shown
    return ReportPage(
        title=root.resolve().name,
        videos=_videos(place, scores, alarm),
        events=[
            ReportEvent(
                event,
                picture=picture_path(root / THUMBNAILS, event, ".jpg"),
                picture_link=place.link(picture_path(root / THUMBNAILS, event, ".jpg")),
                clip=clips.get(event.event_id),
                clip_link=place.link(picture_path(root / CLIPS, event, ".mp4")),
            )
            for event in events
        ],
        level=record.alarm_level,
        normal=alarm.normal.model_dump() if alarm and alarm.normal else None,
        statement=alarm.statement if alarm else "",
        normal_pictures={
            near.moment: root / NORMAL / f"{near.moment}.jpg"
            for event in events
            if event.reason
            for near in event.reason.nearest
        },
        suppressions=suppressed,
        num_alarms=num_alarms,
        tables=tables,
        remarks=remarks,
        **run_facts(facts, read_text(settings) if settings.is_file() else ""),
    )


def _known(events: Sequence[Event], scores: Mapping[str, ScoredVideo], reporter: Reporter) -> list[Event]:
    known = [event for event in events if event.video in scores]
    if len(known) < len(events):
        reporter.warn(f"{len(events) - len(known)} events are of videos without scores: left out")
    return known


def _videos(place: _Place, scores: Mapping[str, ScoredVideo], alarm: AlarmRecord | None) -> list[ReportVideo]:
    timing = alarm or AlarmSettings()
    rules = EventRules(timing.merge_gap_s, timing.min_length_s)
    truth = read_truth(place.root)
    return [
        ReportVideo(
            scores[name].track,
            scores[name].rate,
            rules.merge_gap(scores[name].rate),
            rules.min_length(scores[name].rate),
            truth.get(name, ()),
            place.link(output_path(place.root / OVERLAYS, name, ".mp4")),
        )
        for name in sorted(scores, key=natural_key)
    ]


def _clips(place: _Place, events: Sequence[Event], reporter: Reporter) -> dict[str, bytes]:
    """Clips by event, in the order of rank, as many as fit."""
    clips: dict[str, bytes] = {}
    left, missing = MAX_CLIP_BYTES, 0
    for event in events:
        path = picture_path(place.root / CLIPS, event, ".mp4")
        size = path.stat().st_size if path.is_file() else None
        if size is None or size > left:
            missing += 1
            continue
        clips[event.event_id] = path.read_bytes()
        left -= size
    if missing:
        reporter.warn(
            f"{missing} of {len(events)} events are without a clip in the page: there is none (mulde overlay "
            f"{place.root} --clips makes them), or the page would have more than {MAX_CLIP_BYTES / 1e6:g} MB of them"
        )
    return clips


def _suppressions(root: Path, events: Sequence[Event]) -> tuple[list[SuppressedEvent], tuple[int, int]]:
    """The suppressions, and the number of alarms before and after those that are only proposed."""
    if not (root / SUPPRESSIONS).is_file():
        return [], (0, 0)
    outlook = preview(root)

    def one(suppression: Suppression) -> SuppressedEvent:
        state = "undone" if suppression.undone else "proposed" if suppression.proposed else "in force"
        covers = outlook.covers.get(suppression.id) or [
            event.event_id for event in events if event.suppression == suppression.id
        ]
        return SuppressedEvent(
            suppression.id,
            suppression.event_id,
            state,
            suppression.who,
            suppression.when,
            suppression.why,
            tuple(covers),
        )

    found = [one(suppression) for suppression in read_suppressions(root / SUPPRESSIONS)]
    return found, (outlook.num_before, outlook.num_after)


def _figures(path: Path) -> tuple[list[object], list[str]]:
    """The tables and remarks of an evaluation that was kept; none of one that does not fit this version."""
    if not path.is_file():
        return [], []
    metrics = read_typed(path, dict[str, Any], max_bytes=2**28, hint="mulde evaluate")
    if "rows" not in metrics:  # of several seeds
        return [], []
    try:
        evaluation, remarks = check_metrics(metrics, path)
    except MuldeError:
        return [], ["metrics.json is damaged or of another version of mulde: mulde evaluate writes it again."]
    return list(evaluation_tables(evaluation)), remarks
