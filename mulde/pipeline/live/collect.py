"""`mulde collect`: normal footage of cameras, a share of each hour, as they send it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from mulde.errors import MuldeError, UsageError
from mulde.media.packets import StreamPacket
from mulde.media.stream import open_stream
from mulde.media.stream_source import StreamSource
from mulde.pipeline.live.camera import CameraReader
from mulde.pipeline.live.recorder import Recorder
from mulde.pipeline.live.status import CameraState
from mulde.pipeline.outcome import Outcome
from mulde.progress import Reporter

_EVERY_S = 1.0


class _Recording:
    """One camera that is recorded. `write` is called by its reader's thread."""

    def __init__(self, name: str, recorder: Recorder, reporter: Reporter) -> None:
        self.name, self.recorder, self.reporter = name, recorder, reporter
        self.num_bytes, self.failure = 0, ""

    def write(self, packet: StreamPacket, utc_s: float, session: int) -> None:
        try:
            self.recorder.write(packet, round(1000 * utc_s))
            self.num_bytes += packet.packet.size
            self.failure = ""
        except MuldeError as error:  # a full disk may have room again
            if str(error) != self.failure:
                self.failure = str(error)
                self.reporter.warn(f"{self.name}: {error}")


def run_collect(
    sources: Mapping[str, StreamSource],
    out: Path,
    hours: float,
    share: float,
    reporter: Reporter,
    *,
    stop: threading.Event | None = None,
) -> Outcome:
    """Record cameras for so many hours, a share of each hour, into a folder for each below `out`; until `stop` is set,
    where that comes first. Raises UsageError for a place that cannot be written to."""
    if out.is_file():
        raise UsageError(f"--out {out}", expected="a folder, or nothing yet", got="a file")
    recordings = {name: _Recording(name, Recorder(out, name, share), reporter) for name in sources}
    readers = {
        name: CameraReader(name, partial(open_stream, source), 0.001, on_packet=recordings[name].write)
        for name, source in sources.items()
    }
    stop, end_s = stop or threading.Event(), time.monotonic() + 3600 * hours
    states: dict[str, CameraState] = {}
    reporter.say(f"recording {', '.join(sources)} for {hours:g} h, {100 * share:.3g} % of each hour: {out}")
    try:
        for reader in readers.values():
            reader.start()
        with reporter.bar("record", 3600 * hours, "s") as advance:
            while not stop.wait(_EVERY_S) and time.monotonic() < end_s:
                files = (f"{name} {recording.recorder.num_files} files" for name, recording in recordings.items())
                advance(_EVERY_S, status=", ".join(files))
                for name, reader in readers.items():
                    status = reader.status()
                    if states.get(name) is not status.state:
                        states[name] = status.state
                        reporter.say(status.text)
    finally:
        for reader in readers.values():
            reader.stop(0)
        for name, reader in readers.items():
            reader.stop(2.0)
            recordings[name].recorder.end_session()
    outcome = Outcome(folder=out)
    failed = outcome.failing(reporter)
    for name, recording in recordings.items():
        if recording.recorder.num_files:
            outcome.done += 1
        else:
            why = recording.failure or readers[name].status().reason
            failed(name, MuldeError(f"nothing was recorded{f': {why}' if why else ''}"), lost=True)
    return outcome
