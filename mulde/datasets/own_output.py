"""How to know what mulde itself has written, which is never taken for a video unless a person names it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

_OF_A_RUN = frozenset(
    {
        "scores", "regions", "figures", "thumbnails", "normal", "overlays", "clips", "heat_maps", "pixel_maps",
        "evaluation", "tensorboard", "checkpoints", "inserted", "timeline.png", "audit.png", "run.json",
    }
)  # fmt: skip
_STORED_VIDEO = re.compile(r"[0-9a-f]{16}")
_HEAD_BYTES = 4096


def own_entries(folder: Path, names: Iterable[str], *, is_source: bool) -> set[str]:
    """Those of the `names` in `folder` that mulde wrote; videos may lie beside them, where --out named its folder.

    Known by run.json (a run), toy.json (`mulde toy`), world.json (the footage of `mulde demo`, which is taken where a
    person names it: `is_source`) and folders of a feature store.
    """
    names = set(names)
    written = {name for name in names if _STORED_VIDEO.fullmatch(name) and _is_stored_video(folder / name)}
    if "run.json" in names and _was_written_by_mulde(folder / "run.json"):
        written |= names & _OF_A_RUN
    if "toy.json" in names and _was_written_by_mulde(folder / "toy.json"):
        written |= {name for name in names if name.endswith(".png")} | {"toy.json"}
    if "world.json" in names and not is_source and is_demo(folder):
        written |= names
    return written


def is_demo(folder: Path) -> bool:
    """Whether a folder is the synthetic footage of `mulde demo`."""
    return _contains(folder / "world.json", b'"generator"')


def _is_stored_video(folder: Path) -> bool:
    try:
        return any(name == "video.json" or name.endswith(".parquet") for name in os.listdir(folder))
    except OSError:
        return False


def _was_written_by_mulde(path: Path) -> bool:
    return _contains(path, b'"mulde"')


def _contains(path: Path, text: bytes) -> bool:
    """Whether the front of a file has a text in it; False for anything but a file that can be read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return text in file.read(_HEAD_BYTES)
    except OSError:
        return False
