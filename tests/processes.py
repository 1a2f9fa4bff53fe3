"""Commands in processes of their own that start at once: forked from a server that has imported what is heavy."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection

CONTEXT = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
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
    """`mulde` with these words in another process, to be waited for, signalled or killed; `said` has both its streams.

    It has this environment and working directory, leads a group of its own and takes SIGINT as a terminal's process
    does. `before` is called in it first: a function of a module.
    """

    def __init__(self, *words: object, before: object = None) -> None:
        reader, writer = CONTEXT.Pipe(duplex=False)
        arguments = (["mulde", *map(str, words)], dict(os.environ), writer, before)
        self._process = CONTEXT.Process(target=_main, args=arguments)
        self._process.start()
        writer.close()
        self.said = os.fdopen(os.dup(reader.fileno()), encoding="utf-8", errors="replace")
        reader.close()
        assert self._process.pid
        self.pid: int = self._process.pid

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever a test left running ends with it."""
        self._process.kill()
        self._process.join()
        self.said.close()

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def ended(self) -> tuple[int, str]:
        """Exit code and what was said, when it has ended."""
        said = self.said.read()  # first, so that a full pipe stops nobody
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode, said


def _main(words: list[str], environment: dict[str, str], said: Connection, before: object) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (1, 2):
        os.dup2(said.fileno(), stream)
    said.close()
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", encoding="utf-8", closefd=False) for stream in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    if callable(before):
        before()
    from mulde import cli

    sys.argv = words
    cli.main()
