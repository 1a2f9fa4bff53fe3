"""Tiny copies of the benchmarks, each in its original layout and in the common one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from .dataset_copies import SIZE_HW, Copy, flags, touch_video, write_images

OBJECT = (slice(3, 9), slice(5, 15))  # rows and columns of the anomaly in every mask: the box 5, 3, 15, 9


def intervals(labels: list[int]) -> np.ndarray:
    """The anomalous stretches as MATLAB counts: 2 x K, from 1, the last frame included."""
    starts = [i for i, one in enumerate(labels) if one and (i == 0 or not labels[i - 1])]
    ends = [i for i, one in enumerate(labels) if one and (i + 1 == len(labels) or not labels[i + 1])]
    return np.array([[i + 1 for i in starts], [i + 1 for i in ends]], np.uint16)


def write_gt_mat(path: Path, truth: Iterable[list[int]]) -> None:
    cells = np.empty((1, len(list(truth))), object)
    for number, labels in enumerate(truth):
        cells[0, number] = intervals(labels)
    savemat(path, {"gt": cells})


def mask_stack(labels: list[int]) -> np.ndarray:
    stack = np.zeros((len(labels), *SIZE_HW), np.uint8)
    for frame in np.flatnonzero(labels):
        stack[frame][OBJECT] = 1
    return stack


def write_npys(folder: Path, truth: dict[str, list[int]]) -> tuple[str, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, labels) in enumerate(truth.items()):
        np.save(folder / f"{name}.npy", np.array(labels, (np.uint8, np.float64, np.bool_, np.int8)[number % 4]))
    return tuple(f"{name}.npy" for name in truth)


def write_corner_tracks(folder: Path, truth: dict[str, list[int]]) -> None:
    """track,frame,x0,y0,x1,y1 from 0, track by track: even frames belong to track 0, odd ones to track 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in truth.items():
        frames = sorted(np.flatnonzero(labels).tolist(), key=lambda frame: frame % 2)
        (folder / f"{name}.txt").write_text("".join(f"{frame % 2},{frame},5,3,15,9\n" for frame in frames))


def write_centre_tracks(path: Path, labels: list[int]) -> None:
    """frame.jpg track cx cy w h from 1."""
    frames = [frame for frame, one in enumerate(labels) if one]
    path.write_text("".join(f"{frame + 1:03d}.jpg {frame % 2} 10 6 10.0 6\n" for frame in frames))


def common_frames(root: Path, train: Iterable[str], truth: dict[str, list[int]]) -> None:
    for name in train:
        write_images(root / "training" / "frames" / name, 4, ".jpg", first=0)
    for name, labels in truth.items():
        write_images(root / "testing" / "frames" / name, len(labels), ".jpg", first=0)


NUMBERED = {"01": flags(6, (2, 6)), "02": flags(7, (0, 2), (4, 6)), "03": flags(5)}


def ped1_common(root: Path) -> Copy:
    common_frames(root, ["01", "02"], NUMBERED)
    files = write_npys(root / "ground_truth", NUMBERED)
    return Copy("ucsd-ped1", root, ("01", "02"), dict(NUMBERED), False, tuple(f"ground_truth/{f}" for f in files))


def ped2_common(root: Path) -> Copy:
    common_frames(root / "UCSDped2", ["01", "02"], NUMBERED)
    write_gt_mat(root / "UCSDped2" / "ped2.mat", NUMBERED.values())
    return Copy("ucsd-ped2", root, ("01", "02"), dict(NUMBERED), False, ("UCSDped2/ped2.mat",))


def avenue_videos(root: Path) -> Path:
    base = root / "Avenue Dataset"
    for name in ("01", "02"):
        touch_video(base / "training_videos" / f"{name}.avi")
    for name in NUMBERED:
        touch_video(base / "testing_videos" / f"{name}.avi")
    return base


def write_vol_labels(folder: Path, truth: dict[str, list[int]]) -> tuple[str, ...]:
    folder.mkdir(parents=True)
    for name, labels in truth.items():
        cells = np.empty((1, len(labels)), object)
        for frame, mask in enumerate(mask_stack(labels)):
            cells[0, frame] = mask
        savemat(folder / f"{int(name)}_label.mat", {"volLabel": cells}, do_compression=True)
    return tuple(f"{int(name)}_label.mat" for name in truth)


def avenue_masks(root: Path) -> Copy:
    avenue_videos(root)
    folder = "ground_truth_demo/testing_label_mask"
    files = write_vol_labels(root / folder, NUMBERED)
    return Copy("avenue-masks", root, ("01", "02"), dict(NUMBERED), True, tuple(f"{folder}/{f}" for f in files))


def avenue_intervals(root: Path) -> Copy:
    base = avenue_videos(root)
    write_gt_mat(base / "avenue.mat", NUMBERED.values())
    write_vol_labels(base / "ground_truth_demo" / "testing_label_mask", {"01": flags(6, (0, 6))})
    return Copy("avenue-intervals", root, ("01", "02"), dict(NUMBERED), False, ("Avenue Dataset/avenue.mat",))


def avenue_masks_common(root: Path) -> Copy:
    common_frames(root, ["01", "02"], NUMBERED)
    folder = root / "testing" / "test_pixel_mask"
    folder.mkdir()
    for name, labels in NUMBERED.items():
        np.save(folder / f"{name}.npy", mask_stack(labels))
    write_gt_mat(root / "avenue.mat", [flags(6)])
    write_corner_tracks(root / "ground_truth", NUMBERED)
    files = tuple(f"testing/test_pixel_mask/{name}.npy" for name in NUMBERED)
    return Copy("avenue-masks", root, ("01", "02"), dict(NUMBERED), True, files)


def avenue_intervals_common(root: Path) -> Copy:
    for split, names in (("training", ["01", "02"]), ("testing", NUMBERED)):
        for name in names:
            touch_video(root / split / "videos" / f"{name}.avi")
    write_gt_mat(root / "avenue.mat", NUMBERED.values())
    (root / "testing" / "test_pixel_mask").mkdir()
    for name, labels in NUMBERED.items():  # of the other label set
        np.save(root / "testing" / "test_pixel_mask" / f"{name}.npy", mask_stack([1] * len(labels)))
    return Copy("avenue-intervals", root, ("01", "02"), dict(NUMBERED), False, ("avenue.mat",))


SCENES = {"01_0014": flags(6, (2, 5)), "01_0139": flags(4), "12_0149": flags(5, (0, 5))}


def shanghaitech_truth(root: Path) -> tuple[str, ...]:
    files = write_npys(root / "testing" / "test_frame_mask", SCENES)
    (root / "testing" / "test_pixel_mask").mkdir()
    for name, labels in SCENES.items():
        np.save(root / "testing" / "test_pixel_mask" / f"{name}.npy", mask_stack(labels).astype(np.bool_))
    write_corner_tracks(root / "annotations" / "ShanghaiTech", SCENES)
    return tuple(f"testing/test_frame_mask/{file}" for file in files)


def shanghaitech(root: Path) -> Copy:
    for name in ("01_001", "13_007"):
        touch_video(root / "training" / "videos" / f"{name}.avi")
    for name, labels in SCENES.items():
        write_images(root / "testing" / "frames" / name, len(labels), ".jpg", first=0)
    return Copy("shanghaitech", root, ("01_001", "13_007"), dict(SCENES), True, shanghaitech_truth(root))


def shanghaitech_common(root: Path) -> Copy:
    """Extracted frames without frames/ in between, labels beside training/ and testing/."""
    for name in ("01_001", "13_007"):
        write_images(root / "training" / name, 4, ".jpg", first=0)
    for name, labels in SCENES.items():
        write_images(root / "testing" / name, len(labels), ".jpg", first=0)
    files = write_npys(root / "test_frame_mask", SCENES)
    return Copy(
        "shanghaitech", root, ("01_001", "13_007"), dict(SCENES), False, tuple(f"test_frame_mask/{f}" for f in files)
    )


UB_TRUTH = {
    "abnormal_scene_1_scenario_1": flags(8, (1, 3), (5, 7)),
    "abnormal_scene_7_scenario_2_fog": flags(6, (2, 6)),
    "normal_scene_7_scenario_3": flags(5),
}
UB_TRAIN = ("normal_scene_1_scenario1_1", "normal_scene_7_scenario_1")
# object, first and last frame: the first of each video has a part outside its largest one, object 9 is normal
UB_TRACKS = {
    "abnormal_scene_1_scenario_1": [(3, 1, 2), (200, 5, 6)],
    "abnormal_scene_7_scenario_2_fog": [(4, 2, 5)],
}


def ubnormal(root: Path) -> Copy:
    for name in (*UB_TRAIN, *UB_TRUTH, "abnormal_scene_1_scenario_9", "normal_scene_7_scenario_9"):
        touch_video(root / f"Scene{name.split('_')[2]}" / f"{name}.mp4")
    for name, tracks in UB_TRACKS.items():
        folder = root / f"Scene{name.split('_')[2]}" / f"{name}_annotations"
        write_object_images(folder, name, len(UB_TRUTH[name]), [number for number, _, _ in tracks])
        lines = [f"{number:.1f},{first},{last}\n" for number, first, last in tracks]
        (folder / f"{name}_tracks.txt").write_text("".join(lines))
    lists = {"normal_training": UB_TRAIN, "abnormal_test": [*UB_TRACKS], "normal_test": [[*UB_TRUTH][-1]]}
    (root / "scripts").mkdir()
    for part, names in lists.items():
        (root / "scripts" / f"{part}_video_names.txt").write_text("\n".join(reversed(names)))
    tracks = tuple(f"Scene{name.split('_')[2]}/{name}_annotations/{name}_tracks.txt" for name in UB_TRACKS)
    return Copy("ubnormal", root, UB_TRAIN, dict(UB_TRUTH), False, tracks)


def write_object_images(folder: Path, name: str, num_frames: int, numbers: list[int]) -> None:
    """Object numbers as grey values, the same in every frame; the anomalies at OBJECT, the second one below it."""
    folder.mkdir()
    for frame in range(num_frames):
        image = np.zeros(SIZE_HW, np.uint8)
        image[0:2, 0:30] = 9
        image[OBJECT] = numbers[0]
        image[20, 30] = numbers[0]
        for number in numbers[1:]:
            image[12:14, 5:9] = number
        assert cv2.imwrite(str(folder / f"{name}_{frame:04d}_gt.png"), image)


def ubnormal_common(root: Path) -> Copy:
    common_frames(root, [*UB_TRAIN, "abnormal_scene_2_scenario_1"], UB_TRUTH)
    files = write_npys(root / "testing" / "test_frame_mask", UB_TRUTH)
    paths = tuple(f"testing/test_frame_mask/{file}" for file in files)
    return Copy("ubnormal", root, UB_TRAIN, dict(UB_TRUTH), False, paths)


UCF_TRUTH = {
    "Abuse028_x264": flags(20, (4, 9)),
    "Arson011_x264": flags(30, (0, 4), (10, 12)),
    "Normal_Videos_003_x264": flags(6),
}
UCF_LINES = """\
Abuse028_x264.mp4  Abuse  5  9  -1  -1
Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1
Arson011_x264.mp4  Arson  1  4  11  12
"""


def ucf_crime(root: Path) -> Copy:
    for path in (
        "Anomaly-Videos-Part-1/Abuse/Abuse028_x264.mp4",
        "Anomaly-Videos-Part-1/Abuse/Abuse001_x264.mp4",
        "Anomaly-Videos-Part-1/Arson/Arson011_x264.mp4",
        "Training-Normal-Videos-Part-1/Normal_Videos003_x264.mp4",
        "Training-Normal-Videos-Part-2/Normal_Videos141_x264.mp4",
        "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4",
        "Normal_Videos_for_Event_Recognition/Normal_Videos141_x264.mp4",
    ):
        touch_video(root / path)
    lines = [
        "Abuse/Abuse001_x264.mp4",
        "Training_Normal_Videos_Anomaly/Normal_Videos141_x264.mp4",
        "Training_Normal_Videos_Anomaly/Normal_Videos003_x264.mp4",
    ]
    (root / "Anomaly_Detection_splits").mkdir()
    (root / "Anomaly_Detection_splits" / "Anomaly_Train.txt").write_text("\n".join(lines))
    (root / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt").write_text(UCF_LINES)
    return Copy("ucf-crime", root, ("Normal_Videos003_x264", "Normal_Videos141_x264"), dict(UCF_TRUTH), False, ())


def ucf_crime_common(root: Path) -> Copy:
    common_frames(root, ["Normal_Videos141_x264"], UCF_TRUTH)
    files = write_npys(root / "ground_truth", UCF_TRUTH)
    paths = tuple(f"ground_truth/{file}" for file in files)
    return Copy("ucf-crime", root, ("Normal_Videos141_x264",), dict(UCF_TRUTH), False, paths)


STREET = {"Test001": flags(6, (2, 5)), "Test002": flags(5), "Test010": flags(4, (0, 4))}


def street_scene(root: Path) -> Copy:
    base = root / "StreetScene"
    write_images(base / "Train" / "Train001", 4, ".jpg")
    for name, labels in STREET.items():
        write_images(base / "Test" / name, len(labels), ".jpg")
        inside = base / "Test" / name / f"{name}_gt.txt"
        write_centre_tracks(inside if name == "Test001" else base / "Test" / f"{name}_gt.txt", labels)
    files = ("Test001/Test001_gt.txt", "Test002_gt.txt", "Test010_gt.txt")
    paths = tuple(f"StreetScene/Test/{file}" for file in files)
    return Copy("street-scene", root, ("Train001",), dict(STREET), False, paths)


def street_scene_common(root: Path) -> Copy:
    common_frames(root, ["Train001"], STREET)
    files = write_npys(root / "testing" / "test_frame_mask", STREET)
    write_corner_tracks(root / "tracks", STREET)
    paths = tuple(f"testing/test_frame_mask/{file}" for file in files)
    return Copy("street-scene", root, ("Train001",), dict(STREET), False, paths)


CAMPUS = {"D001_03": flags(6, (1, 4)), "D001_10": flags(5), "D002_01": flags(4, (0, 4))}


def nwpu_campus(root: Path) -> Copy:
    base = root / "NWPUCampusDataset"
    for name in ("D001_01", "D001_02"):
        touch_video(base / "videos" / "Train" / f"{name}.avi")
    for name in CAMPUS:
        touch_video(base / "videos" / "Test" / f"{name}.avi")
    (base / "groundtruth").mkdir()
    np.savez(base / "groundtruth" / "NWPU_Campus_gt.npz", **{n: np.array(one, np.uint8) for n, one in CAMPUS.items()})
    path = "NWPUCampusDataset/groundtruth/NWPU_Campus_gt.npz"
    return Copy("nwpu-campus", root, ("D001_01", "D001_02"), dict(CAMPUS), False, (path,))


def nwpu_campus_common(root: Path) -> Copy:
    common_frames(root, ["D001_01"], CAMPUS)
    np.savez(root / "gt.npz", **{name: np.array([labels]) for name, labels in CAMPUS.items()})
    return Copy("nwpu-campus", root, ("D001_01",), dict(CAMPUS), False, ("gt.npz",))


def mvtec_category(root: Path) -> None:
    write_images(root / "train" / "good", 2, ".png", first=0)
    write_images(root / "test" / "good", 1, ".png", first=0)
    write_images(root / "test" / "broken_large", 2, ".png", first=0)
    (root / "ground_truth" / "broken_large").mkdir(parents=True)
    for number in range(2):
        mask = mask_stack([1])[0] * 255
        assert cv2.imwrite(str(root / "ground_truth" / "broken_large" / f"{number:03d}_mask.png"), mask)


MVTEC = {"broken_large/000": [1], "broken_large/001": [1], "good/000": [0]}


def mvtec_one(root: Path) -> Copy:
    mvtec_category(root)
    (root / "license.txt").write_text("CC BY-NC-SA 4.0")
    return Copy("mvtec-ad", root, ("good/000", "good/001"), dict(MVTEC), False, (), num_train_frames=1)


def mvtec_all(root: Path) -> Copy:
    for category in ("bottle", "zipper"):
        mvtec_category(root / category)
    train = tuple(f"{category}/good/{number:03d}" for category in ("bottle", "zipper") for number in range(2))
    truth = {f"{category}/{name}": labels for category in ("bottle", "zipper") for name, labels in MVTEC.items()}
    return Copy("mvtec-ad", root, train, truth, False, (), num_train_frames=1)


def mvtec_common(root: Path) -> Copy:
    truth = {"000": [1], "001": [0]}
    for name in ("000", "001"):
        write_images(root / "training" / "frames" / name, 1, ".png", first=0)
        write_images(root / "testing" / "frames" / name, 1, ".png", first=0)
    files = write_npys(root / "ground_truth", truth)
    paths = tuple(f"ground_truth/{file}" for file in files)
    return Copy("mvtec-ad", root, ("000", "001"), truth, False, paths, num_train_frames=1)


def kolektor(root: Path, fold: int = 1) -> Copy:
    """Four commutators of two images, of which Part1 of the first and of the third are cracked."""
    truth: dict[str, list[int] | None] = {}
    train = []
    for number in range(1, 5):
        folder = root / f"kos{number:02d}"
        write_images(folder, 2, ".jpg", first=0)
        for part in range(2):
            (folder / f"{part:03d}.jpg").rename(folder / f"Part{part}.jpg")
            cracked = part == 1 and number in (1, 3)
            mask = mask_stack([1])[0] * 255 * cracked
            assert cv2.imwrite(str(folder / f"Part{part}_label.bmp"), mask)
            name = f"kos{number:02d}/Part{part}"
            if (number - 1) % 3 == fold - 1:
                truth[name] = [int(cracked)]
            elif not cracked:
                train.append(name)
    files = (f"kos{fold:02d}/Part0_label.bmp",)
    return Copy(f"kolektor-sdd-{fold}", root, tuple(train), truth, False, files, num_train_frames=1)


def avenue_tracks(root: Path) -> Copy:
    """Two of the clips, with as many frames as these have."""
    for name in ("train/12.txt", "test/08.txt", "test/21.txt"):
        touch_video(root / name)
    truth: dict[str, list[int] | None] = {"08": flags(36, (3, 9)), "21": flags(76, (70, 76))}
    labels = {name: np.array(values, np.uint8) for name, values in truth.items() if values is not None}
    np.savez(root / "frame_labels_from_masks.npz", **labels)
    files = ("frame_labels_from_masks.npz",)
    return Copy("avenue-tracks", root, ("12",), truth, False, files, num_train_frames=145)


BENCHMARK_COPIES = {
    "avenue-tracks": avenue_tracks,
    "ped1-common": ped1_common,
    "ped2-common": ped2_common,
    "avenue-masks": avenue_masks,
    "avenue-masks-common": avenue_masks_common,
    "avenue-intervals": avenue_intervals,
    "avenue-intervals-common": avenue_intervals_common,
    "shanghaitech": shanghaitech,
    "shanghaitech-common": shanghaitech_common,
    "ubnormal": ubnormal,
    "ubnormal-common": ubnormal_common,
    "ucf-crime": ucf_crime,
    "ucf-crime-common": ucf_crime_common,
    "street-scene": street_scene,
    "street-scene-common": street_scene_common,
    "nwpu-campus": nwpu_campus,
    "nwpu-campus-common": nwpu_campus_common,
    "kolektor-1": kolektor,
    "kolektor-2": partial(kolektor, fold=2),
    "kolektor-3": partial(kolektor, fold=3),
    "mvtec-one": mvtec_one,
    "mvtec-all": mvtec_all,
    "mvtec-common": mvtec_common,
}
