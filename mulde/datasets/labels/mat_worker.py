"""Reads MATLAB files for `mat_files.py`, in a process of its own: scipy may crash on a damaged file, or ask for all of
the memory. Run as a script; imports nothing of mulde.

A request is a line of JSON on standard input: {"path", "variable"}, or {"path"} for the names of the variables. The
answer is a line of JSON on standard output and, after it, as many .npy files as `arrays` says, each of `sizes` bytes.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from typing import Any

MAX_MEMORY = 2**32
MAX_BYTES = 2**31
"""Of what a variable takes."""


def answer(request: dict[str, str]) -> tuple[dict[str, Any], list[bytes]]:
    from scipy.io import loadmat, whosmat

    path, variable = request["path"], request.get("variable")
    if variable is None:
        return {"names": [[name, kind] for name, _, kind in whosmat(path)]}, []
    content = loadmat(path, variable_names=[variable])
    if variable not in content:
        return {"lacks": sorted(name for name in content if not name.startswith("__"))}, []
    return _plain(content[variable])


def _plain(value: Any) -> tuple[dict[str, Any], list[bytes]]:
    import numpy as np

    if type(value) is not np.ndarray:
        return {"holds": f"a {type(value).__name__}"}, []
    arrays = [np.asarray(cell) for cell in value.ravel()] if value.dtype.kind == "O" else [value]
    for array in arrays:
        if array.dtype.kind in "OV":
            return {"holds": "cells of cells" if array.dtype.kind == "O" else "a struct"}, []
    if sum(array.nbytes for array in arrays) > MAX_BYTES:
        raise MemoryError
    shape = list(value.shape) if value.dtype.kind == "O" else None
    return {"cells": shape}, [_npy(array) for array in arrays]


def _npy(array: Any) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _limit() -> None:
    """No more memory than a set of masks needs, and no core dump."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, bound in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    _limit()
    for line in sys.stdin.buffer:
        try:
            head, arrays = answer(json.loads(line))
        except NotImplementedError:
            head, arrays = {"error": "version 7.3"}, []
        except MemoryError:
            head, arrays = {"error": "more than it can hold"}, []
        except BaseException as error:  # scipy lets whatever it stumbles over in a damaged file come out
            head, arrays = {"error": f"{error or type(error).__name__}"[:300]}, []
        sys.stdout.buffer.write(json.dumps({**head, "sizes": [len(array) for array in arrays]}).encode() + b"\n")
        for array in arrays:
            sys.stdout.buffer.write(array)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
