"""The frames of one camera into scores, session by session."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mulde.errors import MuldeError
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

    No flow and no smoothing runs from one session into the next. `refusal` says why the frames of the running session
    cannot be scored, as when they have another size than the model learnt.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.refusal = ""
        self._session = 0
        self._scorer: FrameScorer | None = None
        self._waiting: deque[LiveFrame] = deque()
        self._last_s = -1.0

    def take(self, frame: LiveFrame) -> list[LiveResult]:
        """The results that are ready with a frame, in order, those of an earlier session first."""
        results: list[LiveResult] = []
        if frame.session != self._session:
            results = self.end_session()
            self._session, self._last_s, self.refusal = frame.session, -1.0, ""
            self._scorer = FrameScorer(self.predictor, start_s=0.0)
        if self.refusal or self._scorer is None or frame.time_s <= self._last_s:  # sent again
            return results
        self._last_s = frame.time_s
        self._waiting.append(frame)
        try:
            for scored in self._scorer.push(frame.image, frame.time_s):
                results.append(self._result(scored, self._scorer))
        except MuldeError as error:
            self.refusal = str(error)
            self._scorer = None
            self._waiting.clear()
        return results

    def end_session(self) -> list[LiveResult]:
        """The results that are left, as no frame follows."""
        scorer, self._scorer = self._scorer, None
        results = [] if scorer is None else [self._result(scored, scorer) for scored in scorer.flush()]
        self._waiting.clear()
        return results

    def _result(self, scored: ScoredFrame, scorer: FrameScorer) -> LiveResult:
        assert scorer.described is not None, "it was just scored"
        return LiveResult(self._waiting.popleft(), scored, scorer.described)
