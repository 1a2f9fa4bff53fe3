"""What every region finder and extractor has in common.

Both describe the core frames of a `Window` and say how many frames of context they want around them, so that the
caller can stream a video of any length through them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from mulde.records import FeatureTable, Regions, Window

Fingerprint = dict[str, object]
"""Everything that changes a result, as plain JSON values: it goes into the passport of what is stored."""


class RegionFinder(Protocol):
    """Finds boxes in the core frames of a window; needs `before` frames of context where the video has them."""

    before: int

    def fingerprint(self) -> Fingerprint: ...

    def find(self, window: Window, known: Regions) -> Regions:
        """Boxes that `known` (same frames, found by earlier finders) does not hold yet, sorted by frame."""
        ...


class Extractor(Protocol):
    """Turns the core frames of a window, and the boxes in them, into feature rows."""

    name: str
    object_centric: bool
    before: int
    after: int

    def fingerprint(self) -> Fingerprint: ...

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        """One row per box of `regions`, in order, or one per core frame when frame-centric."""
        ...


def weights_source(weights: str) -> Fingerprint:
    """Where weights come from: the digest of a local file or folder, else the tag of published ones."""
    path = Path(weights).expanduser()
    return {"weights_sha256": digest(path)} if path.exists() else {"weights": weights}


def digest(path: Path) -> str:
    """Hex sha256 of a file, as `sha256sum` prints it, or of the names and digests of all files below a folder."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(path).as_posix()} {digest(file)}\n".encode())
    return total.hexdigest()
