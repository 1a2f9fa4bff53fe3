"""SHA-256 of plain data, files and arrays, in hexadecimal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mulde.errors import UsageError

_MAX_FILES = 1000


def fingerprint(value: object) -> str:
    """The digest of plain JSON data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file's bytes, as `sha256sum` prints it. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def path_digest(path: Path) -> str:
    """The digest of a file, or of the names and digests of all files below a folder.

    Raises UsageError for a folder with more than 1000 files: no weights lie so.
    """
    if path.is_file():
        return file_digest(path)
    files = list(islice((file for file in path.rglob("*") if file.is_file()), _MAX_FILES + 1))
    if len(files) > _MAX_FILES:
        raise UsageError(f"weights {path}", expected=f"a file, or a folder with at most {_MAX_FILES} files")
    lines = (f"{file.relative_to(path).as_posix()} {file_digest(file)}\n" for file in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def arrays_digest(text: str, arrays: Iterable[tuple[str, NDArray[Any] | None]]) -> str:
    """The digest of a text and of arrays, each behind its label; None adds its label alone."""
    total = hashlib.sha256(text.encode())
    for label, array in arrays:
        total.update(label.encode())
        if array is not None and array.size:
            total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
