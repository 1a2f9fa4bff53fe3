"""What tracks did over the last seconds: speed, its changes, turns, direction, stays, changes of shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import Field, model_validator

from mulde.extractors.base import Fingerprint
from mulde.extractors.directions import DIRECTION_SHARE, describe_direction
from mulde.extractors.paths import PathFacts, Spans, follow
from mulde.extractors.spec import ExtractorSpec, Shared
from mulde.extractors.wording import FASTNESS, NOTEWORTHY, STILL, Comparison, Wording, percent, times
from mulde.records import FeatureTable, Float32, Float64, Int64, Regions
from mulde.section import Section

GAIN, SHAPE = "times_as_fast_as_before", "times_as_wide_as_before"
TURN, DETOUR, STAY = "degrees_turned", "times_as_long_as_straight", "seconds_in_place"

_GROUPS = ("speed", "speed", "change of speed", "turns", "turns", "direction", "direction", "stay", "shape")
_SPEED, _LONG_SPEED, _CHANGE, _TURN, _DETOUR, _X, _Y, _STAY, _SHAPE = range(len(_GROUPS))
_SLOW = 0.1
"""Box heights per second: added to speeds before their logarithm is taken, so that all that is slower is much alike."""
_SHORT = 0.25
"""Box heights, or box heights per second: a shorter way is straight, a slower motion has less of a direction."""
_HAS_DIRECTION = 0.3
_QUARTER = 0.25  # of the motion: what goes within 45 degrees of a direction if all directions are alike
_ROUND = 135  # degrees


class TrajectorySettings(Section):
    smooth_s: float = Field(
        0.3, ge=0.01, le=10, description="seconds over which the foot of a track is averaged; also the step of its path"
    )
    window_s: float = Field(
        1.5, ge=0.01, le=60, description="seconds over which speed, its change and the change of shape are measured"
    )
    long_s: float = Field(5.0, ge=0.01, le=600, description="seconds over which turns and the long speed are measured")
    dwell_s: float = Field(60.0, ge=0.01, le=3600, description="longest stay that is looked at, seconds")
    dwell_radius: float = Field(0.5, gt=0, le=100, description="box heights from its place within which a track stays")

    @model_validator(mode="after")
    def _windows_hold_each_other(self) -> TrajectorySettings:
        if not self.smooth_s <= self.window_s <= self.long_s:
            got = f"{self.smooth_s:g}, {self.window_s:g} and {self.long_s:g}"
            raise ValueError(f"smooth_s at most window_s, and window_s at most long_s, got {got}")
        return self


class Trajectory:
    """9 numbers per box on a track, of the path of its foot over the past (`paths.py`), in box heights and seconds.

    log2 of 0.1 and the speed over the window, and of 0.1 and that from end to end of the long window; log2 of how much
    faster it is than one window before (both with 0.1); log2 of 1 and the radians by which the path turned in the long
    window; log2 of the length of the path there by the way from end to end (both with 0.25); x and y of the velocity,
    divided by 0.25 and the speed; log2 of 1 and the seconds since the track came within the radius of where it is; log2
    of width by height against one window before. Boxes without a track, or at an age below twice `smooth_s`, have no
    row.
    """

    name = "trajectory"
    object_centric = True

    def __init__(self, spans: Spans) -> None:
        self.spans = spans

    def fingerprint(self) -> Fingerprint:
        return {"extractor": self.name, "version": 1, **vars(self.spans)}

    def extract_tracks(self, regions: Regions, time_s: Float64, track_id: Int64) -> FeatureTable:
        values = np.zeros((len(regions), len(_GROUPS)), np.float32)
        has_row = np.zeros(len(regions), np.bool_)
        order = np.argsort(track_id, kind="stable")  # within a track the frames stay in order
        order = order[np.searchsorted(track_id[order], 0) :]
        starts = np.flatnonzero(np.diff(track_id[order]) > 0) + 1
        for boxes in np.split(order, starts) if len(order) else []:
            facts = follow(time_s[boxes], regions.box_xyxy[boxes], self.spans)
            rows = boxes[facts.rows]
            values[rows], has_row[rows] = _columns(facts), True
        return FeatureTable(values[has_row], regions.frame_index[has_row], regions.box_xyxy[has_row])


def _columns(facts: PathFacts) -> Float32:
    speed = np.hypot(*facts.velocity.T)
    columns = [
        np.log2(speed + _SLOW),
        np.log2(facts.long_speed + _SLOW),
        np.log2((facts.late_speed + _SLOW) / (facts.early_speed + _SLOW)),
        np.log2(1 + facts.turn),
        np.log2((facts.length + _SHORT) / (facts.net + _SHORT)),
        *(facts.velocity / (speed + _SHORT)[:, None]).T,
        np.log2(1 + facts.dwell_s),
        facts.wider,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _build(settings: TrajectorySettings, shared: Shared) -> Trajectory:
    del shared
    return Trajectory(Spans(**settings.model_dump()))


def _groups(dim: int, settings: TrajectorySettings) -> tuple[str, ...]:
    del dim, settings
    return _GROUPS


def _describe(comparison: Comparison, settings: TrajectorySettings) -> Wording:
    """The group of columns that makes the row most unusual, of those in which it differs from usual ones."""
    for group, _ in comparison.groups:
        wording = _WORDS[group](comparison, settings)
        if wording is not None:
            return wording
    return f"moves in an unusual way over {settings.long_s:g} s", {}


def _speeds(rows: Float32, column: int) -> Float64:
    return np.maximum(np.exp2(rows[..., column].astype(np.float64)) - _SLOW, 0)


def _median(comparison: Comparison, column: int) -> float:
    return float(np.median(comparison.usual[:, column]))


def _say_speed(comparison: Comparison, settings: TrajectorySettings) -> Wording | None:
    differ = [abs(comparison.row[column] - _median(comparison, column)) for column in (_SPEED, _LONG_SPEED)]
    column, over_s = ((_SPEED, settings.window_s), (_LONG_SPEED, settings.long_s))[int(np.argmax(differ))]
    if max(differ) < np.log2(NOTEWORTHY):
        return None
    speed, usual = float(_speeds(comparison.row, column)), float(np.median(_speeds(comparison.usual, column)))
    facts = {FASTNESS: speed / max(usual, STILL)}
    if speed < _SLOW < usual:
        return f"hardly moves for {over_s:g} s, where things usually move", facts
    if usual < _SLOW < speed:
        return f"moves {speed:.1f} times its height per second over {over_s:g} s, where things usually stay", facts
    ratio = facts[FASTNESS]
    fast = f"moves {times(ratio)} as fast as usual" if ratio > 1 else f"moves at {percent(ratio)} of the usual speed"
    return f"{fast}{comparison.place} over {over_s:g} s", facts


def _say_change(comparison: Comparison, settings: TrajectorySettings) -> Wording | None:
    change = float(comparison.row[_CHANGE])
    if abs(change) < max(np.log2(NOTEWORTHY), abs(_median(comparison, _CHANGE))):
        return None
    late = float(_speeds(comparison.row, _SPEED))
    early = max((late + _SLOW) / 2**change - _SLOW, 0.0)
    facts = {GAIN: late / max(early, STILL)}
    seconds = f"{settings.window_s:g} s"
    if early < _SLOW:
        return f"starts to move abruptly, within {seconds}", facts
    if late < _SLOW:
        return f"stops abruptly, within {seconds}", facts
    ratio = facts[GAIN]
    if ratio > 1:
        return f"speeds up abruptly: {times(ratio)} as fast as {seconds} before", facts
    return f"slows down abruptly, to {percent(ratio)} of its speed {seconds} before", facts


def _say_turns(comparison: Comparison, settings: TrajectorySettings) -> Wording | None:
    turn, usual = (float(np.degrees(2**value - 1)) for value in (comparison.row[_TURN], _median(comparison, _TURN)))
    within = f"within {settings.long_s:g} s"
    if turn > NOTEWORTHY * usual + 10:
        turns = "turns round, by" if turn >= _ROUND else "turns by"
        return f"{turns} {turn:.0f} degrees {within}; usual are {usual:.0f}{comparison.place}", {TURN: turn}
    if usual > NOTEWORTHY * turn + 10:
        return f"goes straight on, where things usually turn by {usual:.0f} degrees {within}", {TURN: turn}
    detour = float(comparison.row[_DETOUR])
    if detour - _median(comparison, _DETOUR) < np.log2(NOTEWORTHY):
        return None
    return f"goes to and fro: its way {within} is {times(2**detour)} as long as straight on", {DETOUR: 2**detour}


def _say_direction(comparison: Comparison, settings: TrajectorySettings) -> Wording | None:
    del settings
    goes = comparison.row[[_X, _Y]].astype(np.float64)
    usual = comparison.usual[:, [_X, _Y]].astype(np.float64)
    moving = np.hypot(*usual.T) > _HAS_DIRECTION
    if np.hypot(*goes) <= _HAS_DIRECTION or not moving.any():
        return None
    along = usual[moving] @ goes / np.hypot(*goes) / np.hypot(*usual[moving].T)
    share = float((along > np.cos(np.pi / 4)).mean())
    if share >= _QUARTER:
        return None
    return describe_direction(float(np.arctan2(goes[1], goes[0])), share), {DIRECTION_SHARE: share}


def _say_stay(comparison: Comparison, settings: TrajectorySettings) -> Wording | None:
    stay, usual = (float(2**value - 1) for value in (comparison.row[_STAY], _median(comparison, _STAY)))
    facts = {STAY: stay}
    if stay > NOTEWORTHY * usual + 1:
        least = "at least " if stay > settings.dwell_s - 0.01 else ""
        return f"stands for {least}{stay:.0f} s, where things usually move on after {usual:.0f} s", facts
    if usual > NOTEWORTHY * stay + 1:
        return f"moves on after {stay:.0f} s, where things usually stay for {usual:.0f} s", facts
    return None


def _say_shape(comparison: Comparison, settings: TrajectorySettings) -> Wording | None:
    wider = float(comparison.row[_SHAPE])
    if abs(wider) < max(np.log2(NOTEWORTHY), abs(_median(comparison, _SHAPE))):
        return None
    word = "wide for its height" if wider > 0 else "tall for its width"
    return f"becomes {times(2 ** abs(wider))} as {word} within {settings.window_s:g} s", {SHAPE: 2**wider}


_WORDS: dict[str, Callable[[Comparison, TrajectorySettings], Wording | None]] = {
    "speed": _say_speed,
    "change of speed": _say_change,
    "turns": _say_turns,
    "direction": _say_direction,
    "stay": _say_stay,
    "shape": _say_shape,
}

TRAJECTORY = ExtractorSpec(
    name="trajectory",
    object_centric=True,
    settings=TrajectorySettings,
    build=_build,
    column_groups=_groups,
    describe=_describe,
    needs_pixels=False,
    needs_tracks=True,
)
