"""Stage 2: stored features of normal video into a model bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np

from mulde.config import DensitySettings, Settings, StreamDensitySettings
from mulde.density.base import Density
from mulde.density.registry import build_density
from mulde.density.rows import TrainingProgress
from mulde.devices import fit_each
from mulde.errors import FitError, UsageError
from mulde.evaluation.conformal import NormalVideo
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle, Stream
from mulde.pipeline.model.calibration import calibrate, combine, frame_maximum, learn_frames
from mulde.pipeline.model.training_record import NormalPart, StreamCounts, TrainingRecord
from mulde.pipeline.training.exclusions import Exclusions
from mulde.pipeline.training.folds import NOTHING, Fold, Share, split_folds
from mulde.pipeline.training.tensorboard import TrainingLog
from mulde.progress import Advance, Reporter
from mulde.records import Float32, Float64, Int64

CHECKPOINTS = "checkpoints"
_FOLD_SEED_STEP = 1_000_003  # between folds: larger than any two seeds of runs are apart, so that none coincide


def train(
    videos: Sequence[StoredVideo],
    settings: Settings,
    made_from: Mapping[str, Any],
    *,
    seed: int,
    device: str,
    reporter: Reporter,
    folder: Path,
    exclusions: Exclusions = NOTHING,
) -> Bundle:
    """Fit densities on normal videos, one per extractor and fold, and calibrate each on the videos that it was not
    fitted on. The frames of `exclusions` are in neither.

    Below `folder`, `tensorboard/<extractor>-<fold>` gets the training curves, and
    `checkpoints/<extractor>-<fold>.safetensors` the state from which a call that was stopped continues; the caller
    deletes the checkpoints when the bundle is saved. Raises FitError when there is nothing to fit on.
    """
    folds = split_folds(videos, settings.fusion, seed, exclusions)
    streams: dict[str, Stream] = {}
    normal_frames: dict[str, list[Float64]] = {}
    counts: dict[str, StreamCounts] = {}
    for name in settings.streams:
        lower_bound = _column_medians(name, folds) if name in settings.only_high else None
        with reporter.bar(f"train {name}", len(folds), "folds") as advance:
            fitted = _fit_folds(name, folds, lower_bound, settings, seed, device, reporter, folder, advance)
        streams[name], normal_frames[name] = _calibrated(name, folds, fitted, lower_bound, reporter)
        counts[name] = StreamCounts(
            rows=[fold.num_rows for fold in fitted],
            heldout_rows=[sum(len(rows.score) for rows in fold.heldout) for fold in fitted],
            columns=fitted[0].columns,
            learnt=[fold.density.state()[1]["learnt"] for fold in fitted],
        )
    normal, normal_parts = _normal(folds, normal_frames, settings.fusion.combine)
    training = TrainingRecord(
        seed=seed,
        videos=sorted({share.name for fold in folds for share in fold.fitting}),
        video_sha256={stored.video.name: stored.passports["frames"].video_sha256 for stored in videos},
        heldout=[[share.name for share in fold.heldout] for fold in folds],
        left_out=exclusions.as_record(),
        normal_parts=normal_parts,
        streams=counts,
    )
    return Bundle(streams, settings, made_from, training, normal)


def _normal(
    folds: Sequence[Fold], streams: Mapping[str, Sequence[Float64]], how: str
) -> tuple[dict[str, NormalVideo], list[NormalPart]]:
    """The fused frame scores of the held-out shares, by name, and which frames of which fold each of them covers.

    streams: name -> the surprises of each held-out share, fold by fold. Frames before and after an excluded range are
    not consecutive, so they become two videos: smoothing must not run across the gap.
    """
    normal: dict[str, NormalVideo] = {}
    parts: list[NormalPart] = []
    shares = [(number, share) for number, fold in enumerate(folds) for share in fold.heldout]
    for i, (number, share) in enumerate(shares):
        fused = combine({name: scores[i] for name, scores in streams.items()}, how)
        for piece in share.pieces():
            inside = (share.frame_index >= piece.first) & (share.frame_index < piece.last)
            normal[piece.label] = NormalVideo(fused[inside], float(share.stored.described_rate))
            parts.append(
                NormalPart(
                    name=piece.label,
                    video=share.name,
                    start_frame=piece.first,
                    end_frame=piece.last,
                    fold=number,
                )
            )
    return normal, parts


class _Rows(NamedTuple):
    """Rows of a held-out share: their frames (N,) and raw scores (N,)."""

    frame: Int64
    score: Float64


@dataclass(frozen=True)
class _Fitted:
    """The result of one fold: its density, and the held-out rows as this density scores them, by share."""

    density: Density
    num_rows: int
    columns: int
    heldout: list[_Rows]


def _fit_folds(
    name: str,
    folds: Sequence[Fold],
    lower_bound: Float32 | None,
    settings: Settings,
    seed: int,
    device: str,
    reporter: Reporter,
    folder: Path,
    advance: Advance,
) -> list[_Fitted]:
    """The folds of one stream. On a CPU they are fitted in parallel with one core each, which is 1.5 times faster than
    one after the other with all cores."""
    stopped = Event()

    def fit(number: int) -> _Fitted:
        fitted = _fit_fold(name, folds[number], number, lower_bound, settings, seed, device, reporter, folder, stopped)
        advance(1)
        return fitted

    return fit_each(fit, len(folds), device, "fold", stopped.set)  # they end at their next report, with a checkpoint


def _fit_fold(
    name: str,
    fold: Fold,
    number: int,
    lower_bound: Float32 | None,
    settings: Settings,
    seed: int,
    device: str,
    reporter: Reporter,
    folder: Path,
    stopped: Event,
) -> _Fitted:
    rows, heldout_rows = _gather(fold.fitting, name), _gather(fold.heldout, name)
    if not len(rows):
        raise FitError(
            f"no training rows for {name}",
            expected="objects in the training videos",
            got=f"none in {sum(len(share.frame_index) for share in fold.fitting)} frames of {len(fold.fitting)} videos",
            hint="another region finder (regions.finders), a lower confidence or threshold, or other footage",
        )
    density = build_stream_density(settings.density.of(name), seed + _FOLD_SEED_STEP * number, device)
    label = f"{name}-{number}"
    with reporter.bar(f"  {label}", 0, "steps") as advance, TrainingLog(folder / "tensorboard" / label) as log:
        density.fit(
            rows,
            heldout=heldout_rows if len(heldout_rows) else None,
            progress=shown_and_logged(advance, log, stopped),
            checkpoint=folder / CHECKPOINTS / f"{label}.safetensors",
        )
    tables = [share.rows(name) for share in fold.heldout]
    scored = [_Rows(table.frame_index, density.anomaly_score(_raised(table.values, lower_bound))) for table in tables]
    return _Fitted(density, len(rows), rows.shape[1], scored)


def _calibrated(
    name: str, folds: Sequence[Fold], fitted: Sequence[_Fitted], lower_bound: Float32 | None, reporter: Reporter
) -> tuple[Stream, list[Float64]]:
    """The stream, and the surprises (T,) of the frames of every held-out share, fold by fold.

    All folds share one scale, learnt on all normal videos. On a scale of its own fold, an odd video would set its own
    range and so look usual.
    """
    # Each row is scored by the density that was not fitted on it, so the scale is that of new video.
    scores = np.concatenate([rows.score for fold in fitted for rows in fold.heldout])
    if not len(scores):
        reporter.warn(f"{name}: no rows in the held-out videos, so the stream is calibrated on its training rows")
        scores = fitted[0].density.anomaly_score(_raised(_gather(folds[0].fitting, name), lower_bound))
    calibration = calibrate(name, scores)
    best = [
        frame_maximum(calibration(rows.score), rows.frame, share.frame_index, np.nan)
        for fold, result in zip(folds, fitted, strict=True)
        for share, rows in zip(fold.heldout, result.heldout, strict=True)
    ]
    # A frame without rows has nothing unusual in it.
    floor, surprise = learn_frames(best, float(calibration(scores).min()))
    stream = Stream(
        tuple(fold.density for fold in fitted), calibration, fitted[0].columns, floor, surprise, lower_bound
    )
    return stream, [surprise(np.where(np.isnan(frames), floor, frames)) for frames in best]


def _column_medians(name: str, folds: Sequence[Fold]) -> Float32:
    """The median (D,) of each column over the rows of all normal videos."""
    rows = _gather([share for fold in folds for share in fold.heldout], name)
    return np.asarray(np.median(rows, axis=0), np.float32)


def _raised(values: Float32, lower_bound: Float32 | None) -> Float32:
    return values if lower_bound is None else np.maximum(values, lower_bound)


def _gather(shares: Sequence[Share], extractor: str) -> Float32:
    """All rows (N, D) of one extractor; (0, 0) without shares."""
    values = [share.rows(extractor).values for share in shares]
    return np.concatenate(values) if values else np.zeros((0, 0), np.float32)


def check_density(settings: DensitySettings) -> None:
    """Raises UsageError for options that the method does not take, in whichever table of densities, before anything is
    computed for it."""
    for table, own in {"density": settings, **{f"density.streams.{k}": v for k, v in settings.streams.items()}}.items():
        try:
            build_stream_density(own, 0, "cpu", table)
        except (TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"setting {table}.options", expected=f"those of {own.method}", got=error) from None


def build_stream_density(settings: StreamDensitySettings, seed: int, device: str, table: str = "density") -> Density:
    """The density of a stream, not fitted yet. Raises UsageError for options that it does not take; `table` names the
    settings in it."""
    elsewhere = {"seed": "run.seeds, or --seed", "device": "--device"}
    for name in settings.options.keys() & elsewhere:
        raise UsageError(f"setting {table}.options.{name} has no effect", hint=elsewhere[name])
    return build_density(settings.method, preset=settings.preset, device=device, **settings.options, seed=seed)


def shown_and_logged(
    advance: Advance, log: TrainingLog, stopped: Event | None = None
) -> Callable[[TrainingProgress], None]:
    """Shows a training on a progress bar and in TensorBoard, and ends it with FitError once `stopped` is set."""
    last_step = 0

    def report(progress: TrainingProgress) -> None:
        nonlocal last_step
        if stopped is not None and stopped.is_set():
            raise FitError("training", expected="to end", got="an error in another fold")
        status = f"loss {progress.loss_dsm + progress.loss_reg:.3f}"
        status += f" held-out {progress.heldout_loss:.3f}" if progress.heldout_loss is not None else ""
        advance(progress.step - last_step, total=progress.num_steps, status=status)
        last_step = progress.step
        log.log(progress)

    return report
