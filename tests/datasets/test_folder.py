"""Own footage: names, three kinds of labels, and what is said when they are wrong."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from mulde.datasets import open_dataset
from mulde.datasets.left_out import Reason
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


def test_splits_without_videos_are_named(tmp_path):
    (tmp_path / "train" / "cam1").mkdir(parents=True)
    (tmp_path / "train" / "notes.txt").write_text("nothing yet")
    with pytest.raises(UsageError, match=r"train: expected video files or folders of frames, got none"):
        open_dataset("folder", tmp_path)


def test_a_split_without_videos_leaves_the_other_one_usable(tmp_path):
    touch_video(tmp_path / "test" / "a.mp4")
    (tmp_path / "train").mkdir()
    dataset = open_dataset("folder", tmp_path)
    assert [video.name for video in dataset.videos("test")] == ["a"]
    assert dataset.videos("train") == ()
    assert [one.name for one in dataset.left_out] == ["train"]


def test_neither_train_nor_test(tmp_path):
    touch_video(tmp_path / "a.mp4")
    with pytest.raises(
        UsageError, match=r"expected a folder train or test with videos, there or in a folder per camera, got a\.mp4"
    ):
        open_dataset("folder", tmp_path)


def test_two_videos_of_one_name(tmp_path):
    touch_video(tmp_path / "train" / "cam" / "a.mp4")
    touch_video(tmp_path / "train" / "cam" / "a.avi")
    dataset = open_dataset("folder", tmp_path)
    assert [(v.name, v.path.name) for v in dataset.videos("train")] == [("cam/a.avi", "a.avi"), ("cam/a.mp4", "a.mp4")]


def test_a_video_and_a_frame_folder_of_one_name(tmp_path):
    touch_video(tmp_path / "train" / "a.mp4")
    write_images(tmp_path / "train" / "a", 2, ".png")
    names = {video.name: video.path.name for video in open_dataset("folder", tmp_path).videos("train")}
    assert names == {"a.mp4": "a.mp4", "a": "a"}


def test_images_where_no_frames_are_expected(tmp_path):
    write_images(tmp_path / "train", 2, ".png")
    with pytest.raises(UsageError, match="expected one folder per video, got images directly in train/"):
        open_dataset("folder", tmp_path)
    touch_video(tmp_path / "train" / "a.mp4")
    dataset = open_dataset("folder", tmp_path)
    assert [video.name for video in dataset.videos("train")] == ["a"]
    assert [(one.name, one.reason) for one in dataset.left_out] == [
        ("train/001.png", Reason.PICTURE),
        ("train/002.png", Reason.PICTURE),
    ]


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch_video(tmp_path / "disk" / "a.mp4")
    root = tmp_path / "root"
    (root / "train").mkdir(parents=True)
    (root / "train" / "cam1").symlink_to(tmp_path / "disk")
    assert [video.name for video in open_dataset("folder", root).videos("train")] == ["cam1/a"]
    (tmp_path / "disk" / "again").symlink_to(root / "train")
    dataset = open_dataset("folder", root)
    assert [video.name for video in dataset.videos("train")] == ["cam1/a"]
    assert [(one.name, one.reason) for one in dataset.left_out] == [("train/cam1/again", Reason.LOOP)]


def test_more_than_one_kind_of_labels(root):
    write_csv(root)
    write_images(root / "masks" / "door", 6, ".png")
    text = refusal(root, "door", 6)
    assert (
        "more than one kind of labels: expected one of labels.csv, labels, masks, tracks.json, got labels.csv, masks"
        in text
    )


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
    assert "labels.csv line 2: range of door: expected 0 <= start_frame < end_frame <= 6" in text
    assert "0-based, end_frame is the first frame after the range" in text
    assert f"got start_frame {start}, end_frame {end}" in text


@pytest.mark.parametrize("row", ["door,1.5,2", "door,one,2", "door,1", "door,,"])
def test_ranges_that_are_no_whole_numbers(root, row):
    write_csv(root, "cam1/2,0,1", row)
    text = refusal(root, "cam1/10", 6)
    assert "labels.csv line 3: range of door: expected whole numbers" in text


@pytest.mark.parametrize("header", ["", "video,start,end"])
def test_a_csv_with_another_header(root, header):
    write_csv(root, header=header)
    text = refusal(root, "door", 6)
    assert "labels.csv: header: expected video,start_frame,end_frame or video,start_s,end_s, got " in text
    assert text.endswith(header or "an empty file")


def test_npy_of_a_wrong_length_shape_or_kind(root):
    path = root / "labels" / "door.npy"
    path.parent.mkdir()
    for array, got in ((np.zeros(5), "float64 of shape (5,)"), (np.zeros((6, 2), int), "int64 of shape (6, 2)")):
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
    (root / "labels" / "door.npy").write_bytes(pickled.getvalue())
    assert "door.npy holds pickled objects, which are not opened" in refusal(root, "door", 6)
    for data in (b"", b"0 1 0", buffer.getvalue()[:50], buffer.getvalue()[:-3], zipped.getvalue()):
        (root / "labels" / "door.npy").write_bytes(data)
        assert "door.npy: expected a .npy array of numbers, got a damaged file" in refusal(root, "door", 6)


@pytest.mark.parametrize("kind", ["labels", "masks"])
def test_a_label_file_of_no_video_is_named(root, kind):
    if kind == "labels":
        (root / "labels" / "cam1").mkdir(parents=True)
        np.save(root / "labels" / "cam1" / "1.npy", np.zeros(6))
    else:
        write_images(root / "masks" / "cam1" / "1", 6, ".png")
    assert f"{kind}/cam1/1" in refusal(root, "door", 6)
    assert "names a video that test/ does not hold: expected one of" in refusal(root, "door", 6)
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


# --- seconds -----------------------------------------------------------------------------------------------------


def spans_in_seconds(root: Path, start_s: str, end_s: str, rate: str, num_frames: int) -> list[tuple[int, int]]:
    write_csv(root, f"door,{start_s},{end_s},{rate}", header="video,start_s,end_s,frame_rate")
    return labels(root, "door", num_frames).spans()


@pytest.mark.parametrize("rate", ["10", "29.97", "30000/1001", "12.5"])
@pytest.mark.parametrize(("start_s", "end_s"), [("0", "0.4"), ("0.1", "0.3"), ("0.05", "0.35"), ("0.333", "1.2")])
def test_frames_whose_time_lies_in_the_seconds_are_anomalous(root, rate, start_s, end_s):
    """Against every frame's time, one by one, in whole fractions."""
    inside = [t for t in range(40) if Fraction(start_s) <= t / Fraction(rate) < Fraction(end_s)]
    assert spans_in_seconds(root, start_s, end_s, rate, 40) == [(inside[0], inside[-1] + 1)]


def test_rounded_seconds_may_end_a_second_after_the_video(root):
    assert spans_in_seconds(root, "0.2", "1.6", "10", 6) == [(2, 6)]
    text = refusal_in_seconds(root, "0.2", "1.7", "10")
    assert "labels.csv line 2: range of door: expected 0 <= start_s < end_s <= 0.600" in text
    assert "(6 frames, 10 per second), got start_s 0.2, end_s 1.7" in text


def refusal_in_seconds(root: Path, start_s: str, end_s: str, rate: str) -> str:
    write_csv(root, f"door,{start_s},{end_s},{rate}", header="video,start_s,end_s,frame_rate")
    return refusal(root, "door", 6)


@pytest.mark.parametrize(
    ("start_s", "end_s"), [("-0.1", "0.2"), ("0.3", "0.3"), ("0.3", "0.2"), ("0.6", "1"), ("0.01", "0.02")]
)
def test_seconds_without_a_frame_between_them(root, start_s, end_s):
    assert "with a frame between them" in refusal_in_seconds(root, start_s, end_s, "10")


@pytest.mark.parametrize(
    ("start_s", "end_s", "rate"), [("one", "2", "10"), ("", "2", "10"), ("0", "1", "0"), ("0", "1", "x")]
)
def test_seconds_that_are_no_numbers(root, start_s, end_s, rate):
    text = refusal_in_seconds(root, start_s, end_s, rate)
    assert "labels.csv line 2: range of door: expected numbers start_s and end_s (seconds)" in text


def test_the_rate_of_the_video_counts_where_the_line_has_none(root):
    write_csv(root, "door,0.1,0.3", header="video,start_s,end_s")
    dataset = open_dataset("folder", root)
    video = next(video for video in dataset.videos("test") if video.name == "door")
    assert dataset.labels(replace(video, frame_rate=Fraction(10)), 6).spans() == [(1, 3)]
    text = refusal(root, "door", 6)
    assert "range of door in seconds: expected a frame rate" in text
    assert "Try: a column frame_rate (frames per second), or start_frame and end_frame" in text


def test_frames_count_where_both_are_there(root):
    write_csv(root, "door,2,4,7.0,9.0", header="video,start_frame,end_frame,start_s,end_s")
    assert labels(root, "door", 6).spans() == [(2, 4)]


def test_every_bad_line_is_a_fault_and_the_others_remain(root):
    write_csv(root, "door,1,2", "door,x,3", "dor,0,1", "monday,0,1")
    dataset = open_dataset("folder", root)
    assert [str(fault).partition(":")[0] for fault in dataset.label_faults] == [f"{root}/labels.csv line 3"]
    assert [(name, str(error).partition(":")[0]) for name, error in dataset.stray_labels] == [
        ("dor", "labels.csv line 4 names a video that test/ does not hold"),
        ("monday", "labels.csv line 5 names a video that test/ does not hold"),
    ]
    forgiving = replace(dataset, keeps_faulty=True)
    video = next(video for video in forgiving.videos("test") if video.name == "door")
    assert forgiving.labels(video, 6).spans() == [(1, 2)]


# --- .mat --------------------------------------------------------------------------------------------------------


def write_mat(root: Path, **variables) -> None:
    (root / "labels").mkdir(exist_ok=True)
    savemat(root / "labels" / "door.mat", variables)


@pytest.mark.parametrize("shape", [(1, 6), (6, 1)])
@pytest.mark.parametrize("dtype", [np.float64, np.uint8, np.bool_])
def test_a_vector_in_a_mat_file(root, shape, dtype):
    write_mat(root, gt=np.array([0, 1, 1, 0, 0, 1], dtype).reshape(shape))
    assert labels(root, "door", 6).spans() == [(1, 3), (5, 6)]
    dataset = open_dataset("folder", root)
    assert dataset.label_source(dataset.videos("test")[2], 6) == "door.mat: variable gt, one value per frame"


def test_intervals_in_a_mat_file(root):
    write_mat(root, gt=np.array([[1, 2], [6, 6], [2, 3]]), note="by hand")
    assert labels(root, "door", 6).spans() == [(0, 3), (5, 6)]
    dataset = open_dataset("folder", root)
    source = dataset.label_source(dataset.videos("test")[2], 6)
    assert source == "door.mat: variable gt, 3 intervals, 1-based and inclusive"


def test_two_frames_are_a_vector_and_not_an_interval(root):
    write_mat(root, gt=np.array([[0, 1]]))
    assert labels(root, "door", 2).spans() == [(1, 2)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[0, 2]], "got 0 to 2"),
        ([[3, 2]], "got 3 to 2"),
        ([[1, 7]], "got 1 to 7"),
        ([[1.5, 2]], "interval 1 of door: expected whole numbers, got 1.5 and 2.0"),
        ([[1, np.nan]], "expected whole numbers, got 1.0 and nan"),
        ([[0, 1, 1, 0, 0]], "one per decoded frame, got int64 of shape (1, 5)"),
        ([[0, 2, 1, 0, 0, 0]], "expected 0 or 1, got 2 at frame 1"),
    ],
)
def test_mat_files_that_do_not_fit(root, value, said):
    write_mat(root, gt=np.array(value))
    text = refusal(root, "door", 6)
    assert "door.mat" in text
    assert said in text


def test_mat_files_that_cannot_be_understood(root):
    write_mat(root, one=np.zeros(6), two=np.zeros(6))
    assert "door.mat: expected one variable with numbers, got one (double), two (double)" in refusal(root, "door", 6)
    write_mat(root, cells=np.array([np.zeros(2), np.zeros(3)], object))
    assert "expected one variable with numbers, got cells (cell)" in refusal(root, "door", 6)
    for data in (b"", b"MATLAB 5.0 MAT-file", b"\0" * 200):
        (root / "labels" / "door.mat").write_bytes(data)
        assert "door.mat: expected a MATLAB file, got a damaged file" in refusal(root, "door", 6)
    header = b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM"
    (root / "labels" / "door.mat").write_bytes(header + b"\0" * 400)
    assert "7.3" in refusal(root, "door", 6)


def test_two_label_files_for_one_video(root):
    write_mat(root, gt=np.zeros(6))
    np.save(root / "labels" / "door.npy", np.zeros(6))
    assert "labels of door: expected one file, got door.npy and door.mat" in refusal(root, "door", 6)


# --- tracks ------------------------------------------------------------------------------------------------------


def write_tracks(root: Path, **tracks) -> None:
    (root / "tracks.json").write_text(json.dumps(tracks))


def test_tracks_give_labels_and_regions(root):
    write_tracks(
        root,
        door={
            "tracks": [
                {"id": 5, "what": "cyclist", "boxes": [[4, 1, 2, 3, 4], [5, 1.5, 2, 3, 4]]},
                {"id": 0, "interpolate": True, "boxes": [[1, 0, 0, 10, 20], [4, 30, 3, 40, 23]]},
            ]
        },
    )
    dataset = open_dataset("folder", root)
    door = next(video for video in dataset.videos("test") if video.name == "door")
    assert dataset.labels(door, 6).spans() == [(1, 6)]
    truth = dataset.regions(door)
    assert truth.frame_index.tolist() == [1, 2, 3, 4, 4, 5]
    assert truth.track_id.tolist() == [0, 0, 0, 0, 5, 5]
    assert truth.box_xyxy.tolist() == [
        [0, 0, 10, 20], [10, 1, 20, 21], [20, 2, 30, 22], [30, 3, 40, 23], [1, 2, 3, 4], [1.5, 2, 3, 4],
    ]  # fmt: skip
    assert len(dataset.regions(dataset.videos("test")[0])) == 0
    assert "tracks.json, 'door', track 5: expected frames 0 to 4, the decoded ones, got frame 5" in refusal(
        root, "door", 5
    )


def test_without_tracks_there_are_no_regions(root):
    dataset = open_dataset("folder", root)
    assert dataset.regions(dataset.videos("test")[0]) is None
    write_csv(root, "door,1,2")
    dataset = open_dataset("folder", root)
    assert dataset.regions(dataset.videos("test")[0]) is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ([], "tracks.json, 'door': expected {\"tracks\":"),
        ({"tracks": [[]]}, "track at position 1: expected"),
        ({"tracks": [{"id": -1, "boxes": [[0, 0, 0, 1, 1]]}]}, "one per track, got -1"),
        ({"tracks": [{"id": 1, "boxes": [[0, 0, 0, 1, 1]]}] * 2}, "track at position 2"),
        ({"tracks": [{"id": 1}]}, "track 1: expected"),
        ({"tracks": [{"id": 1, "boxes": [[0, 0, 0, 1, 1], [1, 0, 0, 1]]}]}, "track 1, box 2: expected [frame, x0,"),
        ({"tracks": [{"id": 1, "boxes": [[0, 5, 0, 5, 1]]}]}, "got [0, 5, 0, 5, 1]"),
        ({"tracks": [{"id": 1, "boxes": [[0.5, 0, 0, 5, 1]]}]}, "got [0.5, 0, 0, 5, 1]"),
        ({"tracks": [{"id": 1, "boxes": [[-1, 0, 0, 5, 1]]}]}, "got [-1, 0, 0, 5, 1]"),
        ({"tracks": [{"id": 1, "boxes": [[0, 0, 0, 1e300, 1]]}]}, "finite numbers"),
        ({"tracks": [{"id": 1, "boxes": [[0, "0", 0, 5, 1]]}]}, 'got [0, "0", 0, 5, 1]'),
        (
            {"tracks": [{"id": 1, "boxes": [[3, 0, 0, 1, 1], [3, 0, 0, 1, 1]]}]},
            "track 1, box 2: expected frames in ascending order, each once, got frame 3 after frame 3",
        ),
    ],
)
def test_tracks_that_cannot_be_understood(root, entry, said):
    write_tracks(root, door=entry)
    assert said in refusal(root, "door", 6)


def test_a_tracks_file_that_is_no_json_or_names_no_video(root):
    (root / "tracks.json").write_text('{"door": {\n"tracks": [}')
    assert "tracks.json is not JSON (Expecting value: line 2" in refusal(root, "door", 6)
    (root / "tracks.json").write_text("[1]")
    assert "tracks.json: expected" in refusal(root, "door", 6)
    write_tracks(root, monday={"tracks": []})
    text = refusal(root, "door", 6)
    assert "tracks.json, 'monday' names a video that test/ does not hold" in text
    assert "got 'monday', which is a training video and must be normal" in text


# --- cameras -----------------------------------------------------------------------------------------------------


def test_labels_of_a_camera_belong_into_the_root(tmp_path):
    touch_video(tmp_path / "cam1" / "test" / "a.mp4")
    (tmp_path / "cam1" / "labels.csv").write_text("video,start_frame,end_frame\na,0,1\n")
    text = refusal(tmp_path, "cam1/a", 5)
    assert "cam1/labels.csv: labels of one camera: expected labels.csv in" in text


def test_folders_called_train_deeper_in_a_split_are_no_cameras(tmp_path):
    touch_video(tmp_path / "test" / "hall" / "train" / "a.mp4")
    assert [video.name for video in open_dataset("folder", tmp_path).videos("test")] == ["hall/train/a"]


def test_a_camera_without_videos_is_named(tmp_path):
    touch_video(tmp_path / "cam1" / "train" / "a.mp4")
    (tmp_path / "cam2" / "train").mkdir(parents=True)
    dataset = open_dataset("folder", tmp_path)
    assert [(one.name, one.reason) for one in dataset.left_out] == [("cam2/train", Reason.EMPTY)]
