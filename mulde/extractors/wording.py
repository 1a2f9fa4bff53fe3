"""What extractors share when they put into words how a row differs from normal rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mulde.records import Float32, Float64

Wording = tuple[str, dict[str, float]]
"""What is unusual, without the name of the object ("moves 3.1 times as fast as usual here"), and the numbers in it by
name."""

NOTEWORTHY = 1.15
"""Ratios closer to 1 explain nothing."""
STILL = 1e-6
"""Motion below it is none."""
FARNESS, FASTNESS = "times_as_far", "times_as_fast"
_MAX_TIMES = 20


@dataclass(frozen=True)
class Comparison:
    """The row (D,) behind an event, and the normal rows to compare it with: `usual` (n, D), which are those of objects
    that stood near in the picture if `is_local`, and `everywhere` (m, D).

    is_object: the row is of a box, not of a whole frame. angle: the direction in radians in which the box moves (0 =
    right, counted towards down), None where it stays. distance: to the nearest reference sample, in units of how far
    these are from each other; None without such samples. groups: of columns, with their shares of what makes the row
    unusual, largest first. score_rows: the model's anomaly scores (k,) of any rows (k, D).
    """

    row: Float32
    usual: Float32
    everywhere: Float32
    is_local: bool
    is_object: bool
    score_rows: Callable[[Float32], Float64]
    angle: float | None = None
    distance: float | None = None
    groups: Sequence[tuple[str, float]] = ()

    @property
    def place(self) -> str:
        return " here" if self.is_local else ""


def describe_appearance(comparison: Comparison) -> Wording:
    """How far the row is from anything normal: all that can be said where columns have no meaning of their own."""
    facts = farness(comparison)
    text = "looks unlike anything seen" if comparison.is_object else "the whole picture looks unlike anything seen"
    if not facts:
        return text, facts
    far = f"{times(facts[FARNESS])} as far from the nearest normal moment as normal moments are from each other"
    return f"{text}: {far}", facts


def farness(comparison: Comparison) -> dict[str, float]:
    """The distance to the nearest reference sample as a fact, where it is more than usual."""
    is_far = comparison.distance is not None and comparison.distance > 1
    return {FARNESS: comparison.distance} if is_far and comparison.distance is not None else {}


def times(ratio: float) -> str:
    """A ratio in words: `3.1 times`."""
    if ratio > _MAX_TIMES:
        return f"more than {_MAX_TIMES} times"
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"


def percent(share: float) -> str:
    """A share in words: `12 %`."""
    return f"{100 * share:.0f} %"
