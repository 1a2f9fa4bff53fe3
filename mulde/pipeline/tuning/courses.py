"""The plan of an insertion, the same for pixels and for boxes: what is inserted, and where it is in each frame.

Every course is that of a track of the normal footage, changed in one way; the control changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mulde.pipeline.training.folds import Share
from mulde.pipeline.tuning.scene import MIN_HEIGHT_PX, Scene, Track
from mulde.records import Bool, Float64, Int64

CONTROL = "control"
OWN, FOREIGN, PATCH = "own", "foreign", "patch"
_COMMON = 0.05  # what normal footage does for this share of its time or motion is no anomaly
_FALL_S, _ZIGZAG_S, _ZIGZAG_HEIGHTS = 0.6, 1.2, 0.5
_MAX_FACTOR, _TRIES = 6.0, 300


@dataclass(frozen=True)
class Course:
    """Where a figure is in each of T frames: foot (T, 2) and size (T, 2) in pixels, angle (T,) in radians by which it
    is turned to the right about its foot, way (T,) that it has come, in its heights; present (T,): whether it is there
    at all; anomalous (T,): whether a frame that shows it is one with an anomaly."""

    foot: Float64
    size: Float64
    angle: Float64
    way: Float64
    present: Bool
    anomalous: Bool

    @property
    def box_xyxy(self) -> Float64:
        """The boxes (T, 4) around the turned figure, pixels."""
        x, y = self.foot.T
        (width, height), turn = self.size.T, np.abs(self.angle)
        wide = width * np.cos(turn) + height * np.sin(turn)
        tall = height * np.cos(turn) + width * np.sin(turn)
        x = x + np.sign(self.angle) * np.sin(turn) * height / 2
        return np.stack([x - wide / 2, y - tall, x + wide / 2, y], axis=1)

    def visible(self, size_hw: tuple[int, int], share: float = 0.5) -> Bool:
        """Whether at least a share of its box is in a frame of this size, (T,)."""
        box, (height, width) = self.box_xyxy, size_hw
        inside = np.clip(box, 0, (width, height, width, height))
        area = np.prod(inside[:, 2:] - inside[:, :2], axis=1)
        return np.asarray(self.present & (area >= share * np.prod(box[:, 2:] - box[:, :2], axis=1)))


Plan = Callable[[Scene, int, np.random.Generator], "Course | None"]
"""A course of this many frames in the scene; None where the draw found none."""


@dataclass(frozen=True)
class Kind:
    """A kind of insertion: its name, the figure that is drawn, its plan, and why a scene has no use for it ("")."""

    name: str
    figure: str
    plan: Plan
    unfit: Callable[[Scene], str] = lambda scene: ""


@dataclass(frozen=True)
class Insertion:
    """A clip that is to be made: which stretch of what the fold of this number holds out, and the course of what kind
    of figure is set into it."""

    name: str
    kind: Kind
    fold: int
    share: Share
    frames: Int64
    course: Course


def _draw_track(scene: Scene, num_frames: int, rng: np.random.Generator) -> Track:
    """One of the longer tracks: of those that last as long as the clip, else of the longest third."""
    tracks = scene.followed or scene.tracks
    long = [track for track in tracks if len(track) >= num_frames]
    if len(long) < 5:
        long = sorted(tracks, key=len, reverse=True)[: max(5, len(tracks) // 3)]
    return long[int(rng.integers(len(long)))]


def _follow(track: Track, time: Float64, *, beyond: bool = False) -> Course:
    """A figure that is on the track where the track's object was at times (T,), in frames of the track."""
    foot, size = track.at(time, beyond=beyond)
    steps = np.hypot(*np.diff(foot, axis=0, prepend=foot[:1]).T)
    present = np.ones(len(time), np.bool_) if beyond else (time >= 0) & (time <= len(track) - 1)
    return Course(
        foot, size, np.zeros(len(time)), np.cumsum(steps) / track.height, present, np.ones(len(time), np.bool_)
    )


def _steady(track: Track, num_frames: int, pace: float, rng: np.random.Generator) -> Float64:
    """Times (T,) at a constant pace that begin on the track, so that as much of it as possible is shown."""
    room = max(len(track) - 1 - pace * (num_frames - 1), 0.0)
    return np.asarray(rng.uniform(0, room) + pace * np.arange(num_frames))


def _control(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course:
    track = _draw_track(scene, num_frames, rng)
    course = _follow(track, _steady(track, num_frames, 1.0, rng))
    return replace(course, anomalous=np.zeros(num_frames, np.bool_))


def _as_normal(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course:
    track = _draw_track(scene, num_frames, rng)
    return _follow(track, _steady(track, num_frames, 1.0, rng))


def _passing(low: float, high: float, over: Callable[[Scene], float]) -> Plan:
    """Through the picture along a track, at `low` to `high` times a speed of the scene."""

    def plan(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course:
        track = _draw_track(scene, num_frames, rng)
        wanted = over(scene) * rng.uniform(low, high) * track.height
        pace = float(np.clip(wanted / max(track.speed, 1e-6), 0.1, _MAX_FACTOR))
        middle = rng.uniform(0.35, 0.65) * num_frames
        time = np.asarray((len(track) - 1) / 2 + pace * (np.arange(num_frames) - middle), np.float64)
        return _follow(track, time, beyond=True)

    return plan


def _slow(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course:
    track = _draw_track(scene, num_frames, rng)
    return _follow(track, _steady(track, num_frames, rng.uniform(0.2, 0.35), rng))


def _standing(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course:
    track = _draw_track(scene, num_frames, rng)
    return _follow(track, np.full(num_frames, rng.uniform(0.25, 0.75) * (len(track) - 1)))


def _reversed(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course | None:
    for _ in range(_TRIES):
        track = _draw_track(scene, num_frames, rng)
        if scene.share_along(-track.net) < _COMMON:
            return _follow(track, _steady(track, num_frames, 1.0, rng)[::-1].copy())
    return None


def _zigzag(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course:
    track = _draw_track(scene, num_frames, rng)
    course = _follow(track, _steady(track, num_frames, 1.0, rng))
    across = track.net[::-1] * (-1, 1) / np.hypot(*track.net)
    period = _ZIGZAG_S * scene.rate
    wave = np.abs((np.arange(num_frames) / period + rng.random()) % 1 - 0.5) * 4 - 1  # -1 to 1, straight
    return replace(course, foot=course.foot + _ZIGZAG_HEIGHTS * track.height * wave[:, None] * across)


def _falling(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course:
    """Walks as usual, falls, and stays on the ground."""
    track = _draw_track(scene, num_frames, rng)
    start = int(rng.uniform(0.3, 0.5) * num_frames)
    time = _steady(track, num_frames, 1.0, rng)
    time = np.minimum(time, min(time[start], len(track) - 1))
    fallen = np.clip((np.arange(num_frames) - start) / max(_FALL_S * scene.rate, 1), 0, 1)
    course = _follow(track, time)
    side = np.sign(track.net[0]) or 1.0
    return replace(course, angle=side * fallen * np.pi / 2, anomalous=np.arange(num_frames) > start)


def _wrong_place(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course | None:
    """At a usual pace and of the size that is usual so far down the picture, where nobody ever was."""
    height, width = scene.size_hw
    for _ in range(_TRIES):
        track = _draw_track(scene, num_frames, rng)
        course = _follow(track, _steady(track, num_frames, 1.0, rng))
        target = rng.uniform((0.05 * width, 0.2 * height), (0.95 * width, 0.98 * height))
        foot = course.foot + target - course.foot[num_frames // 2]
        if scene.is_free(foot[course.present]).mean() >= 0.9:
            scale = scene.height_at(foot[:, 1]) / scene.height_at(course.foot[:, 1])
            return replace(course, foot=foot, size=course.size * scale[:, None])
    return None


def _at_usual_height(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course:
    """As normal objects go, and as tall as they are so far down the picture."""
    course = _as_normal(scene, num_frames, rng)
    scale = scene.height_at(course.foot[:, 1]) / course.size[:, 1]
    return replace(course, size=course.size * scale[:, None])


def _scaled(low: float, high: float) -> Plan:
    def plan(scene: Scene, num_frames: int, rng: np.random.Generator) -> Course | None:
        for _ in range(_TRIES):
            course, factor = _as_normal(scene, num_frames, rng), rng.uniform(low, high)
            if np.median(course.size[:, 1]) * factor >= MIN_HEIGHT_PX:
                return replace(course, size=course.size * factor)
        return None

    return plan


def _if_rare(share: Callable[[Scene], float], what: str) -> Callable[[Scene], str]:
    def unfit(scene: Scene) -> str:
        found = share(scene)
        return f"normal objects {what} {100 * found:.0f} % of the time" if found >= _COMMON else ""

    return unfit


def _both_ways(scene: Scene) -> str:
    has_one = any(scene.share_along(-track.net) < _COMMON for track in scene.tracks)
    return "" if has_one else "normal objects go both ways along every path"


def _usual(scene: Scene) -> float:
    return scene.usual


KINDS: tuple[Kind, ...] = (
    Kind("fast", OWN, _passing(1.3, 1.8, lambda scene: scene.fastest)),
    Kind("slow", OWN, _slow, _if_rare(lambda scene: scene.still, "stand for")),
    Kind("standing", OWN, _standing, _if_rare(lambda scene: scene.still, "stand for")),
    Kind("reversed", OWN, _reversed, _both_ways),
    Kind("zigzag", OWN, _zigzag),
    Kind("falling", OWN, _falling),
    Kind("wrong place", OWN, _wrong_place),
    Kind("large", OWN, _scaled(1.8, 2.4)),
    Kind("small", OWN, _scaled(0.35, 0.5)),
    Kind("patch", PATCH, _as_normal),
    Kind("cyclist", "cyclist", _passing(1.8, 3.0, _usual)),
    Kind("runner", "runner", _passing(1.8, 2.6, _usual)),
    Kind("cart", "cart", _passing(1.3, 2.0, _usual)),
    Kind("slow cyclist", "cyclist", _passing(0.8, 1.3, _usual)),
    Kind("slow cart", "cart", _passing(0.8, 1.3, _usual)),
    Kind("bag", "bag", _passing(2.0, 3.0, _usual)),
)
"""Kinds of anomalies: each is found or not as a whole, so none weighs more than another."""
FOREIGN_KIND = Kind("foreign object", FOREIGN, _at_usual_height)
"""An object of other footage, where a person named some."""
CONTROL_KIND = Kind(CONTROL, OWN, _control)
"""Normal motion at a normal place: what calls it an anomaly has learnt to see that something was pasted."""
