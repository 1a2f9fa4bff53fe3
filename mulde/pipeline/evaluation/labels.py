"""Labels of the videos that were scored, as the data set gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from mulde.datasets.base import DataChecks, Dataset, Video, listing, with_times
from mulde.datasets.folder.labels import CsvLabels
from mulde.datasets.sources import VideoCollection
from mulde.errors import LabelError, MuldeError, UsageError, sentence
from mulde.progress import Reporter
from mulde.records import Bool, LabelTrack, ScoredVideo, TruthRegions


def labelled_dataset(videos: VideoCollection, source: str, hint: str = "") -> Dataset:
    """The data set that `source` names. Raises UsageError, with a hint, where it names loose videos, which have no
    labels."""
    if videos.dataset is None:
        expected = "a data set with labels, as NAME:ROOT"
        raise UsageError(f"labels from {source}", expected=expected, got="loose videos", hint=hint)
    return videos.dataset


def labels_of_run(path: Path, scored: Mapping[str, ScoredVideo], reporter: Reporter) -> Dataset:
    """The labels in a CSV of the videos of a run, whatever they were scored from: a live run has no file of them.

    Seconds are those of the run's own tables.
    """
    # Nothing is read from the path of a video here; it only may be no folder, which would have no times.
    return GivenCsv(tuple(Video(name, "test", path) for name in sorted(scored)), path, reporter)


def labels_to_draw(
    dataset: Dataset | None, scored: Mapping[str, ScoredVideo], reporter: Reporter
) -> dict[str, LabelTrack]:
    """Labels for pictures, which do without them: what `read_labels` gives, or none and a warning why."""
    try:
        return {} if dataset is None else read_labels(dataset, scored)
    except LabelError as error:
        reporter.warn(f"labels are not drawn: {error}")
        return {}


def read_labels(dataset: Dataset, scored: Mapping[str, ScoredVideo]) -> dict[str, LabelTrack]:
    """Ground truth of the scored frames of the test videos, where the data set has it, by video name.

    Raises LabelError for labels that are missing, damaged or miscounted, or a video of another data set.
    """
    known = {video.name for video in dataset.videos("test")}
    unknown = sorted(set(scored) - known)
    if unknown:
        raise LabelError(
            f"scored video {unknown[0]}",
            expected=f"a test video of {dataset.name} in {dataset.root}",
            got=f"{len(unknown)} that it does not hold",
        )
    labels = {}
    for video in dataset.videos("test"):
        if video.name in scored:
            frame_index = scored[video.name].track.frame_index
            try:
                whole = dataset.labels(_with_rate(video, scored[video.name]), int(frame_index[-1]) + 1)
            except MuldeError:
                raise
            except Exception as error:
                raise LabelError(f"labels of {sentence(error, video.name)}") from error
            if whole is not None:  # frames that could not be decoded have no score
                labels[video.name] = LabelTrack(video.name, whole.anomalous[frame_index])
    return labels


def _with_rate(video: Video, scored: ScoredVideo) -> Video:
    """The video with the rate and times of its file, for labels in seconds. Frame folders are returned as they are: an
    assumed rate would shift their labels."""
    if video.frame_rate is not None or video.path.is_dir():
        return video
    rate, track = Fraction(scored.rate).limit_denominator(100_000), scored.track
    return with_times(video, rate, track.frame_index, track.time_s, int(track.frame_index[-1]) + 1)


class GivenLabels(DataChecks):
    """The scored videos as a data set whose labels somebody hands over."""

    name, root, notes = "labels", Path(), tuple[str, ...]()

    def __init__(self, test: tuple[Video, ...]) -> None:
        self.test = test

    def videos(self, split: str) -> tuple[Video, ...]:
        return self.test if split == "test" else ()

    def masks(self, video: Video) -> Iterator[Bool] | None:
        return None

    def regions(self, video: Video) -> TruthRegions | None:
        return None


class GivenCsv(GivenLabels):
    """Labels of scored videos in a CSV; a video without a line is normal."""

    def __init__(self, test: tuple[Video, ...], path: Path, reporter: Reporter) -> None:
        super().__init__(test)
        self._table = CsvLabels(path)
        if self._table.faults:
            raise self._table.faults[0]
        scored, named = {video.name for video in test}, set(self._table.named.values())
        unknown = sorted(named - scored)
        if unknown and not scored & named:
            raise LabelError(f"{path}", expected=f"lines of {listing(sorted(scored))}", got=f"of {listing(unknown)}")
        if unknown:
            reporter.warn(f"{path} also has lines of videos that were not scored: {listing(unknown)}")

    def labels(self, video: Video, num_frames: int) -> LabelTrack | None:
        return self._table.track(video, num_frames)
