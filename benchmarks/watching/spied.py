"""`mulde watch` in a process that also writes down each score and each alert, once they are where they belong.

    python -m benchmarks.watching.spied [--record FOLDER] LOG -- watch cameras.toml ...

LOG gets a line of JSON for every frame when its alerts are on record, and for every revision of an alert when the
ledger has it; a kill loses no line that was written. With --record what cameras send is kept by stream copy, as `mulde
collect` does it, from the same connection.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mulde.cli import main as mulde_main
from mulde.media.packets import StreamPacket
from mulde.pipeline.live.alerting import CameraAlerts
from mulde.pipeline.live.camera import CameraReader
from mulde.pipeline.live.hourly_scores import FramePlace
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.live.recorder import Recorder
from mulde.pipeline.live.scoring import LiveResult

_running = threading.local()  # .utc_s: of the frame whose alerts are being recorded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("words", nargs=argparse.REMAINDER, help="-- and the words of mulde")
    options = parser.parse_args()
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(**facts: object) -> None:
        os.write(log, json.dumps({"at_s": time.time(), **facts}).encode() + b"\n")  # one write: whole or not at all

    spy_on_scores(note)
    spy_on_alerts(note)
    recorders: dict[str, Recorder] = {}
    if options.record is not None:
        record_packets(options.record, recorders)
    try:
        sys.argv = ["mulde", *(word for word in options.words if word != "--")]
        mulde_main()
    finally:
        for recorder in recorders.values():
            recorder.end_session()


def spy_on_scores(note: Callable[..., None]) -> None:
    take = CameraAlerts.take

    @functools.wraps(take)
    def spied(self: CameraAlerts, result: LiveResult, place: FramePlace) -> None:
        frame, scored = result.frame, result.scored
        _running.utc_s = frame.utc_s
        latency_s = time.monotonic() - frame.arrived_s
        take(self, result, place)
        _running.utc_s = None
        note(
            what="score", camera=self.camera, session=frame.session, number=frame.number, level=self.machine.level,
            utc_ms=round(1000 * frame.utc_s), score=scored.anomaly_score, fused=scored.fused, latency_s=latency_s,
            picture=hashlib.blake2b(np.ascontiguousarray(result.described.picture), digest_size=8).hexdigest(),
        )  # fmt: skip

    CameraAlerts.take = spied  # type: ignore[method-assign]


def spy_on_alerts(note: Callable[..., None]) -> None:
    record = AlertLedger.record

    @functools.wraps(record)
    def spied(self: AlertLedger, revisions: Sequence[Revision], *others: Any, **named: Any) -> None:
        record(self, revisions, *others, **named)
        utc_s = getattr(_running, "utc_s", None)
        for alert in (revision.alert for revision in revisions):
            delay_s = None if utc_s is None else time.time() - utc_s
            note(
                what="alert", camera=alert.camera, id=alert.id, kind=alert.kind, revision=alert.revision,
                state=alert.state, delay_s=delay_s,
            )  # fmt: skip

    AlertLedger.record = spied  # type: ignore[method-assign]


def record_packets(folder: Path, recorders: dict[str, Recorder]) -> None:
    begin = CameraReader.__init__

    @functools.wraps(begin)
    def spied(self: CameraReader, camera: str, *others: Any, on_packet: Any, **named: Any) -> None:
        recorder = recorders[camera] = Recorder(folder, camera)

        def both(packet: StreamPacket, utc_s: float, session: int) -> None:
            recorder.write(packet, round(1000 * utc_s))
            on_packet(packet, utc_s, session)

        begin(self, camera, *others, on_packet=both, **named)

    CameraReader.__init__ = spied  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
