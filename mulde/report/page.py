"""A self-contained page to review events: it loads nothing from the network and opens from disk."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mulde.errors import RecordError
from mulde.events import Event
from mulde.records import ScoreTrack
from mulde.report import assets
from mulde.report.page_pictures import fitted
from mulde.report.page_scores import (
    Grid,
    axis_text,
    bucket_frames,
    bucketed,
    deflated,
    is_regular,
    p_value_steps,
    packed,
)
from mulde.report.templating import render

MAX_BYTES = 24_000_000  # of a page without clips
_SCRIPTS = ("data.js", "events.js", "event_labels.js", "curve.js", "detail.js", "app.js")
_SCHEMA = 1
_ALLOWANCE = 400_000  # bytes of markup, tables and quotes
_SHARE_OF_NORMAL = 0.25  # of the bytes of pictures, at most
_START_QUANTILE = 0.99  # where the level starts without an alarm level


@dataclass(frozen=True)
class ReportVideo:
    """Scores of a video; merge_gap and min_length: of its alarms, in frames; truth: anomalous frames as half-open
    ranges; overlay: where the video with what was found drawn in lies, relative to the page."""

    track: ScoreTrack
    rate: float
    merge_gap: int
    min_length: int
    truth: Sequence[tuple[int, int]] = ()
    overlay: str | None = None


@dataclass(frozen=True)
class ReportEvent:
    """An event; picture: the file to put into the page, smaller; clip: an mp4 to put in as it is; picture_link and
    clip_link: where files lie relative to the page."""

    event: Event
    picture: Path | None = None
    picture_link: str | None = None
    clip: bytes | None = None
    clip_link: str | None = None


@dataclass(frozen=True)
class SuppressedEvent:
    """A suppression as the page shows it: state is `in force`, `proposed` or `undone`."""

    id: str
    event_id: str
    state: str
    who: str
    when: str
    why: str
    covers: Sequence[str] = ()


@dataclass(frozen=True)
class ReportPage:
    """What a page shows. Events come in the order of their rank.

    level: the alarm level, None where the run has none; normal: how many events held-out normal video has at which
    levels (`levels`, falling, `num_events`, `hours`); normal_pictures: files, by reference sample; num_alarms: before
    and after the proposed suppressions; tables: with caption, columns, groups of rows, and notes; facts: short, as name
    and value; texts: long ones.
    """

    title: str
    videos: Sequence[ReportVideo]
    events: Sequence[ReportEvent] = ()
    level: float | None = None
    normal: Mapping[str, Any] | None = None
    statement: str = ""
    normal_pictures: Mapping[int, Path] = field(default_factory=dict)
    suppressions: Sequence[SuppressedEvent] = ()
    num_alarms: tuple[int, int] = (0, 0)
    tables: Sequence[object] = ()
    remarks: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    texts: Sequence[tuple[str, str]] = ()


def build_page(report: ReportPage, advance: Callable[[int], None] = lambda amount: None) -> str:
    """The page as HTML: script, style, scores and pictures inside, and a policy that lets nothing else in.

    Pictures get what the rest leaves of MAX_BYTES; `advance` is called with 1 for each. Names of videos and reasons
    come from outside: the template escapes them, and the script gets them deflated. Raises RecordError for an event of
    a video that is not shown.
    """
    _check(report)
    numbers, payload = _payload(report)
    content = {
        "payload": deflated(_json(payload).encode()),
        "scores": packed(np.concatenate([np.zeros(0, np.uint16), *numbers])),
    }
    templates = Path(__file__).parent / "templates"
    style = assets.style([templates / "report.css"])
    script = assets.script([templates / name for name in _SCRIPTS])
    taken = _ALLOWANCE + sum(map(len, (style, script, *content.values(), *(text for _, text in report.texts))))
    return render(
        "report.html",
        report=report,
        style=style,
        script=script,
        policy=_policy(style, script),
        pictures=_json(_pictures(report, max(MAX_BYTES - taken, 0), advance)),
        **content,
    )


def _check(report: ReportPage) -> None:
    known = {video.track.video for video in report.videos}
    if unknown := [shown.event.video for shown in report.events if shown.event.video not in known]:
        raise RecordError("event of a report", expected="one of its videos", got=f"one of {unknown[0]}")


def _pictures(report: ReportPage, max_bytes: int, advance: Callable[[int], None]) -> dict[str, Any]:
    """Pictures as base64: of the events, and of the reference samples they name, which get a share of the bytes."""
    raw_bytes = max_bytes * 3 // 4
    samples = dict.fromkeys(
        near.moment for shown in report.events if shown.event.reason for near in shown.event.reason.nearest
    )
    paths = [report.normal_pictures.get(sample) for sample in samples]
    normal = fitted(paths, int(raw_bytes * _SHARE_OF_NORMAL), advance, large=False)
    raw_bytes -= sum(len(picture or b"") for picture in normal)
    events = fitted([shown.picture for shown in report.events], raw_bytes, advance)
    return {
        "events": [_base64(picture) for picture in events],
        "clips": [_base64(shown.clip) for shown in report.events],
        "normal": {str(sample): _base64(picture) for sample, picture in zip(samples, normal, strict=True) if picture},
    }


def report_id(report: ReportPage) -> str:
    """The same for every page of the same scores and events, so that a new page finds feedback given in an old one."""
    videos = [[video.track.video, len(video.track)] for video in report.videos]
    return hashlib.sha256(_json([videos, [shown.event.event_id for shown in report.events]]).encode()).hexdigest()[:16]


def _payload(report: ReportPage) -> tuple[list[Any], dict[str, Any]]:
    """The numbers on the grid of each video, and everything else that the script needs, without pictures."""
    tracks = [video.track for video in report.videos]
    grid = Grid.over([track.smoothed for track in tracks], report.level)
    numbers = [grid.numbers(track.smoothed) for track in tracks]
    known = [track.p_value for track in tracks if track.p_value is not None]
    steps = p_value_steps(grid, numbers, known) if known and len(known) == len(tracks) else None
    pooled = np.concatenate([np.zeros(1, np.uint16), *numbers])
    start = grid.alarm if grid.alarm is not None else int(np.quantile(pooled, _START_QUANTILE))
    return numbers, {
        "schema": _SCHEMA,
        "id": report_id(report),
        "title": report.title,
        "grid": {
            "low": grid.low,
            "step": grid.step,
            "highest": int(pooled.max()),
            "alarm": grid.alarm,
            "alarm_level": grid.alarm_level,
            "start": start,
        },
        "normal": None if report.normal is None else dict(report.normal),
        "p_values": steps,
        "videos": [_video(video) for video in report.videos],
        **_streams(tracks),
        "events": _events(report),
        "suppressions": [
            vars(suppression) | {"covers": list(suppression.covers)} for suppression in report.suppressions
        ],
    }


def _video(video: ReportVideo) -> dict[str, Any]:
    track = video.track
    regular = is_regular(track.frame_index, track.time_s, video.rate)
    return {
        "name": track.video,
        "num_frames": len(track),
        "rate": video.rate,
        "first_frame": int(track.frame_index[0]) if len(track) else 0,
        "start_s": float(track.time_s[0]) if len(track) else 0.0,
        "axis": None if regular else axis_text(track.frame_index, track.time_s),
        "merge_gap": video.merge_gap,
        "min_length": video.min_length,
        "truth": [list(span) for span in video.truth],
        "overlay": video.overlay,
    }


def _streams(tracks: Sequence[ScoreTrack]) -> dict[str, Any]:
    """Curves of the streams that every video has, one text per stream; thinned where they are long."""
    names = [name for name in (tracks[0].streams if tracks else ()) if all(name in track.streams for track in tracks)]
    size = bucket_frames(sum(len(track) for track in tracks), len(names))
    streams = []
    for name in names:
        values = [bucketed(track.streams[name], size) for track in tracks]
        grid = Grid.over(values)
        text = packed(np.concatenate([grid.numbers(part) for part in values]))
        streams.append({"name": name, "low": grid.low, "step": grid.step, "values": text})
    return {"bucket": size, "streams": streams}


def _events(report: ReportPage) -> list[dict[str, Any]]:
    index = {video.track.video: i for i, video in enumerate(report.videos)}
    return [_event(shown, index[shown.event.video]) for shown in report.events]


def _event(shown: ReportEvent, video: int) -> dict[str, Any]:
    event, reason = shown.event, shown.event.reason
    plain: dict[str, Any] = {
        "id": event.event_id,
        "video": video,
        "start": event.start_frame,
        "end": event.end_frame,
        "peak": event.peak_frame,
        "score": event.score,
        "p": event.p_value,
        "suppression": event.suppression,
        "picture": shown.picture_link,
        "clip": shown.clip_link,
    }
    if reason is not None:
        plain["reason"] = {
            "stream": reason.stream,
            "text": reason.text,
            "streams": {name: _short(share) for name, share in reason.streams.items()},
            "what": reason.region.what if reason.region else "",
            "track": reason.region.track_id if reason.region else -1,
            "scales": [[_short(level), _short(excess)] for level, excess in reason.scales],
            "groups": [[name, _short(share)] for name, share in reason.groups],
            "nearest": [
                [near.moment, near.video, near.frame_index, _short(near.time_s), _short(near.distance)]
                for near in reason.nearest
            ],
        }
    return plain


def _short(number: float) -> float:
    """Round to five digits, more than the page shows."""
    return float(f"{number:.5g}")


def _json(data: object) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy: this page's style and script alone, pictures and videos in it or beside it."""

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") + "'"

    media = "data: blob: 'self' file:"
    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; img-src {media}; "
        f"media-src {media}; base-uri 'none'; form-action 'none'"
    )
