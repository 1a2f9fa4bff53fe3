"""Stage 2: stored features of normal video into a model bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np

from mulde.config import DensitySettings, FusionSettings, Settings
from mulde.density.base import Density
from mulde.density.presets import PRESETS
from mulde.density.registry import build_density
from mulde.density.rows import TrainingProgress
from mulde.devices import choose_threads, one_core_per_call
from mulde.errors import FitError, UsageError
from mulde.evaluation.conformal import NormalVideo
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle, Stream
from mulde.pipeline.model.calibration import calibrate, combine, frame_maximum, learn_surprise
from mulde.pipeline.model.training_record import NormalPart, StreamCounts, TrainingRecord
from mulde.pipeline.training.exclusions import Exclusions, Range, kept
from mulde.pipeline.training.tensorboard import TrainingLog
from mulde.progress import Advance, Reporter
from mulde.records import Bool, FeatureTable, Float32, Float64, Int64

CHECKPOINTS = "checkpoints"
NOTHING = Exclusions()
_SEEDS_APART = 1_000_003  # of two folds, so that no run's seed meets another's


@dataclass(frozen=True)
class Share:
    """The frames first:last of one video, less those left out, on one side of the split."""

    stored: StoredVideo
    first: int
    last: int
    left_out: tuple[Range, ...] = ()

    @property
    def name(self) -> str:
        return self.stored.video.name

    @property
    def label(self) -> str:
        """The name, and of a part of a video which one."""
        whole = self.first == 0 and self.last == self.stored.end_frame
        return self.name if whole else f"{self.name} {self.first}-{self.last}"

    @property
    def frame_index(self) -> Int64:
        index = self.stored.frame_index
        return index[self._has(index)]

    def rows(self, extractor: str) -> FeatureTable:
        table = self.stored.features(extractor)
        return table.select(self._has(table.frame_index))

    def _has(self, frame_index: Int64) -> Bool:
        return (frame_index >= self.first) & (frame_index < self.last) & kept(frame_index, self.left_out)

    def pieces(self) -> list[Share]:
        """What of it hangs together: the stretches with frames that lie between those left out."""
        edges = np.clip(np.array(self.left_out, np.int64).ravel(), self.first, self.last).tolist()
        edges = [self.first, *edges, self.last]
        stretches = [Share(self.stored, *ends) for ends in zip(edges[::2], edges[1::2], strict=True)]
        return [stretch for stretch in stretches if len(stretch.frame_index)]


@dataclass(frozen=True)
class Fold:
    """Normal videos to fit on and, apart from them, those that stop the training and set the scale."""

    fitting: tuple[Share, ...]
    heldout: tuple[Share, ...]


def split_folds(
    videos: Sequence[StoredVideo], settings: FusionSettings, seed: int, leave_out: Exclusions = NOTHING
) -> list[Fold]:
    """`settings.folds` folds of whole videos, drawn by `seed`, each of which is held out once; 1: a share held out.

    With fewer videos than folds each video is a fold. A single video is cut in time. A video of which no frame is left
    counts as none. Raises FitError when no video has any.
    """
    wanted = settings.folds
    whole = [Share(video, 0, video.end_frame, leave_out.of(video.video.name)) for video in videos]
    whole = [share for share in whole if len(share.frame_index)]
    if not whole:
        got = f"{len(videos)} with every frame left out" if videos else "none"
        raise FitError("training", expected="at least one normal video that could be read", got=got)
    if len(whole) == 1:
        parts = [[part] for part in _cut_in_time(whole[0], settings)]
        return _hold_out(parts if wanted > 1 else parts[-1:], parts)
    order = np.random.default_rng(seed).permutation(len(whole)).tolist()
    if wanted == 1:
        count = min(max(round(len(whole) * settings.heldout_share), 1), len(whole) - 1)
        drawn = [sorted(order[:count])]
    else:
        drawn = [sorted(order[i::wanted]) for i in range(min(wanted, len(whole)))]
    return _hold_out([[whole[i] for i in fold] for fold in drawn], [whole])


def _cut_in_time(share: Share, settings: FusionSettings) -> list[Share]:
    """A whole video in parts with as many frames each, of those that are not left out; 1 fold: the last is held out."""
    wanted, end = settings.folds, share.last
    cuts = np.linspace(0, 1, wanted + 1) if wanted > 1 else np.array([0, 1 - settings.heldout_share, 1])
    left = np.flatnonzero(kept(np.arange(end), share.left_out))
    edges = np.append(left, end)[np.rint(cuts * len(left)).astype(int)].tolist()
    return [replace(share, first=first, last=last) for first, last in pairwise(edges) if last > first]


def _hold_out(heldout: Sequence[Sequence[Share]], everything: Sequence[Sequence[Share]]) -> list[Fold]:
    shares = [share for part in everything for share in part]
    return [
        Fold(tuple(share for share in shares if all(share is not other for other in fold)), tuple(fold))
        for fold in heldout
    ]


def train(
    videos: Sequence[StoredVideo],
    settings: Settings,
    made_from: Mapping[str, Any],
    *,
    seed: int,
    device: str,
    reporter: Reporter,
    folder: Path,
    leave_out: Exclusions = NOTHING,
) -> Bundle:
    """Fit densities on normal videos, one per extractor and fold, and calibrate each on the videos that it was not
    fitted on. The frames of `leave_out` are in neither.

    Below `folder`: `tensorboard/<extractor>-<fold>` gets the course of a training, and
    `checkpoints/<extractor>-<fold>.safetensors` its state, from which a call that was stopped goes on; the caller
    deletes these when the bundle is saved. Raises FitError when there is nothing to fit on.
    """
    folds = split_folds(videos, settings.fusion, seed, leave_out)
    streams: dict[str, Stream] = {}
    normal_frames: dict[str, list[Float64]] = {}
    counts: dict[str, StreamCounts] = {}
    for name in (*settings.features.extractors, *settings.features.imported):
        least = _usual(name, folds) if name in settings.fusion.only_high else None
        with reporter.bar(f"train {name}", len(folds), "folds") as advance:
            fitted = _fit_folds(name, folds, least, settings, seed, device, reporter, folder, advance)
        streams[name], normal_frames[name] = _calibrated(name, folds, fitted, least, reporter)
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
        heldout=[[share.name for share in fold.heldout] for fold in folds],
        left_out=leave_out.as_record(),
        normal_parts=normal_parts,
        streams=counts,
    )
    return Bundle(streams, settings, made_from, training, normal)


def _normal(
    folds: Sequence[Fold], streams: Mapping[str, Sequence[Float64]], how: str
) -> tuple[dict[str, NormalVideo], list[NormalPart]]:
    """The combined frame scores of what was held out, by name, and which frames of which fold each of them is.

    streams: name -> the surprises of each held-out share, fold by fold. Scores on both sides of what was left out do
    not follow on each other, so they are two videos.
    """
    normal: dict[str, NormalVideo] = {}
    parts: list[NormalPart] = []
    shares = [(number, share) for number, fold in enumerate(folds) for share in fold.heldout]
    for i, (number, share) in enumerate(shares):
        fused = combine({name: scores[i] for name, scores in streams.items()}, how)
        for piece in share.pieces():
            inside = (share.frame_index >= piece.first) & (share.frame_index < piece.last)
            normal[piece.label] = NormalVideo(fused[inside], float(share.stored.rate))
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
    """What came of one fold: its density, and the rows of each held-out share as the density sees them."""

    density: Density
    num_rows: int
    columns: int
    heldout: list[_Rows]


def _fit_folds(
    name: str,
    folds: Sequence[Fold],
    least: Float32 | None,
    settings: Settings,
    seed: int,
    device: str,
    reporter: Reporter,
    folder: Path,
    advance: Advance,
) -> list[_Fitted]:
    """The folds of one stream; on a CPU side by side with a core each, which is 1.5 times as fast as both for one."""
    stopped = Event()

    def fit(number: int) -> _Fitted:
        fitted = _fit_fold(name, folds[number], number, least, settings, seed, device, reporter, folder, stopped)
        advance(1)
        return fitted

    num_callers = choose_threads(device) if device == "cpu" else 1
    if min(num_callers, len(folds)) == 1:
        return [fit(number) for number in range(len(folds))]
    with one_core_per_call(), ThreadPoolExecutor(num_callers, "fold") as pool:
        try:
            return list(pool.map(fit, range(len(folds))))
        except BaseException:  # Ctrl-C as well: the others end at their next look, their checkpoints stay
            stopped.set()
            raise


def _fit_fold(
    name: str,
    fold: Fold,
    number: int,
    least: Float32 | None,
    settings: Settings,
    seed: int,
    device: str,
    reporter: Reporter,
    folder: Path,
    stopped: Event,
) -> _Fitted:
    rows, held = _gather(fold.fitting, name), _gather(fold.heldout, name)
    if not len(rows):
        raise FitError(
            f"no training rows for {name}",
            expected="objects in the training videos",
            got=f"none in {sum(len(share.frame_index) for share in fold.fitting)} frames of {len(fold.fitting)} videos",
            hint="another region finder (regions.finders), a lower confidence or threshold, or other footage",
        )
    density = _build(settings.density, seed + _SEEDS_APART * number, device)
    label = f"{name}-{number}"
    with reporter.bar(f"  {label}", 0, "steps") as advance, TrainingLog(folder / "tensorboard" / label) as log:
        density.fit(
            rows,
            heldout=held if len(held) else None,
            progress=shown_and_logged(advance, log, stopped),
            checkpoint=folder / CHECKPOINTS / f"{label}.safetensors",
        )
    tables = [share.rows(name) for share in fold.heldout]
    scored = [_Rows(table.frame_index, density.anomaly_score(_raised(table.values, least))) for table in tables]
    return _Fitted(density, len(rows), rows.shape[1], scored)


def _calibrated(
    name: str, folds: Sequence[Fold], fitted: Sequence[_Fitted], least: Float32 | None, reporter: Reporter
) -> tuple[Stream, list[Float64]]:
    """The stream, and the surprises (T,) of the frames of every held-out share, fold by fold.

    One scale for the densities of all folds, learnt on all normal videos: on a scale of its own fold alone, an odd
    video would make itself look usual.
    """
    scores = np.concatenate([rows.score for one in fitted for rows in one.heldout])
    if not len(scores):
        reporter.warn(f"{name}: no rows in the held-out videos, so the stream is calibrated on its training rows")
        scores = fitted[0].density.anomaly_score(_raised(_gather(folds[0].fitting, name), least))
    calibration = calibrate(name, scores)
    best = [
        frame_maximum(calibration(rows.score), rows.frame, share.frame_index, np.nan)
        for fold, one in zip(folds, fitted, strict=True)
        for share, rows in zip(fold.heldout, one.heldout, strict=True)
    ]
    seen = np.concatenate(best)
    floor = float(np.nanmin(seen)) if not np.isnan(seen).all() else float(calibration(scores).min())
    filled = [np.where(np.isnan(frames), floor, frames) for frames in best]
    surprise = learn_surprise(np.concatenate(filled))
    stream = Stream(tuple(one.density for one in fitted), calibration, fitted[0].columns, floor, surprise, least)
    return stream, [surprise(frames) for frames in filled]


def _usual(name: str, folds: Sequence[Fold]) -> Float32:
    """The median (D,) of each column over the rows of all normal videos."""
    rows = _gather([share for fold in folds for share in fold.heldout], name)
    return np.asarray(np.median(rows, axis=0), np.float32)


def _raised(values: Float32, least: Float32 | None) -> Float32:
    return values if least is None else np.maximum(values, least)


def _gather(shares: Sequence[Share], extractor: str) -> Float32:
    """All rows (N, D) of one extractor; (0, 0) of no share at all."""
    values = [share.rows(extractor).values for share in shares]
    return np.concatenate(values) if values else np.zeros((0, 0), np.float32)


def check_density(settings: DensitySettings) -> None:
    """Raises UsageError for options that the method does not take, before anything is computed for it."""
    try:
        _build(settings, 0, "cpu")
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError("setting density.options", expected=f"those of {settings.method}", got=error) from None


def _build(settings: DensitySettings, seed: int, device: str) -> Density:
    sizes = PRESETS[settings.preset] if settings.method in ("mulde", "msma") else {}
    return build_density(settings.method, **{**sizes, **settings.options, "seed": seed, "device": device})


def shown_and_logged(
    advance: Advance, log: TrainingLog, stopped: Event | None = None
) -> Callable[[TrainingProgress], None]:
    """The course of a training on a bar and in TensorBoard; ends it with FitError once `stopped` is set."""
    last = 0

    def progress(look: TrainingProgress) -> None:
        nonlocal last
        if stopped is not None and stopped.is_set():
            raise FitError("training", expected="to end", got="a stop at another fold")
        shown = f"loss {look.loss_dsm + look.loss_reg:.3f}"
        shown += f" held-out {look.heldout_loss:.3f}" if look.heldout_loss is not None else ""
        advance(look.step - last, total=look.num_steps, status=shown)
        last = look.step
        log.log(look)

    return progress
