"""Stage 2: stored features of normal video into a model bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mulde.config import DensitySettings, Settings
from mulde.density.base import Density
from mulde.density.presets import PRESETS
from mulde.density.registry import build_density
from mulde.density.rows import Look
from mulde.errors import FitError
from mulde.evaluation.conformal import NormalVideo
from mulde.pipeline.bundle import Bundle, Stream
from mulde.pipeline.extract import StoredVideo
from mulde.pipeline.fusion import calibrate, frame_maximum
from mulde.pipeline.progress import Advance, Reporter
from mulde.pipeline.score import score_frames
from mulde.pipeline.tensorboard import TrainingLog
from mulde.records import FeatureTable, Float32, Int64

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Share:
    """The frames first:last of one video, on one side of the split."""

    stored: StoredVideo
    first: int
    last: int

    @property
    def name(self) -> str:
        return self.stored.video.name

    @property
    def frame_index(self) -> Int64:
        index = self.stored.frame_index
        return index[(index >= self.first) & (index < self.last)]

    def rows(self, extractor: str) -> FeatureTable:
        table = self.stored.features(extractor)
        low, high = np.searchsorted(table.frame_index, [self.first, self.last])
        return table.select(slice(int(low), int(high)))


def split_heldout(videos: Sequence[StoredVideo], share: float, seed: int) -> tuple[list[Share], list[Share]]:
    """Normal videos for fitting and, apart from them, for stopping and calibration: whole videos, drawn by `seed`.

    A single video is cut in time: its last `share` is held out.
    """
    if len(videos) == 1:
        end = videos[0].end_frame
        cut = min(max(round(end * (1 - share)), 1), end)
        return [Share(videos[0], 0, cut)], [Share(videos[0], cut, end)]
    count = min(max(round(len(videos) * share), 1), len(videos) - 1)
    drawn = set(np.random.default_rng(seed).permutation(len(videos))[:count].tolist())
    sides: tuple[list[Share], list[Share]] = ([], [])
    for i, video in enumerate(videos):
        sides[i in drawn].append(Share(video, 0, video.end_frame))
    return sides


def train(
    videos: Sequence[StoredVideo],
    settings: Settings,
    made_from: Mapping[str, Any],
    *,
    seed: int,
    device: str,
    reporter: Reporter,
    folder: Path,
) -> Bundle:
    """Fit one density per extractor on normal videos and calibrate it on held-out ones.

    Below `folder`: `tensorboard/<extractor>` gets the course of the training, and `checkpoints/<extractor>.safetensors`
    its state, from which a call that was stopped goes on; the caller deletes these when the bundle is saved. Raises
    FitError when there is nothing to fit on.
    """
    if not videos:
        raise FitError("training", expected="at least one normal video that could be read", got="none")
    fitting, heldout = split_heldout(videos, settings.fusion.heldout_share, seed)
    streams: dict[str, Stream] = {}
    counts: dict[str, dict[str, Any]] = {}
    for name in (*settings.features.extractors, *settings.features.imported):
        rows, row_frames = _gather(fitting, name)
        held, _ = _gather(heldout, name)
        if not len(rows):
            raise FitError(
                f"no training rows for {name}",
                expected="objects in the training videos",
                got=f"none in {sum(s.last - s.first for s in fitting)} frames of {len(fitting)} videos",
                hint="another region finder (regions.finders), a lower confidence or threshold, or other footage",
            )
        if not len(held):
            reporter.warn(f"{name}: no rows in the held-out videos, so the stream is calibrated on its training rows")
        density = _build(settings.density, seed, device)
        with reporter.bar(f"train {name}", 0, "steps") as advance, TrainingLog(folder / "tensorboard" / name) as log:
            density.fit(
                rows,
                heldout=held if len(held) else None,
                progress=shown_and_logged(advance, log),
                checkpoint=folder / CHECKPOINTS / f"{name}.safetensors",
            )
        row_scores = density.anomaly_score(rows)
        frames = np.unique(row_frames)
        calibration = calibrate(
            name,
            density.anomaly_score(held) if len(held) else row_scores,
            frame_maximum(row_scores, row_frames, frames, -np.inf),
        )
        streams[name] = Stream(density, calibration, rows.shape[1])
        counts[name] = {"rows": len(rows), "heldout_rows": len(held), "columns": rows.shape[1]}
        counts[name] |= {"learnt": density.state()[1]["learnt"]}
    training = {
        "seed": seed,
        "videos": [share.name for share in fitting],
        "heldout": [share.name for share in heldout],
        "streams": counts,
    }
    normal = {
        share.name: NormalVideo(
            score_frames(share.rows, share.frame_index, streams, settings.fusion.combine).fused,
            float(share.stored.rate),
        )
        for share in heldout
    }
    return Bundle(streams, settings, made_from, training, normal)


def _gather(shares: Sequence[Share], extractor: str) -> tuple[Float32, Int64]:
    """All rows (N, D) of one extractor and, per row, a number (N,) that is the same for rows of the same frame."""
    values, frames, offset = [], [], 0
    for share in shares:
        table = share.rows(extractor)
        values.append(table.values)
        frames.append(table.frame_index + offset)
        offset += share.stored.end_frame
    return np.concatenate(values), np.concatenate(frames)


def _build(settings: DensitySettings, seed: int, device: str) -> Density:
    sizes = PRESETS[settings.preset] if settings.method in ("mulde", "msma") else {}
    return build_density(settings.method, **{**sizes, **settings.options, "seed": seed, "device": device})


def shown_and_logged(advance: Advance, log: TrainingLog) -> Callable[[Look], None]:
    """The course of a training on a bar and in TensorBoard."""
    last = 0

    def progress(look: Look) -> None:
        nonlocal last
        shown = f"loss {look.loss_dsm + look.loss_reg:.3f}"
        shown += f" held-out {look.heldout_loss:.3f}" if look.heldout_loss is not None else ""
        advance(look.step - last, total=look.num_steps, status=shown)
        last = look.step
        log.log(look)

    return progress
