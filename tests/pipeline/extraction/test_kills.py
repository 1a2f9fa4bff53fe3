"""A batch that is killed over and over ends as one that nobody disturbed."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.pipeline.clips import clips, content, leftovers, plan_of, run
from tests.processes import Command

BATCH = "video.batch_frames=4"  # a part of 8 windows is 32 frames


def outputs(store: Path) -> set[Path]:
    """Parts as well; folders may go while they are looked through, which `os.walk` passes over."""
    found = ((Path(folder), name) for folder, _, names in os.walk(store) for name in names)
    return {folder / name for folder, name in found if name.endswith(".parquet")}


def videos_of(store: Path) -> set[Path]:
    return set(store.glob("*/frames-*.parquet"))


def finished(store: Path) -> dict[Path, int]:
    """When each finished table was written."""
    return {path: path.stat().st_mtime_ns for path in store.glob("*/[a-z]*.parquet")}


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("num_kills", "num_videos", "num_frames"), [(6, 8, 50), pytest.param(20, 10, 140, marks=pytest.mark.slow)]
)
def test_kills_at_random_moments_leave_no_trace(tmp_path, num_kills, num_videos, num_frames):
    videos, store, chance = clips(tmp_path, num_videos, num_frames), tmp_path / "store", random.Random(4)
    command = ["extract", *[video.path for video in videos]]
    command += ["--set", BATCH, "--device", "cpu", "--store", store, "-q"]
    written: dict[Path, int] = {}
    kills_inside_videos = kills_after_a_video = 0
    for number in range(num_kills):
        before = outputs(store)
        with Command(*command) as process:
            if number % 3 == 0:  # while it starts
                time.sleep(chance.uniform(0, 1))
            else:
                news = videos_of if number % 6 == 5 else outputs
                while process.poll() is None and news(store) <= before:
                    time.sleep(0.002)
                time.sleep(chance.uniform(0, 0.3))
            assert process.poll() is None, process.ended()
            process.kill()
        for path in finished(store):
            pq.read_table(path, page_checksum_verification=True)  # whole as soon as it is there
        assert finished(store).items() >= written.items()  # and never written again
        written = finished(store)
        kills_inside_videos += any(store.glob("*/.parts-*/*.parquet"))
        kills_after_a_video += bool(videos_of(store))
    assert kills_inside_videos >= num_kills * 2 // 5
    assert kills_after_a_video >= num_kills // 4
    assert len(videos_of(store)) < len(videos), "the kills came too late to prove anything"

    with Command(*command) as quiet:
        assert quiet.ended() == (0, "")
    assert finished(store).items() >= written.items()
    assert run(videos, plan_of(BATCH), tmp_path / "undisturbed").computed == len(videos)
    assert content(store) == content(tmp_path / "undisturbed")
    assert leftovers(store) == []
