"""Kinds of files by name, and the order of names."""

from __future__ import annotations

import random

import pytest

from mulde.filetypes import is_frame_folder, is_image_file, is_video_file, list_frames, natural_key


def test_natural_order():
    names = ["1", "2", "10", "a", "a1b2", "a1b10", "a2", "a10b", "frame9.png", "frame10.png", "frame-", "Test010"]
    expected = ["1", "2", "10", "Test010", "a", "a1b2", "a1b10", "a2", "a10b", "frame9.png", "frame10.png", "frame-"]
    shuffled = names[:]
    random.Random(1).shuffle(shuffled)
    assert sorted(shuffled, key=natural_key) == expected


def test_numbers_of_equal_value_have_one_order_only():
    assert sorted(["1", "01", "001"], key=natural_key) == sorted(["001", "1", "01"], key=natural_key)


@pytest.mark.parametrize(("name", "expected"), [("a.mp4", True), ("A.MkV", True), ("._a.mp4", False), ("a.png", False)])
def test_video_files(tmp_path, name, expected):
    (tmp_path / name).write_bytes(b"")
    assert is_video_file(tmp_path / name) is expected
    assert not is_video_file(tmp_path / "gone.mp4")


def test_a_folder_with_a_videos_name_is_no_file(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    assert not is_video_file(tmp_path / "a.mp4")


def test_frames(tmp_path):
    for name in ("10.png", "9.PNG", "8.tiff", "._7.png", ".DS_Store", "Thumbs.db", "notes.txt", "1.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "11.png").mkdir()
    assert [path.name for path in list_frames(tmp_path)] == ["8.tiff", "9.PNG", "10.png"]
    assert is_frame_folder(tmp_path)
    assert not is_frame_folder(tmp_path / "11.png")
    assert not is_frame_folder(tmp_path / "10.png")


@pytest.mark.parametrize(("name", "expected"), [("a.png", True), ("A.JPG", True), ("._a.png", False), ("a.mp4", False)])
def test_image_files(tmp_path, name, expected):
    (tmp_path / name).write_bytes(b"")
    assert is_image_file(tmp_path / name) is expected
    (tmp_path / "b.png").mkdir()
    assert not is_image_file(tmp_path / "b.png")
