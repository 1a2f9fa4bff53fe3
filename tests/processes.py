"""Commands in processes of their own that start at once: forked from a server that has imported what is heavy."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection

_CONTEXT = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
_HEAVY = (
    "torch",
    "av",
    "cv2",
    "pandas",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "sklearn.mixture",
    "mulde.pipeline.stages",
)


class Command:
    """`mulde` with these words in another process, to be waited for, signalled or killed like a `subprocess.Popen`.

    It has this environment and working directory, leads a group of its own and takes SIGINT as a terminal's process
    does. `before` is called in it first: a function of a module.
    """

    def __init__(self, *words: object, before: object = None) -> None:
        _CONTEXT.set_forkserver_preload([__name__, *_HEAVY])
        reader, writer = _CONTEXT.Pipe(duplex=False)
        arguments = (["mulde", *map(str, words)], dict(os.environ), writer, before)
        self._process = _CONTEXT.Process(target=_main, args=arguments)
        self._process.start()
        writer.close()
        self.stderr = os.fdopen(os.dup(reader.fileno()), encoding="utf-8", errors="replace")
        reader.close()
        assert self._process.pid
        self.pid: int = self._process.pid

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever a test left running ends with it."""
        self._process.kill()
        self._process.join()
        self.stderr.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def ended(self) -> tuple[int, str]:
        """Exit code and standard error, when it has ended."""
        err = self.stderr.read()  # first, so that a full pipe stops nobody
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode, err


def _main(words: list[str], environment: dict[str, str], stderr: Connection, before: object) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    if callable(before):
        before()
    from mulde import cli

    sys.argv = words
    cli.main()
