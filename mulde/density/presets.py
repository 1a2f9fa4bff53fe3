"""Named sizes of MULDE: the constructor's settings that differ between a quick and the paper's training."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {
        "hidden": (256, 256, 256),
        "steps": 3000,
        "epochs": None,
        "batch_size": 256,
        "lr": 2e-3,
        "schedule": "linear",
    },
    "paper": {
        "hidden": (4096, 4096),
        "steps": None,
        "epochs": 1000,
        "batch_size": 2048,
        "lr": 4e-5,
        "schedule": "constant",
    },
}
