"""The nine benchmarks as their archives unpack, found from three levels, with `data check` finding no fault.

Relatives that were looked for: folders two levels above and inside a split, archives unpacked into each other and into
folders of their own names, other cases of every folder, byte order marks and UTF-16 in lists, masks and lists in two
places, a damaged list, several copies, another benchmark in the place of the one that was named, links to folders.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mulde.datasets import DATASETS, SPLITS, open_dataset
from mulde.datasets.base import Dataset
from mulde.datasets.registry import find_dataset
from mulde.datasets.sources import open_source
from mulde.errors import LabelError, UsageError
from mulde.pipeline.data_check.check import check_data
from mulde.pipeline.data_check.findings import CheckReport, Finding
from mulde.progress import Reporter

from .published_copies import (
    PUBLISHED,
    UCF_ANNOTATIONS,
    Published,
    avenue,
    frames,
    litter,
    mvtec_ad,
    nwpu_campus,
    ped2,
    shanghaitech,
    street_scene,
    text,
    ubnormal,
    ucf_crime,
    ucf_crime_whole,
)

LEVELS = ("made", "above", "below")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Callable[[str], tuple[Path, Published]]:
    """Each replica, written once, with clutter in every folder."""
    written: dict[str, tuple[Path, Published]] = {}

    def build(kind: str) -> tuple[Path, Published]:
        if kind not in written:
            top = tmp_path_factory.mktemp(kind)
            written[kind] = top, PUBLISHED[kind](top)
            litter(top)
        return written[kind]

    return build


def given(top: Path, copy: Published, level: str) -> Path:
    return {"made": top / copy.made, "above": top, "below": top / copy.below}[level]


def of_kind(report: CheckReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def check(name: str, root: Path) -> CheckReport:
    return check_data(f"{name}:{root}", Reporter(quiet=True))


def assert_whole(dataset: Dataset, copy: Published, front: str = "") -> None:
    """All videos, labels and masks of the replica; `front`: what the names of videos begin with in it alone."""
    names = [name.removeprefix(front) for name in copy.train if name.startswith(front)]
    truth = {name.removeprefix(front): labels for name, labels in copy.truth.items() if name.startswith(front)}
    assert [video.name.lower() for video in dataset.videos("train")] == [name.lower() for name in names]
    assert [video.name.lower() for video in dataset.videos("test")] == [name.lower() for name in truth]
    for video, labels in zip(dataset.videos("test"), truth.values(), strict=True):
        assert dataset.labels(video, len(labels)).anomalous.astype(int).tolist() == labels
        masks = dataset.masks(video)
        assert masks is None or [int(mask.any()) for mask in masks] == labels


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", PUBLISHED)
def test_found_from_three_levels_without_a_fault(unpacked, kind, level):
    top, copy = unpacked(kind)
    root, front = given(top, copy, level), copy.front if level == "below" else ""
    dataset = open_dataset(copy.name, root)
    assert dataset.root.is_relative_to(top)
    assert_whole(dataset, copy, front)
    report = check(copy.name, root)
    assert report.faults == []
    assert report.root == str(dataset.root)
    assert report.num_videos == {split: len(dataset.videos(split)) for split in SPLITS}
    num_frames = sum(len(labels) for name, labels in copy.truth.items() if name.startswith(front))
    assert report.num_frames["test"] == num_frames
    notes = {"not whole", "wholly anomalous", "chosen", "labels read as"}
    assert {finding.kind for finding in report.findings} <= notes


@pytest.mark.parametrize("kind", PUBLISHED)
def test_two_levels_above_and_by_a_link(unpacked, kind, tmp_path):
    top, copy = unpacked(kind)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / copy.name).symlink_to(top)
    assert_whole(open_dataset(copy.name, tmp_path / "benchmarks" / copy.name), copy)
    assert_whole(open_dataset(copy.name, tmp_path / "benchmarks"), copy)


@pytest.mark.parametrize("rename", [str.upper, str.lower], ids=["upper", "lower"])
@pytest.mark.parametrize("kind", PUBLISHED)
def test_whatever_the_case_of_its_folders(unpacked, kind, rename, tmp_path):
    top, copy = unpacked(kind)
    shutil.copytree(top, tmp_path / "copy")
    folders = [path for path in (tmp_path / "copy").rglob("*") if path.is_dir()]
    for path in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        path.rename(path.with_name(rename(path.name)))
    dataset = open_dataset(copy.name, tmp_path / "copy")
    assert {video.name.lower() for video in dataset.videos("test")} == {name.lower() for name in copy.truth}
    assert check(copy.name, tmp_path / "copy").faults == []


@pytest.mark.parametrize(
    ("build", "part"),
    [
        (ped2, "UCSD_Anomaly_Dataset.v1p2/UCSDped2/Test/Test001"),
        (avenue, "Avenue Dataset/training_vol"),
        (shanghaitech, "shanghaitech/testing/frames"),
        (ubnormal, "UBnormal/Scene7"),
        (ucf_crime, "Anomaly-Detection-Dataset/UCF_Crimes-Train-Test-Split"),
        (ucf_crime, "Anomaly-Detection-Dataset/Training-Normal-Videos-Part-2"),
        (ucf_crime, "Anomaly-Detection-Dataset/Anomaly-Videos-Part-1/Arson"),
        (ucf_crime_whole, "UCF_Crimes/Videos"),
        (street_scene, "StreetScene/Train"),
        (nwpu_campus, "NWPUCampusDataset/videos/Train"),
        (mvtec_ad, "mvtec_anomaly_detection/zipper/ground_truth"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_part_stands_for_the_whole(build, part, tmp_path):
    copy = build(tmp_path)
    assert_whole(open_dataset(copy.name, tmp_path / part), copy, "zipper/" if copy.name == "mvtec-ad" else "")


@pytest.mark.parametrize("kind", PUBLISHED)
def test_what_unpacking_makes_is_said_of_each(unpacked, kind):
    top, copy = unpacked(kind)
    made = {path.name for path in (top, top / copy.made) for path in path.iterdir()}
    said = re.findall(r"([\w. -]+)/", find_dataset(copy.name).facts.unpacks_to)
    assert made & {name.removeprefix(" ") for name in said}


def test_the_working_folder_and_the_one_above_it(tmp_path, monkeypatch):
    copy = avenue(tmp_path)
    for root, cwd in ((".", "Avenue Dataset"), ("..", "Avenue Dataset"), (".", "."), ("Avenue Dataset", ".")):
        monkeypatch.chdir(tmp_path / cwd)
        assert_whole(open_dataset(copy.name, Path(root)), copy)


@pytest.mark.parametrize("level", LEVELS)
def test_an_empty_clip_is_a_fault_and_other_empty_folders_are_not(tmp_path, level):
    copy = ped2(tmp_path)
    base = tmp_path / "UCSD_Anomaly_Dataset.v1p2"
    for path in ("more", "UCSDped1/Train/Train003", "UCSDped2/Train/Train003", "UCSDped2/Train/New folder"):
        (base / path).mkdir(parents=True)
    report = check(copy.name, given(tmp_path, copy, level))
    assert [(f.kind, f.video) for f in report.faults] == [("empty", "train/Train003")]
    assert report.root == f"{base}/UCSDped2"
    assert report.num_videos == {"train": 2, "test": 3}


# --- what is said of it ------------------------------------------------------------------------------------------


def test_where_it_was_found_is_said_unless_it_was_given(tmp_path):
    ped2(tmp_path)
    base = tmp_path / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2"
    assert open_source(f"ucsd-ped2:{tmp_path}").notes == (f"ucsd-ped2 is read from {base}",)
    assert open_source(f"ucsd-ped2:{base / 'Train'}").notes == (f"ucsd-ped2 is read from {base}",)
    assert open_source(f"ucsd-ped2:{base}").notes == ()


def test_masks_are_matched_by_number_and_it_is_said(tmp_path):
    ped2(tmp_path)
    dataset = open_dataset("ucsd-ped2", tmp_path)
    sources = [dataset.label_source(video, 6) for video in dataset.videos("test")]
    assert sources[0] == "UCSDped2.m, compared with 6 masks matched with the frames by name"
    said = "UCSDped2.m, compared with {} masks matched with the frames by number, as frame001.bmp to 001.tif"
    assert sources[1:] == [said.format(12), said.format(5)]
    notes = of_kind(check("ucsd-ped2", tmp_path), "labels read as")
    assert [(note.video, note.what) for note in notes] == [("test/Test006", sources[1]), ("test/Test009", sources[2])]


def test_masks_of_numbers_without_leading_zeros_keep_the_order_of_the_frames(tmp_path):
    copy = ped2(tmp_path)
    folder = tmp_path / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2" / "Test" / "Test006_gt"
    for path in folder.iterdir():
        path.rename(path.with_name(f"{'zyx'[int(path.stem[-3:]) % 3]}{int(path.stem[-3:])}.bmp"))
    assert_whole(open_dataset("ucsd-ped2", tmp_path), copy)


def test_published_videos_are_read_beside_frames_that_were_taken_out_of_them(tmp_path):
    copy = shanghaitech(tmp_path)
    dataset = open_dataset("shanghaitech", tmp_path)
    base = tmp_path / "shanghaitech"
    assert dataset.notes == (f"{base}/training/frames is left out: the data set was published with videos",)
    assert {video.path.suffix for video in dataset.videos("train")} == {".avi"}
    assert [f.what for f in of_kind(check("shanghaitech", tmp_path), "chosen")] == list(dataset.notes)
    frames(base / "testing" / "videos" / "01_0014", 3, ".jpg")
    assert open_dataset("shanghaitech", tmp_path).notes[1].startswith(f"{base}/testing/videos is left out")
    shutil.rmtree(base / "training" / "videos")
    (base / "training" / "videos").mkdir()
    assert {video.path.parent.name for video in open_dataset("shanghaitech", tmp_path).videos("train")} == {"frames"}
    assert copy.name == "shanghaitech"


def test_frames_that_public_code_writes_beside_the_original_form_are_left_out(tmp_path):
    copy = avenue(tmp_path)
    for split in ("training", "testing"):
        frames(tmp_path / "Avenue Dataset" / split / "frames" / "01", 3, ".jpg")
    dataset = open_dataset("avenue-masks", tmp_path)
    assert_whole(dataset, copy)
    assert dataset.notes == (
        f"training/ and testing/ in {tmp_path}/Avenue Dataset are left out: the original form beside them is read",
    )


@pytest.mark.parametrize(
    ("videos", "masks"),
    [
        ("Avenue_Dataset/Avenue Dataset", "ground_truth_demo/ground_truth_demo"),
        ("Avenue Dataset", "Avenue Dataset/ground_truth_demo"),
        ("ground_truth_demo/Avenue Dataset", "ground_truth_demo"),
        ("avenue/Avenue Dataset", "avenue/ground_truth_demo"),
    ],
)
def test_the_two_archives_of_avenue_in_any_order(tmp_path, videos, masks):
    copy = avenue(tmp_path / "plain")
    shutil.copytree(tmp_path / "plain" / "Avenue Dataset", tmp_path / "own" / videos)
    shutil.copytree(tmp_path / "plain" / "ground_truth_demo", tmp_path / "own" / masks, dirs_exist_ok=True)
    for root in (tmp_path / "own", tmp_path / "own" / videos):
        assert_whole(open_dataset(copy.name, root), copy)
        assert check(copy.name, root).faults == []


def test_lists_in_utf_16_and_in_other_places(tmp_path):
    copy = ubnormal(tmp_path)
    scripts = tmp_path / "UBnormal-main" / "scripts"
    for path in scripts.iterdir():
        path.write_text(path.read_text("utf-8-sig"), "utf-16")
    assert_whole(open_dataset("ubnormal", tmp_path), copy)
    scripts.rename(tmp_path / "UBnormal" / "Scripts")
    assert_whole(open_dataset("ubnormal", tmp_path / "UBnormal"), copy)
    for path in (tmp_path / "UBnormal" / "Scripts").iterdir():
        path.rename(tmp_path / "UBnormal" / path.name)
    assert_whole(open_dataset("ubnormal", tmp_path), copy)


def test_masks_and_lists_from_outside_of_what_was_given_are_named(tmp_path):
    avenue(tmp_path / "a")
    ubnormal(tmp_path / "u")
    said = f"the masks of avenue-masks are read from {tmp_path}/a/ground_truth_demo/testing_label_mask"
    assert open_dataset("avenue-masks", tmp_path / "a" / "Avenue Dataset").notes == (said,)
    assert open_dataset("avenue-masks", tmp_path / "a").notes == ()
    said = f"the split lists of ubnormal are read from {tmp_path}/u/UBnormal-main/scripts"
    assert open_dataset("ubnormal", tmp_path / "u" / "UBnormal").notes == (said,)
    assert open_dataset("ubnormal", tmp_path / "u").notes == ()


def test_single_images_are_not_called_wholly_anomalous(tmp_path):
    mvtec_ad(tmp_path)
    assert not of_kind(check("mvtec-ad", tmp_path), "wholly anomalous")


def test_half_a_category_of_mvtec_is_named(tmp_path):
    mvtec_ad(tmp_path)
    base = tmp_path / "mvtec_anomaly_detection"
    shutil.rmtree(base / "bottle" / "train" / "good")
    (base / "extras").mkdir()
    dataset = open_dataset("mvtec-ad", tmp_path)
    said = f"{base}/bottle is left out: it has ground_truth and test and train, a category has train/good and test"
    assert dataset.notes == (said,)
    assert all(video.name.startswith("zipper/") for video in dataset.videos("test"))


def test_masks_of_mvtec_by_number_where_their_names_differ(tmp_path):
    copy = mvtec_ad(tmp_path)
    for path in (tmp_path / "mvtec_anomaly_detection").glob("*/ground_truth/*/*_mask.png"):
        path.rename(path.with_name(path.name.replace("_mask", "")))
    assert_whole(open_dataset("mvtec-ad", tmp_path), copy)
    twin = tmp_path / "mvtec_anomaly_detection" / "zipper" / "ground_truth" / "broken_large" / "0.png"
    shutil.copy(twin.with_name("000.png"), twin)
    dataset = open_dataset("mvtec-ad", tmp_path)
    with pytest.raises(LabelError, match=r"zipper/broken_large/000: mask: expected .*000_mask\.png, got 0\.png, 000"):
        dataset.masks(next(video for video in dataset.videos("test") if video.name == "zipper/broken_large/000"))


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [ped2, avenue, shanghaitech, ubnormal, street_scene, nwpu_campus, mvtec_ad])
def test_two_copies_are_refused_with_both_names(build, tmp_path):
    copy = build(tmp_path / "first")
    build(tmp_path / "second")
    with pytest.raises(UsageError) as caught:
        open_dataset(copy.name, tmp_path)
    said = str(caught.value)
    assert f"{copy.name} in {tmp_path}: expected one copy of the data set, got 2: {tmp_path}/first/" in said
    assert f", {tmp_path}/second/" in said
    assert f". Try: name the one that is meant, as in {copy.name}:{tmp_path}/first/" in said
    assert [f.kind for f in check(copy.name, tmp_path).faults] == ["layout"]


def test_two_copies_of_ucf_crime(tmp_path):
    ucf_crime(tmp_path / "first")
    ucf_crime(tmp_path / "second")
    with pytest.raises(UsageError, match=r"expected each video once, got .*first.*_x264\.mp4, .*second.*_x264\.mp4"):
        open_dataset("ucf-crime", tmp_path)


def test_folders_that_differ_in_case_alone(tmp_path):
    ped2(tmp_path)
    base = tmp_path / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2"
    shutil.copytree(base / "Train", base / "train")
    if not (base / "train").samefile(base / "Train"):
        with pytest.raises(UsageError, match=r"UCSDped2: Train: expected one of that name, got Train, train\. Try"):
            open_dataset("ucsd-ped2", tmp_path)


@pytest.mark.parametrize("kind", ["street_scene", "shanghaitech", "mvtec_ad", "ped2", "ucf_crime"])
def test_another_benchmark_is_not_taken_for_the_one_that_is_named(unpacked, kind):
    top, copy = unpacked(kind)
    for named in DATASETS.keys() - {copy.name, "folder", "boxes", "avenue-tracks", "synthetic", "ucsd-ped1"}:
        with pytest.raises(UsageError, match=rf"{named} in {top}: expected .*; there or up to 3 folders below, got"):
            open_dataset(named, top)


def spoil_ped2(tmp_path: Path, clip: str) -> tuple[Path, Callable[[], str]]:
    """The mask folder of a clip, and what is said of its labels."""
    ped2(tmp_path)
    folder = tmp_path / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2" / "Test" / f"{clip}_gt"

    def refusal() -> str:
        dataset = open_dataset("ucsd-ped2", tmp_path)
        video = next(video for video in dataset.videos("test") if video.name == clip)
        with pytest.raises(LabelError) as caught:
            dataset.labels(video, 12 if clip == "Test006" else 6)
        return str(caught.value)

    return folder, refusal


def test_masks_that_are_missing_or_too_many_under_other_names(tmp_path):
    folder, refusal = spoil_ped2(tmp_path, "Test006")
    (folder / "frame004.bmp").rename(folder / "frame013.bmp")
    said = "ucsd-ped2 Test006: masks: expected 12, one per frame, got 12 (missing: 004; without a frame: frame013)"
    assert said in refusal()
    shutil.copy(folder / "frame005.bmp", folder / "frame0005.bmp")
    assert "got 13 (missing: 004; without a frame: " in refusal()
    (folder / "frame0005.bmp").unlink()
    (folder / "frame013.bmp").unlink()
    assert "got 11 (missing: 004; without a frame: nothing)" in refusal()
    assert [(f.kind, f.video) for f in check("ucsd-ped2", tmp_path).faults] == [("off by one", "test/Test006")]
    shutil.rmtree(folder)
    assert f"ucsd-ped2 Test006: expected masks in {folder}, got no such folder" in refusal()


def test_masks_that_count_from_another_number(tmp_path):
    folder, refusal = spoil_ped2(tmp_path, "Test006")
    for path in sorted(folder.iterdir()):
        path.rename(path.with_name(f"mask{int(path.stem[-3:]) - 1:03d}.bmp"))
    assert "got 12 (missing: 012; without a frame: mask000)" in refusal()


def test_a_mask_under_both_names(tmp_path):
    folder, refusal = spoil_ped2(tmp_path, "Test001")
    shutil.copy(folder / "002.bmp", folder / "frame002.bmp")
    assert "expected 6, one per frame, got 7 (missing: nothing; without a frame: frame002)" in refusal()


def test_masks_of_avenue_in_two_places_or_under_two_names(tmp_path):
    avenue(tmp_path)
    folder = tmp_path / "ground_truth_demo" / "testing_label_mask"
    shutil.copy(folder / "1_label.mat", folder / "01_label.mat")
    dataset = open_dataset("avenue-masks", tmp_path)
    with pytest.raises(LabelError, match=r"masks of 01: expected one file, got 01_label\.mat, 1_label\.mat"):
        dataset.masks(dataset.videos("test")[0])
    (folder / "1_label.mat").unlink()
    assert dataset.labels(dataset.videos("test")[0], 6).spans() == [(2, 6)]
    shutil.copytree(folder, tmp_path / "Avenue Dataset" / "testing_label_mask")
    with pytest.raises(UsageError, match=r"expected one folder of masks, got .*_mask, .*_mask\. Try"):
        open_dataset("avenue-masks", tmp_path)


def test_lists_that_differ_or_are_damaged(tmp_path):
    ubnormal(tmp_path / "u")
    other = tmp_path / "u" / "scripts" / "normal_test_video_names.txt"
    text(other, ["normal_scene_1_scenario_1"])
    with pytest.raises(UsageError, match=r"two lists that differ: expected one normal_test_video_names\.txt, got .*, "):
        open_dataset("ubnormal", tmp_path / "u")
    ucf_crime_whole(tmp_path / "c")
    (tmp_path / "c" / "Anomaly_Train.txt").unlink()
    with pytest.raises(UsageError, match=r"got none, as in the damaged list .*\. Try: get Anomaly_Train\.txt"):
        open_dataset("ucf-crime", tmp_path / "c")
    ucf_crime(tmp_path / "p")
    text(tmp_path / "p" / "Temporal_Anomaly_Annotation.txt", UCF_ANNOTATIONS[:2])
    with pytest.raises(UsageError, match=r"lists that differ: expected one Temporal_Anomaly_Annotation_for.*, got "):
        open_dataset("ucf-crime", tmp_path / "p")
