"""The frames of one camera into scores, session by session."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mulde.errors import MuldeError, sentence
from mulde.pipeline.live.frames import LiveFrame
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.predictor.stream import DescribedFrame, FrameScorer, ScoredFrame
from mulde.pipeline.scoring.frames import score_described

_NOTHING = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class LiveResult:
    """The scores of a frame of a camera, which no longer holds its image, and what they were made of."""

    frame: LiveFrame
    scored: ScoredFrame
    described: DescribedFrame


@dataclass(frozen=True)
class Described:
    """Frames of one camera that wait for their scores, and the scorer that gives the results then."""

    scorer: FrameScorer
    frames: tuple[LiveFrame, ...]
    described: tuple[DescribedFrame, ...]


class CameraScorer:
    """Describes the frames of a camera; called by one thread at a time.

    No flow and no smoothing runs from one session into the next. `refusal` says why the frames of `session`, the
    running one, cannot be scored, as when they have another size than the model learnt; `failure` says what went wrong
    with one that nobody foresaw, behind which the session is begun again.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.refusal = self.failure = ""
        self.session = 0
        self._scorer: FrameScorer | None = None
        self._waiting: deque[LiveFrame] = deque()
        self._last_s = -1.0

    def take(self, frame: LiveFrame) -> list[Described]:
        """What can be scored with a frame, in order, that of an earlier session first."""
        described: list[Described] = []
        if frame.session != self.session:
            described = self.end_session()
            self.session, self._last_s, self.refusal = frame.session, -1.0, ""
        if self.refusal or frame.time_s <= self._last_s:  # the latter: sent again
            return described
        self._last_s = frame.time_s
        scorer = self._scorer = self._scorer or FrameScorer(self.predictor, start_s=0.0, name=frame.camera)
        self._waiting.append(replace(frame, image=_NOTHING))
        return described + self._paired(scorer, lambda: scorer.describe(frame.image, frame.time_s, frame.number))

    def end_session(self) -> list[Described]:
        """What is left, as no frame follows, or none that flow and smoothing may run into."""
        scorer, self._scorer = self._scorer, None
        described = [] if scorer is None else self._paired(scorer, scorer.describe_rest)
        self._waiting.clear()
        return described

    def fail(self, error: Exception, camera: str) -> None:
        """Nothing that waits counts any more: as its frames cannot be scored, or by an error that nobody foresaw."""
        if isinstance(error, MuldeError):
            self.refusal = str(error)
        else:
            self.failure = str(sentence(error, camera))
        self._scorer = None
        self._waiting.clear()

    def _paired(self, scorer: FrameScorer, describe: Callable[[], list[DescribedFrame]]) -> list[Described]:
        """What is ready with its frames; where that fails, nothing that waits counts any more."""
        try:
            ready = describe()
        except Exception as error:
            self.fail(error, self._waiting[0].camera)
            return []
        frames = tuple(self._waiting.popleft() for _ in ready)
        return [Described(scorer, frames, tuple(ready))] if ready else []


def score_together(described: Sequence[Described], predictor: Predictor) -> list[LiveResult]:
    """The results of frames of cameras that share a model, in their order: one call of each density for all rows."""
    together = [one.tables for each in described for one in each.described]
    scores = iter(score_described(together, predictor.bundle))
    results = []
    for each in described:
        own = [next(scores) for _ in each.described]
        scored = each.scorer.results(each.described, own)
        results += [LiveResult(*one) for one in zip(each.frames, scored, each.described, strict=True)]
    return results


def score_frames_of(taken: Sequence[tuple[str, CameraScorer, LiveFrame]]) -> dict[str, list[LiveResult]]:
    """The results of frames of cameras that share a model, by camera."""
    described = {name: scorer.take(frame) for name, scorer, frame in taken}
    by_camera: dict[str, list[LiveResult]] = {name: [] for name in described}
    try:
        results = score_together([one for each in described.values() for one in each], taken[0][1].predictor)
    except Exception as error:  # a frame of each is lost; the next ones are tried
        for name, scorer, _ in taken:
            scorer.fail(error, name)
        return by_camera
    for result in results:
        by_camera[result.frame.camera].append(result)
    return by_camera
