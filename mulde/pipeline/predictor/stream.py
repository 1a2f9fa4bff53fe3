"""Causal scores of frames as they come: those that the same frames have in a file, smoothed over the past alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from mulde.devices import one_core_per_call
from mulde.errors import RecordError, UsageError
from mulde.evaluation.conformal import FrameReference
from mulde.evaluation.smoothing import causal_length, smooth
from mulde.extractors.base import Extractor
from mulde.extractors.registry import known_extractor
from mulde.images import resized, shrunk, shrunk_size
from mulde.media.reader import size_changed
from mulde.pipeline.model.world import Match, World, match
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.scoring.frames import FrameScores, score_described
from mulde.pipeline.scoring.regions import region_scores
from mulde.records import FeatureTable, Frames, Regions, RegionScores, UInt8, Window


@dataclass(frozen=True)
class ScoredObject:
    """An object in a frame and how unusual it is; higher = more anomalous.

    box_xyxy: x0, y0, x1, y1 in pixels of the frames as they were worked on, which are the given ones unless the model
    learnt another size. streams: the score by kind of feature, NaN where one has nothing to say of the object.
    """

    box_xyxy: tuple[float, float, float, float]
    anomaly_score: float
    streams: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredFrame:
    """What is known of a frame once its result comes.

    frame_index: from 0 up, as the frames came; time_s: as it was given. anomaly_score: smoothed over this frame and
    those before it; higher = more anomalous. p_value: its rank among causal scores of held-out normal video, None where
    the model keeps none; lower = more anomalous. fused: the unsmoothed score; streams: its parts by kind of feature.
    """

    frame_index: int
    time_s: float
    anomaly_score: float
    p_value: float | None
    objects: tuple[ScoredObject, ...]
    fused: float
    streams: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DescribedFrame:
    """What a frame was scored by: its picture as it was worked on (H, W, 3), its boxes, and its rows by stream, all
    under the number `number`."""

    number: int
    picture: UInt8
    regions: Regions
    tables: Mapping[str, FeatureTable]


@dataclass(frozen=True)
class _Waiting:
    """A frame whose result is still to come; `is_kept`: it is worked on, not left out for the rate."""

    frame_index: int
    time_s: float
    is_kept: bool


class FrameScorer:
    """Takes frames one by one and gives their results in order, each once nothing that comes later can change it.

    delay: how many frames later that is, once as many frames have passed as the features look back. rate: frames per
    second; None: the rate that the model learnt. start_s: where the grid of frames that are looked at begins; None: at
    the first frame. name: for messages. Memory holds the frames that the features look at, and the scores that
    smoothing looks back to. Raises UsageError for a model whose features need whole videos.
    """

    def __init__(
        self, predictor: Predictor, rate: float | None = None, start_s: float | None = None, name: str = "stream"
    ) -> None:
        _refuse_whole_videos(predictor)
        bundle, plan, self.name = predictor.bundle, predictor.plan, name
        self.predictor, self.delay = predictor, max(map(_delay, plan.extractors), default=0)
        self._rate_is_known, self.rate = rate is not None, _rate(predictor, rate)
        alarms, fusion = bundle.settings.alarms, bundle.settings.fusion
        self._frames_per_s = self.rate  # that are scored
        self._past: deque[tuple[float, float]] = deque()  # scores and times, in frames, that smoothing looks back to
        self._smoothed = 0.0
        normal = bundle.smoothed_normal["causal"]
        moment_s = max(alarms.merge_gap_s, 4 * fusion.smoothing_s)
        self._reference = FrameReference.of(normal, stretch_s=moment_s) if normal else None
        self._size_hw: tuple[int, int] | None = None
        self._match = Match()
        self._num_frames, self._start_s, self._last_s, self._last_number = 0, start_s, -np.inf, -1
        self._waiting: deque[_Waiting] = deque()
        self._held: deque[tuple[UInt8, int, float]] = deque()  # kept frames: pictures, numbers and times
        self._num_dropped = self._num_scored = 0  # of the kept frames
        self._scores: FrameScores | None = None
        self._regions: RegionScores | None = None

    def push(self, image: UInt8, time_s: float) -> Iterator[ScoredFrame]:
        """Take the next frame, image (H, W, 3) RGB uint8 at time_s seconds, and give the results that are ready.

        Raises RecordError for an array of another kind or a time that is not after the last one, VideoError for a frame
        of another size than the first one and for a size or rate that the model cannot be brought to.
        """
        self._take(image, time_s, None)
        return self._ready(at_end=False)

    def flush(self) -> Iterator[ScoredFrame]:
        """The results that are left when no frame comes any more."""
        return self._ready(at_end=True)

    def describe(self, image: UInt8, time_s: float, number: int) -> list[DescribedFrame]:
        """Take the next frame, as `push` does, under a number on the grid of frames that are looked at; what those are
        scored by that can be now. `results` must follow with their scores."""
        self._take(image, time_s, number)
        return self.describe_rest(at_end=False)

    def describe_rest(self, *, at_end: bool = True) -> list[DescribedFrame]:
        """What the frames are scored by that wait; at_end: no frame follows."""
        described = []
        while (at_end and self._num_dropped + len(self._held) > self._num_scored) or self._can_score():
            described.append(self._describe_next())
        return described

    def results(self, described: Sequence[DescribedFrame], scores: Sequence[FrameScores]) -> Iterator[ScoredFrame]:
        """The results of frames that were described, and of those behind them that repeat theirs."""
        yield from self._repeated()
        for one, score in zip(described, scores, strict=True):
            frame = self._waiting.popleft()
            how = self.predictor.bundle.settings.fusion.combine
            self._scores = score
            height, width = one.picture.shape[:2]
            self._regions = region_scores(self.name, (height, width), score.rows, how) if score.rows else None
            self._smooth(frame.time_s)
            yield self._result(frame)
            yield from self._repeated()

    def _take(self, image: UInt8, time_s: float, number: int | None) -> None:
        image = self._checked(image, time_s)
        conversion = self._match.conversion
        if number is None:
            number = self._num_frames
            if conversion is not None and conversion.thins:
                number = int(conversion.numbers(np.array([time_s - (self._start_s or 0.0)]))[0])
        is_kept = number > self._last_number
        self._waiting.append(_Waiting(self._num_frames, time_s, is_kept))
        self._num_frames += 1
        if is_kept:
            self._last_number = number
            picture = image if conversion is None else resized(image, conversion.size_hw)
            self._held.append((np.array(picture), number, time_s))  # a copy: the caller may reuse the array

    def _ready(self, *, at_end: bool) -> Iterator[ScoredFrame]:
        yield from self._repeated()
        while (at_end and self._num_dropped + len(self._held) > self._num_scored) or self._can_score():
            with one_core_per_call():
                described = [self._describe_next()]
                scores = score_described([one.tables for one in described], self.predictor.bundle)
            yield from self.results(described, scores)

    def _repeated(self) -> Iterator[ScoredFrame]:
        """Of the frames that wait in front of the next one to be scored: they were left out for the rate."""
        while self._waiting and not self._waiting[0].is_kept:
            yield self._result(self._waiting.popleft())

    def _checked(self, image: UInt8, time_s: float) -> UInt8:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            got = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise RecordError(f"frame {self._num_frames}", expected="RGB uint8 of shape (H, W, 3)", got=got)
        if not (np.isfinite(time_s) and time_s > self._last_s):
            expected = "seconds after those of the frame before" if self._num_frames else "seconds"
            raise RecordError(f"time of frame {self._num_frames}", expected=expected, got=time_s)
        self._last_s = time_s
        if self._size_hw is None:
            self._size_hw, self._start_s = image.shape[:2], time_s if self._start_s is None else self._start_s
            self._match = self._matched(shrunk_size(self._size_hw, self.predictor.settings.video.working_size_px))
            if (conversion := self._match.conversion) is not None and conversion.thins:
                self._frames_per_s = float(conversion.rate)
        if image.shape[:2] != self._size_hw:
            raise size_changed(Path(self.name), self._size_hw, image.shape[:2])
        return shrunk(image, self.predictor.settings.video.working_size_px)

    def _matched(self, size_hw: tuple[int, int]) -> Match:
        world, how = self.predictor.bundle.world or World(), self.predictor.settings.video.match_training
        rate = Fraction(self.rate).limit_denominator(100_000)
        how_to_match = match(
            world,
            Path(self.name),
            size_hw,
            rate,
            how,
            rate_is_known=self._rate_is_known,
            analysis_fps=self.predictor.settings.video.analysis_fps,
        )
        for remark in how_to_match.remarks:
            self.predictor.reporter.warn(f"{self.name}: {remark}")
        return how_to_match

    def _ahead(self) -> int:
        """How many frames behind it the next frame needs: the first frames, which have no past, may need more."""
        plan = self.predictor.plan
        return plan.after if self._num_scored < plan.before else self.delay

    def _can_score(self) -> bool:
        return self._num_dropped + len(self._held) > self._num_scored + self._ahead()

    def _describe_next(self) -> DescribedFrame:
        plan = self.predictor.plan
        row = self._num_scored - self._num_dropped
        pictures, numbers, times_s = zip(*list(self._held)[: row + 1 + self._ahead()], strict=True)
        frames = Frames(np.stack(pictures), np.array(numbers, np.int64), np.array(times_s, np.float64))
        window = Window(frames, row, row + 1)
        regions = plan.regions.find(window) if plan.regions else Regions.empty()
        tables = {extractor.name: extractor.extract(window, regions) for extractor in plan.extractors}
        self._num_scored += 1
        while self._num_dropped < self._num_scored - plan.before:
            self._held.popleft()
            self._num_dropped += 1
        return DescribedFrame(int(numbers[row]), pictures[row], regions, tables)

    def _smooth(self, time_s: float) -> None:
        """Take the score of the frame that was scored last; those that are left out for the rate repeat its result."""
        assert self._scores is not None
        self._past.append((float(self._scores.fused[0]), time_s * self._frames_per_s))
        sigma_frames = self.predictor.settings.fusion.smoothing_s * self._frames_per_s
        while self._past[-1][1] - self._past[0][1] > causal_length(sigma_frames) - 0.5:
            self._past.popleft()
        scores, times = np.array(self._past).T
        self._smoothed = float(smooth(scores, sigma_frames, "causal", times)[-1])

    def _result(self, frame: _Waiting) -> ScoredFrame:
        assert self._scores is not None
        p_value = None if self._reference is None else float(self._reference.p_values(np.array([self._smoothed]))[0])
        return ScoredFrame(
            frame.frame_index,
            frame.time_s,
            self._smoothed,
            p_value,
            () if self._regions is None else tuple(_objects(self._regions)),
            float(self._scores.fused[0]),
            {name: float(values[0]) for name, values in self._scores.streams.items()},
        )


def _objects(regions: RegionScores) -> Iterator[ScoredObject]:
    for i, corners in enumerate(regions.box_xyxy.tolist()):
        streams = {name: float(values[i]) for name, values in regions.streams.items()}
        yield ScoredObject((corners[0], corners[1], corners[2], corners[3]), float(regions.anomaly_score[i]), streams)


def _delay(extractor: Extractor) -> int:
    """How many frames behind a frame an extractor looks at, once there are enough before it."""
    return int(getattr(extractor, "after_with_past", extractor.after))


def scored_rate(predictor: Predictor) -> float:
    """Frames per second that a model looks at, as far as it can be said without a camera: those that it learnt."""
    return float(predictor.settings.video.analysis_fps or _rate(predictor, None))


def _rate(predictor: Predictor, rate: float | None) -> float:
    if rate is not None:
        if not (np.isfinite(rate) and rate > 0):
            raise UsageError("rate of a stream", expected="frames per second above 0", got=rate)
        return float(rate)
    world = predictor.bundle.world
    if world is None:
        raise UsageError(
            "rate of a stream", expected="frames per second, as this model does not know those of its training"
        )
    return world.rates[0].rate if world.rates else predictor.settings.video.frame_rate


def _refuse_whole_videos(predictor: Predictor) -> None:
    settings = predictor.settings
    on_tracks = ", ".join(name for name in settings.features.extractors if known_extractor(name).needs_tracks)
    needs: tuple[tuple[bool, str], ...] = (
        (bool(settings.features.imported), "features that were made elsewhere (features.imported)"),
        ("imported" in settings.regions.finders, "boxes that were made elsewhere (regions.finders)"),
        (settings.tracks.average_frames > 0, "averages along tracks (tracks.average_frames), which need whole videos"),
        (bool(on_tracks), f"features of tracks ({on_tracks}), which need whole videos"),
    )
    for is_needed, what in needs:
        if is_needed:
            raise UsageError(f"a stream cannot be scored by this model: it has {what}", hint="score finished files")
