"""UCSD Ped1 and Ped2: the interval file, the masks, and what is said when they are wrong."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from mulde.datasets import open_dataset
from mulde.datasets.benchmarks.ucsd import parse_intervals
from mulde.errors import LabelError, UsageError

from .dataset_copies import flags, ped1, ped2, write_images


@pytest.fixture
def root(tmp_path) -> Path:
    """A good copy of Ped2: three test clips of 6, 12 and 5 frames."""
    return ped2(tmp_path).root


def labels(root: Path, clip: str, num_frames: int, name: str = "ucsd-ped2"):
    dataset = open_dataset(name, root)
    return dataset.labels(next(video for video in dataset.videos("test") if video.name == clip), num_frames)


def refusal(root: Path, clip: str, num_frames: int, name: str = "ucsd-ped2") -> str:
    with pytest.raises(LabelError) as caught:
        labels(root, clip, num_frames, name)
    return str(caught.value)


def test_root_may_be_the_set_or_its_parent(root):
    assert open_dataset("ucsd-ped2", root) == open_dataset("ucsd-ped2", root / "UCSDped2")


def test_frame_rate_is_ten(root):
    assert {video.frame_rate for video in open_dataset("ucsd-ped2", root).videos("train")} == {Fraction(10)}


def test_the_lines_of_the_original_file():
    text = (
        "TestVideoFile = {};\r\n% gt_frame of the 36 clips\r\n"
        "TestVideoFile{end+1}.gt_frame = [60:152];\r\n"
        "TestVideoFile{end+1}.gt_frame = [5:90, 140:200];\r\n"
        "TestVideoFile{end+1}.gt_frame = [ 1:15  45 : 113,] % and so on\r\n"
        "TestVideoFile{end+1}.gt_frame = [];\r\n"
    )
    assert parse_intervals(text, "a.m") == [[(60, 152)], [(5, 90), (140, 200)], [(1, 15), (45, 113)], []]


@pytest.mark.parametrize(
    "code", ["[60-152];", "[0:5];", "[9:5];", "[60:];", "[a:b];", "60:152;", "[1:2:9];", "[1:2 7];"]
)
def test_a_line_that_cannot_be_understood_is_named(code):
    text = f"TestVideoFile = {{}};\nTestVideoFile{{end+1}}.gt_frame = {code}\n"
    with pytest.raises(
        LabelError, match=r"UCSDped2\.m line 2: expected .*\[first:last, \.\.\.\]; .*, got Test"
    ) as caught:
        parse_intervals(text, "UCSDped2.m")
    assert code in str(caught.value)


def test_a_subset_of_the_clips_keeps_its_own_lines(root):
    for name in ("Test001", "Test001_gt"):
        shutil.rmtree(root / "UCSDped2" / "Test" / name)
    assert labels(root, "Test002", 12).anomalous.astype(int).tolist() == flags(12, (0, 2), (8, 12))


def test_mask_and_interval_disagree(root):
    folder = root / "UCSDped2" / "Test"
    write_images(folder / "Test001_gt", 6, ".bmp", lit=[2, 4, 5])
    text = refusal(root, "Test001", 6)
    assert "ucsd-ped2 Test001: mask and UCSDped2.m disagree at frame 3 (004.bmp), the first of 1 such frames" in text
    assert "expected an anomalous pixel, as UCSDped2.m says, got an empty mask" in text
    write_images(folder / "Test001_gt", 6, ".bmp", lit=[0, 1, 2, 3, 4, 5])
    text = refusal(root, "Test001", 6)
    assert "disagree at frame 0 (001.bmp), the first of 2 such frames: expected no anomalous pixel" in text


def test_a_missing_mask_folder_is_an_error_in_ped2_only(root, tmp_path):
    shutil.rmtree(root / "UCSDped2" / "Test" / "Test003_gt")
    assert "ucsd-ped2 Test003: expected masks in" in refusal(root, "Test003", 5)
    copy = ped1(tmp_path)
    assert not (copy.root / "Test" / "Test001_gt").exists()
    assert labels(copy.root, "Test001", 6, "ucsd-ped1").anomalous.astype(int).tolist() == copy.truth["Test001"]


def test_masks_are_compared_in_ped1_where_there_are_some(tmp_path):
    copy = ped1(tmp_path)
    write_images(copy.root / "Test" / "Test002_gt", 8, ".bmp", lit=[0, 1, 5, 6])
    assert "ucsd-ped1 Test002: mask and UCSDped1.m disagree at frame 7 (008.bmp)" in refusal(
        copy.root, "Test002", 8, "ucsd-ped1"
    )


def test_a_missing_mask(root):
    (root / "UCSDped2" / "Test" / "Test001_gt" / "004.bmp").unlink()
    text = refusal(root, "Test001", 6)
    assert "ucsd-ped2 Test001: masks: expected 6, one per frame, got 5 (missing: 004; without a frame: nothing)" in text


def test_a_mask_too_many_and_one_renamed(root):
    folder = root / "UCSDped2" / "Test" / "Test001_gt"
    shutil.copy(folder / "001.bmp", folder / "007.bmp")
    assert "expected 6, one per frame, got 7 (missing: nothing; without a frame: 007)" in refusal(root, "Test001", 6)
    (folder / "002.bmp").unlink()
    assert "got 6 (missing: 002; without a frame: 007)" in refusal(root, "Test001", 6)


def test_damaged_masks(root):
    path = root / "UCSDped2" / "Test" / "Test001_gt" / "002.bmp"
    path.write_bytes(b"")
    assert f"mask {path} is not a readable image: expected an image file, got 0 bytes" in refusal(root, "Test001", 6)
    path.write_bytes(b"BM, but no picture")
    assert "got a damaged header" in refusal(root, "Test001", 6)
    cv2.imwrite(str(path), np.zeros((9, 11), np.uint8))
    assert "expected height x width (24, 32), as in 001.bmp, got (9, 11)" in refusal(root, "Test001", 6)


@pytest.mark.parametrize(("clip", "num_frames", "on_disk"), [("Test001", 5, 6), ("Test002", 13, 12)])
def test_decoded_frames_differ_from_the_folder(root, clip, num_frames, on_disk):
    text = refusal(root, clip, num_frames)
    assert f"ucsd-ped2 {clip}: decoded frames: expected {on_disk}, as in its folder, got {num_frames}" in text


def test_an_interval_past_the_end(root):
    path = root / "UCSDped2" / "Test" / "UCSDped2.m"
    path.write_text(path.read_text().replace("[3:6]", "[3:7]"))
    text = refusal(root, "Test001", 6)
    assert "Test001: interval [3:7] of UCSDped2.m: expected frames 1 to 6, got frame 7" in text


def test_an_interval_file_with_too_few_lines_or_none(root):
    path = root / "UCSDped2" / "Test" / "UCSDped2.m"
    path.write_text("\n".join(path.read_text().splitlines()[:3]))
    assert "Test003: UCSDped2.m: expected a line number 3 with intervals, got 2 lines" in refusal(root, "Test003", 5)
    path.unlink()
    assert f"interval file: expected {path}, got no such file" in refusal(root, "Test001", 6)


def test_ped1_opened_as_ped2(tmp_path):
    with pytest.raises(UsageError, match=r"expected Test/UCSDped2\.m, got UCSDped1\.m"):
        open_dataset("ucsd-ped2", ped1(tmp_path).root)


def test_a_split_is_missing_or_has_no_clips(root):
    base = root / "UCSDped2"
    shutil.rmtree(base / "Train" / "Train001")
    shutil.rmtree(base / "Train" / "Train002")
    (base / "Train" / "Train001.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match=r"Train: expected clip folders Train001, \.\.\., got Train001\.mp4"):
        open_dataset("ucsd-ped2", root)
    shutil.rmtree(base / "Train")
    with pytest.raises(UsageError, match=r"expected folders Train and Test of UCSDped2, or .*, got UCSDped2"):
        open_dataset("ucsd-ped2", root)


def test_a_clip_without_frames(root):
    (root / "UCSDped2" / "Test" / "Test004").mkdir()
    with pytest.raises(UsageError, match=r"Test004: expected frames 001\.tif"):
        open_dataset("ucsd-ped2", root)


def test_real_ped2(ped2_clips, tmp_path):
    """Real masks of three clips in the original layout (empty files for the frames) against their intervals."""
    packed = np.load(ped2_clips / "ground_truth_masks.npz")
    intervals = ["61:180", "95:180", "1:146", "31:180", "1:129", "1:159", "46:180", "1:180", "1:120"]
    write_images(tmp_path / "Train" / "Train001", 1, ".tif")
    num_pixels = {}
    for name, length in (("Test001", 180), ("Test003", 150), ("Test009", 120)):
        masks = np.unpackbits(packed[name], count=length * 240 * 360).reshape(length, 240, 360)
        num_pixels[name] = int(masks.sum())
        (tmp_path / "Test" / name).mkdir(parents=True)
        (tmp_path / "Test" / f"{name}_gt").mkdir()
        for i, mask in enumerate(masks, start=1):
            (tmp_path / "Test" / name / f"{i:03d}.tif").touch()
            cv2.imwrite(str(tmp_path / "Test" / f"{name}_gt" / f"{i:03d}.bmp"), mask * 255)
    lines = [f"TestVideoFile{{end+1}}.gt_frame = [{interval}];" for interval in intervals]
    (tmp_path / "Test" / "UCSDped2.m").write_text("\n".join(lines))

    dataset = open_dataset("ucsd-ped2", tmp_path)
    videos = dataset.videos("test")
    tracks = [dataset.labels(video, length) for video, length in zip(videos, (180, 150, 120), strict=True)]
    assert [track.spans() for track in tracks] == [[(60, 180)], [(0, 146)], [(0, 120)]]
    assert sum(int(mask.sum()) for mask in dataset.masks(videos[1])) == num_pixels["Test003"]
