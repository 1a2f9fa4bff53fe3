"""Stage 1a: the networks that a stream describes normal video with, trained on that video before its features are made.

Two networks are trained on disjoint halves of the normal videos, because the errors of a network on frames that it has
learnt are too low to compare other frames with. A normal frame is described by the one that has not seen it, a new
video by both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BufferedRandom
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
from torch import nn

from mulde.config import Settings
from mulde.devices import fit_each
from mulde.digests import fingerprint
from mulde.errors import FitError, cannot
from mulde.extractors.base import weights_source
from mulde.extractors.prediction import PredictionSettings
from mulde.pipeline.extraction.engine import Extraction
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.weights import NETWORKS
from mulde.pipeline.training.exclusions import Exclusions
from mulde.pipeline.training.fit import CHECKPOINTS
from mulde.pipeline.training.folds import Share, split_folds
from mulde.pipeline.training.tensorboard import TrainingLog
from mulde.progress import Advance, Reporter
from mulde.reconstruction.frames import to_square
from mulde.reconstruction.model_file import Ranges, SeenModel, made_from, save_models
from mulde.reconstruction.pixel_model import PixelProgress
from mulde.reconstruction.registry import build_pixel_model
from mulde.reconstruction.teacher import RANDOM, TIMM, random_network
from mulde.records import Int64, UInt8

_MAX_FRAMES, _BLOCK = 20_000, 64
_HELDOUT_SHARE = 0.1
_MAX_NAMED = 5


def untrained_streams(settings: Settings) -> set[str]:
    """The streams whose networks have to be trained first."""
    names = settings.features.extractors
    return {
        name
        for name in names
        if isinstance(_of(settings, name), PredictionSettings) and _of(settings, name).is_trained_here
    }


def _of(settings: Settings, name: str) -> Any:
    return settings.features.for_extractor(name)


def check_networks(settings: Settings) -> None:
    """Raises UsageError for options that the networks do not take, before anything is computed for them."""
    for name in untrained_streams(settings):
        own = _of(settings, name)
        build_pixel_model(own.model, own.preset, own.options)


def with_networks(
    videos: Sequence[StoredVideo],
    settings: Settings,
    plan: ExtractionPlan,
    session: Session,
    folder: Path,
    *,
    seed: int,
    exclusions: Exclusions,
) -> Settings:
    """The settings with the networks of their streams, trained on normal videos into `folder` where they are not yet.

    plan: that of `videos`, without these streams. A training that was stopped goes on, and one that is finished is not
    repeated.
    """
    if not untrained_streams(settings):
        return settings
    own = next(_of(settings, name) for name in settings.features.extractors if name in untrained_streams(settings))
    path = folder / NETWORKS
    _train(videos, own, plan, path, seed=seed, device=session.device, reporter=session.reporter, exclusions=exclusions)
    return with_weights(settings, path)


def with_weights(settings: Settings, path: Path) -> Settings:
    """The settings with the networks of a file."""
    data = settings.model_dump()
    data["features"]["prediction"]["weights"] = str(path.absolute())
    return Settings.model_validate(data)


def train_networks(
    extraction: Extraction,
    plan: ExtractionPlan,
    settings: Settings,
    folder: Path,
    seed: int,
    session: Session,
    exclusions: Exclusions,
) -> tuple[Extraction, ExtractionPlan, Settings]:
    """Train the networks that streams still lack on the extracted videos, as `with_networks` does, and extract these
    streams as well."""
    settings = with_networks(extraction.done, settings, plan, session, folder, seed=seed, exclusions=exclusions)
    plan = ExtractionPlan(settings, session.device)
    again = session.extract([stored.video for stored in extraction.done], plan)
    return replace(again, failures=[*extraction.failures, *again.failures]), plan, settings


def _train(
    videos: Sequence[StoredVideo],
    own: PredictionSettings,
    plan: ExtractionPlan,
    path: Path,
    *,
    seed: int,
    device: str,
    reporter: Reporter,
    exclusions: Exclusions,
) -> None:
    halves = split_folds(videos, plan.settings.fusion.model_copy(update={"folds": 2}), seed, exclusions)
    if len(halves) < 2:
        raise FitError("training networks", expected="normal video that can be halved", got=f"{len(videos)} videos")

    def teacher(name: str) -> nn.Module:
        from mulde.extractors.pretrained import load_whole
        from mulde.extractors.timm_backbone import load_network

        if own.teacher_weights == RANDOM:
            return random_network(name, seed)
        if name.startswith(TIMM):
            return load_network(name.removeprefix(TIMM), own.teacher_weights)
        return load_whole(name, own.teacher_weights)

    models = [
        build_pixel_model(own.model, own.preset, own.options, seed=seed + i, device=device, teacher=teacher)
        for i in range(2)
    ]
    options = models[0].options.model_dump()
    shares = [half.heldout for half in halves]  # each half is held out once
    taught = weights_source(own.teacher_weights) if models[0].NEEDS_TEACHER else {}
    made = fingerprint([own.model, options, taught, seed, [[_facts(share) for share in half] for half in shares]])
    if made_from(path) == made:
        reporter.say(f"networks of the stream: {path} is finished")
        return
    with _frames(
        [share for half in shares for share in half], plan, models[0].side, path.parent, reporter
    ) as kept_frames:
        splits = [_hold_out(half) for half in shares]
        length = models[0].NUM_PAST + 1
        sets = [[_Clips(kept_frames, part, length) for part in split] for split in splits]
        short = sorted({share.label for half in shares for share in half if len(share.frame_index) < length})
        if short:
            named = ", ".join(short[:_MAX_NAMED]) + (", ..." if len(short) > _MAX_NAMED else "")
            reporter.say(f"networks of the stream: fewer than {length} frames, not learnt from ({len(short)}): {named}")
        for fitting, _ in sets:
            if not len(fitting):
                raise FitError(
                    "training networks", expected=f"videos of at least {length} frames in each half", got="none",
                    hint="more normal video",
                )  # fmt: skip
        with reporter.bar("train prediction", 0, "steps") as advance:
            shown = _Shown(advance)

            def fit(number: int) -> None:
                fitting, heldout = sets[number]
                label = f"prediction-{number}"
                with TrainingLog(path.parent / "tensorboard" / f"network-{label}") as log:

                    def report(progress: PixelProgress) -> None:
                        shown.add(number, progress)
                        log.log_network(progress)

                    models[number].fit(
                        fitting,
                        heldout if len(heldout) else None,
                        progress=report,
                        checkpoint=path.parent / CHECKPOINTS / f"{label}.safetensors",
                        fingerprint=made,
                    )

            fit_each(fit, 2, device, "network", shown.stopped.set)  # the other one ends at its next report
    save_models(path, [SeenModel(m, _ranges(half)) for m, half in zip(models, shares, strict=True)], made)
    reporter.say(f"networks of the stream: {path}")


def _facts(share: Share) -> list[Any]:
    facts = [share.stored.passports["frames"].video_sha256, share.first, share.last, share.excluded]
    return [*facts, str(share.stored.described_rate)] if not share.stored.described.all() else facts


def _ranges(shares: Sequence[Share]) -> Ranges:
    found: dict[str, list[tuple[int, int]]] = {}
    for share in shares:
        first, last = share.stored.grid_numbers(np.array([share.first, share.last])).tolist()
        found.setdefault(share.stored.passports["frames"].video_sha256, []).append((first, last))
    return {sha256: tuple(ranges) for sha256, ranges in found.items()}


def _hold_out(shares: Sequence[Share]) -> tuple[list[tuple[Share, float, float]], list[tuple[Share, float, float]]]:
    """The parts of a half, in shares of their frames, to learn from and to decide what is kept: of three videos and
    more a tenth of the videos, else the last tenth of each."""
    count = max(round(len(shares) * _HELDOUT_SHARE), 1)
    if len(shares) > 2:
        return [(share, 0.0, 1.0) for share in shares[count:]], [(share, 0.0, 1.0) for share in shares[:count]]
    cut = 1 - _HELDOUT_SHARE
    return [(share, 0.0, cut) for share in shares], [(share, cut, 1.0) for share in shares]


@dataclass(frozen=True)
class _Kept:
    """Frames in an open file, one after the other, each (side, side, 3); and of each video its first row there and the
    numbers (n,) of its frames. They are read, not mapped: mapped pages would count as memory of this process."""

    file: BufferedRandom
    side: int
    rows: Mapping[str, tuple[int, Int64]]
    _lock: Lock = field(default_factory=Lock)

    def read(self, first: int, count: int) -> UInt8:
        """Frames (count, side, side, 3)."""
        pixels = np.empty((count, self.side, self.side, 3), np.uint8)
        with self._lock:
            self.file.seek(first * pixels[0].nbytes)
            self.file.readinto(pixels.data)
        return pixels


@contextmanager
def _frames(
    shares: Sequence[Share], plan: ExtractionPlan, side: int, folder: Path, reporter: Reporter
) -> Iterator[_Kept]:
    """The frames of the shares, brought to squares, in a file that is read as it is needed and removed afterwards.

    Of more than 20,000 frames, blocks of 64 are kept that are spread evenly; it is said.
    """
    wanted: dict[str, tuple[StoredVideo, Int64]] = {}
    for share in shares:
        before = wanted.get(share.name, (share.stored, np.zeros(0, np.int64)))[1]
        wanted[share.name] = share.stored, np.union1d(before, share.stored.grid_numbers(share.frame_index))
    total = sum(len(index) for _, index in wanted.values())
    if total > _MAX_FRAMES:
        every = total / _MAX_FRAMES
        wanted = {name: (stored, _blocks(index, every)) for name, (stored, index) in wanted.items()}
        left = sum(len(index) for _, index in wanted.values())
        reporter.say(f"networks of the stream: trained on {left:,} of {total:,} frames, in blocks of {_BLOCK}")
        total = left
    path = folder / CHECKPOINTS / "frames.raw"
    try:
        with _opened(path, total * 3 * side**2) as file:
            rows, at = {}, 0
            with reporter.bar("read frames", total, "frames") as advance:
                for name, (stored, index) in wanted.items():
                    found = _write_frames(stored, index, plan, side, file, advance)
                    rows[name] = at, found
                    at += len(found)
            file.flush()
            yield _Kept(file, side, rows)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path, size: int) -> Iterator[BufferedRandom]:
    """A new file, for which the disk has `size` bytes. Raises FileError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w+b")
    except OSError as error:
        raise cannot("written", path, error) from None
    with file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, max(size, 1))
        except OSError as error:
            raise cannot("written", path, error) from None
        yield file


def _blocks(index: Int64, every: float) -> Int64:
    """Blocks of frames out of those of a video, one in `every`."""
    number = np.arange(len(index)) // _BLOCK
    return index[np.floor((number + 1) / every) > np.floor(number / every)]


def _write_frames(
    stored: StoredVideo, index: Int64, plan: ExtractionPlan, side: int, file: BufferedRandom, advance: Advance
) -> Int64:
    """Append the frames of these numbers as squares; the numbers of those that there were."""
    found: list[int] = []
    with plan.open(stored.video) as source:
        for batch in plan.converted(source, stored.match):
            for row in np.flatnonzero(np.isin(batch.frame_index, index)):
                file.write(to_square(batch.images[row], side).tobytes())
                found.append(int(batch.frame_index[row]))
            advance(len(batch.frame_index))
    return np.array(found, np.int64)


class _Clips:
    """Clips of consecutive frames of some parts of videos."""

    def __init__(self, frames: _Kept, parts: Sequence[tuple[Share, float, float]], length: int) -> None:
        self._frames, self._length = frames, length
        starts = []
        for share, low, high in parts:
            first, index = frames.rows[share.name]
            mine = np.flatnonzero(np.isin(index, share.stored.grid_numbers(share.frame_index)))
            mine = mine[round(low * len(mine)) : round(high * len(mine))]
            ends = mine[length - 1 :]
            whole = (index[ends] - index[mine[: len(ends)]] == length - 1) & (ends - mine[: len(ends)] == length - 1)
            starts.append(first + mine[: len(ends)][whole])
        self._starts = np.concatenate(starts) if starts else np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> UInt8:
        return self._frames.read(int(self._starts[number]), self._length)


class _Shown:
    """The progress of both networks as one bar."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._last = advance, dict[int, PixelProgress]()
        self.stopped = Event()

    def add(self, number: int, progress: PixelProgress) -> None:
        """Raises FitError once `stopped` is set."""
        if self.stopped.is_set():
            raise FitError("training", expected="to end", got="an error in the other network")
        before = self._last.get(number)
        self._last[number] = progress
        known = list(self._last.values())
        lowest = [one.heldout_loss for one in known if one.heldout_loss is not None]
        status = f"loss {progress.loss:.4f}" + (f" held-out {min(lowest):.4f}" if lowest else "")
        steps = progress.step - (before.step if before else 0)
        self._advance(steps, total=2 * progress.num_steps, status=status)
