"""The JSON of the service: what its answers hold and what requests may say.

Times are UTC in milliseconds since 1970; of a run of videos (mode `review`), milliseconds or seconds from the start of
the video.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["live", "review"]
CameraWord = Literal["connecting", "live", "stalled", "lost", "refused", "paused", "recorded"]
Mark = Literal["", "seen", "normal", "true"]
MarkFilter = Literal["", "none", "seen", "normal", "true"]
StateFilter = Literal["", "open", "opened", "updated", "closed"]

MAX_POINTS, MAX_ALERTS = 2000, 200
MAX_PAUSE_MINUTES = 7 * 24 * 60
MAX_NAME, MAX_WHY = 100, 1000


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Counts(_Answer):
    """to_look_at: alerts without a mark that nothing covers; watching: cameras whose frames are scored; need_a_hand:
    cameras that somebody has to look after; alerts_today: of this day of UTC, of a run of videos all; expected_today:
    false alarms that were promised for what was watched since, None where unknown."""

    to_look_at: int
    watching: int
    need_a_hand: int
    cameras: int
    alerts_today: int
    expected_today: float | None


class Storage(_Answer):
    """free_bytes: of the disk with the run folder, None where that cannot be read; problem: a sentence, or empty."""

    free_bytes: int | None
    clips_bytes: int
    problem: str


class Overview(_Answer):
    """outbox: deliveries that wait, by sink; problems: sentences."""

    schema_version: Literal[1] = Field(1, serialization_alias="schema")
    mode: Mode
    run: str
    utc_ms: int
    counts: Counts
    outbox: Mapping[str, int]
    storage: Storage
    problems: list[str]


class Health(_Answer):
    """Something that is wrong with the picture of a camera."""

    kind: str
    text: str
    since_utc_ms: int | None = None


class Camera(_Answer):
    """A camera, or of a run of videos a video, at this moment.

    text: what is wrong and since when, empty while all is well; fps_wanted, fps_scored: frames per second;
    latency_p95_s: from the arrival of a picture to its score; skipped: pictures by reason; alert: the id of the open
    one; picture_is_old: whether there is no picture that shows the camera as it is now.
    """

    name: str
    state: CameraWord
    since_utc_ms: int | None = None
    text: str = ""
    health: list[Health] = []
    fps_wanted: float | None = None
    fps_scored: float | None = None
    latency_p95_s: float | None = None
    skipped: Mapping[str, int] = {}
    score: float | None = None
    level: float | None = None
    alert: str | None = None
    picture_utc_ms: int | None = None
    picture_is_old: bool = True
    paused_until_utc_ms: int | None = None
    needs_a_hand: bool = False
    drift: Mapping[str, Any] | None = None


class Cameras(_Answer):
    cameras: list[Camera]


class ScoreBins(_Answer):
    """The lowest and highest score in equal parts of a time, as [start of the part, lowest, highest], None where
    nothing was seen."""

    camera: str
    from_utc_ms: int
    to_utc_ms: int
    level: float | None
    bins: list[tuple[int, float, float] | None]


class AlertPage(_Answer):
    """alerts: as `mulde alerts --json-schema` says, with `mark`, `marked_by`, `marked_utc_ms` and `covered_by`; next:
    what `before` has to be for those behind them, None at the end."""

    alerts: list[dict[str, Any]]
    next: str | None


class MarkRequest(_Request):
    mark: Mark
    who: Annotated[str, Field(max_length=MAX_NAME)] = ""
    why: Annotated[str, Field(max_length=MAX_WHY)] = ""


class PauseRequest(_Request):
    """minutes: from now on; 0 ends the pause."""

    minutes: Annotated[float, Field(ge=0, le=MAX_PAUSE_MINUTES, strict=False, allow_inf_nan=False)]


class Problem(_Answer):
    """Why something was not done."""

    error: str
