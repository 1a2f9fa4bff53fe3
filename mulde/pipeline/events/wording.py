"""A sentence for the row that drove an event, from numbers: how it differs from normal rows of its stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mulde.config import FeatureSettings
from mulde.events import Reason
from mulde.extractors.columns import bin_angles, direction, heading
from mulde.pipeline.model.bundle import Stream
from mulde.records import Float32

Cause = Literal["fast", "slow", "direction", "motion", "pose", "object", "size", "place", "picture"]
Said = tuple[str, dict[str, float]]
"""A sentence, and the numbers that it speaks of."""

FASTNESS, DIRECTION_SHARE, FARNESS = "times_as_fast", "share_in_direction", "times_as_far"
WIDENESS, TALLNESS = "times_as_wide", "times_as_tall"
_NUM_TYPICAL = 9
_NOTEWORTHY = 1.15  # ratios closer to 1 explain nothing
_HARDLY = 0.1
_MAX_TIMES = 20
_QUARTER = 0.25  # of the motion: what goes within 45 degrees of a direction if all directions are alike
_MAX_JOINTS, _SHARE_OF_JOINTS = 3, 2 / 3
_STILL = 1e-6


@dataclass(frozen=True)
class Case:
    """The row (D,) that drove an event, and the normal rows to compare it with: `usual` (n, D), where `here` those
    whose objects stood near in the picture, and `everywhere` (m, D).

    angle: where the object heads, by its boxes; distance: to the nearest normal moment, in units of how far these are
    from each other; groups: of columns, with their shares of what makes the row unusual.
    """

    name: str
    stream: Stream
    row: Float32
    usual: Float32
    everywhere: Float32
    here: bool
    is_object: bool
    angle: float | None = None
    distance: float | None = None
    groups: Sequence[tuple[str, float]] = ()

    @property
    def place(self) -> str:
        return " here" if self.here else ""


def sentence(case: Case, features: FeatureSettings) -> Said:
    """What is unusual about the row, without the name of the object, and the numbers in it."""
    if case.name == "velocity":
        return _velocity(case)
    if case.name == "geometry":
        return _geometry(case)
    if case.name == "pose":
        return _pose(case)
    if case.name == "flow_histogram":
        return _motion_of_picture(case, features.flow_histogram.bins)
    return _appearance(case)


def cause_of(reason: Reason) -> Cause:
    """The kind of a reason: what its sentence says, as one word."""
    facts = reason.facts
    if reason.stream == "velocity":
        if DIRECTION_SHARE in facts:
            return "direction"
        if FASTNESS in facts:
            return "slow" if facts[FASTNESS] < 1 else "fast"
        return "motion"
    if reason.stream == "geometry":
        return "size" if WIDENESS in facts or TALLNESS in facts else "place"
    if reason.stream == "pose":
        return "pose"
    return "picture" if reason.region is None else "object"


def _velocity(case: Case) -> Said:
    has_directions = len(case.row) > 1
    angle = heading(case.row) if has_directions else case.angle
    rare = _rare_direction(case, angle) if has_directions else None
    if rare is not None and _direction_matters_more(case):
        partly = "partly " if angle is None else ""
        text = f"moves {partly}{direction(rare[0])}, where {_few(rare[1])} of normal motion goes that way"
        return text, {DIRECTION_SHARE: rare[1]}
    going = f", heading {direction(angle)}" if angle is not None else ""
    ratio, where = _times_as_fast(case)
    if 1 / _NOTEWORTHY < ratio < _NOTEWORTHY:
        return f"moves in an unusual way{going}", {}
    if ratio < _HARDLY:
        return "hardly moves, where things usually move", {FASTNESS: ratio}
    fast = f"moves {_times(ratio)} as fast as usual" if ratio > 1 else f"moves at {_percent(ratio)} of the usual speed"
    return f"{fast}{where}{going}", {FASTNESS: ratio}


def _times_as_fast(case: Case) -> tuple[float, str]:
    """The speed against the usual one here, or everywhere if that is what is unusual."""
    speed = float(case.row.sum())
    ratios = [speed / max(float(np.median(rows.sum(axis=1))), _STILL) for rows in (case.usual, case.everywhere)]
    is_usual_here = 1 / _NOTEWORTHY < ratios[0] < _NOTEWORTHY
    return (ratios[1], "") if is_usual_here else (ratios[0], case.place)


def _direction_matters_more(case: Case) -> bool:
    """Whether the row would be less unusual at its speed in a usual direction than in its direction at a usual speed.

    The model itself is asked, about rows made up from the normal ones (n, bins) that are nearest to the median speed.
    """
    speeds, speed = case.usual.sum(axis=1), float(case.row.sum())
    usual_speed = float(np.median(speeds))
    if speed <= _STILL or usual_speed <= _STILL:
        return False
    typical = case.usual[np.argsort(np.abs(speeds - usual_speed), kind="stable")[:_NUM_TYPICAL]]
    turned = typical * (speed / np.maximum(typical.sum(axis=1, keepdims=True), _STILL))
    paced = case.row[None] * (usual_speed / speed)
    scores = case.stream.score_rows(np.concatenate([paced, turned]).astype(np.float32))
    return bool(np.median(scores[1:]) < scores[0])


def _rare_direction(case: Case, angle: float | None) -> tuple[float, float] | None:
    """The main direction of the row's motion, else that in which it has most more than usual, and the share of normal
    motion within 45 degrees of it; None where much normal motion or little of the row's goes that way."""
    own, usual = (rows.sum(axis=0, dtype=np.float64) for rows in (case.row[None], case.usual))  # (bins,)
    own, usual = own / max(own.sum(), _STILL), usual / max(usual.sum(), _STILL)
    angles = bin_angles(len(own))
    angle = float(angles[int(np.argmax(own - usual))]) if angle is None else angle
    near = np.cos(angles - angle) > np.cos(np.pi / 4) - 1e-9
    share = float(usual[near].sum())
    return (angle, share) if share < _QUARTER <= own[near].sum() else None


def _geometry(case: Case) -> Said:
    """Columns are log2 of width and height."""
    ratios = np.exp2(case.row.astype(np.float64) - np.median(case.usual, axis=0))
    side = int(np.abs(np.log(ratios)).argmax())
    ratio = float(ratios[side])
    if 1 / _NOTEWORTHY < ratio < _NOTEWORTHY:
        return "unusual size or place", {}
    word, name = (("wide", WIDENESS), ("tall", TALLNESS))[side]
    often = _times(ratio) if ratio > 1 else _percent(ratio)
    return f"{often} as {word} as usual{case.place}", {name: ratio}


def _pose(case: Case) -> Said:
    joints: list[str] = []
    told = 0.0
    for joint, share in case.groups[:_MAX_JOINTS]:
        if told >= _SHARE_OF_JOINTS or share <= 0:
            break
        joints.append(joint)
        told += share
    return ("unusual pose" + (f": {', '.join(joints)}" if joints else "")), _farness(case)


def _motion_of_picture(case: Case, bins: int) -> Said:
    """Columns are motion by cell and direction."""
    amount, usual = float(case.row.sum()), float(np.median(case.usual.sum(axis=1)))
    ratio = amount / max(usual, _STILL)
    angle = heading(case.row.reshape(-1, bins).sum(axis=0))
    going = f", most of it heading {direction(angle)}" if angle is not None else ""
    place = case.groups[0][0] if bins < len(case.row) and case.groups else ""
    where = f", above all at the {place}" if place else ""
    if 1 / _NOTEWORTHY < ratio < _NOTEWORTHY:
        return f"the whole picture is unusual: its motion{going}{where}", {}
    often = f"{_times(ratio)} as much motion as usual" if ratio > 1 else f"{_percent(ratio)} of the usual motion"
    return f"the whole picture is unusual: {often}{going}{where}", {"times_as_much_motion": ratio}


def _appearance(case: Case) -> Said:
    facts = _farness(case)
    text = "looks unlike anything seen" if case.is_object else "the whole picture looks unlike anything seen"
    if not facts:
        return text, facts
    far = f"{_times(facts[FARNESS])} as far from the nearest normal moment as normal moments are from each other"
    return f"{text}: {far}", facts


def _farness(case: Case) -> dict[str, float]:
    return {FARNESS: case.distance} if case.distance is not None and case.distance > 1 else {}


def _times(ratio: float) -> str:
    if ratio > _MAX_TIMES:
        return f"more than {_MAX_TIMES} times"
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _few(share: float) -> str:
    return f"only {_percent(share)}" if share >= 0.01 else "less than 1 %"
