"""Stage 4: scores against ground truth. The only stage that opens test labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mulde.datasets.base import Dataset
from mulde.errors import LabelError
from mulde.evaluation.protocol import Evaluation, evaluate_tracks
from mulde.pipeline.progress import Reporter
from mulde.pipeline.score import ScoredVideo
from mulde.records import LabelTrack


def read_labels(dataset: Dataset, num_frames: Mapping[str, int]) -> dict[str, LabelTrack]:
    """Ground truth of the named test videos, where the data set has it.

    num_frames: decoded frames by video name. Raises LabelError for labels that are missing, damaged or miscounted.
    """
    labels = {}
    for video in dataset.videos("test"):
        if video.name in num_frames:
            track = dataset.labels(video, num_frames[video.name])
            if track is not None:
                labels[video.name] = track
    return labels


def evaluate(scored: Iterable[ScoredVideo], dataset: Dataset, reporter: Reporter) -> Evaluation:
    """Figures of the scored test videos that have labels; says which ones have none.

    Raises LabelError when no scored video has labels or one belongs to another data set.
    """
    tracks = {one.track.video: one for one in scored}
    known = {video.name for video in dataset.videos("test")}
    strangers = sorted(set(tracks) - known)
    if strangers:
        raise LabelError(
            f"scored video {strangers[0]}",
            expected=f"a test video of {dataset.name} in {dataset.root}",
            got=f"{len(strangers)} that it does not hold",
        )
    labels = read_labels(dataset, {name: len(one.track) for name, one in tracks.items()})
    if not labels:
        raise LabelError(
            f"no labels for the test videos of {dataset.name} in {dataset.root}",
            hint="labels.csv with video,start_frame,end_frame beside test/",
        )
    if unlabelled := [name for name in tracks if name not in labels]:
        reporter.warn(f"not evaluated, because they have no labels: {', '.join(unlabelled)}")
    return evaluate_tracks(
        {name: tracks[name].track.fused for name in labels},
        labels,
        {name: tracks[name].sigma_frames for name in labels},
    )
