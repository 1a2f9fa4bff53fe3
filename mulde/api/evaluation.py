"""`mulde.evaluate`: scores against ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mulde.api.calls import AnyPath, reporting
from mulde.api.result import Result
from mulde.datasets.base import Dataset, Video, listing
from mulde.datasets.sources import open_source, parse_source
from mulde.errors import LabelError, UsageError
from mulde.evaluation.protocol import Evaluation
from mulde.pipeline.evaluation.evaluate import evaluate as evaluate_scored
from mulde.pipeline.evaluation.evaluate import region_pool
from mulde.pipeline.evaluation.labels import GivenCsv, GivenLabels, read_labels
from mulde.progress import Reporter
from mulde.records import LabelTrack

Labels = AnyPath | Mapping[str, ArrayLike] | None
"""`"NAME:ROOT"` or a folder for a data set, the path of a labels.csv, or arrays by the names of the videos."""


def evaluate(
    result: Result, labels: Labels = None, *, bootstrap: int = 1000, progress: bool | None = None
) -> Evaluation:
    """Compare the scores of videos with ground truth, and with scores that never look at the video.

    Args:
        result: What `mulde.score` gave.
        labels: A data set, `"NAME:ROOT"` or a folder with `test/` and labels; a CSV with `video,start_frame,end_frame`
            (0-based, half-open) or `video,start_s,end_s`, in which a video without a line is normal; or a mapping from
            names of videos to arrays (T,), one value per frame, true or 1 = anomalous. None: the data set that was
            scored.
        bootstrap: Resamples of the videos for the 95 % intervals of the AUCs; 0: no intervals.
        progress: Whether to show progress. None: on a terminal and in a notebook.

    Returns:
        The figures: `micro_auc`, `macro_auc`, `to_frame()` with all figures of the result and of the null scores, and
        `remarks()`, a sentence for each figure that is not above that of the best null score.

    Raises:
        mulde.errors.LabelError: Labels are missing, damaged, miscounted, or of other videos.
        mulde.errors.UsageError: The labels are nothing of the above.

    Examples:
        >>> evaluation = mulde.evaluate(model.score("ucsd-ped2:/data/UCSDped2"))
        >>> evaluation.micro_auc
        >>> mulde.evaluate(result, "footage/labels.csv").to_frame()
        >>> mulde.evaluate(result, {"door": np.arange(500) > 430})
    """
    with reporting(progress) as reporter:
        dataset = _dataset(result, labels, reporter)
        scored, predictor = result._scored, result._predictor
        truth = read_labels(dataset, scored)
        regions = {name: video.regions for name, video in scored.items() if video.regions is not None}
        converted = [name for name, video in result._stored.items() if video.match.conversion is not None]
        pool = region_pool(regions, scored, truth, dataset, predictor.settings, converted) if truth else None
        alarm = None if predictor.alarm is None else predictor.alarm.as_record()
        return evaluate_scored(scored, truth, dataset, reporter, regions=pool, alarm=alarm, bootstrap=bootstrap)


def _dataset(result: Result, labels: Labels, reporter: Reporter) -> Dataset:
    if labels is None:
        if result._dataset is None:
            raise UsageError("labels", expected="a data set, a CSV or arrays by the names of the videos", got="none")
        return result._dataset
    test = [replace(result._stored[name].video, name=name, split="test") for name in result.videos]
    if isinstance(labels, Mapping):
        return _ArrayLabels(tuple(test), {name: np.asarray(values) for name, values in labels.items()})
    if not isinstance(labels, str | Path):
        raise UsageError("labels", expected="a path, a data set or arrays by name", got=type(labels).__name__)
    name, path = parse_source(str(labels))
    if name is None and path.is_file():
        return GivenCsv(tuple(test), path, reporter)
    dataset = None if name is None and not path.exists() else open_source(str(labels)).dataset
    if dataset is None:
        got = "a folder without test/" if path.is_dir() else "nothing that is there"
        raise UsageError(f"labels {labels}", expected="a labels.csv, or a data set with labels", got=got)
    return dataset


class _ArrayLabels(GivenLabels):
    def __init__(self, test: tuple[Video, ...], arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(test)
        self._arrays = arrays
        scored = [video.name for video in test]
        if unknown := [str(name) for name in arrays if name not in scored]:
            raise LabelError(f"labels of {listing(unknown)}", expected=f"of scored videos: {listing(scored)}")

    def labels(self, video: Video, num_frames: int) -> LabelTrack | None:
        if video.name not in self._arrays:
            return None
        values = self._arrays[video.name]
        if values.ndim != 1 or not np.isin(values, (0, 1)).all():
            got = f"{values.dtype} of shape {values.shape}"
            raise LabelError(f"labels of {video.name}", expected="one value per frame, true or false", got=got)
        if len(values) != num_frames:
            raise LabelError(f"labels of {video.name}", expected=f"{num_frames} values, one per frame", got=len(values))
        return LabelTrack(video.name, values.astype(np.bool_))
