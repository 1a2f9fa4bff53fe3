"""Videos that change, or cannot be read, while their features are made: never a table under another content's hash.

Each disturbance comes at some moments, drawn with a fixed seed from all reads, windows, parts and joins of a run.
Relatives looked for: a read error once and for good; files cut, written over with the same size and time, replaced,
appended to; a kill after the change, and the old content back for the run that resumes; folders of images; imported
features, which decode as well; what version 0.1 left half-made (test_store.py).
"""

from __future__ import annotations

import errno
import importlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mulde.datasets.base import Video
from mulde.media import write_video
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.store.store import FeatureStore
from tests.conftest import moving_square
from tests.pipeline.clips import content, leftovers, plan_of, run, stopped_at

# windows of 2 frames: a part has 16 of the 40
SETTINGS = ("video.batch_frames=2", "features.velocity.step=1", 'features.extractors=["geometry"]')
Disturbance = Callable[[Path], object]


class Moments:
    """Counts what a run does, and does `act` when it has counted to `at`."""

    def __init__(self) -> None:
        self.count, self.at = 0, -1
        self.act: Callable[[], object] = lambda: None

    def tick(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.act()


@pytest.fixture(params=[6, pytest.param(20, marks=pytest.mark.slow)], ids=lambda num: f"{num} runs")
def num_runs(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    """Every read of a video, window, part and join counts."""
    found = Moments()

    def counted(of: object, name: str) -> None:
        method = getattr(of, name)

        def noted(*args: object, **options: object) -> object:
            found.tick()
            return method(*args, **options)

        monkeypatch.setattr(of, name, noted)

    class CountedFile(FileIO):
        def read(self, size: int = -1) -> bytes:
            found.tick()
            return super().read(size)

    monkeypatch.setattr("mulde.media.source_file.FileIO", CountedFile)
    monkeypatch.setattr("mulde.media.container._READ_BYTES", 512)
    counted(importlib.import_module("mulde.media.content_hash"), "file_digest")
    counted(ExtractionPlan, "describe")
    counted(FeatureStore, "write_part")
    counted(FeatureStore, "join_parts")
    return found


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def overwrite(path: Path) -> None:
    """In place, with the size and the time of before."""
    found = path.stat()
    with path.open("r+b") as file:
        file.seek(found.st_size // 2)
        file.write(bytes(range(200)))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def replace(path: Path) -> None:
    other = path.with_name("other.mp4")
    shutil.copyfile(path.with_name("second.mp4"), other)
    other.replace(path)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0\0\0\x10free" + bytes(8))


CHANGES: dict[str, Disturbance] = {"cut": cut, "overwritten": overwrite, "replaced": replace, "appended to": append}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A folder with a clip, and with what each change makes of it; and the tables that belong to each content."""
    folder, tables = tmp_path_factory.mktemp("sources"), {}
    for name, seed in (("first", 0), ("second", 1)):
        write_video(folder / f"{name}.mp4", iter(moving_square(40, seed=seed)), 25)
    for name in ("first", *CHANGES):
        path = (
            shutil.copyfile(folder / "first.mp4", folder / f"{name}.mp4") if name != "first" else folder / "first.mp4"
        )
        if name in CHANGES:
            shutil.copyfile(folder / "first.mp4", path)
            CHANGES[name](path)
        run([Video("clip", "all", path)], plan_of(*SETTINGS), folder / f"store of {name}")
        tables[name] = content(folder / f"store of {name}")
    assert len(tables["first"]) == 3
    assert len({frozenset(found.items()) for found in tables.values()}) == 5
    return SimpleNamespace(folder=folder, tables=tables)


def fresh(sources: SimpleNamespace, folder: Path) -> Video:
    for name in ("first.mp4", "second.mp4"):
        shutil.copyfile(sources.folder / name, folder / name)
    return Video("clip", "all", folder / "first.mp4")


def drawn_moments(sources: SimpleNamespace, folder: Path, moments: Moments, num: int, seed: int) -> list[int]:
    """Some of those of a run that nobody disturbs."""
    run([fresh(sources, folder)], plan_of(*SETTINGS), folder / "undisturbed")
    assert moments.count > 60
    return [random.Random(seed + i).randrange(1, moments.count + 1) for i in range(num)]


@contextmanager
def disturbed(moments: Moments, at: int, act: Callable[[], object]) -> Iterator[None]:
    moments.count, moments.at, moments.act = 0, at, act
    yield
    moments.at = -1


@pytest.mark.parametrize("name", CHANGES)
def test_a_video_that_changes_while_it_is_read(
    tmp_path: Path, sources: SimpleNamespace, moments: Moments, num_runs: int, name: str
) -> None:
    before, after = sources.tables["first"], sources.tables[name]
    num_said = 0
    for i, at in enumerate(drawn_moments(sources, tmp_path, moments, num_runs, seed=1)):
        store, video = tmp_path / str(i), fresh(sources, tmp_path)
        with disturbed(moments, at, lambda video=video: CHANGES[name](video.path)):
            result = run([video], plan_of(*SETTINGS), store)
        found = content(store)
        assert found.items() <= {**before, **after}.items()
        if result.failures:
            num_said += 1
            assert "was changed while it was read" in result.failures[0].reason
            assert (found, leftovers(store)) == ({}, [])
        else:
            assert found in (before, after)
        run([video], plan_of(*SETTINGS), store)
        assert after.items() <= content(store).items() <= {**before, **after}.items()
    assert num_said > num_runs / 2


@pytest.mark.parametrize("errors", [1, 10**9], ids=["once", "from then on"])
def test_a_disk_that_cannot_be_read_for_a_moment(
    tmp_path: Path,
    sources: SimpleNamespace,
    moments: Moments,
    monkeypatch: pytest.MonkeyPatch,
    num_runs: int,
    errors: int,
) -> None:
    left = [0]

    def fail() -> None:
        left[0] = errors

    tick = moments.tick

    def tick_or_fail() -> None:
        tick()
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    at_reads = drawn_moments(sources, tmp_path, moments, num_runs, seed=2)
    num_said = 0
    for i, at in enumerate(at_reads):
        store, video = tmp_path / str(i), fresh(sources, tmp_path)
        monkeypatch.setattr(moments, "tick", tick_or_fail)
        with disturbed(moments, at, fail):
            result = run([video], plan_of(*SETTINGS), store)
        monkeypatch.setattr(moments, "tick", tick)
        left[0] = 0
        found = content(store)
        assert found.items() <= sources.tables["first"].items()
        if result.failures:
            num_said += 1
            assert "Input/output error" in result.failures[0].reason
        else:
            assert found == sources.tables["first"]
        assert run([video], plan_of(*SETTINGS), store).computed == (found != sources.tables["first"])
        assert content(store) == sources.tables["first"]
        assert leftovers(store) == []
    assert num_said > num_runs / 2


@pytest.mark.parametrize("name", ["overwritten", "replaced"])
def test_what_was_made_of_another_content_before_a_kill_is_not_resumed_from(
    tmp_path: Path, sources: SimpleNamespace, moments: Moments, num_runs: int, name: str
) -> None:
    """The old content is back when the run goes on: the parts must be of it, too."""
    chance = random.Random(3)
    for i, at in enumerate(drawn_moments(sources, tmp_path, moments, num_runs, seed=3)):
        store, video = tmp_path / str(i), fresh(sources, tmp_path)
        with disturbed(moments, at, lambda video=video: CHANGES[name](video.path)):
            run([video], stopped_at(plan_of(*SETTINGS), chance.randrange(16, 40)), store)
        fresh(sources, tmp_path)
        run([video], plan_of(*SETTINGS), store)
        assert content(store).items() >= sources.tables["first"].items()
        assert leftovers(store) == []


def remove_image(folder: Path) -> None:
    (folder / "031.png").unlink()


def add_image(folder: Path) -> None:
    shutil.copyfile(folder / "030.png", folder / "030b.png")


def change_image(folder: Path) -> None:
    shutil.copyfile(folder / "001.png", folder / "031.png")


@pytest.mark.parametrize("change", [remove_image, add_image, change_image])
def test_a_folder_of_images_that_changes_while_it_is_read(
    tmp_path: Path, moments: Moments, change: Disturbance
) -> None:
    def made(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for i, image in enumerate(moving_square(40)):
            cv2.imwrite(str(folder / f"{i:03d}.png"), image)
        return folder

    (changed := made("changed")) and change(changed)
    run([Video("frames", "all", changed)], plan_of(*SETTINGS), tmp_path / "after")
    moments.count = 0
    run([Video("frames", "all", made("whole"))], plan_of(*SETTINGS), tmp_path / "before")
    before, after = content(tmp_path / "before"), content(tmp_path / "after")
    num_said = 0
    for at in random.Random(4).sample(range(1, moments.count), 8):
        video, store = Video("frames", "all", made(f"frames {at}")), tmp_path / f"store {at}"
        with disturbed(moments, at, lambda video=video: change(video.path)):
            num_said += bool(run([video], plan_of(*SETTINGS), store).failures)
        assert content(store).items() <= {**before, **after}.items()
        assert run([video], plan_of(*SETTINGS), store).failures == []
        assert after.items() <= content(store).items()
    assert num_said >= 3


def test_frames_that_an_import_decodes_are_held_to_the_same(
    tmp_path: Path, sources: SimpleNamespace, moments: Moments, mulde
) -> None:
    video = fresh(sources, tmp_path)
    (tmp_path / "made").mkdir()
    np.save(tmp_path / "made" / "first.npy", np.zeros((40, 2)))
    args = ("cache", "import", video.path, "--name", "x", "--from", "made", "--store", "store", "-q")
    with disturbed(moments, 12, lambda: overwrite(video.path)):
        code, _, err = mulde(*args)
    assert (code, content(tmp_path / "store")) == (1, {})
    assert "first.mp4 was changed while it was read" in err
    fresh(sources, tmp_path)
    assert mulde(*args)[0] == 0
    assert len(content(tmp_path / "store")) == 2
