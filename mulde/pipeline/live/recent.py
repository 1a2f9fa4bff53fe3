"""The last seconds of a camera: scores, rows and pictures, from which an alert gets its reason and its picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mulde.pipeline.live.hourly_scores import FramePlace
from mulde.pipeline.predictor.stream import DescribedFrame, ScoredFrame
from mulde.records import FeatureTable, Regions, ScoredVideo, ScoreTrack, UInt8

PICTURES_S = 3.0
"""How long pictures are kept; rows are small."""


@dataclass(frozen=True)
class RecentFrame:
    """A scored frame. place: in the video of its hour; picture: (H, W, 3) as it was worked on, None where it is too
    long ago."""

    place: FramePlace
    scored: ScoredFrame
    described: DescribedFrame
    picture: UInt8 | None


class RecentFrames:
    """The frames of one session of a camera in the last span_s seconds, in order.

    What reasons are made from (`mulde.pipeline.events.attribution.DescribedVideo`). As scores are causal, the frames up
    to a peak are all that its reason needs: a copy made then stays enough, however long the event goes on.
    """

    def __init__(self, span_s: float) -> None:
        self.span_s, self.size_hw = span_s, (0, 0)
        self._frames: deque[RecentFrame] = deque()

    def add(self, place: FramePlace, scored: ScoredFrame, described: DescribedFrame) -> None:
        """Add the newest frame; what is too old goes."""
        picture = described.picture
        self.size_hw = (picture.shape[0], picture.shape[1])
        bare = replace(described, picture=np.zeros((0, 0, 3), np.uint8))
        self._frames.append(RecentFrame(place, scored, bare, picture))
        while place.time_s - self._frames[0].place.time_s > self.span_s:
            self._frames.popleft()
        for i, frame in enumerate(self._frames):
            if place.time_s - frame.place.time_s <= PICTURES_S:
                break
            if frame.picture is not None:
                self._frames[i] = replace(frame, picture=None)

    def copy(self) -> RecentFrames:
        """The frames as they are now."""
        copy = RecentFrames(self.span_s)
        copy.size_hw, copy._frames = self.size_hw, self._frames.copy()
        return copy

    def clear(self) -> None:
        """Forget all frames, at the end of a session."""
        self._frames.clear()

    def __len__(self) -> int:
        return len(self._frames)

    def picture(self, frame_index: int) -> UInt8 | None:
        """The picture (H, W, 3) of a frame of the video of the hour; None where it is too long ago."""
        return next((frame.picture for frame in self._frames if frame.place.frame_index == frame_index), None)

    def features(self, extractor: str) -> FeatureTable:
        """The rows of one stream."""
        return _joined(
            [
                replace(table, frame_index=np.full(len(table), frame.place.frame_index, np.int64))
                for frame in self._frames
                if (table := frame.described.tables.get(extractor)) is not None
            ]
        )

    def regions(self) -> Regions | None:
        """The boxes."""
        found = [
            replace(boxes, frame_index=np.full(len(boxes), frame.place.frame_index, np.int64))
            for frame in self._frames
            for boxes in (frame.described.regions,)
        ]
        columns = ("box_xyxy", "frame_index", "confidence", "class_id")
        return Regions(*(np.concatenate([getattr(one, name) for one in found]) for name in columns))

    def scored(self, video: str, sigma_frames: float, rate: float) -> ScoredVideo:
        """The frames as a causally scored video."""
        frames = list(self._frames)
        scores = [frame.scored for frame in frames]
        track = ScoreTrack(
            video,
            np.array([frame.place.frame_index for frame in frames], np.int64),
            np.array([frame.place.time_s for frame in frames]),
            np.array([score.fused for score in scores]),
            np.array([score.anomaly_score for score in scores]),
            {name: np.array([score.streams[name] for score in scores]) for name in scores[-1].streams},
        )
        return ScoredVideo(track, sigma_frames, 0, rate, is_causal=True)


def _joined(tables: Sequence[FeatureTable]) -> FeatureTable:
    first = tables[0]
    return FeatureTable(
        np.concatenate([table.values for table in tables]),
        np.concatenate([table.frame_index for table in tables]),
        None if first.box_xyxy is None else np.concatenate([t.box_xyxy for t in tables if t.box_xyxy is not None]),
        None if first.track_id is None else np.concatenate([t.track_id for t in tables if t.track_id is not None]),
    )
