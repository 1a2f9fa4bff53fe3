from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .media_samples import encode, pictures


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames of 64 x 48, 25 per second, H.264 with B-frames, its index at the front."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return encode(path, pictures(40), container={"movflags": "faststart"}, options={"g": "20"})


@pytest.fixture
def changed(clip: Path, tmp_path: Path) -> Callable[[Callable[[bytes], bytes], str], Path]:
    """Write a changed copy of a file's bytes: changed(lambda content: content[:100], "short.mp4")."""

    def change(alter: Callable[[bytes], bytes], name: str) -> Path:
        path = tmp_path / name
        path.write_bytes(alter(clip.read_bytes()))
        return path

    return change
