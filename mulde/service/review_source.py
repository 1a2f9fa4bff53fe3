"""A run of videos, as the service shows it: each video a camera, each event an alert, the least likely first.

Nothing changes by itself; what people say of events is kept in `marks.json` of the run folder.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mulde import __version__
from mulde.errors import MuldeError
from mulde.events import Event
from mulde.files import write_json
from mulde.filetypes import natural_key
from mulde.names import valid_text
from mulde.pipeline.events.suppression import ScoringModel, model_of
from mulde.pipeline.events.tables import EVENTS, picture_path, read_events
from mulde.pipeline.review.marking import mark_normal, unmark_normal
from mulde.pipeline.run_folder import CLIPS, RECORD, THUMBNAILS, RunRecord, read_record
from mulde.pipeline.scoring.frames import read_scores
from mulde.records import Float64, Int64
from mulde.service.bins import binned
from mulde.service.normal_marks import SOMEBODY
from mulde.service.schema import AlertPage, Camera, Counts, Mark, MarkRequest, Mode, Overview, ScoreBins, Storage
from mulde.service.source import AlertFiles, AlertJson, AlertQuery, Picture, Refusal, ScoreNow
from mulde.service.storage import clips_bytes
from mulde.typed import Count, FileModel, read_typed

MARKS = "marks.json"
_SCHEMA = 1


class _MarkEntry(FileModel):
    mark: Mark
    who: str
    why: str
    marked_utc_ms: Count
    number: Count


class _MarksFile(FileModel):
    schema_: int = Field(alias="schema")
    marks: dict[str, _MarkEntry]


@dataclass(frozen=True)
class _Video:
    time_ms: Int64
    smoothed: Float64
    rate: float


def alert_id_of(event_id: str) -> str:
    """An id that can be part of an address, the same each time, whatever the video is called."""
    return f"e-{hashlib.sha256(valid_text(event_id).encode()).hexdigest()[:20]}"


class ReviewSource:
    """Raises MuldeError for a run without scores or with damaged files."""

    mode: Mode = "review"
    watched = None

    def __init__(self, root: Path, utc_s: Callable[[], float] = time.time) -> None:
        self.root, self.name, self._utc_s = root, root.resolve().name, utc_s
        self._record = read_record(root) if (root / RECORD).is_file() else RunRecord()
        scores = read_scores(root / "scores")
        self._videos = {
            name: _Video(np.round(1000 * scored.track.time_s).astype(np.int64), scored.track.smoothed, scored.rate)
            for name, scored in sorted(scores.items(), key=lambda item: natural_key(item[0]))
        }
        self._lock = threading.RLock()
        self._events: tuple[tuple[int, int], dict[str, Event]] = ((-1, -1), {})
        self._marks = self._read_marks()
        self._model: ScoringModel | None = None
        self._known_events()

    def _read_marks(self) -> dict[str, _MarkEntry]:
        path = self.root / MARKS
        if not path.exists():
            return {}
        data = read_typed(path, _MarksFile, max_bytes=2**26)
        if data.schema_ != _SCHEMA:
            raise MuldeError(f"{path}: schema", expected=f"version {_SCHEMA}", got=data.schema_)
        return data.marks

    def _known_events(self) -> dict[str, Event]:
        """By id, in the order of the tables, which other commands may have written anew."""
        with self._lock:
            try:
                status = (self.root / f"{EVENTS}.json").stat()
                stamp = status.st_mtime_ns, status.st_size
            except OSError:
                stamp = 0, 0
            if stamp != self._events[0]:
                events = [event for event in read_events(self.root) if event.video in self._videos]
                self._events = stamp, {alert_id_of(event.event_id): event for event in events}
            return self._events[1]

    def _now_ms(self) -> int:
        return round(1000 * self._utc_s())

    # --- videos

    def cameras(self) -> list[Camera]:
        return [self._camera(name, video) for name, video in self._videos.items()]

    def camera(self, name: str) -> Camera | None:
        video = self._videos.get(name)
        return None if video is None else self._camera(name, video)

    def _camera(self, name: str, video: _Video) -> Camera:
        score = float(video.smoothed.max()) if len(video.smoothed) else None
        return Camera(
            name=valid_text(name), state="recorded", score=score, level=self._record.alarm_level, fps_wanted=video.rate
        )

    def picture(self, camera: str) -> Picture | None:
        return None

    def pause(self, camera: str, minutes: float) -> Camera | None:
        if camera not in self._videos:
            return None
        raise Refusal(409, f"video {camera}", expected="a camera that is watched", got="a video")

    def scores(self, camera: str, start_ms: int | None, end_ms: int | None, points: int) -> ScoreBins | None:
        video = self._videos.get(camera)
        if video is None:
            return None
        last_ms = int(video.time_ms[-1]) if len(video.time_ms) else 0
        start_ms = 0 if start_ms is None else start_ms
        end_ms = max(last_ms, start_ms) + 1 if end_ms is None else end_ms
        if start_ms >= end_ms:
            expected = "milliseconds from the start of the video, the earlier one first"
            raise Refusal(400, "from and to", expected=expected, got=f"{start_ms} to {end_ms}")
        bins = binned([(video.time_ms, video.smoothed)], start_ms, end_ms, points)
        return ScoreBins(
            camera=camera, from_utc_ms=start_ms, to_utc_ms=end_ms, level=self._record.alarm_level, bins=bins
        )

    def scores_now(self) -> list[ScoreNow]:
        return []

    # --- events

    def _is_to_look_at(self, event: Event) -> bool:
        return not event.suppression and not self._mark_of(event)

    def _mark_of(self, event: Event) -> Mark:
        marked = self._marks.get(event.event_id)
        return "" if marked is None else marked.mark  # empty too where it was taken back

    def alerts(self, query: AlertQuery) -> AlertPage:
        """Nothing is open, and since_ms means nothing here."""
        found, last = list[AlertJson](), None
        for place, (alert_id, event) in enumerate(self._known_events().items()):
            if query.before is not None and place < query.before:
                continue
            if not self._is_wanted(event, query):
                continue
            if len(found) == query.limit:
                last = str(place)
                break
            found.append(self._as_json(alert_id, event))
        return AlertPage(alerts=found, next=last)

    def _is_wanted(self, event: Event, query: AlertQuery) -> bool:
        if query.state in ("open", "opened", "updated") or (query.camera and event.video != query.camera):
            return False
        if query.mark == "none":
            return self._is_to_look_at(event)
        return query.mark in ("", self._mark_of(event))

    def alert(self, alert_id: str) -> AlertJson | None:
        event = self._known_events().get(alert_id)
        return None if event is None else self._as_json(alert_id, event)

    def _as_json(self, alert_id: str, event: Event) -> AlertJson:
        reason, record = event.reason, self._record
        marked = self._marks[event.event_id] if self._mark_of(event) else None
        region = reason.region if reason else None
        files = self._files(event)
        told: dict[str, Any] = {
            "schema": 1, "id": alert_id, "revision": 1, "state": "closed", "kind": "unusual",
            "camera": event.video, "start_s": event.start_s, "peak_s": event.peak_s, "end_s": event.end_s,
            "camera_clock_offset_s": None, "score": event.score, "level": record.alarm_level,
            "p_value": event.p_value,
            "expected_per_hour": (record.alarm.false_alarms_per_hour or None) if record.alarm else None,
            "stream": reason.stream if reason else "", "reason": reason.text if reason else "",
            "streams": dict(reason.streams) if reason else {}, "object": region.what if region else "",
            "box_xyxy": list(region.box_xyxy) if region else None, "size_hw": None,
            "video": event.video, "peak_frame": event.peak_frame,
            "start_frame": event.start_frame, "end_frame": event.end_frame,
            "picture": f"/alerts/{alert_id}.jpg" if files.picture else "",
            "clip": f"/alerts/{alert_id}.mp4" if files.clip else "",
            "exemption": event.suppression, "health": [], "cut_short": False,
            "model_sha256": record.model_sha256 or "", "mulde": record.mulde or __version__, "covered_by": "",
            "mark": marked.mark if marked else "", "marked_by": marked.who if marked else "",
            "marked_utc_ms": marked.marked_utc_ms if marked else None, "why": marked.why if marked else "",
        }  # fmt: skip
        return {name: valid_text(value) if isinstance(value, str) else value for name, value in told.items()}

    def _files(self, event: Event) -> AlertFiles:
        picture = picture_path(self.root / THUMBNAILS, event, ".jpg")
        clip = picture_path(self.root / CLIPS, event, ".mp4")
        return AlertFiles(picture if picture.is_file() else None, clip if clip.is_file() else None)

    def files(self, alert_id: str) -> AlertFiles | None:
        event = self._known_events().get(alert_id)
        return None if event is None else self._files(event)

    def mark(self, alert_id: str, request: MarkRequest) -> AlertJson | None:
        """`normal` writes the suppressions and the tables of events, as `mulde feedback --apply` does."""
        with self._lock:
            event = self._known_events().get(alert_id)
            if event is None:
                return None
            before = self._marks.get(event.event_id)
            was_normal = before is not None and before.mark == "normal"
            act = mark_normal if request.mark == "normal" else unmark_normal if was_normal else None
            try:
                if act is not None:
                    who = request.who or SOMEBODY
                    act(self.root, event.event_id, self._scoring_model(), who=who, why=request.why, tables=True)
                self._keep(event.event_id, before, request)
            except OSError as error:
                problem = f"{self.root} cannot be written"
                raise Refusal(409, problem, got=error.strerror or type(error).__name__) from None
            return self.alert(alert_id)

    def _keep(self, event_id: str, before: _MarkEntry | None, request: MarkRequest) -> None:
        if before is None or not before.mark:
            is_same = not request.mark
        else:
            is_same = (request.mark, request.who, request.why) == (before.mark, before.who, before.why)
        if is_same:
            return
        number = self.last_change() + 1
        entry = _MarkEntry(
            mark=request.mark, who=valid_text(request.who), why=valid_text(request.why),
            marked_utc_ms=self._now_ms(), number=number,
        )  # fmt: skip
        marks = {**self._marks, event_id: entry}
        write_json(
            self.root / MARKS, {"schema": _SCHEMA, "marks": {key: value.model_dump() for key, value in marks.items()}}
        )
        self._marks = marks

    def _scoring_model(self) -> ScoringModel:
        if self._model is None:
            self._model = model_of(self.root, self._record)
        return self._model

    def last_change(self) -> int:
        return max((entry.number for entry in self._marks.values()), default=0)

    def changes(self, after: int, limit: int) -> list[tuple[int, AlertJson]]:
        ids = {event.event_id: alert_id for alert_id, event in self._known_events().items()}
        changed = sorted(
            (entry.number, ids[event_id]) for event_id, entry in self._marks.items()
            if entry.number > after and event_id in ids
        )  # fmt: skip
        return [(number, alert) for number, alert_id in changed[:limit] if (alert := self.alert(alert_id)) is not None]

    # --- as a whole

    def overview(self) -> Overview:
        events = list(self._known_events().values())
        hours = sum(len(video.time_ms) / video.rate for video in self._videos.values() if video.rate > 0) / 3600
        rate = self._record.alarm.false_alarms_per_hour if self._record.alarm else 0.0
        return Overview(
            mode=self.mode,
            run=valid_text(self.name),
            utc_ms=self._now_ms(),
            counts=Counts(
                to_look_at=sum(map(self._is_to_look_at, events)),
                watching=0,
                need_a_hand=0,
                cameras=len(self._videos),
                alerts_today=sum(not event.suppression for event in events),
                expected_today=rate * hours if rate else None,
            ),
            outbox={},
            storage=self._storage(),
            problems=[],
        )

    def _storage(self) -> Storage:
        try:
            free = shutil.disk_usage(self.root).free
        except OSError:
            free = None
        return Storage(free_bytes=free, clips_bytes=clips_bytes(self.root), problem="")

    def unwell(self) -> str:
        return ""
