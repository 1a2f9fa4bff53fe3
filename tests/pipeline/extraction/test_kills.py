"""A batch that is killed over and over ends as one that nobody disturbed. The one long test of the extraction."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.pipeline.clips import clips, content, leftovers, plan_of, run

NUM_KILLS = 20
BATCH = "video.batch_frames=4"  # a part of 8 windows is 32 frames


def outputs(store: Path) -> set[Path]:
    return set(store.rglob("*.parquet"))


def finished(store: Path) -> dict[Path, int]:
    """When each finished table was written."""
    return {path: path.stat().st_mtime_ns for path in store.glob("*/[a-z]*.parquet")}


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_twenty_kills_at_random_moments_leave_no_trace(tmp_path):
    videos, store, chance = clips(tmp_path, 10, 140), tmp_path / "store", random.Random(4)
    command = [sys.executable, "-m", "mulde.cli", "extract", *[str(video.path) for video in videos]]
    command += ["--set", BATCH, "--device", "cpu", "--store", str(store), "-q"]
    written: dict[Path, int] = {}
    kills_inside_videos = kills_after_a_video = 0
    for number in range(NUM_KILLS):
        before = outputs(store)
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            if number % 3 == 0:  # while it starts
                time.sleep(chance.uniform(0, 1))
            else:
                while process.poll() is None and outputs(store) <= before:
                    time.sleep(0.002)
                time.sleep(chance.uniform(0, 0.3))
            assert process.poll() is None, process.communicate()
            process.kill()
        for path in finished(store):
            pq.read_table(path, page_checksum_verification=True)  # whole as soon as it is there
        assert finished(store).items() >= written.items()  # and never written again
        written = finished(store)
        kills_inside_videos += any(store.glob("*/.parts-*/*.parquet"))
        kills_after_a_video += any(store.glob("*/frames-*.parquet"))
    assert kills_inside_videos >= 8
    assert kills_after_a_video >= 5
    assert len(list(store.glob("*/frames-*.parquet"))) < len(videos), "the kills came too late to prove anything"

    quiet = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert finished(store).items() >= written.items()
    assert run(videos, plan_of(BATCH), tmp_path / "undisturbed").computed == len(videos)
    assert content(store) == content(tmp_path / "undisturbed")
    assert leftovers(store) == []
