"""Small clips, the plans that describe them, and what a store holds, for the tests of the extraction."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

from mulde.datasets.base import Video
from mulde.media import write_video
from mulde.pipeline.extraction.engine import Extraction, extract
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.worker import THIS_MACHINE, WorkerConfig
from mulde.progress import Reporter
from mulde.records import Window
from mulde.settings_file import load_settings
from mulde.store.store import FeatureStore
from tests.conftest import moving_square

QUIET = Reporter(quiet=True)


def plan_of(*overrides: str, threads: int = 0) -> ExtractionPlan:
    """A plan in windows of 7 frames, unless told otherwise."""
    return ExtractionPlan(load_settings(overrides=["video.batch_frames=7", *overrides]), "cpu", threads)


def stopped_at(plan: ExtractionPlan, frame: int) -> ExtractionPlan:
    """The plan, which breaks off at the window of this frame."""
    describe = plan.describe

    def until(window: Window, *rest: object) -> object:
        if frame in window.core_index:
            raise RuntimeError("the power went off")
        return describe(window, *rest)

    plan.describe = until
    return plan


def clips(folder: Path, count: int = 3, num_frames: int = 20) -> list[Video]:
    videos = []
    for i in range(count):
        path = folder / f"clip{i}.mp4"
        if not path.exists():
            write_video(path, iter(moving_square(num_frames, seed=i)), Fraction(25))
        videos.append(Video(f"clip{i}", "all", path))
    return videos


def run(
    videos: list[Video], plan: ExtractionPlan, store: Path, workers_config: WorkerConfig = THIS_MACHINE
) -> Extraction:
    return extract(videos, plan, FeatureStore(store), QUIET, workers_config)


def content(store: Path) -> dict[str, str]:
    """Digest of the bytes of every finished table of a store."""
    files = store.glob("*/[a-z]*.parquet")
    return {p.relative_to(store).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def leftovers(store: Path) -> list[str]:
    """What a store holds beside finished tables, notes and locks."""
    files = [p for p in store.rglob("*") if p.is_file() and p.name not in ("video.json", ".lock")]
    return sorted({p.relative_to(store).as_posix() for p in files} - content(store).keys())
