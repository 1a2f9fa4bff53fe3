"""The benchmarks: facts of each, and what is said when a copy is damaged, miscounted or ambiguous."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from mulde.datasets import open_dataset
from mulde.errors import LabelError, UsageError

from .benchmark_copies import (
    BENCHMARK_COPIES,
    NUMBERED,
    SCENES,
    STREET,
    UB_TRACKS,
    UB_TRUTH,
    mask_stack,
    write_centre_tracks,
    write_gt_mat,
)
from .dataset_copies import Copy, flags, ped1, ped2, touch_video, write_images


@pytest.fixture
def make(tmp_path):
    def build(kind: str) -> Copy:
        return BENCHMARK_COPIES[kind](tmp_path / kind)

    return build


def video_of(copy: Copy, name: str):
    dataset = open_dataset(copy.name, copy.root)
    return dataset, next(video for video in dataset.videos("test") if video.name == name)


def refusal(copy: Copy, name: str, num_frames: int | None = None) -> str:
    dataset, video = video_of(copy, name)
    with pytest.raises(LabelError) as caught:
        dataset.labels(video, len(copy.truth[name]) if num_frames is None else num_frames)
    return str(caught.value)


def regions_refusal(copy: Copy, name: str) -> str:
    dataset, video = video_of(copy, name)
    with pytest.raises(LabelError) as caught:
        dataset.regions(video)
    return str(caught.value)


def opening_refusal(copy: Copy) -> str:
    with pytest.raises(UsageError) as caught:
        open_dataset(copy.name, copy.root)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "train", "test"),
    [
        ("ped2-common", 10, 10),
        ("avenue-masks", None, None),
        ("avenue-masks-common", 25, 25),
        ("shanghaitech", None, 24),
        ("ubnormal", None, None),
        ("ubnormal-common", 30, 30),
        ("ucf-crime-common", 30, 30),
        ("street-scene", 15, 15),
        ("nwpu-campus", None, None),
        ("nwpu-campus-common", 25, 25),
        ("mvtec-one", None, None),
    ],
)
def test_frame_folders_have_a_rate_and_files_know_theirs(make, kind, train, test):
    copy = make(kind)
    dataset = open_dataset(copy.name, copy.root)
    for split, rate in (("train", train), ("test", test)):
        assert {video.frame_rate for video in dataset.videos(split)} == {None if rate is None else Fraction(rate)}


@pytest.mark.parametrize("kind", ["ped2-common", "avenue-masks", "street-scene", "nwpu-campus"])
def test_the_root_may_be_the_set_or_its_parent(make, kind):
    copy = make(kind)
    inner = next(folder for folder in sorted(copy.root.iterdir()) if folder.name != "ground_truth_demo")
    for root in (copy.root, inner):
        dataset, video = open_dataset(copy.name, root), open_dataset(copy.name, root).videos("test")[0]
        assert dataset.labels(video, 6).anomalous.astype(int).tolist() == copy.truth[video.name]


# --- .mat of intervals ------------------------------------------------------------------------------------------


def test_an_interval_past_the_end(make):
    copy = make("ped2-common")
    path = copy.root / "UCSDped2" / "ped2.mat"
    write_gt_mat(path, [flags(7, (2, 7)), NUMBERED["02"], NUMBERED["03"]])
    text = refusal(copy, "01")
    assert "ped2.mat: gt{1}: interval 3 to 7 of 01: expected 1 <= first <= last <= 6" in text
    assert "Try: labels and frames of one copy" in text
    cells = np.empty((1, 1), object)
    cells[0, 0] = np.array([[0], [4]])
    savemat(path, {"gt": cells})
    assert "interval 0 to 4 of 01: expected 1 <= first" in refusal(copy, "01")


def test_a_subset_of_the_videos_keeps_its_own_entries(make):
    copy = make("ped2-common")
    shutil.rmtree(copy.root / "UCSDped2" / "testing" / "frames" / "01")
    dataset, video = video_of(copy, "02")
    assert dataset.labels(video, 7).anomalous.astype(int).tolist() == NUMBERED["02"]


def test_a_video_without_an_entry(make):
    copy = make("avenue-intervals")
    write_gt_mat(copy.root / "Avenue Dataset" / "avenue.mat", [NUMBERED["01"]])
    assert "labels of 02: expected a video whose name ends in a number from 1 to 1" in refusal(copy, "02")


def test_intervals_of_another_shape(make):
    copy = make("avenue-intervals")
    for content in (np.array([[1, 2, 3]]), np.array([[1.5], [2.0]]), np.array([["a"], ["b"]])):
        cells = np.empty((1, 1), object)
        cells[0, 0] = content
        savemat(copy.root / "Avenue Dataset" / "avenue.mat", {"gt": cells})
        assert "gt{1}: expected first and last frames, whole numbers of shape (2, K), got" in refusal(copy, "01")


def test_a_matlab_7_3_file_says_what_to_do(make):
    copy = make("avenue-intervals")
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    (copy.root / "Avenue Dataset" / "avenue.mat").write_bytes(header.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" * 9)
    text = refusal(copy, "01")
    assert "avenue.mat is a MATLAB 7.3 file, which is HDF5 inside: expected a .mat of version 7 or older" in text
    assert "save('-v7', 'avenue.mat', 'gt')" in text


def test_a_cut_mat_file_and_one_without_the_variable(make):
    copy = make("avenue-intervals")
    path = copy.root / "Avenue Dataset" / "avenue.mat"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 40])
    assert "avenue.mat: expected a MATLAB file, got a damaged file" in refusal(copy, "01")
    savemat(path, {"labels": np.zeros(3)})
    assert "avenue.mat: expected a variable gt, got" in refusal(copy, "01")


# --- .npy and .npz ----------------------------------------------------------------------------------------------


def test_npy_labels_of_a_wrong_length_or_value(make):
    copy = make("shanghaitech")
    path = copy.root / "testing" / "test_frame_mask" / "01_0014.npy"
    np.save(path, np.zeros(7, np.uint8))
    text = refusal(copy, "01_0014")
    assert "labels of 01_0014: expected numbers of shape (6,), one per decoded frame, got uint8 of shape (7,)" in text
    assert "Try: labels and frames of one copy" in text
    np.save(path, np.array([0, 1, 2, 0, 0, 0]))
    assert "expected 0 or 1, got 2 at frame 2" in refusal(copy, "01_0014")
    np.save(path, np.array([0, 1, np.nan, 0, 0, 0]))
    assert "expected 0 or 1, got nan at frame 2" in refusal(copy, "01_0014")
    path.write_bytes(path.read_bytes()[:-3])
    assert "a damaged file" in refusal(copy, "01_0014")


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("mulde_was_unpickled"),))


def test_nothing_is_unpickled(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = make("shanghaitech")
    path = copy.root / "testing" / "test_frame_mask" / "01_0014.npy"
    np.save(path, np.array([Bomb()], object), allow_pickle=True)
    assert "holds pickled objects, which are not opened" in refusal(copy, "01_0014")
    raw = path.read_bytes()
    path.write_bytes(raw[raw.index(b"\x80") :])
    assert "expected a .npy array of numbers, got a damaged file" in refusal(copy, "01_0014")
    path.rename(path.with_suffix(".pkl"))
    assert "01_0014.pkl is a pickle, which is not opened: expected 01_0014.npy. Try: where you trust" in refusal(
        copy, "01_0014"
    )
    campus = make("nwpu-campus-common")
    np.savez(campus.root / "gt.npz", D001_03=np.array([Bomb()] * 6, object))
    assert "holds pickled objects" in refusal(campus, "D001_03")
    assert not (tmp_path / "mulde_was_unpickled").exists()


def test_a_missing_npy_and_no_labels_at_all(make):
    copy = make("street-scene-common")
    folder = copy.root / "testing" / "test_frame_mask"
    (folder / "Test001.npy").unlink()
    assert f"labels: expected {folder / 'Test001.npy'}, got no such file" in refusal(copy, "Test001")
    shutil.rmtree(folder)
    text = refusal(copy, "Test001")
    assert "street-scene: labels of Test001: expected one of testing/test_frame_mask/NAME.npy, " in text
    assert "got nothing" in text


def test_two_kinds_of_labels(make):
    copy = make("ped2-common")
    (copy.root / "UCSDped2" / "ground_truth").mkdir()
    np.save(copy.root / "UCSDped2" / "ground_truth" / "01.npy", np.zeros(6))
    assert "got ground_truth, ped2.mat" in refusal(copy, "01")


def test_npz_without_the_video_or_of_another_length(make):
    copy = make("nwpu-campus")
    path = copy.root / copy.label_files[0]
    np.savez(path, D001_03=np.zeros(6))
    assert "expected labels of D001_10, got D001_03" in refusal(copy, "D001_10")
    assert "expected numbers of shape (5,), one per decoded frame, got float64 of shape (6,)" in refusal(
        copy, "D001_03", 5
    )
    path.unlink()
    assert "nwpu-campus: labels of D001_03: expected one of groundtruth/NWPU_Campus_gt.npz" in refusal(copy, "D001_03")


def test_decoded_frames_differ_from_the_folder(make):
    copy = make("shanghaitech")
    text = refusal(copy, "01_0014", 5)
    assert "shanghaitech 01_0014: decoded frames: expected 6, as in its folder, got 5" in text


# --- pixel masks ------------------------------------------------------------------------------------------------


def test_masks_are_read_one_at_a_time(make):
    copy = make("shanghaitech")
    dataset, video = video_of(copy, "01_0014")
    masks = dataset.masks(video)
    assert iter(masks) is iter(masks)
    for frame, mask in enumerate(masks):
        assert np.array_equal(mask, mask_stack(SCENES["01_0014"])[frame] != 0)
    path = copy.root / "testing" / "test_pixel_mask" / "01_0014.npy"
    np.save(path, np.zeros((6, 24), np.uint8))
    with pytest.raises(LabelError, match=r"expected numbers of shape \(frames, height, width\), got uint8 of shape"):
        dataset.masks(video)


def test_miscounted_and_misshapen_masks_of_avenue(make):
    copy = make("avenue-masks")
    assert "masks of 01: expected 5, one per decoded frame, got 6" in refusal(copy, "01", 5)
    folder = copy.root / "ground_truth_demo" / "testing_label_mask"
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.zeros((24, 32)), np.zeros((24, 31))
    savemat(folder / "1_label.mat", {"volLabel": cells})
    text = refusal(copy, "01", 2)
    assert "1_label.mat: volLabel{2}: expected a mask of shape (24, 32), as in volLabel{1}, got float64 of" in text
    (folder / "1_label.mat").unlink()
    assert f"labels: expected {folder / '1_label.mat'}, got no such file" in refusal(copy, "01")


def test_each_label_set_of_avenue_wants_its_own_file(make):
    masks, intervals = make("avenue-masks"), make("avenue-intervals-common")
    (intervals.root / "avenue.mat").unlink()
    np.save(intervals.root / "testing" / "01.npy", np.zeros(6))
    assert f"avenue-intervals: labels of 01: expected avenue.mat in {intervals.root}" in refusal(intervals, "01")
    shutil.rmtree(masks.root / "ground_truth_demo")
    assert "avenue-masks: labels of 01: expected ground_truth_demo/testing_label_mask/N_label.mat or" in refusal(
        masks, "01"
    )


def test_the_two_label_sets_of_avenue_differ(make):
    copy = make("avenue-intervals")
    masks = open_dataset("avenue-masks", copy.root)
    intervals = open_dataset("avenue-intervals", copy.root)
    video = masks.videos("test")[0]
    assert masks.labels(video, 6).spans() == [(0, 6)]
    assert intervals.labels(video, 6).spans() == [(2, 6)]
    assert intervals.masks(video) is None


# --- boxes with track numbers -----------------------------------------------------------------------------------


def test_corner_tracks(make):
    copy = make("shanghaitech")
    truth = (lambda dataset, video: dataset.regions(video))(*video_of(copy, "01_0014"))
    assert truth.frame_index.tolist() == [2, 3, 4]
    assert truth.track_id.tolist() == [0, 1, 0]
    assert truth.box_xyxy.tolist() == [[5, 3, 15, 9]] * 3
    empty = (lambda dataset, video: dataset.regions(video))(*video_of(copy, "01_0139"))
    assert empty.box_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    "line", ["0,2,5,3,15", "0,2,5,3,15,9,1", "0;2;5;3;15;9", "0,2.5,5,3,15,9", "0,inf,5,3,15,9", "-1,2,5,3,15,9"]
)
def test_a_line_of_boxes_that_cannot_be_understood(make, line):
    copy = make("shanghaitech")
    path = copy.root / "annotations" / "ShanghaiTech" / "01_0014.txt"
    path.write_text(f"0,1,5,3,15,9\n{line}\n")
    text = regions_refusal(copy, "01_0014")
    assert f"{path} line 2: expected track,frame,x0,y0,x1,y1" in text
    assert text.endswith(f"got {line}")


def test_boxes_without_size_behind_the_end_or_missing(make):
    copy = make("shanghaitech")
    path = copy.root / "annotations" / "ShanghaiTech" / "01_0014.txt"
    path.write_text("0,1,15,3,15,9")
    assert "line 1: expected track,frame,x0,y0,x1,y1 with a box of some size" in regions_refusal(copy, "01_0014")
    path.write_text("0,6,5,3,15,9")
    text = regions_refusal(copy, "01_0014")
    assert "boxes: expected frames 0 to 5 (0-based), of 6 frames, got frame 6" in text
    path.unlink()
    assert f"regions of 01_0014: expected {path}, got no such file" in regions_refusal(copy, "01_0014")


def test_centre_tracks_count_from_one(make):
    copy = make("street-scene")
    truth = (lambda dataset, video: dataset.regions(video))(*video_of(copy, "Test001"))
    assert truth.frame_index.tolist() == [2, 3, 4]
    assert truth.track_id.tolist() == [0, 1, 0]
    assert truth.box_xyxy.tolist() == [[5, 3, 15, 9]] * 3
    path = copy.root / "StreetScene" / "Test" / "Test001" / "Test001_gt.txt"
    path.write_text("Test001\\002.jpg 0 20 10 8 8\n")
    dataset, video = video_of(copy, "Test001")
    assert dataset.regions(video).box_xyxy.tolist() == [[16, 6, 24, 14]]
    assert dataset.labels(video, 6).spans() == [(1, 2)]
    path.write_text("000.jpg 0 20 10 8 8\n")
    assert "Test001_gt.txt line 1: expected frame.jpg track cx cy w h" in refusal(copy, "Test001")
    write_centre_tracks(path, flags(7, (0, 7)))
    assert "expected frames 0 to 5 (0-based), of 6 frames, got frame 6" in refusal(copy, "Test001")


def test_boxes_beside_the_clips_of_ucsd(tmp_path):
    for copy in (ped1(tmp_path), ped2(tmp_path)):
        dataset, video = video_of(copy, "Test001")
        assert dataset.regions(video) is None
        write_centre_tracks(video.path.with_name("Test001_gt.txt"), copy.truth["Test001"])
        assert dataset.regions(video).frame_index.tolist() == [2, 3, 4, 5]
        assert dataset.regions(dataset.videos("train")[0]) is None


# --- UBnormal ---------------------------------------------------------------------------------------------------


def test_ubnormal_masks_and_boxes_are_those_of_the_anomalous_objects(make):
    copy = make("ubnormal")
    name = "abnormal_scene_1_scenario_1"
    dataset, video = video_of(copy, name)
    truth = dataset.regions(video)
    assert truth.frame_index.tolist() == [1, 2, 5, 6]
    assert truth.track_id.tolist() == [0, 0, 1, 1]
    assert truth.box_xyxy.tolist() == [[5, 3, 15, 9]] * 2 + [[5, 12, 9, 14]] * 2
    masks = np.stack(list(dataset.masks(video)))
    assert masks.any(axis=(1, 2)).astype(int).tolist() == UB_TRUTH[name]
    assert masks.sum(axis=(1, 2)).tolist() == [0, 6 * 10 + 1, 6 * 10 + 1, 0, 0, 2 * 4, 2 * 4, 0]


def test_each_line_of_the_tracks_file_of_ubnormal_is_a_track(make):
    copy = make("ubnormal")
    name = "abnormal_scene_1_scenario_1"
    (copy.root / "Scene1" / f"{name}_annotations" / f"{name}_tracks.txt").write_text("3,1,2\n3,5,6\n")
    dataset, video = video_of(copy, name)
    assert dataset.regions(video).track_id.tolist() == [0, 0, 1, 1]
    assert dataset.regions(video).box_xyxy.tolist() == [[5, 3, 15, 9]] * 4


def test_a_normal_test_video_of_ubnormal_has_no_box(make):
    copy = make("ubnormal")
    dataset, video = video_of(copy, "normal_scene_7_scenario_3")
    assert len(dataset.regions(video)) == 0
    assert dataset.masks(video) is None


def test_an_object_that_is_hidden_in_a_frame_has_no_box_there(make):
    copy = make("ubnormal")
    name = "abnormal_scene_1_scenario_1"
    image = copy.root / "Scene1" / f"{name}_annotations" / f"{name}_0002_gt.png"
    assert cv2.imwrite(str(image), np.zeros((24, 32), np.uint8))
    dataset, video = video_of(copy, name)
    assert dataset.regions(video).frame_index.tolist() == [1, 5, 6]


def test_damaged_annotations_of_ubnormal(make):
    copy = make("ubnormal")
    name = next(iter(UB_TRACKS))
    folder = copy.root / "Scene1" / f"{name}_annotations"
    (folder / f"{name}_0003_gt.png").unlink()
    assert f"object image 3: expected {name}_0003_gt.png, got {name}_0004_gt.png" in regions_refusal(copy, name)
    for line in ("3,1", "3,2,1", "0,1,2", "3,1,2.5", "3,a,2"):
        (folder / f"{name}_tracks.txt").write_text(f"\n{line}\n")
        text = refusal(copy, name)
        assert "_tracks.txt line 2: expected object,first,last from 0 up" in text
        assert text.endswith(f"got {line}")
    (folder / f"{name}_tracks.txt").write_text("3,1,8")
    assert "start_frame 1, end_frame 9" in refusal(copy, name)
    (folder / f"{name}_tracks.txt").unlink()
    assert f"labels of {name}: expected {folder / f'{name}_tracks.txt'}, got no such file" in refusal(copy, name)


def test_split_lists_of_ubnormal(make):
    copy = make("ubnormal")
    (copy.root / "Scene7" / "normal_scene_7_scenario_3.mp4").unlink()
    text = opening_refusal(copy)
    assert "test videos: expected 3 listed videos" in text
    assert "got 2 (missing: normal_scene_7_scenario_3)" in text
    (copy.root / "scripts" / "normal_test_video_names.txt").unlink()
    text = opening_refusal(copy)
    assert "expected the split list scripts/normal_test_video_names.txt, got no such file. Try: put scripts/" in text


# --- UCF-Crime --------------------------------------------------------------------------------------------------


def test_an_interval_of_ucf_crime_ends_with_its_video(make):
    copy = make("ucf-crime")
    dataset, video = video_of(copy, "Abuse028_x264")
    assert dataset.labels(video, 7).spans() == [(4, 7)]
    assert "interval 5 to 9: expected a first frame of at most 4, the number of decoded frames, got 5" in refusal(
        copy, "Abuse028_x264", 4
    )


@pytest.mark.parametrize("numbers", ["5 9", "5 x -1 -1", "9 5 -1 -1", "0 5 -1 -1", "5 9 -1 -1 7 8"])
def test_a_line_of_ucf_crime_that_cannot_be_understood(make, numbers):
    copy, line = make("ucf-crime"), f"Abuse028_x264.mp4 Abuse {numbers}"
    path = copy.root / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"
    path.write_text(path.read_text().replace("Abuse028_x264.mp4  Abuse  5  9  -1  -1", line))
    text = refusal(copy, "Abuse028_x264")
    assert f"{path} line 1: expected name class first last first last" in text
    assert text.endswith(f"got {line}")


def test_videos_of_ucf_crime_missing_or_twice(make):
    copy = make("ucf-crime")
    (copy.root / "Abuse028_x264.mp4").write_bytes(b"")
    assert "expected each video once, got" in opening_refusal(copy)
    (copy.root / "Abuse028_x264.mp4").unlink()
    (copy.root / "Training-Normal-Videos-Part-2" / "Normal_Videos141_x264.mp4").unlink()
    assert "train videos: expected 2 listed videos, got 1 (missing: Normal_Videos141_x264.mp4)" in opening_refusal(copy)
    (copy.root / "Anomaly_Detection_splits" / "Anomaly_Train.txt").unlink()
    assert "expected Anomaly_Train.txt and Temporal_Anomaly_Annotation_for_Testing_Videos.txt somewhere" in (
        opening_refusal(copy)
    )


# --- MVTec AD ---------------------------------------------------------------------------------------------------


def test_mvtec_masks_and_counts(make):
    copy = make("mvtec-all")
    dataset, video = video_of(copy, "zipper/broken_large/001")
    (mask,) = dataset.masks(video)
    assert np.array_equal(mask, mask_stack([1])[0] != 0)
    assert dataset.masks(video_of(copy, "zipper/good/000")[1]) is None
    assert "mvtec-ad zipper/good/000: decoded frames: expected 1, it is an image, got 2" in refusal(
        copy, "zipper/good/000", 2
    )
    (copy.root / "zipper" / "ground_truth" / "broken_large" / "001_mask.png").unlink()
    with pytest.raises(LabelError, match=r"zipper/broken_large/001: mask: expected .*001_mask\.png, got no such file"):
        dataset.masks(video)


def test_two_images_of_one_name(make):
    copy = make("mvtec-one")
    write_images(copy.root / "train" / "good", 1, ".bmp", first=0)
    assert "train: expected each name once, got good/000" in opening_refusal(copy)


# --- KolektorSDD ------------------------------------------------------------------------------------------------


def test_images_of_kolektor_have_masks_and_cracked_ones_do_not_train(make):
    copy = make("kolektor-1")
    dataset, video = video_of(copy, "kos01/Part1")
    (mask,) = dataset.masks(video)
    assert np.array_equal(mask, mask_stack([1])[0] != 0)
    assert dataset.masks(video_of(copy, "kos01/Part0")[1]) is None
    assert dataset.notes == ("images with a defect left out of the training, which is on good ones: 1",)
    assert "kos01/Part0: decoded frames: expected 1, it is an image, got 2" in refusal(copy, "kos01/Part0", 2)
    (copy.root / "kos02" / "Part0_label.bmp").unlink()
    with pytest.raises(LabelError, match=r"kos02/Part0: mask: expected Part0_label\.bmp beside it, got no such file"):
        open_dataset(copy.name, copy.root)


def test_folds_of_kolektor_are_whole_commutators(make):
    tests = []
    for fold in (1, 2, 3):
        dataset = open_dataset(f"kolektor-sdd-{fold}", make("kolektor-1").root)
        names = [video.name for video in dataset.videos("test")]
        assert not {name[:5] for name in names} & {video.name[:5] for video in dataset.videos("train")}
        tests += names
    assert sorted(tests) == sorted(f"kos{number:02d}/Part{part}" for number in range(1, 5) for part in range(2))


def test_a_fold_of_kolektor_without_an_image_is_refused(make):
    copy = make("kolektor-1")
    shutil.rmtree(copy.root / "kos02")
    with pytest.raises(UsageError, match="test: expected images of commutators of fold 2, got none"):
        open_dataset("kolektor-sdd-2", copy.root)


# --- layouts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["avenue-masks-common", "nwpu-campus-common"])
def test_frames_and_videos_side_by_side_where_neither_was_published(make, kind):
    copy = make(kind)
    (copy.root / "testing" / "videos").mkdir()
    assert open_dataset(copy.name, copy.root).notes == ()
    touch_video(copy.root / "testing" / "videos" / "01.avi")
    assert f"{copy.root / 'testing'}: expected frames or videos, got both" in opening_refusal(copy)


def test_an_empty_split(make):
    copy = make("avenue-masks")
    for path in (copy.root / "Avenue Dataset" / "training_videos").iterdir():
        path.unlink()
    assert "training_videos: expected video files or folders of frames, got none" in opening_refusal(copy)


@pytest.mark.parametrize("name", ["avenue-masks", "ubnormal", "ucf-crime", "street-scene", "nwpu-campus", "mvtec-ad"])
def test_a_folder_with_something_else(tmp_path, name):
    (tmp_path / "holiday.txt").write_text("")
    with pytest.raises(UsageError, match=r"expected .* or training/ and testing/ with .*, got holiday\.txt"):
        open_dataset(name, tmp_path)


def test_labels_counts_are_stated_for_street_scene(make):
    copy = make("street-scene")
    assert "decoded frames: expected 4, as in its folder, got 3" in refusal(copy, "Test010", 3)
    assert STREET["Test010"] == [1] * 4
