"""Stage 4: scores against ground truth. The only stage that opens test labels."""

from __future__ import annotations

from collections.abc import Mapping

from mulde.datasets.base import Dataset
from mulde.errors import LabelError
from mulde.evaluation.protocol import Evaluation, evaluate_tracks
from mulde.pipeline.progress import Reporter
from mulde.pipeline.score import ScoredVideo
from mulde.records import LabelTrack


def read_labels(dataset: Dataset, scored: Mapping[str, ScoredVideo]) -> dict[str, LabelTrack]:
    """Ground truth of the scored frames of the test videos, where the data set has it, by video name.

    Raises LabelError for labels that are missing, damaged or miscounted, or a video of another data set.
    """
    known = {video.name for video in dataset.videos("test")}
    strangers = sorted(set(scored) - known)
    if strangers:
        raise LabelError(
            f"scored video {strangers[0]}",
            expected=f"a test video of {dataset.name} in {dataset.root}",
            got=f"{len(strangers)} that it does not hold",
        )
    labels = {}
    for video in dataset.videos("test"):
        if video.name in scored:
            frame_index = scored[video.name].track.frame_index
            whole = dataset.labels(video, int(frame_index[-1]) + 1)
            if whole is not None:  # frames that could not be decoded have no score
                labels[video.name] = LabelTrack(video.name, whole.anomalous[frame_index])
    return labels


def evaluate(
    scored: Mapping[str, ScoredVideo], labels: Mapping[str, LabelTrack], dataset: Dataset, reporter: Reporter
) -> Evaluation:
    """Figures of the scored test videos that have labels (as `read_labels` gives them); says which ones have none.

    Raises LabelError when no scored video has labels.
    """
    if not labels:
        raise LabelError(
            f"no labels for the test videos of {dataset.name} in {dataset.root}",
            hint="labels.csv with video,start_frame,end_frame beside test/",
        )
    if unlabelled := [name for name in scored if name not in labels]:
        reporter.warn(f"not evaluated, because they have no labels: {', '.join(unlabelled)}")
    return evaluate_tracks(
        {name: scored[name].track.fused for name in labels},
        labels,
        {name: scored[name].sigma_frames for name in labels},
    )
