"""What a SOURCE means."""

from __future__ import annotations

import pytest

from mulde.datasets.registry import DATASETS
from mulde.errors import UsageError
from mulde.pipeline.sources import distinct_names, open_source


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_one_file_is_one_video(tmp_path):
    footage = open_source(str(touch(tmp_path / "door.mp4")))
    assert [(v.name, v.path) for v in footage.all] == [("door", tmp_path / "door.mp4")]
    assert footage.split("train") == footage.split("test") == footage.all


def test_a_folder_of_frames_is_one_video_and_a_folder_of_videos_many(tmp_path):
    touch(tmp_path / "cam" / "b" / "1.png")
    touch(tmp_path / "cam" / "a.mp4")
    assert [v.name for v in open_source(str(tmp_path / "cam")).all] == ["a", "b"]
    assert [v.name for v in open_source(str(tmp_path / "cam" / "b")).all] == ["b"]


def test_train_and_test_make_a_data_set(tmp_path):
    touch(tmp_path / "train" / "a.mp4")
    touch(tmp_path / "test" / "b.mp4")
    for source in (str(tmp_path), f"folder:{tmp_path}"):
        footage = open_source(source)
        assert [v.name for v in footage.split("train")] == ["a"]
        assert [v.name for v in footage.split("test")] == ["b"]
        assert len(footage.all) == 2


def test_cameras_above_the_split_make_a_data_set_too(tmp_path):
    for name in ("cam1/train/a.mp4", "cam1/test/b.mp4", "cam2/train/a.mp4"):
        touch(tmp_path / name)
    for source in (str(tmp_path), f"folder:{tmp_path}"):
        footage = open_source(source)
        assert footage.dataset is not None
        assert [v.name for v in footage.split("train")] == ["cam1/a", "cam2/a"]
        assert [v.name for v in footage.split("test")] == ["cam1/b"]
        assert {v.dataset for v in footage.all} == {tmp_path.name}


def test_cameras_without_a_split_are_loose_videos(tmp_path):
    for name in ("cam1/a.mp4", "cam2/a.mp4"):
        touch(tmp_path / name)
    footage = open_source(str(tmp_path))
    assert footage.dataset is None
    assert [v.name for v in footage.split("train")] == ["cam1/a", "cam2/a"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: str(p / "none.mp4"), "expected a video, .* got a path that does not exist"),
        (lambda p: str(p), "got a folder without any"),
        (lambda p: f"ucsd-ped3:{p}", f"expected one of {', '.join(DATASETS)}, got 'ucsd-ped3'"),
        (lambda p: f"folder:{p / 'none'}", "nothing there"),
    ],
)
def test_a_source_without_videos_is_a_sentence(tmp_path, make, sentence):
    with pytest.raises(UsageError, match=sentence):
        open_source(make(tmp_path))


def test_equal_names_from_two_folders_grow_by_the_folder(tmp_path):
    videos = [open_source(str(touch(tmp_path / cam / "1.mp4"))).all[0] for cam in ("x", "y")]
    assert [v.name for v in distinct_names(videos)[0]] == ["x/1", "y/1"]
