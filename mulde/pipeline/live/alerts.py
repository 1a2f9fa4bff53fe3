"""Alerts of a camera: what is told about one, when its scores open and close one, and when there are too many.

Times are UTC in milliseconds since 1970. Everything here is logic alone: times and scores are handed in.
"""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from mulde import __version__
from mulde.errors import RecordError, UsageError
from mulde.typed import Count, Number, Positive, Probability, validated_json

AlertKind = Literal["unusual", "camera", "drift", "flood"]
AlertState = Literal["opened", "updated", "closed"]

HOUR_MS = 3_600_000
MIN_UPDATE_MS = 10_000
"""Between two changes of one alert, unless it is the last."""
MIN_RISE = 0.1
"""By how much the peak rises further above the level before this is worth an update: a share, because scores of other
models have another scale. Just above the level little is much, so that the first picture, taken when the alert opened,
is soon replaced by a telling one; further up there are few updates, however long the alert lasts."""
MIN_FLOOD, FLOOD_RATIO = 10, 10

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MS = 253_402_300_799_999  # the year 9999


def utc_text(utc_ms: int) -> str:
    """A time as text: `2026-11-28T13:56:41.300Z`."""
    seconds, ms = divmod(utc_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


def alert_id(camera: str, start_ms: int, kind: AlertKind = "unusual") -> str:
    """Identifies an alert among all of all cameras: `yard-20261128T135641300Z`.

    Other kinds than `unusual` are at the end of theirs, because one picture can be the first of alerts of two kinds.
    """
    time = re.sub("[-:.]", "", utc_text(start_ms))
    return f"{camera}-{time}" if kind == "unusual" else f"{camera}-{time}-{kind}"


def free_start(camera: str, start_ms: int, kind: AlertKind, is_known: Callable[[str], bool]) -> int:
    """The first millisecond from start_ms on whose id no other alert has: a clock that was set back comes by again."""
    while is_known(alert_id(camera, start_ms, kind)):
        start_ms += 1
    return start_ms


def _utc_ms(value: object, info: ValidationInfo) -> object:
    if info.mode != "json":
        return value
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("a time such as 2026-11-28T13:56:41.300Z")
    return (datetime.fromisoformat(value) - _EPOCH) // timedelta(milliseconds=1)


UtcMs = Annotated[
    int,
    Field(ge=0, le=_MAX_MS),
    BeforeValidator(_utc_ms),
    PlainSerializer(utc_text, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": f"^{_TIME.pattern}$"}),
]
"""UTC in milliseconds since 1970; in JSON an ISO time with milliseconds and Z."""
CameraName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""A name that can be part of a path, an address and a topic as it is."""


class Alert(BaseModel):
    """What is told about an alert, each time as a whole: one `id`, revisions counted from 1, which is `opened`.

    start, end: times of the first and the last score at or above the level, so far where it is not `closed`; peak: of
    the highest score; camera_clock_offset_s: of the camera's clock against ours. score, level, p_value: at the peak,
    given for every `unusual` alert; expected_per_hour: false alarms at this level. stream, reason, streams, object,
    box_xyxy (pixels of pictures of size_hw): as in `mulde.events.Reason`. video, peak_frame: where the run folder has
    the peak. picture, clip: addresses below that of the page. exemption: the id of the one that covers it. health: what
    was wrong with the camera's picture. cut_short: the process died while the alert was open, or nobody looked at the
    picture any longer that was wrong, so `end` is the last that is known. Text is empty, and anything else None, where
    there is nothing to tell.

    Raises pydantic.ValidationError, a ValueError, for fields that are wrong or do not fit together.
    """

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        json_schema_serialization_defaults_required=True,
    )

    schema_version: Literal[1] = Field(default=1, alias="schema")
    id: str
    revision: Annotated[int, Field(ge=1, lt=2**53)]
    state: AlertState
    kind: AlertKind
    camera: CameraName
    start: UtcMs
    peak: UtcMs
    end: UtcMs
    camera_clock_offset_s: Number | None = None
    score: Number | None = None
    level: Number | None = None
    p_value: Probability | None = None
    expected_per_hour: Positive | None = None
    stream: str = ""
    reason: str = ""
    streams: Mapping[str, Number] = Field(default_factory=dict)
    object: str = ""
    box_xyxy: tuple[Number, Number, Number, Number] | None = None
    size_hw: tuple[Count, Count] | None = None
    video: str = ""
    peak_frame: Count | None = None
    picture: str = ""
    clip: str = ""
    exemption: str = ""
    health: tuple[str, ...] = ()
    cut_short: bool = False
    model_sha256: str = ""
    mulde: str = __version__

    @model_validator(mode="after")
    def _fits_together(self) -> Alert:
        if self.id != (expected := alert_id(self.camera, self.start, self.kind)):
            raise ValueError(f"the id {expected}")
        if (self.state == "opened") != (self.revision == 1):
            raise ValueError("revision 1 where it is opened, and a later one where not")
        if not self.start <= self.peak <= self.end:
            raise ValueError("a peak from its start to its end")
        if self.kind == "unusual" and (self.score is None or self.level is None or self.score < self.level):
            raise ValueError("a score that reaches the level")
        return self

    def next_revision(self, state: AlertState, **fields: Any) -> Alert:
        """The revision behind this one, with other values of some fields; checked like any."""
        data = self.model_dump(by_alias=True)
        return Alert(**{**data, **fields, "state": state, "revision": self.revision + 1})

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads, with all fields."""
        return self.model_dump_json(by_alias=True)

    @classmethod
    def from_json(cls, text: str) -> Alert:
        """Raises MuldeError, naming the field, for anything else than an alert of this schema."""
        return validated_json(text, cls, "alert")


def json_schema() -> dict[str, Any]:
    """The JSON schema of an alert's JSON, for receivers."""
    return Alert.model_json_schema(by_alias=True, mode="serialization")


@dataclass(frozen=True)
class Moment:
    """A picture with a score: its number on the grid of pictures that are looked at, and its time."""

    number: int
    utc_ms: int


@dataclass(frozen=True)
class Change:
    """An event of a camera has opened, has a clearly higher peak or has closed. score: that of the peak; last_above:
    the last picture whose score reached the level."""

    state: AlertState
    start: Moment
    peak: Moment
    last_above: Moment
    score: float


@dataclass(frozen=True)
class Stretch:
    """Scores that reach the level, with no gap in between that would end an event.

    reported_score: that of the last change, None while it is too short for an event; reported_ms: the time of the
    picture with which this change came.
    """

    start: Moment
    peak: Moment
    last_above: Moment
    score: Number
    reported_score: Number | None = None
    reported_ms: int = 0

    def change(self, state: AlertState) -> Change:
        return Change(state, self.start, self.peak, self.last_above, self.score)


@dataclass(frozen=True)
class MachineState:
    """All that an AlertMachine remembers. number: of the last picture, None before the first."""

    number: int | None = None
    stretch: Stretch | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> MachineState:
        """Raises MuldeError, naming the field, for anything else than what `to_json` gives."""
        return validated_json(text, cls, "state of an alert machine")


class AlertMachine:
    """Tells of the events of one camera while its scores arrive: those of `find_events(..., number=...)`.

    An event opens when it is `min_length` numbers long, and closes when more than `merge_gap` numbers have passed since
    the last score at or above `level`, or at the `end`. Its start never changes. Where its peak rises clearly it is
    updated, at most once in MIN_UPDATE_MS. Raises UsageError for rules that are none.
    """

    def __init__(self, merge_gap: int, min_length: int, level: float) -> None:
        if merge_gap < 0 or min_length < 1 or not math.isfinite(level):
            raise UsageError(
                "rules of alerts",
                expected="a gap of 0 or more, a length of 1 or more and a finite level",
                got=f"{merge_gap}, {min_length} and {level}",
            )
        self.merge_gap, self.min_length, self.level = merge_gap, min_length, level
        self.state = MachineState()

    @classmethod
    def resume(cls, state: MachineState, merge_gap: int, min_length: int, level: float) -> AlertMachine:
        """One that goes on behind the last picture of `state`."""
        machine = cls(merge_gap, min_length, level)
        machine.state = state
        return machine

    def push(self, number: int, utc_ms: int, score: float) -> list[Change]:
        """What the score of the next picture changes, in order. number: larger than all before, also those of earlier
        sessions and runs. Raises RecordError for another one, and for a score that is not finite."""
        last = self.state.number
        if last is not None and number <= last:
            raise RecordError("number of a picture", expected=f"more than {last}", got=number)
        if not math.isfinite(score):
            raise RecordError(f"score of picture {number}", expected="a finite number", got=score)
        stretch, above = self.state.stretch, score >= self.level
        changes = []
        if stretch is not None and number - stretch.last_above.number - above > self.merge_gap:
            changes = self.end()
            stretch = None
        if above:
            # A clock that was set back meanwhile must not make an event that ends before it starts.
            here = Moment(number, max(utc_ms, stretch.last_above.utc_ms) if stretch else utc_ms)
            stretch = replace(stretch, last_above=here) if stretch else Stretch(here, here, here, score)
            if score > stretch.score:
                stretch = replace(stretch, peak=here, score=score)
        if stretch is not None and (state := self._due(stretch, utc_ms)):
            changes.append(stretch.change(state))
            stretch = replace(stretch, reported_score=stretch.score, reported_ms=utc_ms)
        self.state = MachineState(number, stretch)
        return changes

    def end(self) -> list[Change]:
        """Close what is open, as no score follows for a while; the numbers go on."""
        stretch = self.state.stretch
        self.state = replace(self.state, stretch=None)
        return [stretch.change("closed")] if stretch is not None and stretch.reported_score is not None else []

    def _due(self, stretch: Stretch, utc_ms: int) -> AlertState | None:
        if stretch.reported_score is None:
            return "opened" if stretch.last_above.number - stretch.start.number + 1 >= self.min_length else None
        rise = stretch.score - stretch.reported_score
        is_clear = rise > 0 and rise >= MIN_RISE * (stretch.reported_score - self.level)
        # Either way, so that no clock that was set back holds an update for an hour.
        return "updated" if is_clear and abs(utc_ms - stretch.reported_ms) >= MIN_UPDATE_MS else None


@dataclass(frozen=True)
class Flood:
    """A time of too many alerts, from the first that was one too many to the last; num_covered: of all of these."""

    start_ms: int
    end_ms: int
    num_covered: int


@dataclass(frozen=True)
class FloodChange:
    """A flood has begun or is over."""

    state: Literal["opened", "closed"]
    flood: Flood


class FloodGuard:
    """Tells when a camera raises so many alerts that one has to stand for the others.

    A flood begins with the alert that is one more than max(MIN_FLOOD, FLOOD_RATIO x expected_per_hour) within an hour,
    and covers that and all that follow. It is over when an hour was calm: when it had no more alerts than expected.
    To go on after a restart, times_ms: the starts of the alerts of the last hour; flood: the one that is not over.
    """

    def __init__(self, expected_per_hour: float, *, times_ms: Iterable[int] = (), flood: Flood | None = None) -> None:
        self._expected = expected_per_hour
        self._times_ms = deque(sorted(times_ms))
        self.flood = flood

    def raised(self, utc_ms: int) -> list[FloodChange]:
        """Count an alert. Afterwards `flood` is the one that covers it, None where it stands for itself."""
        changes = self.advance(utc_ms)  # the hour before it may have been calm
        self._times_ms.append(utc_ms)
        if self.flood is not None:
            self.flood = replace(self.flood, end_ms=utc_ms, num_covered=self.flood.num_covered + 1)
        elif len(self._times_ms) > max(MIN_FLOOD, FLOOD_RATIO * self._expected):
            self.flood = Flood(utc_ms, utc_ms, 1)
            changes.append(FloodChange("opened", self.flood))
        return changes

    def advance(self, utc_ms: int) -> list[FloodChange]:
        """What the time changes, also where no alert is raised. How often this is asked makes no difference."""
        while self._times_ms and self._times_ms[0] <= utc_ms - HOUR_MS:
            self._times_ms.popleft()
        flood = self.flood
        if flood is None or len(self._times_ms) > self._expected:
            return []
        self.flood = None
        return [FloodChange("closed", flood)]
