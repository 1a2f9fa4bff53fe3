"""`mulde overlay`: the videos of a run again, with what was found drawn into them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mulde.config import Settings
from mulde.datasets.base import Video, listing
from mulde.datasets.sources import distinct_names, open_source
from mulde.errors import Failure, MuldeError, UsageError, VideoError, sentence, stops_all
from mulde.events import Event
from mulde.media import content_hash
from mulde.names import output_path, printable, valid_text
from mulde.pipeline.evaluation.labels import labelled_dataset, labels_to_draw
from mulde.pipeline.events.drawing import Findings, draw_clips, draw_copy
from mulde.pipeline.events.tables import by_video, read_events
from mulde.pipeline.outcome import Outcome
from mulde.pipeline.run_folder import CLIPS, OVERLAYS, PIXEL_MAPS, REGIONS, SETTINGS, RunRecord, read_record
from mulde.pipeline.scoring.frames import read_scores
from mulde.pipeline.scoring.pixel_maps import Heat
from mulde.pipeline.scoring.regions import read_regions_of
from mulde.progress import Reporter
from mulde.records import LabelTrack, ScoredVideo
from mulde.report.timeline import write_timeline
from mulde.settings_file import load_settings

TIMELINE = "timeline.png"


def run_overlay(
    run: Path, reporter: Reporter, *, only: Sequence[str], clips: bool, labels: str | None, max_clips: int = 200
) -> Outcome:
    """`<run>/overlays/<video>.mp4` of the scored videos; with `clips`, `<run>/clips/<video>/<peak frame>.mp4` and
    `.png` of their `max_clips` clearest events, and `<run>/timeline.png` of all. only: names of videos to draw.

    labels: NAME:ROOT; None takes those of the data set that was scored. Raises UsageError for a video without scores.
    """
    record = read_record(run)
    settings = load_settings(run / SETTINGS)
    scored = read_scores(run / "scores")
    only = [_as_scored(name, scored) for name in only]
    if unknown := sorted(set(only) - set(scored)):
        raise UsageError(f"video {unknown[0]}", expected=f"one of {listing(sorted(scored))}", got="one without scores")
    events = [event for event in read_events(run) if not only or event.video in only]
    if clips and len(events) > max_clips:
        reporter.say(f"clips of the {max_clips} clearest of {len(events)} events; --most {len(events)} for all")
        events = events[:max_clips]
    findings = _findings(events, record, scored, _truth(record, scored, labels, reporter))
    names = [name for name in scored if name in (only or scored) and (findings[name].events or not clips)]
    if clips:
        _draw_timeline(run, findings, reporter)
    return _draw_each(run, names, findings, record, settings, reporter, clips=clips)


def _as_scored(name: str, scored: Iterable[str]) -> str:
    """The scored video with this name, which may be given as it was printed."""
    return next((known for known in scored if valid_text(name) in (known, printable(known))), name)


def _draw_each(
    run: Path,
    names: Sequence[str],
    findings: Mapping[str, Findings],
    record: RunRecord,
    settings: Settings,
    reporter: Reporter,
    *,
    clips: bool,
) -> Outcome:
    videos, outcome, folder = _videos(record, reporter), Outcome(), run / (CLIPS if clips else OVERLAYS)
    with reporter.bar("clips" if clips else "overlay", len(names), "videos") as advance:
        for name in names:
            try:
                video = _checked(name, videos, record)
                heat = Heat.of(run / PIXEL_MAPS, findings[name].track)
                to_draw = replace(findings[name], regions=read_regions_of(run / REGIONS, name), heat=heat)
                if clips:
                    draw_clips(video, to_draw, settings, folder, reporter)
                else:
                    draw_copy(video, to_draw, settings, output_path(folder, name, ".mp4"), reporter)
                outcome.done += 1
            except Exception as error:
                if stops_all(error):
                    raise
                known = sentence(error, name)
                reporter.warn(f"{name}: {known}")
                outcome.failures.append(Failure(name, str(known)))
            advance(1)
    reporter.say(f"{'clips and contact sheets' if clips else 'overlays'} of {outcome.done} videos: {folder}")
    return outcome


def _findings(
    events: Sequence[Event],
    record: RunRecord,
    scored: Mapping[str, ScoredVideo],
    labels: Mapping[str, LabelTrack],
) -> dict[str, Findings]:
    """What there is to draw about each video, without boxes: there may be many, so they are read video by video."""
    level, events_of = record.alarm_level, by_video(events)
    return {
        name: Findings(video.track, None, events_of.get(name, ()), labels.get(name), level)
        for name, video in scored.items()
    }


def _truth(
    record: RunRecord, scored: Mapping[str, ScoredVideo], source: str | None, reporter: Reporter
) -> dict[str, LabelTrack]:
    """Labels from `source`, or from the data set that was scored, if it is there."""
    if source is not None:
        return labels_to_draw(labelled_dataset(open_source(source), source), scored, reporter)
    sources = record.sources
    try:
        dataset = open_source(sources[0]).dataset if len(sources) == 1 else None
    except UsageError:
        return {}  # the videos are not there either, and each of them gets a warning
    return labels_to_draw(dataset, scored, reporter)


def _videos(record: RunRecord, reporter: Reporter) -> dict[str, Video]:
    """The videos behind the sources of a run, by name; a source that no longer exists gives a warning."""
    videos: list[Video] = []
    for source in record.sources:
        try:
            videos += open_source(source).split("test")
        except MuldeError as error:
            reporter.warn(str(error))
    return {video.name: video for video in distinct_names(videos)[0]}


def _checked(name: str, videos: Mapping[str, Video], record: RunRecord) -> Video:
    """The video of that name, if it is still the one that was scored."""
    if name not in videos:
        sources = ", ".join(record.sources) or "none"
        raise VideoError("the video no longer exists", expected=f"one of that name in {sources}")
    known = record.video_sha256.get(name)
    if known is not None and content_hash(videos[name].path) != known:
        raise VideoError(f"{videos[name].path} is not the video that was scored", hint="mulde score, to score this one")
    return videos[name]


def _draw_timeline(run: Path, findings: Mapping[str, Findings], reporter: Reporter) -> None:
    level = next(iter(findings.values())).alarm_level
    truth = {name: video.labels for name, video in findings.items() if video.labels is not None}
    write_timeline(run / TIMELINE, [video.track for video in findings.values()], read_events(run), truth, level)
    reporter.say(f"timeline: {run / TIMELINE}")
