"""What the service shows: a run that is watched, the folder of one, or a run of videos, all through one interface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mulde.errors import MuldeError
from mulde.pipeline.live.alert_book import AlertBook
from mulde.pipeline.live.view import LiveView
from mulde.records import UInt8
from mulde.service.schema import AlertPage, Camera, MarkFilter, MarkRequest, Mode, Overview, ScoreBins, StateFilter

AlertJson = dict[str, Any]


class Refusal(MuldeError):  # noqa: N818 - an answer, not a mistake
    """A request that is refused, with the status of its answer."""

    def __init__(
        self, status: int, problem: str, *, expected: object = None, got: object = None, hint: str | None = None
    ) -> None:
        super().__init__(problem, expected=expected, got=got, hint=hint)
        self.status = status


@dataclass(frozen=True)
class Picture:
    """The newest picture of a camera: (H, W, 3) RGB uint8, and when it was taken. is_old: whether it no longer shows
    the camera as it is."""

    image: UInt8
    utc_ms: int
    is_old: bool


@dataclass(frozen=True)
class AlertQuery:
    """Which alerts are wanted. since_ms: those that were open then or later; before: the `next` of the last page."""

    state: StateFilter = ""
    camera: str = ""
    mark: MarkFilter = ""
    since_ms: int | None = None
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True)
class AlertFiles:
    """The picture and the clip of an alert; None where there is none."""

    picture: Path | None
    clip: Path | None


@dataclass(frozen=True)
class ScoreNow:
    """The newest score of a camera."""

    camera: str
    utc_ms: int
    score: float
    level: float | None


@dataclass(frozen=True)
class Watched:
    """What figures of cameras are made from."""

    view: LiveView
    book: AlertBook


class RunSource(Protocol):
    """A run. Any thread may call, several at a time; sqlite3.Error and OSError where the disk fails."""

    @property
    def mode(self) -> Mode: ...
    @property
    def name(self) -> str: ...
    @property
    def root(self) -> Path: ...
    @property
    def watched(self) -> Watched | None:
        """None of a run of videos."""

    def overview(self) -> Overview: ...
    def cameras(self) -> list[Camera]: ...
    def camera(self, name: str) -> Camera | None: ...
    def picture(self, camera: str) -> Picture | None: ...
    def scores(self, camera: str, start_ms: int | None, end_ms: int | None, points: int) -> ScoreBins | None:
        """None for a camera that is unknown."""

    def alerts(self, query: AlertQuery) -> AlertPage: ...
    def alert(self, alert_id: str) -> AlertJson | None: ...
    def files(self, alert_id: str) -> AlertFiles | None:
        """None for an alert that is unknown."""

    def mark(self, alert_id: str, request: MarkRequest) -> AlertJson | None:
        """The alert with its mark; None for one that is unknown. Raises Refusal where nothing can be written."""

    def pause(self, camera: str, minutes: float) -> Camera | None:
        """None for a camera that is unknown. Raises Refusal for a run that is not watched."""

    def last_change(self) -> int:
        """The number of the last change of an alert or its mark."""

    def changes(self, after: int, limit: int) -> list[tuple[int, AlertJson]]:
        """Alerts that changed behind a change, each as it is now, with the number of its last change, rising."""

    def scores_now(self) -> list[ScoreNow]: ...
    def unwell(self) -> str:
        """What is wrong with the process or its disk, as a sentence; empty while all is well."""
