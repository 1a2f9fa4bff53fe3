"""What is said of a camera: what is wrong and since when, in a line, and whether somebody has to look after it."""

from __future__ import annotations

from datetime import UTC, datetime

from mulde.pipeline.live.status import CameraState
from mulde.pipeline.live.view import CameraView

_ENOUGH = 0.9
"""The share of wanted frames that has to be scored."""
_DOWN = (CameraState.STALLED, CameraState.LOST, CameraState.REFUSED)


def clock(utc_ms: float) -> str:
    """A time of day in UTC, with the date where it is another day's."""
    return f"{datetime.fromtimestamp(utc_ms / 1000, UTC):%H:%M:%S} UTC"


def needs_a_hand(view: CameraView, fps_scored: float | None) -> bool:
    return view.status.state in _DOWN or bool(view.refusal or view.health) or _is_slow(view, fps_scored)


def camera_text(view: CameraView, paused_until: int | None, fps_scored: float | None) -> str:
    """What is wrong, and since when; empty while all is well."""
    status = view.status
    texts = []
    if paused_until is not None:
        texts.append(f"paused until {clock(paused_until)}")
    if status.state in _DOWN:
        since = clock(1000 * status.since_utc_s)
        what = "refused by the camera" if status.state is CameraState.REFUSED else "no picture"
        texts.append(f"{what} since {since}" + (f": {status.reason}" if status.reason else ""))
    if view.refusal:
        texts.append(f"cannot be scored: {view.refusal}")
    texts += [
        f"{note.text} since {clock(note.since_ms)}" if note.since_ms is not None else note.text for note in view.health
    ]
    if _is_slow(view, fps_scored):
        texts.append(f"{fps_scored:.1f} of {view.fps_wanted:g} frames per second are scored")
    if status.remark and status.state is CameraState.LIVE:
        texts.append(status.remark)
    return "; ".join(texts)


def _is_slow(view: CameraView, fps_scored: float | None) -> bool:
    return (
        view.status.state is CameraState.LIVE
        and fps_scored is not None
        and fps_scored < _ENOUGH * view.fps_wanted
        and sum(view.status.num_skipped.values()) > 0
    )
