"""A video file as libav reads it.

libav itself takes a read error for the end of the file or for damage, and does not report it. Files are read through
Python instead, where the error is known.
"""

from __future__ import annotations

import errno
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from mulde.errors import SourceError


class SourceFile:
    """A file for `av.open`, closed by its `with` block. It ends at a read error, which `check` then raises."""

    def __init__(self, path: Path) -> None:
        # An absolute path: libav would take what stands before a colon in a relative one for a protocol.
        self.path, self.name = path, str(path.absolute())
        self._error: OSError | MemoryError | None = None
        try:
            self._file = FileIO(path)
        except OSError as error:
            raise unreadable(path, error) from error

    def check(self) -> None:
        """Raises SourceError if the file could not be read."""
        if self._error is not None:
            raise unreadable(self.path, self._error) from self._error

    # No exception may leave these: PyAV would keep it, and raise it some calls later or print it.

    def read(self, size: int) -> bytes:
        if self._error is not None:
            return b""
        try:
            return self._file.read(size) or b""
        except (OSError, MemoryError) as error:
            self._error = error
            return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (ValueError, OverflowError):
            return -errno.EINVAL
        except OSError as error:
            if error.errno != errno.EINVAL:  # a damaged file may name a place that no file can have
                self._error = self._error or error
            return -(error.errno or errno.EIO)

    def tell(self) -> int:
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def unreadable(path: Path, error: OSError | MemoryError) -> SourceError:
    """The error for a source that the disk, or the network, did not deliver."""
    for_good = isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError)
    return SourceError(
        f"{path} cannot be read",
        got=getattr(error, "strerror", None) or str(error) or type(error).__name__,
        hint=None if for_good else "check the disk or the network, then run the same command again",
    )
