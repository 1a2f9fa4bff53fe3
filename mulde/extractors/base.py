"""The interfaces of region finders and extractors, and where weights come from.

Both describe the core frames of a `Window` and declare how many frames of context they need around them, so that the
caller can stream a video of any length through them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol, runtime_checkable

from mulde.digests import fingerprint, path_digest
from mulde.extractors.formats import is_exported, openvino_pair
from mulde.records import FeatureTable, Float64, Int64, Regions, Window

Fingerprint = dict[str, object]
"""Everything that changes a result, as plain JSON values: it goes into the passport of what is stored."""


class RegionFinder(Protocol):
    """Finds boxes in the core frames of a window, with `before` frames of context if the video has them."""

    before: int

    def fingerprint(self) -> Fingerprint: ...

    def find(self, window: Window, known: Regions) -> Regions:
        """New boxes, sorted by frame; `known` has those of earlier finders in the same frames."""
        ...


class Extractor(Protocol):
    """Turns the core frames of a window, and the boxes in them, into feature rows.

    Several threads call one object at the same time, so it keeps no state between calls. One that needs its `after`
    frames only for the first `before` frames of a video may say so with an attribute `after_with_past`, the number of
    frames behind that all others need: streams are then not delayed.
    """

    name: str
    object_centric: bool
    before: int
    after: int

    def fingerprint(self) -> Fingerprint: ...

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        """One row per box of `regions`, in order, or one per core frame when frame-centric."""
        ...


@runtime_checkable
class TrainedExtractor(Extractor, Protocol):
    """An extractor by networks that were trained on normal video, which they must not describe themselves."""

    def for_video(self, sha256: str, first_frame: int = 0) -> Extractor:
        """The extractor of a video whose frames are those from `first_frame` on of this content (SHA-256)."""
        ...


@runtime_checkable
class TrackExtractor(Protocol):
    """Turns the boxes of a whole video, and the tracks that they are on, into feature rows. It sees no pictures.

    It keeps no state between calls. `object_centric` is True.
    """

    name: str
    object_centric: bool

    def fingerprint(self) -> Fingerprint: ...

    def extract_tracks(self, regions: Regions, time_s: Float64, track_id: Int64) -> FeatureTable:
        """Rows of those boxes that have one, in order. time_s (N,): of the frame of each box; track_id (N,): -1 for
        a box on no track. A row depends on boxes of its track up to its own frame alone."""
        ...


_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def is_tag(weights: str) -> bool:
    """Whether `weights` is written as the name of published weights (`DEFAULT`, `openai`): a word without a dot, a
    separator or `~`. It is never a path, whatever lies in the working directory; `./openai` is one."""
    return _TAG.fullmatch(weights) is not None


def local_weights(weights: str) -> Path | None:
    """The file, or the folder of a network, that `weights` names; None for a tag and where there is none."""
    path = Path(weights).expanduser()
    return path if not is_tag(weights) and (path.is_file() or is_network_folder(path)) else None


def is_network_folder(path: Path) -> bool:
    """Whether a folder holds a network: one of OpenVINO, or one of the hub with its configuration."""
    return path.is_dir() and (is_exported(path) or (path / "config.json").is_file())


def weights_digest(path: Path) -> str:
    """The digest of a file or folder of weights; of an OpenVINO network by its .xml that of the .bin as well."""
    if path.suffix != ".xml":
        return path_digest(path)
    return fingerprint([path_digest(part) for part in openvino_pair(path)])


def weights_source(weights: str) -> Fingerprint:
    """Where weights come from: the digest of a local file, else the tag of published ones."""
    path = local_weights(weights)
    return {"weights_sha256": weights_digest(path)} if path is not None else {"weights": weights}
