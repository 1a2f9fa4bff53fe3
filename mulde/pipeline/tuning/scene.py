"""What normal footage looks like to somebody who inserts something into it: who goes where, how fast and how large."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mulde.errors import FitError
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.training.folds import Share
from mulde.records import Bool, Float64

_MIN_TRACK_S, _SMOOTH_S, _STEP_S = 1.0, 0.2, 0.4
_MIN_CONFIDENCE = 0.5
MIN_HEIGHT_PX = 12.0
"""Of what is inserted."""
_STILL = 0.15  # of the usual speed


@dataclass(frozen=True)
class Track:
    """One object in consecutive frames from `first` on: foot (n, 2) x and y of its ground point, size (n, 2) width and
    height of its box, all in pixels, smoothed; n >= 2. unsteady: how far the boxes' sides are from that (standard
    deviation), in heights."""

    video: str
    first: int
    foot: Float64
    size: Float64
    unsteady: float = 0.0

    def __len__(self) -> int:
        return len(self.foot)

    @property
    def height(self) -> float:
        return float(np.median(self.size[:, 1]))

    @property
    def net(self) -> Float64:
        """The way (2,) from its first to its last ground point, pixels."""
        return np.asarray(self.foot[-1] - self.foot[0])

    @property
    def speed(self) -> float:
        """Net pixels per frame."""
        return float(np.hypot(*self.net)) / (len(self) - 1)

    def at(self, time: Float64, *, beyond: bool) -> tuple[Float64, Float64]:
        """Foot (T, 2) and size (T, 2) at times (T,), in frames from its first on. beyond: outside of its frames it goes
        on at its mean velocity; else it stands."""
        index = np.arange(len(self))
        foot, size = (
            np.stack([np.interp(time, index, values[:, i]) for i in (0, 1)], axis=1)
            for values in (self.foot, self.size)
        )
        if beyond:
            outside = np.minimum(time, 0) + np.maximum(time - index[-1], 0)
            foot += outside[:, None] * self.net / index[-1]
        return foot, size


@dataclass(frozen=True)
class Scene:
    """size_hw and rate of the frames; tracks that go somewhere; where feet have been, by cells of `cell_px`; usual and
    fastest speed in heights per frame (median and 99th percentile); still: the share of the time in which tracks hardly
    move; slope and offset: a height in pixels is slope * y + offset at the ground point y; unsteady: of a usual track;
    followed: the tracks that courses may be made of, all where there are none.
    """

    size_hw: tuple[int, int]
    rate: float
    tracks: tuple[Track, ...]
    been: Bool
    cell_px: int
    usual: float
    fastest: float
    still: float
    slope: float
    offset: float
    unsteady: float = 0.0
    followed: tuple[Track, ...] = ()

    def beside(self, share: Share, heldout: Sequence[Share]) -> Scene:
        """The scene of an insertion into one of the held-out shares. It follows tracks that were held out with it, of
        other videos where there are any: the densities that judge it have not seen these, and what they look for is
        not the very object that is in the picture."""
        tracks = [track for track in self.tracks if any(_holds(other, track) for other in heldout)]
        others = [track for track in tracks if track.video != share.name]
        return replace(self, followed=tuple(others or tracks))

    def height_at(self, y: Float64) -> Float64:
        return np.asarray(np.maximum(self.slope * y + self.offset, MIN_HEIGHT_PX))

    @cached_property
    def _velocities(self) -> Float64:
        return np.array([track.net / (len(track) - 1) for track in self.tracks])

    def share_along(self, way: Float64) -> float:
        """The share of the motion within 60 degrees of a direction (2,)."""
        along = self._velocities @ (way / max(float(np.hypot(*way)), 1e-9))
        speed = np.hypot(*self._velocities.T)
        return float(speed[along > 0.5 * speed].sum() / max(speed.sum(), 1e-9))

    def is_free(self, foot: Float64) -> Bool:
        """Whether ground points (T, 2) lie in the frame, in or beside no cell where feet have been, (T,)."""
        height, width = self.size_hw
        inside = (foot >= 0).all(axis=1) & (foot[:, 0] < width) & (foot[:, 1] < height)
        x, y = (foot // self.cell_px).astype(int).T
        rows, columns = self.been.shape
        near = np.zeros(len(foot), np.bool_)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near |= self.been[np.clip(y + dy, 0, rows - 1), np.clip(x + dx, 0, columns - 1)]
        return np.asarray(inside & ~near)


def _holds(share: Share, track: Track) -> bool:
    return share.name == track.video and share.first <= track.first < share.last


def learn_scene(shares: Sequence[Share]) -> Scene:
    """The scene of shares with frames of one size. Raises FitError where no object goes anywhere for a second."""
    size_hw, rate = usual_form([share.stored for share in shares])
    tracks = [track for share in shares for track in tracks_of(share)]
    moving = [track for track in tracks if np.hypot(*track.net) > track.height and track.height >= MIN_HEIGHT_PX]
    if not moving:
        raise FitError(
            "anomalies cannot be inserted",
            expected=f"normal video in which an object goes somewhere for {_MIN_TRACK_S:g} s",
            got=f"{len(tracks)} tracks in {len(shares)} videos, none of which does",
            hint="--detector, another region finder, or other footage",
        )
    step = max(1, round(_STEP_S * rate))
    speeds = [
        np.hypot(*(track.foot[step:] - track.foot[:-step]).T) / step / track.height
        for track in tracks
        if len(track) > step
    ]
    speed = np.concatenate(speeds)
    usual = float(np.median([track.speed / track.height for track in moving]))
    foot = np.concatenate([track.foot for track in tracks])
    height = np.concatenate([track.size[:, 1] for track in tracks])
    slope, offset = np.polyfit(foot[:, 1], height, 1) if np.ptp(foot[:, 1]) > 1 else (0.0, float(np.median(height)))
    cell_px = max(4, round(0.5 * float(np.median(height))))
    return Scene(
        size_hw=size_hw,
        rate=rate,
        tracks=tuple(moving),
        been=_been(shares, size_hw, cell_px),
        cell_px=cell_px,
        usual=usual,
        fastest=float(np.quantile(speed, 0.99)),
        still=float((speed < _STILL * usual).mean()),
        slope=float(slope),
        offset=float(offset),
        unsteady=float(np.median([track.unsteady for track in moving])),
    )


def usual_form(videos: Sequence[StoredVideo]) -> tuple[tuple[int, int], float]:
    """The size of frames, and the rate, that most of the videos have."""
    size_hw = Counter(video.size_hw for video in videos).most_common(1)[0][0]
    rates = Counter(float(video.rate) for video in videos if video.size_hw == size_hw)
    return size_hw, rates.most_common(1)[0][0]


def tracks_of(share: Share) -> list[Track]:
    """The tracks of a share that last a second or more, smoothed and without gaps."""
    stored = share.stored
    regions = stored.regions()
    if regions is None or "tracks" not in stored.passports:
        return []
    track_id = stored.store.read(stored.passports["tracks"])["track_id"].to_numpy()
    inside = (regions.frame_index >= share.first) & (regions.frame_index < share.last) & (track_id >= 0)
    inside &= regions.confidence >= _MIN_CONFIDENCE
    box, frame, ids = regions.box_xyxy[inside].astype(np.float64), regions.frame_index[inside], track_id[inside]
    reach = round(_SMOOTH_S * float(stored.rate))
    found = []
    for number in np.unique(ids):
        mine = ids == number
        at, own = frame[mine], box[mine]
        if at[-1] - at[0] + 1 < max(3, _MIN_TRACK_S * float(stored.rate)):
            continue
        index = np.arange(at[0], at[-1] + 1)
        columns = [(own[:, 0] + own[:, 2]) / 2, own[:, 3], own[:, 2] - own[:, 0], own[:, 3] - own[:, 1]]
        values = np.stack([_smooth(np.interp(index, at, column), reach) for column in columns], axis=1)
        away = own[:, 3] - np.interp(at, index, values[:, 1])
        unsteady = float(np.std(away)) / max(float(np.median(values[:, 3])), 1.0)
        found.append(Track(stored.video.name, int(at[0]), values[:, :2], values[:, 2:], unsteady))
    return found


def _smooth(values: Float64, reach: int) -> Float64:
    """Means (n,) over up to `reach` values before and behind each, as many on both sides."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    own = np.minimum(np.minimum(index, index[::-1]), reach)
    return np.asarray((sums[index + own + 1] - sums[index - own]) / (2 * own + 1))


def _been(shares: Sequence[Share], size_hw: tuple[int, int], cell_px: int) -> Bool:
    rows, columns = (-(-side // cell_px) for side in size_hw)
    been = np.zeros((rows, columns), np.bool_)
    for share in shares:
        regions = share.stored.regions()
        if regions is None:
            continue
        box = regions.box_xyxy[(regions.frame_index >= share.first) & (regions.frame_index < share.last)]
        x, y = ((box[:, 0] + box[:, 2]) / 2 // cell_px).astype(int), (box[:, 3] // cell_px).astype(int)
        been[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)] = True
    return been
