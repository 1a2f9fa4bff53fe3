"""Normal footage as a model scores it: new videos as ever, those that it was trained on by the fold that has not seen
them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mulde.evaluation.conformal import FrameReference
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle
from mulde.pipeline.model.training_record import NormalPart
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.scoring.frames import score_video
from mulde.pipeline.scoring.threshold import AlarmRule, events_above
from mulde.records import Analysed, Float64, ScoredVideo, ScoreTrack


@dataclass(frozen=True)
class UnitScores:
    """What a model makes of a video, or of a part that was held out together.

    num_alarms: events at its level; alarm_share: of the time that lies in them; mean_p: of its frames among
    held-out normal ones, None where there are no others; streams: the scores (T,) of its frames by stream.
    """

    video: str
    hours: float
    num_alarms: int
    alarm_share: float
    mean_p: float | None
    streams: Mapping[str, Float64]
    is_own: bool


@dataclass(frozen=True)
class OwnFootage:
    """The videos that a model was trained on, by content: SHA-256 -> its name in the training. is_known: whether the
    model says so, as older ones do not."""

    names: Mapping[str, str]
    is_known: bool

    @classmethod
    def of(cls, bundle: Bundle) -> OwnFootage:
        sha256 = bundle.training.video_sha256
        return cls({digest: name for name, digest in sha256.items()}, bool(sha256))

    def name(self, stored: StoredVideo) -> str | None:
        """What the training called a video; None for one that is new to the model."""
        return self.names.get(stored.passports["frames"].video_sha256)


def unit_scores(stored: StoredVideo, predictor: Predictor, alarm: AlarmRule, own: OwnFootage) -> Iterator[UnitScores]:
    """The scores of a video; of one that the model was trained on, those of its held-out parts, which may be none."""
    name = own.name(stored)
    if name is None:
        scored = predictor.score(stored)
        yield _unit(scored, alarm, scored.track.p_value, is_own=False)
        return
    bundle = predictor.bundle
    scored_by_fold: dict[int, ScoredVideo] = {}
    for part in bundle.training.normal_parts:
        if part.video != name:
            continue
        if part.fold not in scored_by_fold:
            scored_by_fold[part.fold] = score_video(stored, of_fold(bundle, part.fold))
        scored = _inside(scored_by_fold[part.fold], part)
        if len(scored.track):
            yield _unit(scored, alarm, _p_values(scored, part, bundle), is_own=True)


def of_fold(bundle: Bundle, fold: int) -> Bundle:
    """A bundle whose streams score with the densities of one fold alone, on the scale of all."""
    streams = {name: replace(stream, densities=(stream.densities[fold],)) for name, stream in bundle.streams.items()}
    return replace(bundle, streams=streams)


def _inside(scored: ScoredVideo, part: NormalPart) -> ScoredVideo:
    """The frames of a part. Smoothing has looked a little beyond its ends."""
    track = scored.track
    rows = (track.frame_index >= part.start_frame) & (track.frame_index < part.end_frame)
    inside = ScoreTrack(
        track.video,
        track.frame_index[rows],
        track.time_s[rows],
        track.fused[rows],
        track.smoothed[rows],
        {name: values[rows] for name, values in track.streams.items()},
    )
    analysed = scored.analysed and Analysed(scored.analysed.number[rows], scored.analysed.rate)
    return replace(scored, track=inside, analysed=analysed)


def _p_values(scored: ScoredVideo, part: NormalPart, bundle: Bundle) -> Float64 | None:
    """Among the held-out frames of all other parts, as its own ones are among those that new video is held against."""
    fusion = bundle.settings.fusion
    normal = zip(bundle.normal, bundle.smoothed_normal[fusion.smoothing], strict=True)
    others = [video for name, video in normal if name != part.name and video.scores.size]
    if not others:
        return None
    stretch_s = max(bundle.settings.alarms.merge_gap_s, 4 * fusion.smoothing_s)
    return FrameReference.of(others, stretch_s=stretch_s).p_values(scored.track.smoothed)


def _unit(scored: ScoredVideo, alarm: AlarmRule, p_value: Float64 | None, *, is_own: bool) -> UnitScores:
    track = scored.track
    alarms = list(events_above(track, scored.rate, alarm.threshold.level, alarm.rules, scored.analysed))
    inside = np.zeros(len(track), np.bool_)
    for event in alarms:
        inside |= (track.frame_index >= event.start_frame) & (track.frame_index < event.end_frame)
    rows = np.ones(len(track), np.bool_) if scored.analysed is None else scored.analysed.own
    return UnitScores(
        track.video,
        len(track) / scored.rate / 3600,
        len(alarms),
        float(inside.mean()),
        None if p_value is None else float(p_value[rows].mean()),
        {name: values[rows] for name, values in track.streams.items()},
        is_own,
    )


def ks_distance(scores: Sequence[Float64], bundle: Bundle, stream: str) -> float | None:
    """The largest difference between the shares of frames that reach a score, here and in held-out normal video: from 0
    (the same) to 1. None for models of versions that kept no such shares."""
    surprise = bundle.streams[stream].surprise
    if surprise is None or not len(scores):
        return None
    pooled = np.sort(np.concatenate(scores))
    levels = np.sqrt(2 * surprise.neg_log_p)  # what the scores of the stream are where so many normal frames reach them
    reached = 1 - np.searchsorted(pooled, levels - 1e-9, side="left") / len(pooled)
    return float(np.abs(reached - np.exp(-surprise.neg_log_p)).max(initial=0.0))
