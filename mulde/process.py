"""The process of a command: its streams and paths, and its end: normal, by an error, a signal or a closed pipe."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mulde.errors import MuldeError, sentence
from mulde.names import printable

EXIT_NOTHING_DONE, EXIT_PARTLY_DONE, EXIT_STOPPED, EXIT_PIPE = 1, 3, 130, 141
DEBUG = "MULDE_DEBUG"
_GRACE_S = 8.0
"""From a signal to the forced end of the process: container engines kill after 10 s."""


def run(command: Any) -> int:
    """Run a command of typer and return its exit code. Any error ends in one sentence on standard error."""
    _use_utf8()
    _show_any_character()
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Plain())
    if os.environ.get(DEBUG):
        logging.basicConfig()
        logging.getLogger("mulde").setLevel(logging.DEBUG)
    with _signals() as received:
        code = _run(lambda: command(standalone_mode=False))
        if received:
            code = 128 + received[0]
        if received or code == EXIT_STOPPED:
            say_error("stopped; what is finished is kept. Run the same command again to continue.")
        return code if _flush() else EXIT_PIPE


def _run(command: Callable[[], Any]) -> int:
    try:
        return int(command() or 0)
    except KeyboardInterrupt:
        return EXIT_STOPPED
    except SystemExit as stop:  # of typer and rich, when they write into a pipe that was closed
        return EXIT_PIPE if isinstance(stop.__context__, BrokenPipeError) else int(stop.code or 0)
    except MuldeError as error:
        say_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        return EXIT_PIPE
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # of typer: an option that does not exist ...
            shown = io.StringIO()
            error.show(file=shown)
            _write("\n".join(map(printable, shown.getvalue().splitlines())))
            return int(error.exit_code)
        known = sentence(error, "a file" if isinstance(error, OSError) else "mulde")
        say_error(str(known))
        return known.exit_code


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def say_error(text: str) -> None:
    red, plain = ("\x1b[31m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    _write(f"{red}error: {printable(text)}{plain}")


def _write(text: str) -> None:
    with suppress(OSError, ValueError):  # a terminal that was closed
        print(text, file=sys.stderr, flush=True)


def _flush() -> bool:
    """Whether all output could be written."""
    whole = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            whole = False
            with suppress(OSError, ValueError):  # else Python complains at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return whole


def _use_utf8() -> None:
    """Start Python again in UTF-8 mode where the locale would decode file names differently than elsewhere."""
    if sys.getfilesystemencoding() in ("utf-8", "utf8") or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": f"{sys.stdout.encoding}:backslashreplace"}
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _show_any_character() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Stop like on Ctrl-C when a service manager or a closed terminal asks for it; yields the signals received.

    Needed for the first process of a container too, to which the system sends no signal without a handler.
    """
    received: list[int] = []
    done = threading.Event()

    def stop(number: int, frame: object) -> None:
        received.append(number)
        if len(received) == 1:
            threading.Thread(target=_end_for_sure, args=(128 + number, done), daemon=True).start()
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            if signal.getsignal(number) is signal.SIG_DFL:  # otherwise it was set on purpose, for example by nohup
                before[number] = signal.signal(number, stop)
    try:
        yield received
    finally:
        done.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_for_sure(code: int, done: threading.Event) -> None:
    """End the process: some libraries swallow an exception raised in their callbacks, and some steps are long."""
    end = time.monotonic() + _GRACE_S
    done.wait(_GRACE_S)
    time.sleep(max(end - time.monotonic(), 0))
    if not done.is_set() or not threading.main_thread().is_alive():  # the latter: Python waits for other threads
        os._exit(code)
