"""`mulde.Result`: what scoring found, as tables, pictures and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mulde.api.calls import AnyPath, reporting
from mulde.datasets.base import Dataset, listing
from mulde.errors import Failure, MuldeError, UsageError, VideoError
from mulde.events import Event
from mulde.names import output_path, user_path
from mulde.pipeline.events.drawing import draw_overlay
from mulde.pipeline.events.tables import by_video, events_table, write_events
from mulde.pipeline.events.thumbnails import thumbnails, write_normal_pictures, write_pictures
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.review.report import run_report
from mulde.pipeline.run_folder import RunFolder
from mulde.pipeline.scoring.frames import to_frame, write_scores
from mulde.pipeline.scoring.regions import region_columns
from mulde.progress import Reporter
from mulde.records import ScoredVideo
from mulde.report.plots import as_png, score_curves
from mulde.report.summary import EventSummary, summary_html

if TYPE_CHECKING:
    import pandas as pd

    from mulde.report.plots import Figure

_MAX_CURVES, _MAX_EVENTS = 6, 8  # that a notebook shows


class Result:
    """Scores, objects and events of one or several videos; made by `mulde.score` and `Model.score`.

    A notebook shows its curves and its clearest events with pictures.

    Attributes:
        videos: Names of the scored videos.
        frames: A table with a row per frame, as `scores/<video>.csv` of a run folder: `video`, `frame_index` (0-based),
            `time_s`, `score_<stream>` for each kind of feature, `fused` (these combined), `smoothed` (over time; higher
            = more anomalous) and, where the model keeps normal scores, `p_value` (lower = more anomalous).
        objects: A table with a row per object: `video`, `frame_index`, the box `x0`, `y0`, `x1`, `y1` in pixels of the
            frames as they were worked on, `track_id` (-1: on no track), `anomaly_score`, `score_<stream>`.
        events: A table with a row per event, the least likely first, as `events.csv` of a run folder: `video`,
            `start_s`, `end_s`, `peak_frame`, `score`, `p_value`, `reason`, ... Frames are half-open.
        level: The alarm level of `smoothed`; None where the model keeps no normal scores to set one by.
        failures: Videos that could not be scored, each with the reason.
    """

    def __init__(
        self,
        predictor: Predictor,
        stored: Sequence[StoredVideo],
        scored: Mapping[str, ScoredVideo],
        events: Sequence[Event],
        dataset: Dataset | None,
        failures: Sequence[Failure],
    ) -> None:
        self._predictor, self._scored, self._events, self._dataset = predictor, dict(scored), list(events), dataset
        self._stored = {video.video.name: video for video in stored}
        self.failures = tuple(failures)

    @property
    def videos(self) -> tuple[str, ...]:
        return tuple(self._scored)

    @property
    def level(self) -> float | None:
        alarm = self._predictor.alarm
        return None if alarm is None else alarm.threshold.level

    @cached_property
    def frames(self) -> pd.DataFrame:
        import pandas as pd

        return pd.concat([to_frame(video.track) for video in self._scored.values()], ignore_index=True)

    @cached_property
    def objects(self) -> pd.DataFrame:
        import pandas as pd

        regions = [video.regions for video in self._scored.values() if video.regions is not None]
        if not regions:
            return pd.DataFrame({"video": [], "frame_index": []}).astype({"video": str, "frame_index": int})
        tables = [pd.DataFrame({"video": table.video, **region_columns(table)}) for table in regions]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def events(self) -> pd.DataFrame:
        return events_table(self._events)

    def plot(self, video: str | None = None) -> Figure:
        """The score curves, with the alarm level.

        Args:
            video: Name of the video to show. None: all of them, one below the other.

        Returns:
            A figure of matplotlib, which a notebook shows and `savefig` writes.

        Raises:
            mulde.errors.UsageError: The video was not scored.

        Examples:
            >>> result.plot().savefig("scores.png")
        """
        names = self.videos if video is None else (self._known(video),)
        return score_curves([self._scored[name].track for name in names], alarm_level=self.level)

    def report(self, path: AnyPath) -> Path:
        """Write one HTML file to review the events from, with scores and pictures inside; it needs no network.

        Args:
            path: The file to write.

        Returns:
            Its path.

        Raises:
            mulde.errors.FileError: The file cannot be written.

        Examples:
            >>> result.report("report.html")
        """
        page = user_path(path)
        with reporting(False) as reporter, TemporaryDirectory(prefix="mulde-") as folder:
            root = Path(folder) / page.stem
            self._write_run(root, reporter)
            return run_report(root, page, reporter, embed_clips=False, links=False)

    def overlay(self, path: AnyPath, *, progress: bool | None = None) -> list[Path]:
        """Write copies of the videos with boxes, scores and reasons drawn in, with the same frames, times and sound.

        Args:
            path: Of a single video the file to write, as `overlay.mp4`; of several the folder for `<video>.mp4`.
            progress: Whether to show progress. None: on a terminal and in a notebook.

        Returns:
            The paths of the copies.

        Raises:
            mulde.errors.VideoError: A video cannot be read any more.
            mulde.errors.FileError: A copy cannot be written.

        Examples:
            >>> result.overlay("overlay.mp4")
        """
        target = user_path(path)
        targets = [target] if len(self.videos) == 1 else [output_path(target, name, ".mp4") for name in self.videos]
        with reporting(progress) as reporter:
            for name, copy in zip(self.videos, targets, strict=True):
                scored, video = self._scored[name], self._stored[name].video
                settings = self._predictor.settings
                events, regions = self._events, scored.regions
                draw_overlay(video, scored.track, regions, events, None, settings, self.level, copy, reporter)
        return targets

    def __repr__(self) -> str:
        num_frames = sum(len(video.track) for video in self._scored.values())
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return (
            f"Result({_count(len(self.videos), 'video')}{failed}, {_count(num_frames, 'frame')}, "
            f"{_count(len(self._events), 'event')})"
        )

    def _repr_html_(self) -> str:
        shown = self._events[:_MAX_EVENTS]
        pictures = {id_: jpeg for name, events in by_video(shown).items() for id_, jpeg in self._pictures(name, events)}
        curves = score_curves([self._scored[name].track for name in self.videos[:_MAX_CURVES]], alarm_level=self.level)
        alarm = self._predictor.alarm
        return summary_html(
            title=repr(self).removeprefix("Result(").removesuffix(")"),
            curves=as_png(curves),
            num_hidden_videos=max(len(self.videos) - _MAX_CURVES, 0),
            events=[EventSummary(event, pictures.get(event.event_id)) for event in shown],
            num_hidden_events=len(self._events) - len(shown),
            statement="" if alarm is None else alarm.threshold.statement(),
        )

    def _pictures(self, video: str, events: Sequence[Event]) -> list[tuple[str, bytes]]:
        """JPEGs by event id; none of a video that cannot be read any more."""
        try:
            return list(thumbnails(events, self._stored[video], self._predictor.plan))
        except (MuldeError, OSError):
            return []

    def _known(self, video: str) -> str:
        if video not in self._scored:
            raise UsageError(f"video {video!r}", expected=f"one of {listing(list(self.videos))}")
        return video

    def _write_run(self, root: Path, reporter: Reporter) -> None:
        """The files of a run folder that a report is made of."""
        folder, events = RunFolder(root), by_video(self._events)
        for name, scored in self._scored.items():
            write_scores(scored, folder.scores)
            try:
                write_pictures(events.get(name, []), self._stored[name], self._predictor.plan, root)
            except VideoError as error:  # its scores are there
                reporter.warn(f"{name}: no pictures: {error}")
        write_events(self._events, root)
        write_normal_pictures(self._events, self._predictor.normal_index, root)
        folder.write_settings(self._predictor.settings)
        alarm = self._predictor.alarm
        folder.note(num_events=len(self._events), **({} if alarm is None else {"alarm": alarm.as_record()}))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
