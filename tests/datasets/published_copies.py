"""Replicas of the nine benchmarks as their archives unpack: real names, formats and clutter, few and small frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from .benchmark_copies import (
    UB_TRACKS,
    UB_TRAIN,
    UB_TRUTH,
    mask_stack,
    write_centre_tracks,
    write_gt_mat,
    write_object_images,
    write_vol_labels,
)
from .dataset_copies import SIZE_HW, flags, write_images, write_mp4


@dataclass(frozen=True)
class Published:
    """`made` is what unpacking makes and `below` a folder in it, both below the folder that was unpacked into.

    `front`: only the videos whose names begin so are found from `below`, without it.
    """

    name: str
    made: str
    below: str
    train: tuple[str, ...]
    truth: dict[str, list[int]]
    front: str = ""


def noise(seed: str, num: int) -> Iterable[np.ndarray]:
    """Frames that are those of no other video."""
    rng = np.random.default_rng(list(seed.encode()))
    return (rng.integers(0, 256, (*SIZE_HW, 3)).astype(np.uint8) for _ in range(num))


def frames(folder: Path, num: int, suffix: str, *, first: int = 1, digits: int = 3) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(noise(folder.name, num), start=first):
        assert cv2.imwrite(str(folder / f"{number:0{digits}d}{suffix}"), image[..., 0])


def clip(path: Path, num: int, rate: int) -> None:
    write_mp4(path, noise(path.stem, num), Fraction(rate))


def text(path: Path, lines: Iterable[str], *, bom: bool = False) -> None:
    """As Windows writes it: CRLF, no newline at the end, a mark at the front where asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xef\xbb\xbf" * bom + "\r\n".join(lines).encode())


def litter(top: Path) -> None:
    """What macOS and Windows leave in every folder, and beside one file of each."""
    for folder in [top, *(path for path in top.rglob("*") if path.is_dir())]:
        file = next((path for path in sorted(folder.iterdir()) if path.is_file()), None)
        names = [".DS_Store", "._.DS_Store", "Thumbs.db", "desktop.ini"] + ([f"._{file.name}"] if file else [])
        if file is None and not any(folder.iterdir()):
            continue  # empty in the archive
        for name in names:
            (folder / name).write_bytes(b"\0\5\x16\7")
    for path in [path for path in top.iterdir() if path.is_dir()]:
        for folder in [path, *(inner for inner in path.iterdir() if inner.is_dir())]:
            twin = top / "__MACOSX" / folder.relative_to(top)
            twin.mkdir(parents=True)
            (twin / "._001.tif").write_bytes(b"\0\5\x16\7")


UCSD_TRUTH = {"Test001": flags(6, (2, 6)), "Test006": flags(12, (0, 8)), "Test009": flags(5, (0, 5))}


def ucsd(top: Path) -> None:
    """Both sets, as they are in one archive. Masks: all of Ped2, with other names in two clips, and one of Ped1."""
    base = top / "UCSD_Anomaly_Dataset.v1p2"
    for number in (1, 2):
        own = base / f"UCSDped{number}"
        for name in ("Train001", "Train002"):
            frames(own / "Train" / name, 4 + number, ".tif")
        lines = ["TestVideoFile{end+1}.gt_frame = [1:1];"] * 12
        for name, labels in UCSD_TRUTH.items():
            frames(own / "Test" / name, len(labels), ".tif")
            lit = np.flatnonzero(labels)
            lines[int(name[4:]) - 1] = f"TestVideoFile{{end+1}}.gt_frame = [{lit[0] + 1}:{lit[-1] + 1}];"
            if number == 2 or name == "Test006":
                masks = own / "Test" / f"{name}_gt"
                write_images(masks, len(labels), ".bmp", lit=lit)
                for path in list(masks.iterdir()) if number == 2 and name != "Test001" else []:
                    path.rename(path.with_name(f"frame{path.name}"))
        text(own / "Test" / f"UCSDped{number}.m", ["TestVideoFile = {};", *lines])
        text(own / "Test" / f"UCSDped{number}.m~", ["TestVideoFile = {};", "TestVideoFile{end+1}.gt_frame = [3:9];"])
    text(base / "README.txt", ["Peds1 and Peds2"])


def ped1(top: Path) -> Published:
    ucsd(top)
    base = "UCSD_Anomaly_Dataset.v1p2"
    return Published("ucsd-ped1", base, f"{base}/UCSDped1", ("Train001", "Train002"), UCSD_TRUTH)


def ped2(top: Path) -> Published:
    ucsd(top)
    base = "UCSD_Anomaly_Dataset.v1p2"
    return Published("ucsd-ped2", base, f"{base}/UCSDped2", ("Train001", "Train002"), UCSD_TRUTH)


AVENUE_TRUTH = {"01": flags(6, (2, 6)), "02": flags(7, (0, 2), (4, 6)), "21": flags(5)}


def avenue(top: Path) -> Published:
    """Two archives, unpacked beside each other."""
    base = top / "Avenue Dataset"
    for name in ("01", "16"):
        clip(base / "training_videos" / f"{name}.avi", 5, 25)
        (base / "training_vol").mkdir(exist_ok=True)
        (base / "training_vol" / f"vol{name}.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    for name, labels in AVENUE_TRUTH.items():
        write_mp4(base / "testing_videos" / f"{name}.avi", noise(f"test{name}", len(labels)), Fraction(25))
    (base / "testing_vol").mkdir()
    write_vol_labels(top / "ground_truth_demo" / "testing_label_mask", AVENUE_TRUTH)
    (top / "ground_truth_demo" / "testing_videos").mkdir()
    text(top / "ground_truth_demo" / "demo.m", ["% plays the videos of testing_videos with their masks"])
    return Published("avenue-masks", "Avenue Dataset", "Avenue Dataset/testing_videos", ("01", "16"), AVENUE_TRUTH)


def avenue_intervals(top: Path) -> Published:
    """With the label file that other code brings, beside the two archives."""
    copy = avenue(top)
    truth = [AVENUE_TRUTH.get(f"{number:02d}", [0]) for number in range(1, 22)]
    write_gt_mat(top / "avenue.mat", truth)
    return replace(copy, name="avenue-intervals", below="Avenue Dataset/training_videos")


CAMPUS_TRUTH = {"01_0014": flags(6, (2, 5)), "01_0139": flags(4), "12_0149": flags(5, (0, 5))}


def shanghaitech(top: Path) -> Published:
    """With the training frames that most public code takes out of the videos."""
    base = top / "shanghaitech"
    for name in ("01_001", "13_007"):
        clip(base / "training" / "videos" / f"{name}.avi", 5, 24)
        frames(base / "training" / "frames" / name, 5, ".jpg", first=0)
    for name, labels in CAMPUS_TRUTH.items():
        frames(base / "testing" / "frames" / name, len(labels), ".jpg", first=0)
        for folder, array in (("frame", np.array(labels, np.int8)), ("pixel", mask_stack(labels))):
            (base / "testing" / f"test_{folder}_mask").mkdir(exist_ok=True)
            np.save(base / "testing" / f"test_{folder}_mask" / f"{name}.npy", array)
    return Published("shanghaitech", "shanghaitech", "shanghaitech/testing", ("01_001", "13_007"), CAMPUS_TRUTH)


def ubnormal(top: Path) -> Published:
    """The videos in one archive, the split lists in the repository of the authors, unpacked beside it."""
    base, lists = top / "UBnormal", top / "UBnormal-main" / "scripts"
    for name in (*UB_TRAIN, *UB_TRUTH, "abnormal_scene_1_scenario_9", "normal_scene_7_scenario_9"):
        scene = base / f"Scene{name.split('_')[2]}"
        clip(scene / f"{name}.mp4", len(UB_TRUTH.get(name, [0] * 4)), 30)
        tracks = UB_TRACKS.get(name, [])
        numbers = [number for number, _, _ in tracks] or [9]
        write_object_images(scene / f"{name}_annotations", name, len(UB_TRUTH.get(name, [0] * 4)), numbers)
        if name.startswith("abnormal"):
            lines = [f"{number}.0,{first},{last}" for number, first, last in tracks]
            text(scene / f"{name}_annotations" / f"{name}_tracks.txt", lines, bom=True)
    named = {"normal_training": UB_TRAIN, "abnormal_test": [*UB_TRACKS], "normal_test": [[*UB_TRUTH][-1]]}
    for part in ("normal_training", "abnormal_test", "normal_test", "abnormal_training", "normal_validation"):
        text(lists / f"{part}_video_names.txt", named.get(part, ["abnormal_scene_1_scenario_9"]), bom=True)
    text(top / "UBnormal-main" / "README.md", ["# UBnormal"])
    return Published("ubnormal", "UBnormal", "UBnormal/Scene1", UB_TRAIN, UB_TRUTH)


UCF_TRUTH = {
    "Abuse028_x264": flags(20, (4, 9)),
    "Arson011_x264": flags(24, (0, 4), (10, 12)),
    "Normal_Videos_003_x264": flags(6),
}
UCF_TRAIN = ("Normal_Videos003_x264", "Normal_Videos141_x264")
UCF_ANNOTATIONS = [
    "Abuse028_x264.mp4  Abuse  5  9  -1  -1  ",
    "Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1\t",
    "Arson011_x264.mp4  Arson  1  4  11  12",
]


def ucf_videos(base: Path, places: dict[str, str]) -> None:
    lengths = {name: len(labels) for name, labels in UCF_TRUTH.items()}
    for name, folder in places.items():
        stem = name.split(" ")[0]
        clip(base / folder / f"{stem}.mp4", lengths.get(stem, 5), 30)


def ucf_lists(folder: Path, *, damaged: bool = False) -> None:
    normal = [] if damaged else [f"Training_Normal_Videos_Anomaly/{name}.mp4" for name in UCF_TRAIN]
    text(folder / "Anomaly_Train.txt", ["Abuse/Abuse001_x264.mp4", *normal])
    text(folder / "Anomaly_Test.txt", ["Abuse/Abuse028_x264.mp4"])


def ucf_crime(top: Path) -> Published:
    """The parts of the cloud folder, each unpacked where it was downloaded to."""
    base = top / "Anomaly-Detection-Dataset"
    ucf_videos(
        base,
        {
            "Abuse028_x264": "Anomaly-Videos-Part-1/Abuse",
            "Abuse001_x264": "Anomaly-Videos-Part-1/Abuse",
            "Arson011_x264": "Anomaly-Videos-Part-1/Arson",
            "Vandalism001_x264": "Anomaly-Videos-Part-4/Vandalism",
            "Normal_Videos003_x264": "Training-Normal-Videos-Part-1",
            "Normal_Videos141_x264": "Training-Normal-Videos-Part-2",
            "Normal_Videos_003_x264": "Testing_Normal_Videos_Anomaly",
            "Normal_Videos_003_x264 again": "Normal_Videos_for_Event_Recognition",
        },
    )
    ucf_lists(base / "UCF_Crimes-Train-Test-Split" / "Anomaly_Detection_splits")
    ucf_lists(base)
    text(base / "UCF_Crimes-Train-Test-Split" / "Action_Regnition_splits" / "ClassIDs.txt", ["Abuse 1"])
    text(base / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt", UCF_ANNOTATIONS)
    text(base / "ReadMe-Anomaly-Detection.txt", ["A few notes"])
    return Published("ucf-crime", base.name, f"{base.name}/Anomaly-Videos-Part-1", UCF_TRAIN, UCF_TRUTH)


def ucf_crime_whole(top: Path) -> Published:
    """The one archive, whose list lacks the normal videos, and the files that come apart from it, beside it."""
    base = top / "UCF_Crimes"
    ucf_videos(
        base / "Videos",
        {
            "Abuse028_x264": "Abuse",
            "Arson011_x264": "Arson",
            "Normal_Videos003_x264": "Training_Normal_Videos_Anomaly",
            "Normal_Videos141_x264": "Training_Normal_Videos_Anomaly",
            "Normal_Videos_003_x264": "Testing_Normal_Videos_Anomaly",
            "Normal_Videos_003_x264 again": "z_Normal_Videos_event",
        },
    )
    ucf_lists(base / "Anomaly_Detection_splits", damaged=True)
    ucf_lists(top)
    text(top / "Temporal_Anomaly_Annotation.txt", UCF_ANNOTATIONS)
    return Published("ucf-crime", "UCF_Crimes", "UCF_Crimes/Videos", UCF_TRAIN, UCF_TRUTH)


STREET_TRUTH = {"Test001": flags(6, (2, 5)), "Test002": flags(5), "Test010": flags(4, (0, 4))}


def street_scene(top: Path) -> Published:
    base = top / "StreetScene"
    for name in ("Train001", "Train046"):
        frames(base / "Train" / name, 4, ".jpg")
    for name, labels in STREET_TRUTH.items():
        frames(base / "Test" / name, len(labels), ".jpg")
        write_centre_tracks(base / "Test" / name / f"{name}_gt.txt", labels)
    text(base / "README.txt", ["Street Scene"])
    return Published("street-scene", "StreetScene", "StreetScene/Test", ("Train001", "Train046"), STREET_TRUTH)


NWPU_TRUTH = {"D001_03": flags(6, (1, 4)), "D001_10": flags(5), "D002_01": flags(4, (0, 4))}


def nwpu_campus(top: Path) -> Published:
    base = top / "NWPUCampusDataset"
    for name in ("D001_01", "D048_02"):
        clip(base / "videos" / "Train" / f"{name}.avi", 5, 25)
    for name, labels in NWPU_TRUTH.items():
        clip(base / "videos" / "Test" / f"{name}.avi", len(labels), 25)
    (base / "groundtruth").mkdir()
    np.savez(base / "groundtruth" / "NWPU_Campus_gt.npz", **{n: np.array(one) for n, one in NWPU_TRUTH.items()})
    text(base / "groundtruth" / "read_gt_file.py", ["import numpy as np"])
    return Published("nwpu-campus", base.name, f"{base.name}/videos", ("D001_01", "D048_02"), NWPU_TRUTH)


MVTEC_TRUTH = {"broken_large/000": [1], "broken_large/001": [1], "good/000": [0]}


def mvtec_ad(top: Path) -> Published:
    base = top / "mvtec_anomaly_detection"
    for category in ("bottle", "zipper"):
        for folder, num in (("train/good", 2), ("test/good", 1), ("test/broken_large", 2)):
            target = base / category / folder
            target.mkdir(parents=True)
            for number, image in enumerate(noise(category + folder, num)):
                assert cv2.imwrite(str(target / f"{number:03d}.png"), image)
        masks = base / category / "ground_truth" / "broken_large"
        masks.mkdir(parents=True)
        for number in range(2):
            assert cv2.imwrite(str(masks / f"{number:03d}_mask.png"), mask_stack([1])[0] * 255)
        for name in ("readme.txt", "license.txt"):
            text(base / category / name, ["MVTec AD"])
    text(base / "license.txt", ["CC BY-NC-SA 4.0"])
    train = tuple(f"{category}/good/{number:03d}" for category in ("bottle", "zipper") for number in range(2))
    truth = {f"{category}/{name}": labels for category in ("bottle", "zipper") for name, labels in MVTEC_TRUTH.items()}
    return Published("mvtec-ad", base.name, f"{base.name}/bottle", train, truth, front="bottle/")


PUBLISHED: dict[str, Callable[[Path], Published]] = {
    build.__name__: build
    for build in (
        ped1,
        ped2,
        avenue,
        avenue_intervals,
        shanghaitech,
        ubnormal,
        ucf_crime,
        ucf_crime_whole,
        street_scene,
        nwpu_campus,
        mvtec_ad,
    )
}
