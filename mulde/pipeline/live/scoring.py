"""The frames of one camera into scores, session by session."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from mulde.errors import MuldeError, sentence
from mulde.pipeline.live.frames import LiveFrame
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.predictor.stream import DescribedFrame, FrameScorer, ScoredFrame


@dataclass(frozen=True)
class LiveResult:
    """The scores of a frame of a camera, and what they were made of. image: no longer in `frame`."""

    frame: LiveFrame
    scored: ScoredFrame
    described: DescribedFrame


class CameraScorer:
    """Scores the frames of a camera; called by one thread at a time.

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

    def take(self, frame: LiveFrame) -> list[LiveResult]:
        """The results that are ready with a frame, in order, those of an earlier session first."""
        results: list[LiveResult] = []
        if frame.session != self.session:
            results = self.end_session()
            self.session, self._last_s, self.refusal = frame.session, -1.0, ""
        if self.refusal or frame.time_s <= self._last_s:  # the latter: sent again
            return results
        self._last_s = frame.time_s
        scorer = self._scorer = self._scorer or FrameScorer(self.predictor, start_s=0.0, name=frame.camera)
        self._waiting.append(frame)
        self._collect(scorer, partial(scorer.push, frame.image, frame.time_s), results)
        return results

    def end_session(self) -> list[LiveResult]:
        """The results that are left, as no frame follows."""
        scorer, self._scorer = self._scorer, None
        results: list[LiveResult] = []
        if scorer is not None:
            self._collect(scorer, scorer.flush, results)
        self._waiting.clear()
        return results

    def _collect(
        self, scorer: FrameScorer, ready: Callable[[], Iterator[ScoredFrame]], results: list[LiveResult]
    ) -> None:
        """Add what is ready; where that fails, what was ready before counts."""
        try:
            for scored in ready():
                assert scorer.described is not None, "it was just scored"
                results.append(LiveResult(self._waiting.popleft(), scored, scorer.described))
        except Exception as error:
            if isinstance(error, MuldeError):
                self.refusal = str(error)
            else:
                self.failure = str(sentence(error, self._waiting[0].camera))
            self._scorer = None
            self._waiting.clear()
