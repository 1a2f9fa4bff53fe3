"""Own footage: names, three kinds of labels, and what is said when they are wrong."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from mulde.datasets import open_dataset
from mulde.errors import LabelError, UsageError

from .dataset_copies import flags, own_footage, touch_video, write_images


@pytest.fixture
def root(tmp_path) -> Path:
    """Test videos cam1/2 (file), cam1/10 (file) and door (6 frames), no labels yet."""
    own_footage(tmp_path)
    return tmp_path


def labels(root: Path, name: str, num_frames: int):
    dataset = open_dataset("folder", root)
    return dataset.labels(next(video for video in dataset.videos("test") if video.name == name), num_frames)


def refusal(root: Path, name: str, num_frames: int) -> str:
    with pytest.raises(LabelError) as caught:
        labels(root, name, num_frames)
    return str(caught.value)


def write_csv(root: Path, *rows: str, header: str = "video,start_frame,end_frame") -> None:
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


def test_only_one_split(tmp_path):
    touch_video(tmp_path / "test" / "a.mp4")
    dataset = open_dataset("folder", tmp_path)
    assert dataset.videos("train") == ()
    assert [video.name for video in dataset.videos("test")] == ["a"]


def test_the_same_name_may_be_in_both_splits(tmp_path):
    for split in ("train", "test"):
        touch_video(tmp_path / split / "01.mp4")
    write_csv(tmp_path, "01,2,3")
    dataset = open_dataset("folder", tmp_path)
    assert dataset.labels(dataset.videos("train")[0], 5).spans() == []
    assert dataset.labels(dataset.videos("test")[0], 5).spans() == [(2, 3)]


@pytest.mark.parametrize(
    "suffix", ["mp4", "AVI", "mkv", "MOV", "m4v", "mpg", "mpeg", "ts", "webm", "wmv", "flv", "3gp"]
)
def test_video_suffixes(tmp_path, suffix):
    touch_video(tmp_path / "train" / f"clip.of.today.{suffix}")
    assert [video.name for video in open_dataset("folder", tmp_path).videos("train")] == ["clip.of.today"]


def test_an_empty_split_is_named(tmp_path):
    touch_video(tmp_path / "test" / "a.mp4")
    (tmp_path / "train" / "cam1").mkdir(parents=True)
    (tmp_path / "train" / "notes.txt").write_text("nothing yet")
    with pytest.raises(UsageError, match=r"train: expected video files or folders of frames, got none"):
        open_dataset("folder", tmp_path)


def test_neither_train_nor_test(tmp_path):
    touch_video(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match=r"expected a folder train or test with videos, got a\.mp4"):
        open_dataset("folder", tmp_path)


def test_two_videos_of_one_name(tmp_path):
    touch_video(tmp_path / "train" / "cam" / "a.mp4")
    touch_video(tmp_path / "train" / "cam" / "a.avi")
    with pytest.raises(
        UsageError, match=r"two videos with the name 'cam/a': .*, got a\.(avi and a\.mp4|mp4 and a\.avi)"
    ):
        open_dataset("folder", tmp_path)


def test_a_video_and_a_frame_folder_of_one_name(tmp_path):
    touch_video(tmp_path / "train" / "a.mp4")
    write_images(tmp_path / "train" / "a", 2, ".png")
    with pytest.raises(UsageError, match="two videos with the name 'a'"):
        open_dataset("folder", tmp_path)


def test_images_where_no_frames_are_expected(tmp_path):
    write_images(tmp_path / "train", 2, ".png")
    with pytest.raises(UsageError, match="expected one folder per video, got images directly in train/"):
        open_dataset("folder", tmp_path)
    touch_video(tmp_path / "train" / "a.mp4")
    with pytest.raises(UsageError, match=r"expected either frames or videos, got images beside a\.mp4"):
        open_dataset("folder", tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch_video(tmp_path / "disk" / "a.mp4")
    root = tmp_path / "root"
    (root / "train").mkdir(parents=True)
    (root / "train" / "cam1").symlink_to(tmp_path / "disk")
    assert [video.name for video in open_dataset("folder", root).videos("train")] == ["cam1/a"]
    (tmp_path / "disk" / "again").symlink_to(root / "train")
    with pytest.raises(UsageError, match="got a link back to"):
        open_dataset("folder", root)


def test_more_than_one_kind_of_labels(root):
    write_csv(root)
    write_images(root / "masks" / "door", 6, ".png")
    text = refusal(root, "door", 6)
    assert "more than one kind of labels: expected one of labels.csv, labels, masks, got labels.csv, masks" in text


def test_a_csv_without_rows_means_normal(root):
    write_csv(root)
    assert labels(root, "door", 6).anomalous.tolist() == [False] * 6


def test_a_csv_with_more_columns_in_another_order(root):
    write_csv(root, "fight,6,3,door", header="what,end_frame,start_frame,video")
    assert labels(root, "door", 6).spans() == [(3, 6)]


@pytest.mark.parametrize("name", ["dor", "monday", "door.mp4", ""])
def test_a_csv_that_names_an_unknown_video(root, name):
    write_csv(root, "door,0,1", f"{name},0,1")
    text = refusal(root, "cam1/2", 5)
    assert f"expected one of cam1/2, cam1/10, door, got {name!r}" in text


@pytest.mark.parametrize(("start", "end"), [(3, 3), (4, 2), (-1, 2), (2, 7)])
def test_bad_ranges_in_a_csv(root, start, end):
    write_csv(root, f"door,{start},{end}")
    text = refusal(root, "door", 6)
    assert "labels.csv: range of door: expected 0 <= start_frame < end_frame <= 6" in text
    assert "0-based, end_frame is the first frame after the range" in text
    assert f"got start_frame {start}, end_frame {end}" in text


@pytest.mark.parametrize("row", ["door,1.5,2", "door,one,2", "door,1", "door,,"])
def test_ranges_that_are_no_whole_numbers(root, row):
    write_csv(root, "cam1/2,0,1", row)
    text = refusal(root, "cam1/10", 6)
    assert "labels.csv line 3: range of door: expected whole numbers" in text


@pytest.mark.parametrize("header", ["", "video;start_frame;end_frame", "video,start,end"])
def test_a_csv_with_another_header(root, header):
    write_csv(root, header=header)
    text = refusal(root, "door", 6)
    assert f"labels.csv: header: expected video,start_frame,end_frame, got {header or 'an empty file'}" in text


def test_npy_of_a_wrong_length_shape_or_kind(root):
    path = root / "labels" / "door.npy"
    path.parent.mkdir()
    for array, got in ((np.zeros(5), "float64 of shape (5,)"), (np.zeros((6, 1), int), "int64 of shape (6, 1)")):
        np.save(path, array)
        text = refusal(root, "door", 6)
        assert f"labels of door: expected numbers of shape (6,), one per decoded frame, got {got}" in text
    np.save(path, np.array(list("011000")))
    assert "got <U1 of shape (6,)" in refusal(root, "door", 6)


@pytest.mark.parametrize(("value", "got"), [(2, "2.0"), (0.5, "0.5"), (np.nan, "nan"), (-1, "-1.0")])
def test_npy_with_other_values(root, value, got):
    (root / "labels").mkdir()
    np.save(root / "labels" / "door.npy", np.array([0, 1, 1, 0, value, 1], float))
    text = refusal(root, "door", 6)
    assert f"labels of door: expected 0 or 1, got {got} at frame 4" in text


def test_damaged_npy(root):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(6))
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}, 1, 2, 3, 4, 5], dtype=object), allow_pickle=True)
    zipped = io.BytesIO()
    np.savez(zipped, a=np.zeros(6))
    (root / "labels").mkdir()
    for data in (b"", b"0 1 0", buffer.getvalue()[:50], buffer.getvalue()[:-3], pickled.getvalue(), zipped.getvalue()):
        (root / "labels" / "door.npy").write_bytes(data)
        assert "door.npy: expected a .npy array of numbers, got a damaged file" in refusal(root, "door", 6)


@pytest.mark.parametrize("kind", ["labels", "masks"])
def test_a_label_file_of_no_video_is_named(root, kind):
    if kind == "labels":
        (root / "labels" / "cam1").mkdir(parents=True)
        np.save(root / "labels" / "cam1" / "1.npy", np.zeros(6))
    else:
        write_images(root / "masks" / "cam1" / "1", 6, ".png")
    assert f"{kind}/ names a video that test/ does not hold: expected one of" in refusal(root, "door", 6)
    assert "got 'cam1/1'" in refusal(root, "door", 6)


@pytest.mark.parametrize("kind", ["labels", "masks"])
def test_a_video_without_a_label_file_is_unlabelled(root, kind):
    if kind == "labels":
        (root / "labels").mkdir()
        np.save(root / "labels" / "door.npy", np.ones(6))
    else:
        write_images(root / "masks" / "door", 6, ".png", lit=range(6))
    assert labels(root, "door", 6).spans() == [(0, 6)]
    assert labels(root, "cam1/2", 6) is None


@pytest.mark.parametrize("count", [0, 5, 7])
def test_a_wrong_number_of_masks(root, count):
    write_images(root / "masks" / "door", count, ".png")
    text = refusal(root, "door", 6)
    assert f"masks: masks of door: expected 6, one per decoded frame, got {count}" in text


def test_masks_of_every_pixel_format(root):
    """One faint pixel in frame 2 counts in every format; an alpha channel that is full does not."""
    folder = root / "masks" / "door"
    folder.mkdir(parents=True)
    for extra, dtype, suffix in (((), np.uint8, ".png"), ((), np.uint16, ".png"), ((3,), np.uint8, ".tif")):
        for i in range(6):
            image = np.zeros((8, 9, *extra), dtype)
            image[3, 4] = i == 2
            (folder / f"{i}.png").unlink(missing_ok=True)
            cv2.imwrite(str(folder / f"{i}{suffix}"), image)
        assert labels(root, "door", 6).anomalous.astype(int).tolist() == flags(6, (2, 3))
    for i in range(6):
        image = np.zeros((8, 9, 4), np.uint8)
        image[..., 3] = 255
        image[5, 6, 2] = i == 2
        (folder / f"{i}.tif").unlink()
        cv2.imwrite(str(folder / f"{i}.png"), image)
    assert labels(root, "door", 6).anomalous.astype(int).tolist() == flags(6, (2, 3))


def test_jpg_masks_are_refused(root):
    write_images(root / "masks" / "door", 6, ".jpg")
    assert "expected a lossless image (png, bmp, tif), got a jpg" in refusal(root, "door", 6)


def test_masks_are_in_natural_order(root):
    folder = root / "masks" / "door"
    write_images(folder, 6, ".png")
    for i, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"m{i + 6}.png")  # m6 ... m11: "m10" sorts before "m6" as text
    image = np.zeros((24, 32), np.uint8)
    image[0, 0] = 1
    cv2.imwrite(str(folder / "m10.png"), image)
    assert labels(root, "door", 6).spans() == [(4, 5)]
