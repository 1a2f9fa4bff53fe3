"""The folder of a watched run, shown without the process that watches into it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ConfigDict, Field

from mulde.errors import MuldeError
from mulde.pipeline.events.suppression import ScoringModel, model_of
from mulde.pipeline.live.alert_book import AlertBook
from mulde.pipeline.live.alerts import Alert
from mulde.pipeline.live.engine import STATE
from mulde.pipeline.live.status import CameraState, CameraStatus
from mulde.pipeline.live.view import CameraView, LiveView
from mulde.pipeline.run_folder import RECORD, RunRecord, read_record
from mulde.service.live_source import LiveSource
from mulde.service.normal_marks import NormalMarks
from mulde.service.schema import Camera
from mulde.service.source import Refusal
from mulde.typed import Count, FileModel, Number, Positive, read_typed

MAX_AGE_S = 10.0
"""Of what a process that watches has last said of itself."""


class _CameraEntry(FileModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", protected_namespaces=())

    state: str
    since_utc_s: Number
    reason: str = ""
    remark: str = ""
    num_skipped: dict[str, Count] = Field({})
    num_connects: dict[str, Count] = Field({})
    num_received: Count = 0
    num_decode_errors: Count = 0
    last_utc_s: Number | None = None
    clock_offset_s: Number | None = None
    refusal: str = ""
    num_scored: Count = 0
    score: Number | None = None
    level: Number | None = None
    alert: str | None = None
    latency_p95_s: Number | None = None
    num_alerts_waiting: Count = 0
    fps_wanted: Positive = 0.0
    expected_per_hour: Positive = 0.0


class _StateFile(FileModel):
    utc_s: Number
    ended: bool = False
    cameras: dict[str, _CameraEntry]


class FolderView(LiveView):
    """Cameras as the process that watches, or watched, last wrote them down. utc_s: the time now."""

    def __init__(self, root: Path, utc_s: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._root, self._utc_s = root, utc_s
        self._read_ns: int | None = None
        self._known: _StateFile | None = None

    def _state(self) -> _StateFile | None:
        path = self._root / STATE
        try:
            modified_ns = path.stat().st_mtime_ns
            if modified_ns != self._read_ns:
                self._known = read_typed(path, _StateFile)
                self._read_ns = modified_ns
        except (OSError, MuldeError):
            self._known, self._read_ns = None, None
        return self._known

    @property
    def is_watched(self) -> bool:
        """Whether a process watches into the folder."""
        state = self._state()
        return state is not None and not state.ended and abs(self._utc_s() - state.utc_s) <= MAX_AGE_S

    def cameras(self) -> dict[str, CameraView]:
        state = self._state()
        return {} if state is None else {name: _view(name, entry) for name, entry in state.cameras.items()}

    def silent_s(self) -> float:
        return 0.0


def _view(name: str, entry: _CameraEntry) -> CameraView:
    state = CameraState(entry.state) if entry.state in list(CameraState) else CameraState.LOST
    status = CameraStatus(
        name,
        state,
        entry.since_utc_s,
        entry.reason,
        entry.remark,
        entry.num_connects,
        entry.num_received,
        entry.num_skipped,
        entry.num_decode_errors,
        last_utc_s=entry.last_utc_s,
        clock_offset_s=entry.clock_offset_s,
    )
    return CameraView(
        name,
        status,
        entry.refusal,
        entry.fps_wanted,
        entry.num_scored,
        entry.score,
        entry.level,
        entry.alert,
        entry.latency_p95_s,
        entry.expected_per_hour,
        entry.num_alerts_waiting,
    )


class FolderSource(LiveSource):
    """Without pictures: only the process that watches has them."""

    def __init__(self, root: Path, view: FolderView, book: AlertBook, normal: NormalMarks) -> None:
        super().__init__(root, view, book, normal)
        self._folder_view = view

    @classmethod
    @contextmanager
    def open_folder(cls, root: Path) -> Iterator[FolderSource]:
        """Raises MuldeError for a folder without a ledger, or with one that is damaged."""
        view = FolderView(root)
        with opened_book(root) as book, NormalMarks(root, book, model_of_run(root), tables=False) as normal:
            yield cls(root, view, book, normal)

    def _camera(self, view: CameraView) -> Camera:
        camera = super()._camera(view)
        if self._folder_view.is_watched:
            return camera
        quiet = {"state": "recorded", "text": "", "needs_a_hand": False, "alert": None, "fps_scored": None}
        return camera.model_copy(update=quiet)

    def pause(self, camera: str, minutes: float) -> Camera | None:
        if camera not in self._view.cameras():
            return None
        raise Refusal(
            409, f"camera {camera}", expected="one that is watched in this process", got="its folder",
            hint="the page of mulde watch",
        )  # fmt: skip

    def unwell(self) -> str:
        return self._unwritable() if self._book.can_write else ""


@contextmanager
def opened_book(root: Path) -> Iterator[AlertBook]:
    """To be written where the disk allows, else to be read."""
    with AlertBook.open(root, write=os.access(root, os.W_OK)) as book:
        yield book


def model_of_run(root: Path) -> Callable[[Alert], ScoringModel]:
    """What scored an alert, where it is the model on record."""
    models: list[ScoringModel] = []

    def of_alert(alert: Alert) -> ScoringModel:
        if not models:
            record = read_record(root) if (root / RECORD).is_file() else RunRecord()
            models.append(model_of(root, record))
        return models[0] if models[0].sha256 == alert.model_sha256 else ScoringModel(alert.model_sha256, None)

    return of_alert
