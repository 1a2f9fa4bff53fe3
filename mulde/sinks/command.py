"""Alerts to a program of the user's: the JSON of the alert on its standard input."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time

from mulde.errors import UsageError
from mulde.sinks.message import Message, Sink, SinkError
from mulde.sinks.settings import CommandSettings

_STEP_S = 0.05


class CommandSink(Sink):
    """Runs a program for each alert, one at a time, without a shell. The environment has the path of the picture as
    MULDE_PICTURE, and MULDE_TEST=1 for a test. What it writes on standard error is seen; exit code 0 acknowledges.
    `stop` ends it. Raises UsageError where there is no such program."""

    def __init__(self, settings: CommandSettings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        if shutil.which(settings.command[0]) is None:
            raise UsageError(
                f"command of sink {settings.title}", expected="a program that can be run", got=settings.command[0]
            )

    def deliver(self, message: Message) -> None:
        """Run the program with an alert."""
        name = os.path.basename(self._settings.command[0])
        picture = message.picture if message.picture is not None and message.picture.is_file() else None
        environment = {**os.environ, "MULDE_PICTURE": "" if picture is None else str(picture.absolute())}
        if message.is_test:
            environment["MULDE_TEST"] = "1"
        try:
            process = subprocess.Popen(
                self._settings.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # so that what it has started ends with it
            )
        except OSError as error:
            raise SinkError(f"{name}: {error.strerror}", "reconnect") from None
        with process:
            code = self._fed(process, message.json.encode() + b"\n")
        if code is None:
            stopped = "ended with mulde" if self._stop.is_set() else f"ended after {self._settings.timeout_s:g} s"
            raise SinkError(f"{name}: {stopped}", "message")
        if code != 0:
            raise SinkError(f"{name}: exit code {code}", "message")

    def _fed(self, process: subprocess.Popen[bytes], content: bytes) -> int | None:
        """Its exit code; None where it was ended."""
        end_s = time.monotonic() + self._settings.timeout_s
        # One that does not read would hold up this thread as soon as the pipe is full.
        feeder = threading.Thread(target=_feed, args=(process, content), daemon=True)
        feeder.start()
        code: int | None = None
        while code is None and not self._stop.is_set() and time.monotonic() < end_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(_STEP_S)
        if code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        feeder.join()
        return code


def _feed(process: subprocess.Popen[bytes], content: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it need not read
        process.stdin.write(content)
    with contextlib.suppress(OSError):
        process.stdin.close()
