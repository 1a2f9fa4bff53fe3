"""Scores of live cameras as a run folder has them: each hour of a camera is a video, `yard/20261128T13` in UTC.

While an hour lasts, its rows are lines of text in a part of its own, which a kill leaves readable; the table of the
hour takes them in when it is over, or when the program starts again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mulde.errors import MuldeError, RecordError, sentence
from mulde.pipeline.live.hour_parts import PARTS, HourFacts, ScoreRow, append_rows, gather, part_path, read_hour
from mulde.pipeline.live.utc import HOUR_MS, hour_name
from mulde.progress import Reporter

FLUSH_S = 10.0
MAX_PENDING = 100_000
"""Rows in memory while the disk takes none, of all cameras: 40 minutes of 8 cameras at 5 frames per second."""
_GRACE_MS = 60_000
"""So long after an hour its last rows may still come."""


@dataclass(frozen=True)
class LiveScore:
    """The score of one frame of a camera; higher = more anomalous.

    utc_ms: when the picture was taken, in milliseconds of UTC since 1970; fused: the streams (name -> calibrated score)
    combined; smoothed: over this frame and those before it; p_value: of `smoothed` among held-out normal video, None
    where the model keeps none; has_rows: whether any stream had something to describe; num_objects: that were found,
    None where nothing looks for objects.
    """

    utc_ms: int
    fused: float
    smoothed: float
    streams: Mapping[str, float] = field(default_factory=dict)
    p_value: float | None = None
    has_rows: bool = True
    num_objects: int | None = None

    def __post_init__(self) -> None:
        for name, value in {"fused": self.fused, "smoothed": self.smoothed, **self.streams}.items():
            if not np.isfinite(value):
                raise RecordError(f"LiveScore.{name}", expected="a finite score", got=value)
        if self.p_value is not None and not 0 <= self.p_value <= 1:
            raise RecordError("LiveScore.p_value", expected="0 to 1", got=self.p_value)


@dataclass(frozen=True)
class FramePlace:
    """Where a frame stands in the run folder: the video of its hour, its number there, seconds from the full hour."""

    video: str
    frame_index: int
    time_s: float


@dataclass
class _Hour:
    """The rows of an hour that are not in its part yet, and the number of the last row of all."""

    facts: HourFacts
    last_frame: int
    pending: list[ScoreRow] = field(default_factory=list)


class HourlyScores:
    """Collects scores of all cameras, and writes them every flush_s seconds in a thread of its own.

    So a kill loses the last flush_s seconds at most. `add` waits for no disk, but for the first frame of an hour, for
    which it looks at what is there. While the disk takes nothing, rows wait in memory, max_pending at most; then the
    oldest go, which is said and counted in `num_lost`. now_ms: the time, in milliseconds of UTC since 1970.
    """

    def __init__(
        self,
        root: Path,
        reporter: Reporter,
        now_ms: Callable[[], int],
        *,
        flush_s: float = FLUSH_S,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self.root, self.reporter, self.now_ms = root, reporter, now_ms
        self.flush_s, self.max_pending = flush_s, max_pending
        self.num_lost = 0
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._cameras: dict[str, tuple[float, float, str]] = {}
        self._hours: dict[str, _Hour] = {}
        self._said: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="scores", daemon=True)

    def open(self) -> None:
        """Bring the tables of hours that are over up to date with what a killed process left, and start the thread.

        The run folder must be this process's own.
        """
        self._gather(self.now_ms())
        self._thread.start()

    def set_camera(self, camera: str, rate: float, sigma_frames: float, model_sha256: str = "") -> None:
        """The frames per second of a camera, the smoothing in frames and its model; again when its model changes."""
        with self._lock:
            self._cameras[camera] = (rate, sigma_frames, model_sha256)
            self._hours = {
                video: hour
                if video.rpartition("/")[0] != camera
                else _Hour(self._facts(video), hour.last_frame, hour.pending)
                for video, hour in self._hours.items()
            }

    def add(self, camera: str, score: LiveScore) -> FramePlace:
        """Keep the score of a frame, and say where it will stand. Needs `set_camera` before.

        Numbers of frames count 1 / rate from the full hour, and rise whatever the clock does: a frame whose place is
        taken gets the next one.
        """
        with self._lock:
            video = f"{camera}/{hour_name(score.utc_ms)}"
            hour = self._hours.get(video)
            if hour is None:
                hour = self._hours[video] = _Hour(self._facts(video), self._last_frame(video))
            time_s = score.utc_ms % HOUR_MS / 1000
            frame_index = round(time_s * hour.facts.rate)
            if frame_index <= hour.last_frame:
                frame_index = hour.last_frame + 1
                time_s = frame_index / hour.facts.rate
            hour.last_frame = frame_index
            hour.pending.append(
                ScoreRow(
                    frame_index=frame_index,
                    time_s=time_s,
                    utc_ms=int(score.utc_ms),
                    fused=float(score.fused),
                    smoothed=float(score.smoothed),
                    streams={name: float(value) for name, value in score.streams.items()},
                    p_value=None if score.p_value is None else float(score.p_value),
                    has_rows=bool(score.has_rows),
                    num_objects=score.num_objects,
                )
            )
            return FramePlace(video, frame_index, time_s)

    def flush(self) -> None:
        """Write the rows that wait, and the tables of hours that are over. Errors of the disk are said once, until it
        takes something again."""
        with self._flushing:
            self._write_pending()
            self._gather(self.now_ms() - _GRACE_MS)

    def stop(self, limit_s: float) -> bool:
        """Write all rows, into the tables of their hours, for at most limit_s seconds.

        Whether that was enough: else the next `open` finishes it.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(limit_s)
        if is_left := self._thread.is_alive():
            self.reporter.warn(f"The disk did not take all scores within {limit_s:g} s")
        return not is_left

    def _work(self) -> None:
        while not self._stopping.wait(self.flush_s):
            self._guarded(self.flush)
        self._guarded(self._finish)

    def _finish(self) -> None:
        with self._flushing:
            self._write_pending()
            self._gather(None)

    def _guarded(self, step: Callable[[], None]) -> None:
        """An error that nobody foresaw must not end the thread, and with it all later scores."""
        try:
            step()
        except Exception as error:
            self._say_once(type(error).__name__, str(sentence(error, "the scores")))

    def _write_pending(self) -> None:
        with self._lock:
            waiting = {video: (hour.facts, hour.pending) for video, hour in self._hours.items() if hour.pending}
            for video in waiting:
                self._hours[video].pending = []
        for video, (facts, rows) in waiting.items():
            try:
                append_rows(part_path(self.root, video), facts, rows)
                self._said -= {video, "lost"}
            except MuldeError as error:
                self._say_once(video, f"Scores of {video} wait in memory: {error}")
                with self._lock:
                    self._hours[video].pending[:0] = rows
        self._bound()

    def _bound(self) -> None:
        """Let the oldest rows go where too many wait."""
        with self._lock:
            num_over = sum(len(hour.pending) for hour in self._hours.values()) - self.max_pending
            if num_over <= 0:
                return
            for _, hour in sorted(self._hours.items(), key=lambda item: item[0].rpartition("/")[2]):
                lost = min(num_over, len(hour.pending))
                del hour.pending[:lost]
                num_over -= lost
                self.num_lost += lost
        self._say_once("lost", "The oldest scores in memory are lost, as the disk takes none")

    def _gather(self, before_ms: int | None) -> None:
        """Bring parts of hours that ended before a time (None: of all) into the tables."""
        for path in sorted((self.root / PARTS).glob("*/*.jsonl")):
            if before_ms is not None and path.stem >= hour_name(before_ms):
                continue
            try:
                video = gather(self.root, path)
                self._said.discard(str(path))
            except (MuldeError, OSError) as error:
                self._say_once(str(path), f"Scores stay in {path}: {sentence(error, path)}")
                continue
            with self._lock:
                if video in self._hours and not self._hours[video].pending:
                    del self._hours[video]

    def _facts(self, video: str) -> HourFacts:
        rate, sigma_frames, model_sha256 = self._cameras[video.rpartition("/")[0]]
        return HourFacts(video=video, rate=rate, sigma_frames=sigma_frames, model_sha256=model_sha256)

    def _last_frame(self, video: str) -> int:
        try:
            known = read_hour(self.root, video)
        except MuldeError:  # said when the table is written
            return -1
        return -1 if known is None else int(known.scored.track.frame_index[-1])

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self.reporter.warn(text)
