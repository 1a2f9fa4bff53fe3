"""MATLAB files, read by `mat_worker.py` in another process: a damaged one then costs a sentence, not the command."""

from __future__ import annotations

import atexit
import io
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mulde.datasets.base import listing
from mulde.errors import LabelError

TIMEOUT_S = 120
"""For one variable of one file; the masks of a video take about a second."""
MAX_FILE_BYTES = 2**31
_WORKER = Path(__file__).with_name("mat_worker.py")


class _Answer(NamedTuple):
    head: dict[str, Any]
    arrays: list[NDArray[Any]]


class _Process:
    """A worker that answers one request after the other; for one thread at a time."""

    def __init__(self) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],  # -P: modules beside the script are not to be found by name
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **threads},
        )
        self._answers: Queue[_Answer | None] = Queue()
        threading.Thread(target=self._listen, name="mat-files", daemon=True).start()

    def ask(self, request: dict[str, str]) -> _Answer | str:
        """The answer, or why there is none; the worker is then of no more use."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._answers.get(timeout=TIMEOUT_S)
        except Empty:
            return f"one that takes more than {TIMEOUT_S} s to read"
        except OSError:
            answer = None
        return answer if answer is not None else "a damaged file, which ended the process that read it"

    def close(self) -> None:
        if self.owner != os.getpid():  # of the process that this one was forked from
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not sent
                    pipe.close()

    def _listen(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            while line := stdout.readline(2**24):
                head = json.loads(line)
                self._answers.put(_Answer(head, [_array(stdout.read(size)) for size in head["sizes"]]))
        except (OSError, ValueError, EOFError):
            pass  # it ended in the middle of an answer
        self._answers.put(None)


def _array(data: bytes) -> NDArray[Any]:
    found: NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return found


_lock = threading.Lock()
_running: list[_Process] = []


def _close_all() -> None:
    while _running:
        _running.pop().close()


atexit.register(_close_all)


def _ask(path: Path, variable: str | None) -> _Answer:
    if not path.is_file():
        raise LabelError("labels", expected=path, got="no such file", hint="a full copy")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise LabelError(f"{path} is too large to read", expected=f"at most {MAX_FILE_BYTES:,} bytes")
    request = {"path": str(path.absolute()), **({} if variable is None else {"variable": variable})}
    with _lock:
        if _running and _running[-1].owner != os.getpid():
            _running.clear()
        if not _running:
            _running.append(_Process())
        answer = _running[-1].ask(request)
        if isinstance(answer, str):
            _close_all()
            raise LabelError(f"{path}", expected="a MATLAB file", got=answer)
    error = answer.head.get("error")
    if error == "version 7.3":
        name = variable or "*"
        raise LabelError(
            f"{path} is a MATLAB 7.3 file, which is HDF5 inside",
            expected="a .mat of version 7 or older",
            hint=f"in MATLAB or Octave: load('{path.name}'); save('-v7', '{path.name}', '{name}')",
        )
    if error is not None:
        raise LabelError(f"{path}", expected="a MATLAB file", got=f"a damaged file ({error})")
    if "holds" in answer.head:
        raise LabelError(f"{path}: {variable}", expected="an array or cells of arrays", got=answer.head["holds"])
    return answer


def variables(path: Path) -> list[tuple[str, str]]:
    """The names of the variables in a MATLAB file and what MATLAB calls their kinds. Raises LabelError."""
    return [(str(name), str(kind)) for name, kind in _ask(path, None).head["names"]]


def read_mat(path: Path, variable: str) -> NDArray[Any]:
    """One variable of a MATLAB file (up to version 7), cells as an array of arrays. Raises LabelError; a 7.3 file is
    distinguished."""
    head, arrays = _ask(path, variable)
    if "lacks" in head:
        raise LabelError(f"{path}", expected=f"a variable {variable}", got=listing(head["lacks"], 5))
    if head["cells"] is None:
        return arrays[0]
    cells = np.empty(len(arrays), object)
    for i, array in enumerate(arrays):
        cells[i] = array
    return cells.reshape(head["cells"])
