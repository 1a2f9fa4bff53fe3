"""Labels of the videos that were scored, as the data set gives them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from mulde.datasets.base import Dataset, Video, with_times
from mulde.datasets.sources import VideoCollection
from mulde.errors import LabelError, MuldeError, UsageError, sentence
from mulde.progress import Reporter
from mulde.records import LabelTrack, ScoredVideo


def labelled_dataset(videos: VideoCollection, source: str) -> Dataset:
    """The data set that `source` names. Raises UsageError where it names loose videos, which have no labels."""
    if videos.dataset is None:
        raise UsageError(f"labels from {source}", expected="a data set with labels, as NAME:ROOT", got="loose videos")
    return videos.dataset


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
