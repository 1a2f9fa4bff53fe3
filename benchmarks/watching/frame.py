"""The processor time that one frame takes, alone and beside frames of other cameras."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.watching.figures import Figure, Result
from benchmarks.watching.footage import decoded
from benchmarks.watching.watcher import quantiles
from mulde.devices import one_core_per_call
from mulde.pipeline.model.loading import load_model
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.predictor.stream import FrameScorer, scored_rate
from mulde.pipeline.scoring.frames import score_described, score_frames
from mulde.progress import Reporter
from mulde.records import Frames, Regions, UInt8, Window

SCORING_MS, TIMES_FILE = 20.0, 2.0
_WARM_UP = 3


def measure(model: Path, clips: Sequence[Path], file_fps: Fraction, num_frames: int, num_cameras: int) -> Result:
    """Frames of the clips as one camera, then as `num_cameras` whose frames are scored together: densities alone, and
    everything from the picture to the result."""
    predictor = Predictor.open(
        load_model(model, "cpu"), model, ["fusion.smoothing=causal"], "cpu", Reporter(quiet=True)
    )
    fps = scored_rate(predictor)
    step = max(round(float(file_fps) / fps), 1)
    cameras = [list(islice(_in_turns(clip), 0, num_frames * step, step)) for clip in clips[:num_cameras]]
    cameras = [cameras[number % len(cameras)] for number in range(num_cameras)]
    with one_core_per_call():
        alone, shared = _timed(predictor, cameras[:1], fps), _timed(predictor, cameras, fps)
        file_ms = 1000 * _whole_file_s(predictor, cameras[0], fps) / num_frames
    values = {
        f"{what}, {of}": [1000 * times[which] for times in measured]
        for of, measured in (("one camera", alone), (f"{num_cameras} cameras", shared))
        for which, what in enumerate(("scoring", "everything"))
    }
    figures = []
    for name, ms in values.items():
        limit = SCORING_MS if name == "scoring, one camera" else None
        figures += [Figure(f"{name}, CPU {which}, ms", value, limit) for which, value in quantiles(ms).items()]
    figures.append(Figure("scoring, whole file, CPU, ms", file_ms))
    shared_ms = float(np.median(values[f"scoring, {num_cameras} cameras"]))
    figures.append(Figure(f"scoring, {num_cameras} cameras / whole file", shared_ms / file_ms, TIMES_FILE))
    folds = predictor.bundle.settings.fusion.folds
    streams = [entry.name for entry in predictor.plan.extractors]
    return Result("frame", tuple(figures), {"frames": num_frames, "fps": fps, "folds": folds, "streams": streams})


def _in_turns(clip: Path) -> Iterator[UInt8]:
    while True:
        yield from decoded(clip)


def _timed(predictor: Predictor, cameras: Sequence[Sequence[UInt8]], fps: float) -> list[tuple[float, float]]:
    """Of each round, which is one frame of each camera: the CPU time of the process per frame, of scoring alone and of
    everything. As the loop that watches does it, cameras share a call of each density."""
    scorers, times_s = [FrameScorer(predictor) for _ in cameras], []
    for number, images in enumerate(zip(*cameras, strict=True)):
        began_s = time.process_time()
        described = [
            scorer.describe(image, number / fps, number) for scorer, image in zip(scorers, images, strict=True)
        ]
        described_s = time.process_time()
        scores = iter(score_described([one.tables for each in described for one in each], predictor.bundle))
        scored_s = time.process_time()
        for scorer, each in zip(scorers, described, strict=True):
            list(scorer.results(each, [next(scores) for _ in each]))
        times_s.append(((scored_s - described_s) / len(cameras), (time.process_time() - began_s) / len(cameras)))
    return times_s[_WARM_UP:]


def _whole_file_s(predictor: Predictor, images: Sequence[UInt8], fps: float) -> float:
    """All frames in one call, as those of a file are."""
    plan, bundle, numbers = predictor.plan, predictor.bundle, np.arange(len(images))
    window = Window(Frames(np.stack(images), numbers, numbers / fps), 0, len(images))
    regions = plan.regions.find(window) if plan.regions else Regions.empty()
    tables = {extractor.name: extractor.extract(window, regions) for extractor in plan.extractors}
    began_s = time.process_time()
    score_frames(tables.__getitem__, window.core_index, bundle.streams, bundle.settings.fusion.combine)
    return time.process_time() - began_s
