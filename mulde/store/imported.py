"""Features and boxes made elsewhere: their kinds and passports in the store."""

from __future__ import annotations

from typing import Any

from mulde.store.store import Passport

PREFIX = "imported-"


def imported_passport(name: str, sha256: str) -> Passport:
    """Passport of the features `name` of a video, known before the file exists, so that a plan can look for it."""
    made_by = {"decoder": None, "regions": None, "extractor": {"extractor": "imported", "name": name}}
    return Passport(f"{PREFIX}{name}", sha256, made_by)


def imported_boxes(name: str, sha256: str, working_size_px: int = 0) -> dict[str, Passport]:
    """Passports of the boxes `name` of a video and of their track ids, as "regions" and "tracks".

    working_size_px: of the setting video.working_size_px, in whose pixels the boxes are kept.
    """
    made_by: dict[str, Any] = {"decoder": None, "imported": name}
    if working_size_px:
        made_by["working_size_px"] = working_size_px
    return {kind: Passport(kind, sha256, made_by) for kind in ("regions", "tracks")}
