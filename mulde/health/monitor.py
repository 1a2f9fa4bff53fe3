"""The state of a camera's health: what is wrong for long enough to be said, and right again for long enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mulde.health.measures import HealthKind, HealthMeasures, measure
from mulde.health.picture import Thumbnail
from mulde.health.reference import HealthReference

CHECK_MS = 1000
"""Between two checks, or longer where pictures come more slowly."""
WINDOW, MIN_WRONG, MIN_RIGHT = 15, 12, 30
"""Something is wrong when it was in 12 of the last 15 checks, and over when 30 in a row were well."""
FROZEN_MS = 30_000
MAX_PAUSE_MS = 60_000
"""Checks further apart say nothing together: the camera was away."""
_MAX_STILL_SHARE = 0.05


@dataclass(frozen=True)
class Condition:
    """What is wrong with a picture. since_ms: of the first check that found it; text: for a person."""

    kind: HealthKind
    since_ms: int
    text: str


@dataclass(frozen=True)
class PictureState:
    """All that decides the next state: the last checks, oldest first, with their times, and what is wrong.

    right: how many checks in a row were well while something is wrong.
    """

    checks: tuple[tuple[int, HealthKind | None], ...] = ()
    kind: HealthKind | None = None
    since_ms: int = 0
    right: int = 0

    def after(self, utc_ms: int, wrong: HealthKind | None) -> PictureState:
        """The state behind one more check."""
        kept = self.checks if self.checks and 0 <= utc_ms - self.checks[-1][0] <= MAX_PAUSE_MS else ()
        checks = (*kept, (utc_ms, wrong))[-WINDOW:]
        found = [(time_ms, kind) for time_ms, kind in checks if kind is not None]
        kind, since_ms, right = self.kind, self.since_ms, 0
        if kind is None and len(found) >= MIN_WRONG:
            (kind, _), since_ms = Counter(one for _, one in found).most_common(1)[0], found[0][0]
        elif kind is not None:
            right = self.right + 1 if wrong is None else 0
            ((other, count),) = Counter(one for _, one in found).most_common(1) or [(kind, 0)]
            if right >= MIN_RIGHT:
                kind, since_ms, right = None, 0, 0
            elif other != kind and count >= MIN_WRONG:
                kind = other
                since_ms = next(time_ms for time_ms, one in found if one == kind)
        return PictureState(checks, kind, since_ms, right)


@dataclass(frozen=True)
class FrozenState:
    """Whether pictures are all the same. same_ms: when the first of them came, None before any; right: how many checks
    in a row were not the same while it is frozen."""

    same_ms: int | None = None
    is_frozen: bool = False
    since_ms: int = 0
    right: int = 0

    def after(self, utc_ms: int, is_same: bool) -> FrozenState:
        same_ms = self.same_ms if is_same and self.same_ms is not None else utc_ms
        if is_same and utc_ms - same_ms >= FROZEN_MS:
            return FrozenState(same_ms, True, self.since_ms if self.is_frozen else same_ms, 0)
        right = self.right + 1 if self.is_frozen and not is_same else 0
        if right >= MIN_RIGHT:
            return FrozenState(same_ms)
        return FrozenState(same_ms, self.is_frozen, self.since_ms, right)


@dataclass
class HealthMonitor:
    """Takes a camera's pictures about once a second, and knows what is wrong with them.

    reference: that of the model; without one only dark, bright and frozen can be told. A camera whose footage has still
    pictures too is never called frozen.
    """

    reference: HealthReference | None
    measures: HealthMeasures | None = None
    picture: PictureState = field(default_factory=PictureState)
    frozen: FrozenState = field(default_factory=FrozenState)
    _last: Thumbnail | None = None
    _last_ms: int | None = None

    def is_due(self, utc_ms: int) -> bool:
        """Whether a picture of this time is to be checked; after a clock was set back, too."""
        return self._last_ms is None or utc_ms - self._last_ms >= CHECK_MS or utc_ms < self._last_ms

    def take(self, picture: Thumbnail, utc_ms: int) -> tuple[Condition, ...]:
        """Check a picture; what is wrong then."""
        last, last_ms = self._last, self._last_ms
        self._last, self._last_ms = picture, utc_ms
        self.measures = measure(picture, self.reference)
        self.picture = self.picture.after(utc_ms, self.measures.wrong)
        is_same = last is not None and np.array_equal(last.grey, picture.grey)
        is_close = last_ms is not None and 0 <= utc_ms - last_ms <= MAX_PAUSE_MS
        self.frozen = self.frozen.after(utc_ms, is_same and is_close and self._tells_frozen)
        return self.conditions

    def resume(self, kinds: Sequence[HealthKind], since_ms: int) -> None:
        """Go on from what was wrong when an earlier monitor ended."""
        of_picture = next((kind for kind in kinds if kind != "frozen"), None)
        if of_picture is not None:
            self.picture = PictureState(kind=of_picture, since_ms=since_ms)
        if "frozen" in kinds:
            self.frozen = FrozenState(is_frozen=True, since_ms=since_ms)

    def light_changed(self) -> None:
        """The light has just changed all at once: what was measured before says nothing of what is now."""
        self.picture = replace(self.picture, checks=())

    @property
    def _tells_frozen(self) -> bool:
        return self.reference is None or self.reference.still_share <= _MAX_STILL_SHARE

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is wrong, that of the picture first."""
        found = []
        if self.picture.kind is not None:
            text = text_of(self.picture.kind, self.measures)
            found.append(Condition(self.picture.kind, self.picture.since_ms, text))
        if self.frozen.is_frozen:
            found.append(Condition("frozen", self.frozen.since_ms, text_of("frozen", None)))
        return tuple(found)


_TEXTS: dict[HealthKind, str] = {
    "moved": "the camera looks elsewhere than in its training footage",
    "covered": "a part of the view is covered",
    "blurred": "the picture is blurred",
    "dark": "the picture is dark",
    "bright": "the picture is overexposed",
    "frozen": "the picture is frozen",
}


def text_of(kind: HealthKind, measures: HealthMeasures | None) -> str:
    """What is wrong, for a person, with its number where there is one."""
    if measures is None or measures.wrong != kind:
        return _TEXTS[kind]
    if kind == "moved" and measures.shift_pixels is not None:
        return f"the picture has moved by {measures.shift_pixels:.0f} px of 360"
    if kind == "covered" and measures.covered_share is not None:
        return f"{measures.covered_share:.0%} of the view is covered"
    return _TEXTS[kind]
