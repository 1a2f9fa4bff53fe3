"""What every data set promises, tried on a tiny copy of each layout."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mulde.datasets import DATASETS, SPLITS, open_dataset
from mulde.errors import LabelError, MuldeError, UsageError
from mulde.filetypes import is_frame_folder, is_image_file, is_video_file

from .benchmark_copies import BENCHMARK_COPIES
from .dataset_copies import COPIES, Copy

LAYOUTS = {**COPIES, **BENCHMARK_COPIES}


@pytest.fixture(scope="module", params=LAYOUTS)
def pristine(request, tmp_path_factory) -> Copy:
    return LAYOUTS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture
def spoilt(pristine, tmp_path) -> Copy:
    """A copy that the test may change."""
    shutil.copytree(pristine.root, tmp_path / "root")
    return Copy(**{**vars(pristine), "root": tmp_path / "root"})


def test_every_data_set_is_tried(tmp_path):
    assert {build(tmp_path / key).name for key, build in LAYOUTS.items()} == set(DATASETS)


def test_names_and_paths(pristine):
    dataset = open_dataset(pristine.name, pristine.root)
    assert dataset.name == pristine.name
    assert tuple(video.name for video in dataset.videos("train")) == pristine.train
    assert [video.name for video in dataset.videos("test")] == list(pristine.truth)
    for split in SPLITS:
        for video in dataset.videos(split):
            assert video.split == split
            assert video.boxes or is_video_file(video.path) or is_frame_folder(video.path) or is_image_file(video.path)
            assert video.frame_rate is None or video.frame_rate > 0


def test_opening_twice_and_pickling_change_nothing(pristine):
    dataset = open_dataset(pristine.name, pristine.root)
    for other in (open_dataset(pristine.name, pristine.root), pickle.loads(pickle.dumps(dataset))):
        assert all(other.videos(split) == dataset.videos(split) for split in SPLITS)


def test_unknown_split(pristine):
    with pytest.raises(UsageError, match="expected train or test, got 'val'"):
        open_dataset(pristine.name, pristine.root).videos("val")


def test_labels_are_the_truth(pristine):
    dataset = open_dataset(pristine.name, pristine.root)
    for video in dataset.videos("test"):
        truth = pristine.truth[video.name]
        track = dataset.labels(video, len(truth) if truth else 3)
        if truth is None:
            assert track is None
        else:
            assert (track.video, track.anomalous.dtype) == (video.name, np.bool_)
            assert track.anomalous.astype(int).tolist() == truth


def test_training_videos_are_normal_or_unlabelled(pristine):
    dataset = open_dataset(pristine.name, pristine.root)
    for video in dataset.videos("train"):
        track = dataset.labels(video, pristine.num_train_frames)
        assert track is None or (len(track) == pristine.num_train_frames and not track.anomalous.any())
        assert dataset.masks(video) is None


def test_masks_agree_with_labels(pristine):
    dataset = open_dataset(pristine.name, pristine.root)
    for video in dataset.videos("test"):
        masks = dataset.masks(video)
        assert masks is not None or not pristine.has_masks
        if masks is not None:
            stack = np.stack(list(masks))
            assert stack.dtype == np.bool_
            assert stack.ndim == 3
            assert stack.any(axis=(1, 2)).astype(int).tolist() == pristine.truth[video.name]


def test_regions_agree_with_labels(pristine):
    dataset = open_dataset(pristine.name, pristine.root)
    assert all(dataset.regions(video) is None for video in dataset.videos("train"))
    for video in dataset.videos("test"):
        truth = dataset.regions(video)
        if truth is not None:
            assert truth.video == video.name
            assert sorted(set(truth.frame_index.tolist())) == np.flatnonzero(pristine.truth[video.name]).tolist()


def test_another_number_of_frames_is_refused_with_both_numbers(pristine):
    dataset = open_dataset(pristine.name, pristine.root)
    for video in dataset.videos("test"):
        truth = pristine.truth[video.name]
        if truth and any(truth):
            wrong = len(truth) - 1 if truth[-1] else truth.index(1)
            with pytest.raises(LabelError) as caught:
                dataset.labels(video, wrong)
            assert str(wrong) in str(caught.value)
            assert str(len(truth)) in str(caught.value) or str(truth.index(1)) in str(caught.value)


def test_what_file_managers_leave_behind_is_ignored(pristine, spoilt):
    for folder in [path for path in spoilt.root.rglob("*") if path.is_dir()]:
        for name in (".DS_Store", "Thumbs.db", "._001.tif", "._001.bmp", "._000.png", "._door.npy", "._clip.mp4"):
            (folder / name).write_bytes(b"\0\0")
        (folder / ".thumbnails").mkdir()
        (folder / ".thumbnails" / "001.png").write_bytes(b"\0")
    clean, stray = (open_dataset(pristine.name, copy.root) for copy in (pristine, spoilt))
    for split in SPLITS:
        assert [v.name for v in stray.videos(split)] == [v.name for v in clean.videos(split)]
    for video in stray.videos("test"):
        truth = spoilt.truth[video.name]
        if truth is not None:
            assert stray.labels(video, len(truth)).anomalous.astype(int).tolist() == truth


def test_only_labels_opens_label_files(spoilt):
    for name in spoilt.label_files:
        (spoilt.root / name).write_bytes(b"\xff\xfe gt_frame garbage")
    dataset = open_dataset(spoilt.name, spoilt.root)
    assert [video.name for video in dataset.videos("test")] == list(spoilt.truth)
    if spoilt.label_files:
        video = dataset.videos("test")[0]
        with pytest.raises(LabelError):
            dataset.labels(video, len(spoilt.truth[video.name]))


@pytest.mark.parametrize("name", DATASETS)
def test_bad_roots(name, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for root, sentence in (("gone", "expected a folder, got nothing there"), ("file", "expected a folder, got a file")):
        with pytest.raises(UsageError, match=sentence):
            open_dataset(name, tmp_path / root)
    with pytest.raises(MuldeError, match=str(tmp_path / "empty")) as caught:
        open_dataset(name, tmp_path / "empty")
    assert isinstance(caught.value, UsageError)


def test_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match=rf"one of {', '.join(DATASETS)}, got 'ped2'"):
        open_dataset("ped2", tmp_path)


def test_import_is_light():
    heavy = ["cv2", "torch", "av", "decord", "pandas", "scipy"]
    code = f"import sys, mulde.datasets; sys.exit(str([m for m in {heavy} if m in sys.modules] or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
