"""Extraction: windows, reuse, damage, bad videos, a kill in the middle."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulde.config import load_settings
from mulde.datasets.base import Video
from mulde.errors import MuldeError
from mulde.media import write_video
from mulde.pipeline.extract import ExtractionPlan, extract, windows
from mulde.pipeline.progress import Reporter
from mulde.pipeline.store import FeatureStore
from mulde.records import Frames
from tests.conftest import moving_square


@pytest.fixture
def plan() -> ExtractionPlan:
    return ExtractionPlan(load_settings(overrides=["video.batch_frames=7"]), "cpu")


def clips(folder: Path, count: int = 3, num_frames: int = 20) -> list[Video]:
    videos = []
    for i in range(count):
        path = folder / f"clip{i}.mp4"
        if not path.exists():
            write_video(path, iter(moving_square(num_frames, seed=i)), Fraction(25))
        videos.append(Video(f"clip{i}", "all", path))
    return videos


def content(store: Path) -> dict[str, str]:
    """Digest of every file below a store, hidden ones included."""
    files = [p for p in store.rglob("*") if p.is_file()]
    return {p.relative_to(store).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@given(st.lists(st.integers(1, 5), max_size=6), st.integers(0, 6), st.integers(0, 6))
def test_window_cores_add_up_to_the_stream_with_their_context(sizes, before, after):
    n, start, batches = sum(sizes), 0, []
    images = np.arange(n, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)
    for size in sizes:
        index = np.arange(start, start + size)
        batches.append(Frames(images[index], index, index / 25))
        start += size
    described = []
    for window in windows(batches, before, after):
        core = window.core_index
        described += core.tolist()
        held = window.frames.frame_index
        assert held[0] <= max(core[0] - before, 0)
        assert held[-1] >= min(core[-1] + after, n - 1)
        assert len(held) <= before + after + 2 * max(sizes)
        assert np.array_equal(window.frames.images[:, 0, 0, 0], held)
    assert described == list(range(n))


def test_a_video_becomes_rows_for_the_object_in_it(tmp_path, plan):
    done = extract(clips(tmp_path, 1), plan, FeatureStore(tmp_path / "store"), Reporter(quiet=True)).done[0]
    velocity = done.features("velocity")
    assert done.num_frames == 20
    assert done.time_s == pytest.approx(np.arange(20) / 25)
    assert set(velocity.frame_index) == set(range(1, 20))  # motion regions: none in the first frame
    assert velocity.values.argmax(axis=1).tolist() == [0] * len(velocity)  # to the right
    assert np.array_equal(done.features("descriptor").box_xyxy, velocity.box_xyxy)


def test_batch_size_changes_no_feature(tmp_path, plan):
    results = []
    for size in (3, 7, 64):
        other = ExtractionPlan(load_settings(overrides=[f"video.batch_frames={size}"]), "cpu")
        results.append(
            extract(clips(tmp_path, 1), other, FeatureStore(tmp_path / str(size)), Reporter(quiet=True)).done[0]
        )
    for name in ("velocity", "descriptor"):
        assert np.array_equal(results[0].features(name).values, results[1].features(name).values)
        assert np.array_equal(results[0].features(name).values, results[2].features(name).values)


def test_a_second_run_computes_nothing_and_one_more_extractor_reuses_the_regions(tmp_path, plan, monkeypatch):
    store, videos = FeatureStore(tmp_path / "store"), clips(tmp_path)
    velocity = ExtractionPlan(load_settings(overrides=['features.extractors=["velocity"]']), "cpu")
    assert extract(videos, velocity, store, Reporter(quiet=True)).computed == 3
    before = content(store.root)
    again = extract(videos, velocity, store, Reporter(quiet=True))
    assert (again.computed, again.reused) == (0, 3)
    assert content(store.root) == before
    more = ExtractionPlan(load_settings(), "cpu")
    monkeypatch.setattr(more.regions, "find", lambda window: pytest.fail("regions are in the store"))
    assert extract(videos, more, store, Reporter(quiet=True)).computed == 3
    assert before.items() < content(store.root).items()


def test_a_changed_setting_never_meets_old_features(tmp_path, plan):
    store, videos = FeatureStore(tmp_path / "store"), clips(tmp_path, 1)
    extract(videos, plan, store, Reporter(quiet=True))
    for override in ("features.velocity.bins=4", "regions.motion.threshold=20", "video.decoder=pyav"):
        other = ExtractionPlan(load_settings(overrides=[override]), "cpu")
        assert extract(videos, other, store, Reporter(quiet=True)).computed == 1


def test_the_same_content_elsewhere_is_recognised(tmp_path, plan):
    store = FeatureStore(tmp_path / "store")
    extract(clips(tmp_path, 1), plan, store, Reporter(quiet=True))
    moved = (tmp_path / "clip0.mp4").rename(tmp_path / "renamed.mp4")
    assert extract([Video("renamed", "all", moved)], plan, store, Reporter(quiet=True)).reused == 1


def test_a_damaged_file_is_said_and_made_again(tmp_path, plan, capsys):
    store, videos = FeatureStore(tmp_path / "store"), clips(tmp_path, 1)
    extract(videos, plan, store, Reporter(quiet=True))
    before = content(store.root)
    victim = next(store.root.rglob("velocity-*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-20])
    assert extract(videos, plan, store, Reporter(quiet=True)).computed == 1
    assert "is damaged" in capsys.readouterr().err
    assert content(store.root) == before


def test_one_bad_video_is_named_and_the_others_are_done(tmp_path, plan):
    videos = clips(tmp_path)
    (tmp_path / "text.mp4").write_text("not a video")
    videos.insert(1, Video("text", "all", tmp_path / "text.mp4"))
    result = extract(videos, plan, FeatureStore(tmp_path / "store"), Reporter(quiet=True))
    assert [d.video.name for d in result.done] == ["clip0", "clip1", "clip2"]
    assert [f.video for f in result.failures] == ["text"]
    assert "text.mp4" in result.failures[0].reason


def test_a_full_disk_is_a_sentence_and_finished_videos_stay(tmp_path, plan, monkeypatch):
    store, videos = FeatureStore(tmp_path / "store"), clips(tmp_path)
    extract(videos[:1], plan, store, Reporter(quiet=True))
    before = content(store.root)
    monkeypatch.setattr(plan.regions, "find", _disk_full)
    with pytest.raises(MuldeError, match=r"disk of the feature store .* is full.*finished videos are kept"):
        extract(videos, plan, store, Reporter(quiet=True))
    assert content(store.root) == before


def _disk_full(window: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_killed_in_the_middle_and_started_again_equals_undisturbed(tmp_path, plan):
    videos = clips(tmp_path, 6, 60)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    extract(videos, plan, FeatureStore(undisturbed), Reporter(quiet=True))
    sources = [str(v.path) for v in videos]
    command = [sys.executable, "-m", "mulde.cli", "extract", *sources, "--set", "video.batch_frames=7", "-q"]
    process = subprocess.Popen([*command, "--store", str(killed)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120  # of a video's files, `frames` takes its place last
    while len(list(killed.glob("*/frames-*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {p: p.stat().st_mtime_ns for p in killed.glob("*/*.parquet")}
    assert 2 <= len(list(killed.glob("*/frames-*.parquet"))) < 6, "the kill came too late to prove anything"
    again = extract(videos, plan, FeatureStore(killed), Reporter(quiet=True))
    assert again.reused >= 2
    assert content(killed) == content(undisturbed)
    assert {p: p.stat().st_mtime_ns for p in finished} == finished


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_ends_with_130_and_keeps_what_is_done(tmp_path):
    videos = clips(tmp_path, 6, 60)
    store = tmp_path / "store"
    # A test session in the background may have been told to ignore SIGINT, and its children inherit that.
    code = "import signal; signal.signal(2, signal.default_int_handler); from mulde.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "extract", *[str(v.path) for v in videos], "--store", str(store), "-q"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(store.glob("*/frames-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished videos are kept" in err
    assert not [p for p in store.rglob(".*")]
