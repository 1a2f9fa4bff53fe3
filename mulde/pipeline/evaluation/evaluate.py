"""Stage 4: scores against ground truth. The only stage that opens test labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np

from mulde.config import Settings
from mulde.datasets.base import Dataset, Video
from mulde.errors import LabelError
from mulde.evaluation.alarms import EventRules
from mulde.evaluation.metrics import mean_and_std
from mulde.evaluation.pixels import PixelFigures
from mulde.evaluation.protocol import NUM_RESAMPLES, Evaluation, evaluate_tracks
from mulde.evaluation.regions import RegionPool, gather_evidence
from mulde.evaluation.smoothing import Smoothing
from mulde.pipeline.extraction.plan import open_with
from mulde.pipeline.run_folder import AlarmRecord
from mulde.progress import Reporter
from mulde.records import Bool, LabelTrack, RegionScores, ScoredVideo


def evaluate(
    scored: Mapping[str, ScoredVideo],
    labels: Mapping[str, LabelTrack],
    dataset: Dataset,
    reporter: Reporter,
    *,
    regions: RegionPool | None = None,
    pixels: Mapping[str, PixelFigures] | None = None,
    alarm: AlarmRecord | None = None,
    bootstrap: int = NUM_RESAMPLES,
    compat: str | None = None,
    skipped: tuple[int, int] = (0, 0),
    method: str = "mulde",
) -> Evaluation:
    """Figures of the scored test videos that have labels (as `read_labels` gives them); says which ones have none.

    alarm: the alarm level on the run's record; bootstrap, compat, skipped and method as `evaluate_tracks` takes them.
    Raises LabelError when no scored video has labels.
    """
    if not labels:
        raise LabelError(
            f"no labels for the test videos of {dataset.name} in {dataset.root}",
            hint="labels.csv with video,start_frame,end_frame beside test/",
        )
    if unlabelled := [name for name in scored if name not in labels]:
        reporter.warn(f"not evaluated, because they have no labels: {', '.join(unlabelled)}")
    with reporter.bar("evaluate", None, "videos"):
        return evaluate_tracks(
            {name: scored[name].track.fused for name in labels},
            labels,
            {name: Smoothing.of(scored[name]) for name in labels},
            rates={name: scored[name].rate for name in labels},
            levels=alarm.levels if alarm else None,
            events=EventRules(alarm.merge_gap_s, alarm.min_length_s) if alarm else None,
            regions=regions,
            pixels=pixels,
            bootstrap=bootstrap,
            compat=compat,
            skipped=skipped,
            method=method,
        )


def mean_and_spread(evaluations: Mapping[int, Evaluation]) -> dict[str, Any]:
    """Mean, spread (standard deviation) and each seed's value of the AUCs, by smoothing."""
    summary: dict[str, Any] = {}
    for i, row in enumerate(next(iter(evaluations.values())).rows):
        for figure in ("micro_auc", "macro_auc", "average_precision", "equal_error_rate"):
            values = {seed: getattr(e.rows[i].result, figure) for seed, e in evaluations.items()}
            mean, std = mean_and_std(values.values())
            summary.setdefault(row.smoothing, {})[figure] = {"mean": mean, "std": std, "seeds": values}
    return summary


def region_pool(
    regions: Mapping[str, RegionScores],
    scored: Mapping[str, ScoredVideo],
    labels: Mapping[str, LabelTrack],
    dataset: Dataset,
    settings: Settings,
    converted: Collection[str] = (),
) -> RegionPool | None:
    """Scored boxes beside annotated regions and pixel masks; None where either is missing for a labelled video.

    converted: videos whose frames may have been scaled to the size that the model learnt."""
    videos = {video.name: video for video in dataset.videos("test") if video.name in labels}
    if not set(videos) <= set(regions):  # then nobody's masks are opened
        return None
    truth = {name: found for name, video in videos.items() if (found := dataset.regions(video)) is not None}
    masked = {name for name, video in videos.items() if dataset.masks(video) is not None}
    if not truth and not masked:
        return None
    num_frames = {name: int(scored[name].track.frame_index[-1]) + 1 for name in videos}

    def masks(name: str) -> Iterator[Bool] | None:
        if name in masked or not masked or labels[name].anomalous.any():
            return dataset.masks(videos[name])
        # A wholly normal video needs no mask files to say so: no pixel of it is anomalous.
        return repeat(np.zeros(regions[name].size_hw, np.bool_), num_frames[name])

    scaled = [name for name in truth if settings.video.working_size_px or name in converted]
    sizes = {name: original_size(videos[name], settings) for name in scaled}
    return RegionPool(gather_evidence({name: regions[name] for name in videos}, num_frames, truth, masks, sizes))


def original_size(video: Video, settings: Settings) -> tuple[int, int]:
    """Height and width of the frames that annotated boxes are given in."""
    with open_with(video, settings.video) as reader:
        return reader.size_hw
