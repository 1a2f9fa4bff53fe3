"""The processor time that one frame takes, alone and beside frames of other cameras."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.watching.figures import Figure, Result
from benchmarks.watching.footage import decoded
from benchmarks.watching.watcher import quantiles
from mulde.devices import choose_threads, one_core_per_call
from mulde.pipeline.model.loading import load_model
from mulde.pipeline.predictor import stream
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.scoring.frames import score_frames
from mulde.progress import Reporter
from mulde.records import Frames, UInt8, Window

SCORING_MS, TIMES_FILE = 20.0, 2.0
_WARM_UP = 3


def measure(model: Path, clips: Sequence[Path], file_fps: Fraction, num_frames: int, num_cameras: int) -> Result:
    """Frames of the clips as one camera, then as `num_cameras` at the same time with a thread per core; densities and
    what else scores alone, and everything from the picture to the result."""
    predictor = Predictor.open(
        load_model(model, "cpu"), model, ["fusion.smoothing=causal"], "cpu", Reporter(quiet=True)
    )
    fps = stream.scored_rate(predictor)
    step = max(round(float(file_fps) / fps), 1)
    cameras = [list(islice(_in_turns(clip), 0, num_frames * step, step)) for clip in clips[:num_cameras]]
    cameras = [cameras[number % len(cameras)] for number in range(num_cameras)]
    with scoring_times() as scoring_s, one_core_per_call():
        alone_s = _alone(predictor, cameras[0], fps)
        alone_scoring_s = scoring_s[_WARM_UP:]
        scoring_s.clear()
        shared_s = _shared(predictor, cameras, fps)
        shared_scoring_s = scoring_s[_WARM_UP * num_cameras :]
    file_ms = 1000 * _whole_file_s(predictor, cameras[0], fps) / num_frames
    values = {
        "scoring, one camera": [1000 * value for value in alone_scoring_s],
        "everything, one camera": [1000 * value for value in alone_s[_WARM_UP:]],
        f"scoring, {num_cameras} cameras": [1000 * value for value in shared_scoring_s],
        f"everything, {num_cameras} cameras": [1000 * value / num_cameras for value in shared_s[_WARM_UP:]],
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


@contextmanager
def scoring_times() -> Iterator[list[float]]:
    """The CPU time of the thread that scored a frame, of each frame that is scored in the block."""
    score, times_s = stream.score_frames, list[float]()

    def timed(*arguments: Any) -> Any:
        began_s = time.thread_time()
        result = score(*arguments)
        times_s.append(time.thread_time() - began_s)
        return result

    stream.score_frames = timed
    try:
        yield times_s
    finally:
        stream.score_frames = score


def _alone(predictor: Predictor, images: Sequence[UInt8], fps: float) -> list[float]:
    scorer, times_s = stream.FrameScorer(predictor), []
    for number, image in enumerate(images):
        began_s = time.process_time()
        list(scorer.push(image, number / fps))
        times_s.append(time.process_time() - began_s)
    return times_s


def _shared(predictor: Predictor, cameras: Sequence[Sequence[UInt8]], fps: float) -> list[float]:
    """Of each round: one frame of each camera."""
    scorers, times_s = [stream.FrameScorer(predictor) for _ in cameras], []
    with ThreadPoolExecutor(choose_threads("cpu")) as pool:
        for number, images in enumerate(zip(*cameras, strict=True)):
            began_s = time.process_time()
            list(pool.map(lambda scorer, image, at_s=number / fps: list(scorer.push(image, at_s)), scorers, images))
            times_s.append(time.process_time() - began_s)
    return times_s


def _whole_file_s(predictor: Predictor, images: Sequence[UInt8], fps: float) -> float:
    """All frames in one call, as those of a file are."""
    plan, bundle, numbers = predictor.plan, predictor.bundle, np.arange(len(images))
    window = Window(Frames(np.stack(images), numbers, numbers / fps), 0, len(images))
    with one_core_per_call():
        assert plan.regions is not None
        regions = plan.regions.find(window)
        tables = {extractor.name: extractor.extract(window, regions) for extractor in plan.extractors}
        began_s = time.thread_time()
        score_frames(tables.__getitem__, window.core_index, bundle.streams, bundle.settings.fusion.combine)
        return time.thread_time() - began_s
