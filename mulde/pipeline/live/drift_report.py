"""`mulde drift`: what the scores of a run say of drift, as data, with a picture of each camera."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mulde.errors import Failure, MuldeError, UsageError
from mulde.evaluation.drift import check_reference
from mulde.files import write_json
from mulde.images import read_image
from mulde.names import output_path
from mulde.pipeline.live.alerting import PICTURES
from mulde.pipeline.live.daily_scores import cameras_of
from mulde.pipeline.live.drift import CameraDrift, StreamDrift, camera_drift
from mulde.pipeline.live.drift_alerts import GRACE_MS
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.live.utc import DAY_MS, HOUR_MS
from mulde.pipeline.run_folder import ALERTS
from mulde.progress import Reporter
from mulde.records import UInt8
from mulde.report.drift_plot import DriftPanel, plot_drift

FOLDER = "drift"
_NUM_PICTURES = 5


@dataclass(frozen=True)
class DriftReport:
    """Cameras that were tested and those that could not be; folder: where their pictures and `drift.json` lie."""

    tested: tuple[CameraDrift, ...]
    failures: tuple[Failure, ...]
    folder: Path


def run_drift(
    run: Path,
    days_between: float,
    num_reference: int,
    reporter: Reporter,
    *,
    out: Path | None = None,
    now_ms: int | None = None,
) -> DriftReport:
    """Test every camera of a run folder, from its scores, up to yesterday (UTC).

    Writes `drift.json` and a picture of each camera below `out`, `drift/` of the run unless it is given. Raises
    MuldeError for a run whose times are not known, UsageError for less reference than a week.
    """
    check_reference(num_reference)
    folder = out or run / FOLDER
    if folder.is_file():
        raise UsageError(f"--out {folder}", expected="a folder, or nothing yet", got="a file")
    today = ((round(1000 * time.time()) if now_ms is None else now_ms) - GRACE_MS) // DAY_MS
    cameras = cameras_of(run)
    found = []
    with reporter.bar("drift", len(cameras), "cameras") as advance:
        for camera in cameras:
            camera.read(today * (DAY_MS // HOUR_MS))
            found.append(camera_drift(camera.days(), days_between, num_reference))
            advance(1)
    tested = tuple(drift for drift in found if not drift.refusal)
    for drift in tested:
        _draw(drift, run, output_path(folder, drift.camera, ".png"), reporter)
    write_json(folder / "drift.json", [drift.as_json() for drift in found])
    failures = tuple(Failure(drift.camera, _refusal(drift)) for drift in found if drift.refusal)
    return DriftReport(tested, failures, folder)


def _refusal(drift: CameraDrift) -> str:
    return "; ".join((drift.refusal, *drift.days.left_out))


def _draw(drift: CameraDrift, run: Path, path: Path, reporter: Reporter) -> None:
    panels = [DriftPanel(drift.text(each) or each.stream, each.course.evidence, _spans(each)) for each in drift.streams]
    then, now = _pictures(drift, run, reporter)
    plot_drift(panels, drift.days.names, drift.threshold, path, then=then, now=now)


def _spans(stream: StreamDrift) -> list[tuple[int, int]]:
    end = len(stream.course.evidence)
    return [(drift.first, end if drift.over is None else drift.over) for drift in stream.course.drifts]


def _pictures(drift: CameraDrift, run: Path, reporter: Reporter) -> tuple[list[UInt8], list[UInt8]]:
    """Pictures of alerts of before and since, the last ones of each; nothing else keeps pictures of a day."""
    firsts = [each.course.current.first for each in drift.drifting if each.course.current is not None]
    if not firsts:
        return [], []
    since_ms = drift.days.days[min(firsts)] * DAY_MS
    times = _alert_pictures(drift.camera, run)
    groups = [[path for start, path in times if (start >= since_ms) == is_now] for is_now in (False, True)]
    for group, words in zip(groups, ("before", "since"), strict=True):
        if not group:
            reporter.say(f"{drift.camera}: no alert left a picture of {words}")
    then, now = (_read(group[-_NUM_PICTURES:], reporter) for group in groups)
    return then, now


def _alert_pictures(camera: str, run: Path) -> list[tuple[int, Path]]:
    if not (run / ALERTS).is_file():
        return []
    with AlertLedger.read(run) as ledger:
        alerts = [stored.alert for stored in ledger.alerts(camera=camera) if stored.alert.kind == "unusual"]
    pictures = [(alert.start, run / PICTURES / f"{alert.id}.jpg") for alert in alerts]
    return [(start, path) for start, path in pictures if path.is_file()]


def _read(paths: Sequence[Path], reporter: Reporter) -> list[UInt8]:
    pictures = []
    for path in paths:
        try:
            pictures.append(read_image(path, "bgr", keep_depth=False)[:, :, ::-1])
        except MuldeError as error:
            reporter.warn(str(error))
    return pictures
