"""What every region finder and extractor has in common.

Both describe the core frames of a `Window` and say how many frames of context they want around them, so that the
caller can stream a video of any length through them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from mulde.digests import path_digest
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


_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def is_tag(weights: str) -> bool:
    """Whether `weights` is written as the name of published weights (`DEFAULT`, `openai`): a word without a dot, a
    separator or `~`. It is never a path, whatever lies in the working directory; `./openai` is one."""
    return _TAG.fullmatch(weights) is not None


def local_weights(weights: str) -> Path | None:
    """The file that `weights` names; None for a tag and where there is nothing."""
    path = Path(weights).expanduser()
    return path if not is_tag(weights) and path.is_file() else None


def weights_source(weights: str) -> Fingerprint:
    """Where weights come from: the digest of a local file, else the tag of published ones."""
    path = local_weights(weights)
    return {"weights_sha256": path_digest(path)} if path is not None else {"weights": weights}
