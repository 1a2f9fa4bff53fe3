"""`mulde data check`: a clean copy has no fault, and each planted fault is found where it is."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mulde.errors import UsageError
from mulde.media import write_video
from mulde.pipeline.data_check.check import check_data
from mulde.pipeline.data_check.decoding import gaps
from mulde.pipeline.data_check.findings import KINDS, CheckReport, Finding
from mulde.progress import Reporter
from mulde.records import spans
from tests.conftest import moving_square
from tests.datasets.benchmark_copies import BENCHMARK_COPIES

EVERY = 15  # of the frames of Ped2, to be quick
TRAIN = [f"Train{i:03d}" for i in (1, 2, 3, 4, 5)]
TEST = [f"Test{i:03d}" for i in range(1, 12)]


def check(source: str) -> CheckReport:
    return check_data(source, Reporter(quiet=True))


def of_kind(report: CheckReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def found(report: CheckReport) -> set[tuple[str, str]]:
    return {(finding.kind, finding.video) for finding in report.faults}


# --- UCSD Ped2 ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clean_ped2(ped2_clips, tmp_path_factory) -> Path:
    """The original layout with some frames of 5 training and 11 test clips."""
    root = tmp_path_factory.mktemp("clean") / "UCSDped2"
    for split, names in (("Train", TRAIN), ("Test", TEST)):
        for name in names:
            write_clip(ped2_clips / split / f"{name}.mp4", root / split / name)
    packed = np.load(ped2_clips / "ground_truth_masks.npz")
    lines = ["TestVideoFile = {};"]
    for name in TEST:
        masks = np.unpackbits(packed[name])[: packed[name].size * 8 // (240 * 360) * 240 * 360].reshape(-1, 240, 360)
        masks = masks[::EVERY]
        folder = root / "Test" / f"{name}_gt"
        folder.mkdir()
        for i, mask in enumerate(masks, start=1):
            cv2.imwrite(str(folder / f"{i:03d}.bmp"), mask * 255)
        intervals = ", ".join(f"{first + 1}:{last}" for first, last in spans(masks.any(axis=(1, 2))))
        lines.append(f"TestVideoFile{{end+1}}.gt_frame = [{intervals}];")
    lines.append("TestVideoFile{end+1}.gt_frame = [7:12];")  # of the clip that is left out
    (root / "Test" / "UCSDped2.m").write_text("\n".join(lines) + "\n")
    return root


def write_clip(clip: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    with av.open(str(clip)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i % EVERY == 0:
                cv2.imwrite(str(folder / f"{i // EVERY + 1:03d}.tif"), frame.to_ndarray(format="gray"))


@pytest.fixture
def ped2(clean_ped2, tmp_path) -> Path:
    return shutil.copytree(clean_ped2, tmp_path / "UCSDped2")


def test_a_clean_copy_has_no_fault(clean_ped2):
    report = check(f"ucsd-ped2:{clean_ped2}")
    assert report.faults == []
    assert report.num_videos == {"train": 5, "test": 11}
    assert report.num_frames["test"] == sum(len(list((clean_ped2 / "Test" / name).iterdir())) for name in TEST)
    wholly = {f.video for f in of_kind(report, "wholly anomalous")}
    assert wholly == {f"test/Test{i:03d}" for i in (3, 8, 9, 10, 11)}
    assert {f.kind for f in report.findings} == {"wholly anomalous", "not whole"}


def relabel(root: Path, clip: str, old: str, new: str) -> None:
    path = root / "Test" / "UCSDped2.m"
    lines = path.read_text().splitlines()
    number = int(clip.removeprefix("Test"))
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new)
    path.write_text("\n".join(lines) + "\n")


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def resize(path: Path, size_hw: tuple[int, int]) -> None:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(path), cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_NEAREST))


def missing_frame(root: Path) -> None:
    (root / "Train" / "Train001" / "007.tif").unlink()


def swapped_masks(root: Path) -> None:
    swap(root / "Test" / "Test001_gt", root / "Test" / "Test002_gt")


def swapped_masks_of_wholly_anomalous_clips(root: Path) -> None:
    swap(root / "Test" / "Test008_gt", root / "Test" / "Test011_gt")


def off_by_one_label(root: Path) -> None:
    relabel(root, "Test004", "[3:12]", "[4:12]")


def duplicate_clip(root: Path) -> None:
    shutil.copytree(root / "Test" / "Test005", root / "Train" / "Train017")


def unreadable_file(root: Path) -> None:
    (root / "Test" / "Test007" / "010.tif").write_bytes(b"not a picture")


def mixed_size(root: Path) -> None:
    resize(root / "Train" / "Train002" / "009.tif", (120, 180))


def empty_clip(root: Path) -> None:
    for path in (root / "Train" / "Train005").iterdir():
        path.unlink()


def mask_of_a_training_clip(root: Path) -> None:
    shutil.copytree(root / "Test" / "Test003_gt", root / "Train" / "Train004_gt")


def mask_of_another_size(root: Path) -> None:
    for path in (root / "Test" / "Test009_gt").iterdir():
        resize(path, (120, 180))


def stray_label_line(root: Path) -> None:
    with (root / "Test" / "UCSDped2.m").open("a") as file:
        file.write("TestVideoFile{end+1}.gt_frame = [3:9];\n")


def missing_mask(root: Path) -> None:
    (root / "Test" / "Test011_gt" / "012.bmp").unlink()


def label_after_the_end(root: Path) -> None:
    relabel(root, "Test003", ":10]", ":11]")


def missing_front(root: Path) -> None:
    for folder in ("Test010", "Test010_gt"):
        (root / "Test" / folder / ("001.tif" if folder == "Test010" else "001.bmp")).unlink()
    relabel(root, "Test010", ":10]", ":9]")


def masks_of_another_clip(root: Path) -> None:
    shutil.rmtree(root / "Test" / "Test007_gt")
    shutil.copytree(root / "Test" / "Test008_gt", root / "Test" / "Test007_gt")


# what is done -> what must be found
PLANTED = {
    missing_frame: {("missing frame", "train/Train001")},
    swapped_masks: {("swapped masks", "test/Test001"), ("swapped masks", "test/Test002")},
    off_by_one_label: {("off by one", "test/Test004")},
    duplicate_clip: {("duplicate", "test/Test005")},
    unreadable_file: {("unreadable", "test/Test007")},
    mixed_size: {("frame size", "train/Train002")},
    empty_clip: {("empty", "train/Train005")},
    mask_of_a_training_clip: {("anomalous training", "train/Train004")},
    mask_of_another_size: {("mask size", "test/Test009")},
    stray_label_line: {("stray labels", "")},
    missing_mask: {("off by one", "test/Test011")},
    label_after_the_end: {("off by one", "test/Test003")},
    missing_front: {("missing frame", "test/Test010")},
    masks_of_another_clip: {("same masks", "test/Test008"), ("masks disagree", "test/Test007")},
}


def test_masks_that_fit_the_labels_of_two_clips_are_told_apart_by_what_moves(ped2):
    swapped_masks_of_wholly_anomalous_clips(ped2)
    assert found(check(f"ucsd-ped2:{ped2}")) == {("swapped masks", "test/Test008"), ("swapped masks", "test/Test011")}


@pytest.mark.parametrize("plant", [missing_frame, empty_clip, label_after_the_end], ids=lambda plant: plant.__name__)
def test_a_fault_alone_gives_nothing_else(ped2, plant):
    plant(ped2)
    assert found(check(f"ucsd-ped2:{ped2}")) == PLANTED[plant]


def test_all_faults_at_once_are_found_and_none_besides(ped2):
    for plant in PLANTED:
        plant(ped2)
    assert found(check(f"ucsd-ped2:{ped2}")) == set().union(*PLANTED.values())


def test_sentences_name_the_real_folder_though_an_empty_clip_was_left_out(ped2):
    empty_clip(ped2)
    mixed_size(ped2)
    said = next(f.what for f in check(f"ucsd-ped2:{ped2}").faults if f.kind == "frame size")
    assert said.startswith(f"{ped2}/Train/Train002/009.tif has another size")


@pytest.mark.parametrize(
    ("first", "last", "said"), [(4, 12, "later"), (2, 11, "earlier"), (3, 11, "ends one frame off")]
)
def test_what_is_off_by_one_is_said(ped2, first, last, said):
    relabel(ped2, "Test004", "[3:12]", f"[{first}:{last}]")
    faults = check(f"ucsd-ped2:{ped2}").faults
    assert [(f.kind, f.video) for f in faults] == [("off by one", "test/Test004")]
    assert said in faults[0].what


@pytest.mark.parametrize("name", BENCHMARK_COPIES)
def test_labels_of_other_benchmarks_raise_no_false_alarm(tmp_path, name):
    """Their tiny copies hold black frames, all alike, and files that are no videos."""
    copy = BENCHMARK_COPIES[name](tmp_path)
    report = check(f"{copy.name}:{copy.root}")
    assert {f.kind for f in report.faults} <= {"duplicate", "unreadable"}
    assert report.num_videos == {"train": len(copy.train), "test": len(copy.truth)}


# --- own footage -------------------------------------------------------------------------------------------------


def write_frames(folder: Path, frames: np.ndarray, first: int = 0) -> None:
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames, start=first):
        cv2.imwrite(str(folder / f"{i:04d}.png"), frame)


@pytest.fixture
def footage(tmp_path) -> Path:
    """Two training and three test videos of 20 frames, files at 25 frames per second and one folder, no labels."""
    root = tmp_path / "own"
    for split, seeds in (("train", (1, 2)), ("test", (3, 4))):
        (root / split).mkdir(parents=True)
        for seed in seeds:
            write_video(root / split / f"v{seed}.mp4", iter(moving_square(seed=seed, speed_px=seed)), Fraction(25))
    write_frames(root / "test" / "door", moving_square(seed=5, speed_px=6))
    return root


def csv(root: Path, *rows: str, header: str = "video,start_frame,end_frame") -> None:
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


def test_clean_footage_has_no_fault(footage):
    assert check(str(footage)).faults == []
    assert {f.kind for f in check(str(footage)).findings} == {"no labels", "frame rates"}
    csv(footage, "v3,0,20", "door,4,9")
    report = check(f"folder:{footage}")
    assert report.faults == []
    assert {(f.kind, f.video) for f in report.findings} == {("wholly anomalous", "test/v3"), ("frame rates", "")}


def test_bad_lines_of_a_csv_hide_nothing_else(footage):
    csv(footage, "v3,0,21", "v1,0,3", "gone,0,3", "v4,x,3", "door,3,3")
    report = check(str(footage))
    assert found(report) == {
        ("off by one", "test/v3"),
        ("anomalous training", "train/v1"),
        ("stray labels", "test/gone"),
        ("bad labels", ""),
        ("bad labels", "test/door"),
    }
    assert "labels.csv line 5: range of v4" in next(f.what for f in report.faults if not f.video)


def test_cameras_above_the_splits(footage):
    (footage / "cam1").mkdir()
    for split in ("train", "test"):
        (footage / split).rename(footage / "cam1" / split)
    (footage / "cam2" / "train").mkdir(parents=True)
    shutil.copy(footage / "cam1" / "train" / "v1.mp4", footage / "cam2" / "train" / "v1.mp4")
    csv(footage, "cam1/v3,0,21")
    report = check(f"folder:{footage}")
    assert found(report) == {("duplicate", "train/cam2/v1"), ("off by one", "test/cam1/v3")}


def test_two_kinds_of_labels_are_said_once(footage):
    csv(footage, "v3,0,2")
    write_frames(footage / "masks" / "door", np.zeros((20, 96, 128), np.uint8))
    assert [(f.kind, f.video) for f in check(str(footage)).faults] == [("bad labels", "")]


def test_labels_in_seconds_need_a_rate_where_the_video_has_none(footage):
    csv(footage, "v3,0.2,0.4", "door,0.1,0.3", header="video,start_s,end_s")
    assert found(check(str(footage))) == {("bad labels", "test/door")}
    csv(footage, "v3,0.2,0.4,", "door,0.1,0.3,10", header="video,start_s,end_s,frame_rate")
    assert check(str(footage)).faults == []


@pytest.mark.parametrize(("length", "kind"), [(19, "off by one"), (21, "off by one"), (17, "bad labels")])
def test_arrays_of_another_length_and_videos_without(footage, length, kind):
    (footage / "labels").mkdir()
    np.save(footage / "labels" / "v3.npy", np.zeros(length))
    np.save(footage / "labels" / "v4.npy", np.zeros(20))
    assert found(check(str(footage))) == {(kind, "test/v3"), ("unlabelled", "test/door")}


def test_what_a_mat_file_was_taken_for_is_said(footage):
    from scipy.io import savemat

    (footage / "labels").mkdir()
    savemat(footage / "labels" / "v3.mat", {"gt": np.array([[3, 5], [8, 8]])})
    notes = of_kind(check(str(footage)), "labels read as")
    assert [(f.video, f.what) for f in notes] == [
        ("test/v3", "v3.mat: variable gt, 2 intervals, 1-based and inclusive")
    ]


def test_masks_of_another_count_and_size(footage):
    write_frames(footage / "masks" / "door", np.zeros((21, 96, 128), np.uint8))
    write_frames(footage / "masks" / "v3", np.zeros((20, 48, 64), np.uint8))
    write_frames(footage / "masks" / "v4", np.zeros((20, 96, 128), np.uint8))
    assert found(check(str(footage))) == {("off by one", "test/door"), ("mask size", "test/v3")}


def test_a_twin_that_was_renamed_or_coded_anew(footage):
    shutil.copy(footage / "train" / "v1.mp4", footage / "test" / "x1.mp4")
    small = [cv2.resize(frame, (64, 48)) for frame in moving_square(seed=2, speed_px=2)]
    write_video(footage / "test" / "x2.mp4", iter(small), Fraction(25), crf=35)
    report = check(str(footage))
    assert found(report) == {("duplicate", "test/x1"), ("duplicate", "test/x2")}
    said = {f.video: f.what for f in report.faults}
    assert said["test/x1"] == "every frame is that of train/v1"
    assert said["test/x2"].startswith("it looks like train/v2, encoded again (correlation 0.9")
    assert "48 x 64 (1 videos)" in of_kind(report, "frame sizes")[0].what


def test_empty_and_broken_files(footage):
    (footage / "test" / "v3.mp4").write_bytes(b"")
    (footage / "test" / "v4.mp4").write_bytes(b"no video")
    (footage / "train" / "cam1").mkdir()
    assert found(check(str(footage))) == {
        ("empty", "test/v3"), ("unreadable", "test/v4"), ("empty", "train/cam1"),
    }  # fmt: skip


def test_rates(footage):
    write_video(footage / "test" / "slow.mp4", iter(moving_square(8, seed=7, speed_px=12)), Fraction(1, 2))
    write_video(footage / "test" / "ten.mp4", iter(moving_square(seed=8, speed_px=9)), Fraction(10))
    report = check(str(footage))
    assert found(report) == {("frame rate", "test/slow")}
    assert "25 (4 videos), 0.5 (1 videos), 10 (1 videos)" in of_kind(report, "frame rates")[0].what


def test_a_video_that_changes_its_size_inside(footage):
    with av.open(str(footage / "test" / "big.ts"), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        for frame in moving_square(5, seed=6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(footage / "test" / "small.ts"), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in moving_square(5, seed=6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cv2.resize(frame, (64, 48)), format="rgb24")))
        container.mux(stream.encode(None))
    small = (footage / "test" / "small.ts").read_bytes()
    (footage / "test" / "small.ts").unlink()
    with (footage / "test" / "big.ts").open("ab") as file:
        file.write(small)
    assert ("frame size", "test/big") in found(check(str(footage)))


def test_a_source_that_is_no_data_set(footage, tmp_path):
    with pytest.raises(UsageError, match="got no such folder"):
        check(f"folder:{tmp_path / 'gone'}")
    (tmp_path / "other").mkdir()
    assert [f.kind for f in check(f"ucsd-ped2:{tmp_path / 'other'}").faults] == ["layout"]


@pytest.mark.parametrize(
    ("names", "first", "left_out", "twice"),
    [
        ([], None, [], []),
        (["a.jpg"], None, [], []),
        (["007.jpg"], 7, [], []),
        (["001.tif", "002.tif", "003.tif", "005.tif", "008.tif", "009.tif"], 1, [4, 6, 7], []),
        (["f0_cam2.png", "f5_cam2.png", "f10_cam2.png"], 2, [], [2, 2]),
        (["img0.png", "img5.png", "img10.png", "img20.png"], 0, [15], []),
        (["1.jpg", "2.jpg", "2.png", "3.jpg"], 1, [], [2]),
        (["10001.jpg", "10041.jpg", "10079.jpg", "10122.jpg"], 10001, [], []),
    ],
)
def test_gaps_in_the_numbers_of_frames(names, first, left_out, twice):
    start, ranges, doubles = gaps(tuple(names))
    assert (start, [n for one in ranges for n in one], doubles) == (first, left_out, twice)


def test_every_kind_says_what_to_do():
    assert all(severity in ("fault", "note") and advice for severity, advice in KINDS.values())


def test_what_lies_beside_the_videos_of_own_footage_is_a_note(tmp_path):
    for split in ("train", "test"):
        write_video(tmp_path / split / "a.mp4", iter(moving_square(4, seed=len(split))), Fraction(25))
    for name in ("train/folder.jpg", "val.mp4", "notes.txt"):
        (tmp_path / name).touch()
    notes = of_kind(check_data(str(tmp_path), Reporter(quiet=True)), "left out")
    assert [finding.what for finding in notes] == [
        "1 video outside train/ and test/: val.mp4; 1 picture beside videos: train/folder.jpg"
    ]
