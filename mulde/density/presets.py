"""Named sizes of MULDE: the constructor's settings that differ between a quick and the paper's training."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # Chosen by held-out L_dsm on the toy set and on random mixtures of 8, 34 and 512 columns, at equal time: small
    # batches and many steps beat large ones, three layers beat two, and many columns need a wide first layer.
    "fast": {
        "hidden": (512, 128, 128),
        "steps": 2000,
        "epochs": None,
        "batch_size": 128,
        "lr": 4e-3,
        "schedule": "linear",
        "ema": 0.0,
    },
    "paper": {
        "hidden": (4096, 4096),
        "steps": None,
        "epochs": 1000,
        "batch_size": 2048,
        "lr": 4e-5,
        "schedule": "constant",
        "ema": 0.0,
    },
}
