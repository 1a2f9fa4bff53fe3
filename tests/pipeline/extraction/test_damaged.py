"""200 damaged files through `mulde extract`: none hangs, none stops the others, each is done or has its sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mulde.datasets.base import Video
from tests.media.test_damaged import damaged  # noqa: F401 - a fixture
from tests.pipeline.clips import clips, plan_of, run


@pytest.fixture(scope="module")
def batch(damaged: list[Path], tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], Path, list[Video]]:  # noqa: F811
    """What came of one run over the damaged files with two whole ones at its ends, its store, and the videos."""
    folder = tmp_path_factory.mktemp("batch")
    first, last = clips(folder, 2)
    videos = [first, *(Video(path.stem, "all", path) for path in damaged), last]
    command = [sys.executable, "-m", "mulde.cli", "extract", *[str(v.path) for v in videos]]
    command += ["--store", str(folder / "store"), "--device", "cpu", "-q", "--set", "video.batch_frames=7"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False), folder / "store", videos


def test_every_file_is_done_or_named_with_a_sentence(batch):
    result, store, videos = batch
    assert (result.returncode, len(videos)) == (3, 202)
    named = {}
    for line in result.stderr.partition("videos failed")[2].splitlines()[1:]:
        name, _, sentence = line.strip().partition(": ")
        named[name] = sentence
    again = run(videos, plan_of(), store)
    done = {d.video.name for d in again.done}
    assert (again.computed, done & named.keys()) == (0, set())
    assert done | named.keys() == {video.name for video in videos}
    assert {"clip0", "clip1"} <= done
    assert 20 < len(named) < 100
    assert all(len(sentence) > 30 for sentence in named.values())
    assert all(d.num_frames > 0 for d in again.done)


def test_nothing_is_shown_that_only_a_programmer_understands(batch):
    shown = batch[0].stderr + batch[0].stdout
    assert "Traceback" not in shown
    assert re.findall(r"^.*\b\w+(?:Error|Exception|Warning)\b:?.*$", shown, re.MULTILINE) == []
