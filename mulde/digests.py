"""SHA-256 of plain data."""

from __future__ import annotations

import hashlib
import json


def fingerprint(value: object) -> str:
    """Hex sha256 of plain JSON data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
