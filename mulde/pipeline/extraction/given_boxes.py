"""Boxes that were made elsewhere, on their way into the store: those of a video of boxes alone, and imported ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mulde.datasets.base import Video
from mulde.datasets.boxes.formats import GivenBoxes, read_boxes
from mulde.errors import StoreError
from mulde.extractors.given import GivenTracks
from mulde.extractors.tracks import Tracker
from mulde.media import Snapshot
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.records import BoxesAlone
from mulde.store import store as tables
from mulde.store.imported import imported_boxes
from mulde.store.store import FeatureStore, Passport

CHANGES, DIGEST = "boxes", "boxes_sha256"
"""Notes of a stored table of boxes: what was changed of them, and the digest of the file that they came from."""
_ROW_GROUP = 1_000_000


def write_own_boxes(
    path: Path,
    boxes: BoxesAlone,
    snapshot: Snapshot,
    store: FeatureStore,
    missing: Mapping[str, Passport],
    tracker: Tracker | GivenTracks | None,
) -> dict[str, Passport]:
    """Bring the boxes of a video of boxes alone into the store; what is then still missing.

    Raises VideoError for a file that cannot be understood, SourceError where it has changed since the snapshot.
    """
    kinds = {"regions"} | ({"tracks"} if isinstance(tracker, GivenTracks) else set())
    wanted = {kind: passport for kind, passport in missing.items() if kind in kinds}
    if wanted:
        given = read_boxes(path, boxes)
        snapshot.check_content()
        write_given(given, wanted, store, {})
    return {kind: passport for kind, passport in missing.items() if kind not in wanted}


def write_given(
    given: GivenBoxes, passports: Mapping[str, Passport], store: FeatureStore, notes: Mapping[str, str]
) -> None:
    """Store boxes and their track ids under those of `passports` that there are, the boxes last."""
    frame_index = given.regions.frame_index
    starts = range(0, max(len(frame_index), 1), _ROW_GROUP)
    if "tracks" in passports:
        with store.writer(passports["tracks"], tables.TRACKS_SCHEMA, notes) as append:
            for start in starts:
                rows = slice(start, start + _ROW_GROUP)
                append(tables.tracks_to_arrow(frame_index[rows], given.track_id[rows]))
    if "regions" in passports:
        known = {**notes, CHANGES: dict(given.changes)}
        with store.writer(passports["regions"], tables.REGIONS_SCHEMA, known) as append:
            for start in starts:
                rows_at = np.arange(start, min(start + _ROW_GROUP, len(frame_index)))
                append(tables.regions_to_arrow(given.regions.select(rows_at)))


def imported_digest(video: Video, sha256: str, plan: ExtractionPlan, store: FeatureStore) -> str | None:
    """The digest of the file that the boxes of a video were imported from; None where it needs no such boxes.

    Raises StoreError where the store has none of that name.
    """
    if not plan.takes_given_boxes or video.boxes is not None:
        return None
    name = plan.settings.regions.imported
    passport = imported_boxes(name, sha256, plan.video.working_size_px)["regions"]
    if passport not in store:
        raise StoreError(f"no boxes {name!r} of {video.name} in {store.root}", hint="mulde cache import --boxes")
    digest = store.footer(passport).notes.get(DIGEST)
    if not isinstance(digest, str):
        raise StoreError(
            f"stored boxes {name!r} of {video.name}", expected="the digest of their file", got=repr(digest)
        )
    return digest
