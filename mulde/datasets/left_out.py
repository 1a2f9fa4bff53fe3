"""What a walk leaves out, why, and the one line that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_MAX_NAMES = 20


class Reason(Enum):
    """Why something is no video: words for one, for several, and whether a person may have wanted it (`--strict`)."""

    UNREADABLE = ("folder that cannot be read", "folders that cannot be read", True)
    DEAD_LINK = ("dead link", "dead links", True)
    SPECIAL = ("pipe, socket or device", "pipes, sockets or devices", True)
    OUTSIDE = ("video outside train/ and test/", "videos outside train/ and test/", True)
    PICTURE = ("picture beside videos", "pictures beside videos", True)
    NO_FRAME = ("picture that is no frame of its folder", "pictures that are no frames of their folders", True)
    FRAMES = ("folder of frames, which mulde score takes", "folders of frames, which mulde score takes", True)
    FRAMES_BELOW = (
        "folder of pictures inside a folder of frames",
        "folders of pictures inside a folder of frames",
        True,
    )
    OTHER_KIND = ("file of another kind, which can be named", "files of another kind, which can be named", True)
    ARCHIVE = ("archive, which has to be unpacked", "archives, which have to be unpacked", True)
    UNFINISHED = ("unfinished download", "unfinished downloads", True)
    TWICE = ("name for a video that is there already", "names for videos that are there already", False)
    LOOP = ("link back to a folder above", "links back to a folder above", False)
    MASKS = ("folder of masks", "folders of masks", False)
    EMPTY = ("empty folder", "empty folders", False)
    OURS = ("output of mulde", "outputs of mulde", False)
    DOCUMENT = ("file that holds no video", "files that hold no video", False)
    CLUTTER = ("hidden or system entry", "hidden or system entries", False)

    @property
    def is_strict(self) -> bool:
        return bool(self.value[2])

    def in_words(self, count: int) -> str:
        return f"{count:,} {self.value[0] if count == 1 else self.value[1]}"


@dataclass(frozen=True)
class LeftOut:
    """One file, folder or link that is no video: `name` is its path below the source, `detail` more on the reason."""

    path: Path
    name: str
    reason: Reason
    detail: str = ""

    def in_words(self) -> str:
        return f"{self.name} ({self.detail})" if self.detail else self.name


def in_words(left_out: Sequence[LeftOut]) -> str:
    """One line: counts and reasons with the first names of each, what matters most first; "" for nothing."""
    parts = []
    for reason in Reason:
        names = [entry.in_words() for entry in left_out if entry.reason is reason]
        if names:
            more = ", ..." if len(names) > _MAX_NAMES else ""
            parts.append(f"{reason.in_words(len(names))}: {', '.join(names[:_MAX_NAMES])}{more}")
    return f"left out: {'; '.join(parts)}" if parts else ""


def as_record(left_out: Sequence[LeftOut], limit: int = 1000) -> dict[str, dict[str, object]]:
    """For run.json: by reason the count, and the paths of the first `limit`."""
    record: dict[str, dict[str, object]] = {}
    for reason in Reason:
        paths = [str(entry.path) for entry in left_out if entry.reason is reason]
        if paths:
            record[reason.name.lower()] = {"count": len(paths), "paths": paths[:limit]}
    return record
