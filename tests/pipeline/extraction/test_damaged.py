"""Damaged files through `mulde extract`: none hangs, none stops the others, each is done or has its sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mulde.datasets.base import Video
from tests.media.test_damaged import damaged  # noqa: F401 - a fixture
from tests.pipeline.clips import clips, plan_of, run
from tests.processes import Command


@pytest.fixture(scope="module", params=[60, pytest.param(200, marks=pytest.mark.slow)])
def batch(damaged: list[Path], tmp_path_factory, request) -> tuple[int, str, Path, list[Video]]:  # noqa: F811
    """What came of one run over the damaged files with two whole ones at its ends, its store, and the videos."""
    folder = tmp_path_factory.mktemp("batch")
    first, last = clips(folder, 2)
    videos = [first, *(Video(path.stem, "all", path) for path in damaged[: request.param]), last]
    options = ["--store", folder / "store", "--device", "cpu", "-q", "--set", "video.batch_frames=7"]
    with Command("extract", *[video.path for video in videos], *options) as process:
        return *process.ended(), folder / "store", videos


def test_every_file_is_done_or_named_with_a_sentence(batch):
    code, said, store, videos = batch
    assert code == 3
    named = {}
    for line in said.partition("videos failed")[2].splitlines()[1:]:
        name, _, sentence = line.strip().partition(": ")
        named[name] = sentence
    again = run(videos, plan_of(), store)
    done = {d.video.name for d in again.done}
    assert (again.computed, done & named.keys()) == (0, set())
    assert done | named.keys() == {video.name for video in videos}
    assert {"clip0", "clip1"} <= done
    assert len(videos) * 0.1 < len(named) < len(videos) * 0.5
    assert all(len(sentence) > 30 for sentence in named.values())
    assert all(d.num_frames > 0 for d in again.done)


def test_nothing_is_shown_that_only_a_programmer_understands(batch):
    shown = batch[1]
    assert "Traceback" not in shown
    assert re.findall(r"^.*\b\w+(?:Error|Exception|Warning)\b:?.*$", shown, re.MULTILINE) == []
