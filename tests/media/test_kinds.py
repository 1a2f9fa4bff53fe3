"""Names, order and identity of sources; a light import."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from mulde.errors import VideoError
from mulde.media import content_hash, is_frame_folder, is_video_file, list_frames

from .media_samples import pictures, write_images

VIDEOS = ["mp4", "avi", "mkv", "mov", "m4v", "mpg", "mpeg", "ts", "webm", "wmv", "flv", "3gp", "MP4", "Avi"]


@pytest.mark.parametrize("suffix", VIDEOS)
def test_video_files_go_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    assert not is_video_file(path)
    path.touch()
    assert is_video_file(path)


def test_what_is_neither(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "folder.mp4" / ".hidden.jpg").touch()
    assert not is_video_file(tmp_path / "a.txt")
    assert not is_video_file(tmp_path / "folder.mp4")
    assert not is_frame_folder(tmp_path / "folder.mp4")
    assert not is_frame_folder(tmp_path / "a.txt")
    assert not is_frame_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "bmp", "tif", "tiff", "JPG", "Tif"])
def test_frame_folders_hold_an_image(tmp_path: Path, suffix: str) -> None:
    assert not is_frame_folder(tmp_path)
    (tmp_path / f"1.{suffix}").touch()
    assert is_frame_folder(tmp_path)


def test_natural_order(tmp_path: Path) -> None:
    names = ["001.png", "2.png", "10.png", "100.png", "a1b2.png", "a1b10.png", "a2.png", "b.png"]
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [path.name for path in list_frames(tmp_path)] == names


def test_names_that_differ_in_zeros_only_have_a_fixed_order(tmp_path: Path) -> None:
    for name in ["1.png", "01.png", "001.png"]:
        (tmp_path / name).touch()
    assert [path.name for path in list_frames(tmp_path)] == ["001.png", "01.png", "1.png"]


def test_identity_of_a_file_is_its_sha256(clip: Path, tmp_path: Path) -> None:
    content = clip.read_bytes()
    assert content_hash(clip) == hashlib.sha256(content).hexdigest()
    (tmp_path / "other name.avi").write_bytes(content)
    assert content_hash(tmp_path / "other name.avi") == content_hash(clip)
    (tmp_path / "other name.avi").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert content_hash(tmp_path / "other name.avi") != content_hash(clip)


def test_identity_of_a_folder_is_names_and_bytes(tmp_path: Path) -> None:
    one, two = (write_images(tmp_path / name, pictures(4)) for name in ("one", "two"))
    assert content_hash(one) == content_hash(two)
    (two / ".DS_Store").write_text("x")
    (two / "readme.txt").write_text("x")
    assert content_hash(one) == content_hash(two)
    first, second = two / "000.png", two / "001.png"
    first_bytes, second_bytes = first.read_bytes(), second.read_bytes()
    first.write_bytes(second_bytes)
    second.write_bytes(first_bytes)
    swapped = content_hash(two)
    assert swapped != content_hash(one)
    first.write_bytes(first_bytes)
    second.write_bytes(second_bytes)
    assert content_hash(two) == content_hash(one)
    second.rename(two / "001b.png")
    assert content_hash(two) not in {content_hash(one), swapped}
    (two / "001b.png").unlink()
    assert content_hash(two) != content_hash(one)


def test_identity_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="nowhere cannot be read: got No such file"):
        content_hash(tmp_path / "nowhere")
    with pytest.raises(VideoError, match="is empty"):
        content_hash(tmp_path)


def test_importing_the_room_loads_no_decoder() -> None:
    code = "import sys, mulde.media; print(sorted({'av', 'cv2', 'decord', 'torch', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
