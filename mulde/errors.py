"""The errors that `mulde` raises on purpose: each says what was expected, what came and what to try."""

from __future__ import annotations

import errno
import logging
import os
from dataclasses import dataclass

log = logging.getLogger(__name__)

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OF_WRITING = NO_ROOM | {errno.EROFS}


class MuldeError(Exception):
    """A failure with a sentence for the person in front of the screen.

    `problem` names the thing at fault; `expected`, `got` and `hint` are optional clauses. `exit_code` is what the
    command line returns when this error ends the whole command.
    """

    exit_code = 1

    def __init__(self, problem: str, *, expected: object = None, got: object = None, hint: str | None = None) -> None:
        self.problem, self.expected, self.got, self.hint = problem, expected, got, hint
        clauses = []
        if expected is not None:
            clauses.append(f"expected {expected}")
        if got is not None:
            clauses.append(f"got {_cut(str(got))}")
        text = problem + (": " + ", ".join(clauses) if clauses else "")
        super().__init__(text + (f". Try: {hint}" if hint else ""))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.problem, self.expected, self.got, self.hint))


def _cut(text: str, max_length: int = 300) -> str:
    """What came may be of any length; a sentence is not."""
    return text if len(text) <= max_length else f"{text[:max_length]}..."


def _rebuild(kind: type[MuldeError], problem: str, expected: object, got: object, hint: str | None) -> MuldeError:
    return kind(problem, expected=expected, got=got, hint=hint)


class MuldeWarning(UserWarning):
    """Something that a person should know of a call that went well, as a video that was left out."""


class UsageError(MuldeError):
    """A setting, flag or name that cannot be used as given."""

    exit_code = 2


class RecordError(MuldeError, ValueError):
    """Arrays that do not fit together, refused when a record is made."""


class VideoError(MuldeError):
    """A video or frame folder that cannot be read."""


class SourceError(VideoError):
    """A video that the disk did not deliver, or that changed, while it was read: another time it may be read."""


class StreamLost(MuldeError):  # noqa: N818 - a state of the world that is expected, not a mistake
    """A stream that ended, could not be reached or cannot be read. Its text holds no user and no password."""


class StreamTimeout(StreamLost):
    """A stream that was silent for longer than it may be."""


class StreamRefused(StreamLost):
    """A stream that its server does not give to this user (401, 403) or does not have (404)."""


class StreamEnded(StreamLost):
    """A file played as a stream that is over: there is nothing to connect to again."""


class ImageError(MuldeError):
    """An image file, a frame or a mask, that cannot be read; the cause is an OSError where the disk refused."""


class LabelError(MuldeError):
    """Ground truth that is missing, miscounted or contradicts itself."""


class StoreError(MuldeError):
    """A stored feature file that is damaged or was made by other settings."""


class BundleError(MuldeError):
    """A model bundle that is damaged, of another version, or made for other settings."""


class FitError(MuldeError, ValueError):
    """Rows that a density cannot be fitted on."""


class FileError(MuldeError, OSError):
    """A file or folder that cannot be read or written; an OSError too, with the `errno` of its cause."""

    def __init__(self, problem: str, *, expected: object = None, got: object = None, hint: str | None = None) -> None:
        super().__init__(problem, expected=expected, got=got, hint=hint)
        self.errno: int | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return (*super().__reduce__()[:2], {"errno": self.errno})


def cannot(verb: str, path: object, error: OSError) -> FileError:
    """The sentence for `path` that cannot be "read" or "written"."""
    hint = None
    if error.errno in NO_ROOM:
        hint = "free some space or use another disk, then run the same command again"
    elif error.errno in (errno.EACCES, errno.EPERM):
        hint = f"ask for the right to {'write' if verb == 'written' else 'read'} it, or use another place"
    reason = os.strerror(error.errno) if error.errno else str(error)
    file_error = FileError(f"{path} cannot be {verb}: {reason}", hint=hint)
    file_error.errno = error.errno
    return file_error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, cut at 300 characters, or its class where it has no text."""
    return _cut(next(iter(str(error).strip().splitlines()), type(error).__name__))


def stops_all(error: BaseException) -> bool:
    """Whether an error of one video is one of every video: a disk that takes no more, settings or a model that fit
    nothing."""
    full = isinstance(error, OSError) and error.errno in {*NO_ROOM, errno.EROFS, errno.EACCES} - {errno.EFBIG}
    return isinstance(error, UsageError | BundleError) or (full and isinstance(error, FileError))


def sentence(error: BaseException, about: object) -> MuldeError:
    """Any exception as a MuldeError for a person; `about` is the video or file that was worked on.

    A MuldeError stays as it is. An OSError is taken for one of reading unless its cause can only be writing: what
    writes says so itself (`mulde.files.atomic_write`).
    """
    if isinstance(error, MuldeError):
        return error
    log.debug("%s failed", about, exc_info=error)
    if isinstance(error, OSError) and (error.errno or error.filename):
        path = about if error.filename is None or isinstance(error.filename, int) else os.fsdecode(error.filename)
        return cannot("written" if error.errno in _OF_WRITING else "read", path, error)
    if isinstance(error, MemoryError):
        return MuldeError(f"{about}: not enough memory", hint="use fewer --workers, or smaller pictures")
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        name = error.object.encode("utf-8", "backslashreplace").decode()
        return MuldeError(f"{about}: {name} is not UTF-8, which cannot be written here", hint="choose another name")
    if isinstance(error, RecursionError):
        return MuldeError(f"{about}: nested too deep to be read")
    return MuldeError(
        f"{about}: unexpected {type(error).__name__}: {error}", hint="set MULDE_DEBUG=1 to see where it happened"
    )


@dataclass(frozen=True)
class Failure:
    """A video that could not be processed, and why in a sentence."""

    video: str
    reason: str
