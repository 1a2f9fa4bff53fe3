"""Boxes and tracks that were made elsewhere: they stand where finders and a tracker would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mulde.errors import StoreError
from mulde.extractors.base import Fingerprint
from mulde.records import Int64, Regions, Window

IMPORTED = "imported"
"""The name of both in the settings."""


class GivenBoxes:
    """Stands for boxes of a file; they are in the store before any frame is looked at. boxes: the name that they were
    imported under, "" for those of videos of boxes alone."""

    before = 0

    def __init__(self, boxes: str = "") -> None:
        self.boxes = boxes

    def fingerprint(self) -> Fingerprint:
        return {"finder": IMPORTED, "version": 1, "boxes": self.boxes}

    def find(self, window: Window, known: Regions) -> Regions:
        del window, known
        raise StoreError(
            f"imported boxes {self.boxes!r}", expected="a sound table in the store", hint="mulde cache import --boxes"
        )


class GivenTracks:
    """Stands for the track ids of a file of boxes."""

    def fingerprint(self) -> Fingerprint:
        return {"tracker": IMPORTED, "version": 1}

    def track(self, segments: Iterable[tuple[Int64, Regions]]) -> Iterator[Int64]:
        del segments
        raise StoreError("imported tracks", expected="a sound table in the store", hint="mulde cache import --boxes")
