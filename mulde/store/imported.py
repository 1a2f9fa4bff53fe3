"""Features made elsewhere: their kind and passport in the store."""

from __future__ import annotations

from mulde.store.store import Passport

PREFIX = "imported-"


def imported_passport(name: str, sha256: str) -> Passport:
    """Passport of the features `name` of a video, known before the file exists, so that a plan can look for it."""
    made_by = {"decoder": None, "regions": None, "extractor": {"extractor": "imported", "name": name}}
    return Passport(f"{PREFIX}{name}", sha256, made_by)
