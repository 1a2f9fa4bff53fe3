"""How much room clips take."""

from __future__ import annotations

import os
from pathlib import Path

from mulde.pipeline.run_folder import CLIPS


def clips_bytes(root: Path) -> int:
    """Of all files below the folder of clips."""
    total = 0
    for folder, _, names in os.walk(root / CLIPS):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:  # it went meanwhile
                continue
    return total
