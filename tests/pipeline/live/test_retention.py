from __future__ import annotations

import os
from collections import namedtuple
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mulde.pipeline.live import retention as module
from mulde.pipeline.live.retention import Keep, Retention
from mulde.pipeline.live.utc import hour_name

NOW = int(datetime(2026, 11, 28, 13, 30, tzinfo=UTC).timestamp()) * 1000
DAY_MS, HOUR_MS, GB = 86_400_000, 3_600_000, 10**9
ROOMY = Keep(clips_days=30, clips_gb=1000, least_free_gb=0, scores_days=365)


def file(path: Path, num_bytes: int = 10, age_days: float = 0.0) -> Path:
    """A file that says that it is so large, but takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as new:
        new.truncate(num_bytes)
    time_ns = int(NOW - age_days * DAY_MS) * 10**6
    os.utime(path, ns=(time_ns, time_ns))
    return path


def clip(root: Path, name: str, gb: float = 0.0, age_days: float = 0.0) -> Path:
    return file(root / "clips" / name, int(gb * GB), age_days)


def scores(root: Path, camera: str, age_days: float) -> list[Path]:
    name = hour_name(int(NOW - age_days * DAY_MS))
    return [file(root / "scores" / camera / f"{name}{suffix}") for suffix in (".parquet", ".csv")]


def swept(root: Path, keep: Keep = ROOMY, free: float = 1000.0, now_ms: int = NOW):
    return Retention(root, keep, lambda path: int(free * GB)).sweep(now_ms)


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() or path.is_symlink())


def test_an_empty_run_folder_has_nothing_to_remove(tmp_path):
    result = swept(tmp_path / "none")
    assert (result.num_clips, result.clips_bytes, result.num_clips_removed, result.problems) == (0, 0, 0, ())
    assert str(result) == ("0 clips (0.0 GB) and hours of scores (0) removed; 0 clips (0.0 GB) left, 1000.0 GB free")


def test_clips_and_scores_go_by_age_and_nothing_else(tmp_path):
    clip(tmp_path, "yard/old.mp4", age_days=30.01)
    clip(tmp_path, "gate/old.mkv", 0.5, age_days=400)
    kept = [
        clip(tmp_path, "yard/new.mp4", 0.25, age_days=29.99),
        clip(tmp_path, "yard/.old.mp4.part", age_days=400),
        clip(tmp_path, "yard/.mulde-00112233-1-44556677.old.mp4", age_days=400),
        clip(tmp_path, "yard/old.png", age_days=400),
        clip(tmp_path, "old.mp4", age_days=400),
        clip(tmp_path, "yard/20251128T13/17.mp4", age_days=400),
        file(tmp_path / "alerts.sqlite", age_days=4000),
        file(tmp_path / "thumbnails" / "yard" / "old.jpg", age_days=4000),
        file(tmp_path / "scores" / "yard" / "other.parquet", age_days=4000),
        file(tmp_path / "scores" / "20201128T13.parquet", age_days=4000),
        *scores(tmp_path, "yard", 365),
        *scores(tmp_path, "yard", 0),
    ]
    scores(tmp_path, "yard", 365.1)
    scores(tmp_path, "gate", 500)
    result = swept(tmp_path)
    assert left(tmp_path) == sorted(path.name for path in kept)
    assert (result.num_clips, result.clips_bytes) == (1, GB // 4)
    assert (result.num_clips_removed, result.bytes_removed, result.num_scores_removed) == (2, GB // 2, 2)
    assert str(result).startswith("2 clips (0.5 GB) and hours of scores (2) removed; 1 clips (0.2 GB) left, 1000.5 GB")


def test_hours_of_scores_go_by_their_end_not_by_their_file(tmp_path):
    for path in scores(tmp_path, "yard", 10):
        os.utime(path, ns=(NOW * 10**6, NOW * 10**6))
    end_ms = (NOW - 10 * DAY_MS) // HOUR_MS * HOUR_MS + HOUR_MS
    keep = ROOMY.model_copy(update={"scores_days": 1.0})
    assert swept(tmp_path, keep, now_ms=end_ms + DAY_MS).num_scores_removed == 0
    assert swept(tmp_path, keep, now_ms=end_ms + DAY_MS + 1).num_scores_removed == 1
    assert left(tmp_path) == []


def test_the_oldest_clips_go_until_their_size_holds(tmp_path):
    for age in range(6):
        clip(tmp_path, f"{'yard' if age % 2 else 'gate'}/{age}.mp4", 1, age)
    result = swept(tmp_path, ROOMY.model_copy(update={"clips_gb": 3.5}))
    assert left(tmp_path) == ["0.mp4", "1.mp4", "2.mp4"]
    assert (result.num_clips, result.clips_bytes, result.num_clips_removed) == (3, 3 * GB, 3)
    assert swept(tmp_path, ROOMY.model_copy(update={"clips_gb": 0})).num_clips == 0


def test_the_oldest_clips_go_until_the_disk_has_room(tmp_path):
    for age in range(6):
        clip(tmp_path, f"yard/{age}.mp4", 1, age)
    table = scores(tmp_path, "yard", 300)
    keep = ROOMY.model_copy(update={"least_free_gb": 5})
    assert swept(tmp_path, keep, free=5.0).num_clips_removed == 0
    result = swept(tmp_path, keep, free=3.5)
    assert left(tmp_path) == sorted([f"{age}.mp4" for age in range(4)] + [path.name for path in table])
    assert (result.num_clips_removed, result.free_bytes) == (2, int(5.5 * GB))
    assert swept(tmp_path, keep, free=0.0).num_clips == 0
    assert left(tmp_path) == sorted(path.name for path in table)


def test_free_space_that_cannot_be_read_removes_nothing_for_want_of_it(tmp_path):
    clip(tmp_path, "yard/old.mp4", 1, 31)
    clip(tmp_path, "yard/new.mp4", 1, 1)

    def broken(path):
        raise OSError(5, "Input/output error")

    keeping = Retention(tmp_path, Keep(), broken)
    result = keeping.sweep(NOW)
    assert left(tmp_path) == ["new.mp4"]
    assert result.free_bytes is None
    assert result.problems == (
        f"The free space of {tmp_path} is unknown, so no clip goes for want of it: [Errno 5] Input/output error",
    )
    assert "unknown free" in str(result)
    assert keeping.sweep(NOW).problems == ()


def test_the_free_space_is_that_of_the_disk_of_the_run_folder(tmp_path, monkeypatch):
    clip(tmp_path, "yard/a.mp4", 1)
    asked = []
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: asked.append(path) or usage(9, 9, 4 * GB))
    result = Retention(tmp_path, Keep()).sweep(NOW)
    assert (asked, result.num_clips_removed, result.free_bytes) == ([tmp_path], 1, 5 * GB)


def test_a_clip_that_cannot_be_removed_is_said_once_and_stops_no_other(tmp_path, monkeypatch):
    for age in range(3):
        clip(tmp_path, f"yard/{age}.mp4", 1, 40 + age)
    clip(tmp_path, "yard/new.mp4", 1)
    real = Path.unlink

    def unlink(path, missing_ok=False):
        if path.name == "2.mp4":
            raise PermissionError(1, "Operation not permitted")
        if path.name == "1.mp4":
            real(path)  # somebody else is faster
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    keeping = Retention(tmp_path, ROOMY, lambda path: 1000 * GB)
    result = keeping.sweep(NOW)
    assert left(tmp_path) == ["2.mp4", "new.mp4"]
    assert result.problems == (f"{tmp_path}/clips/yard/2.mp4 cannot be removed: Operation not permitted",)
    assert (result.num_clips, result.clips_bytes, result.num_clips_removed) == (2, 2 * GB, 2)
    assert keeping.sweep(NOW).problems == ()


def test_a_clip_that_stays_does_not_count_as_room(tmp_path, monkeypatch):
    for age in range(4):
        clip(tmp_path, f"yard/{age}.mp4", 1, age)
    real = Path.unlink

    def unlink(path):
        if path.name == "3.mp4":
            raise PermissionError(1, "Operation not permitted")
        real(path)

    monkeypatch.setattr(Path, "unlink", unlink)
    result = swept(tmp_path, ROOMY.model_copy(update={"clips_gb": 2.5}))
    assert left(tmp_path) == ["0.mp4", "3.mp4"]
    assert (result.clips_bytes, result.num_clips_removed) == (2 * GB, 2)


def test_links_are_neither_followed_nor_removed(tmp_path):
    outside, run = tmp_path / "outside", tmp_path / "run"
    clip(outside, "yard/old.mp4", age_days=400)
    scores(outside, "yard", 500)
    (run / "clips" / "door").mkdir(parents=True)
    (run / "clips" / "yard").symlink_to(outside / "clips" / "yard")
    (run / "clips" / "door" / "a.mp4").symlink_to(outside / "clips" / "yard" / "old.mp4")
    (run / "scores").symlink_to(outside / "scores")
    before = left(tmp_path)
    assert swept(run, ROOMY.model_copy(update={"clips_gb": 0})).num_clips == 0
    assert left(tmp_path) == before
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "clips").symlink_to(outside / "clips")
    swept(linked)
    assert left(outside) == sorted([*(path.name for path in scores(outside, "yard", 500)), "old.mp4"])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=8, unique_by=lambda one: one[0]),
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_what_is_left_is_the_newest_that_fits(tmp_path_factory, files, clips_gb, least_free_gb, free_gb):
    root = tmp_path_factory.mktemp("run")
    for age, gb in files:
        clip(root, f"yard/{age:02}.mp4", gb, age + 0.5)
    young = [(age, gb) for age, gb in sorted(files) if age < 30]
    removed = sum(gb for age, gb in files if age >= 30)
    while young and (sum(gb for _, gb in young) > clips_gb or free_gb + removed < least_free_gb):
        removed += young.pop()[1]
    result = swept(root, Keep(clips_gb=clips_gb, least_free_gb=least_free_gb), free=free_gb)
    assert left(root) == [f"{age:02}.mp4" for age, _ in young]
    assert result.bytes_removed == removed * GB


@pytest.mark.parametrize(
    "changes", [{"clips_days": 0}, {"clips_gb": -1}, {"least_free_gb": float("inf")}, {"scores_days": -1}, {"clip": 1}]
)
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValidationError):
        Keep(**changes)
