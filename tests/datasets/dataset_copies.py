"""Tiny copies of each data set's layout on disk, with the truth that was put into them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from mulde.datasets import write_world

SIZE_HW = (24, 32)


@dataclass(frozen=True)
class Copy:
    """`name` and `root` open it; `truth` maps each test video to its labels, None where it has none."""

    name: str
    root: Path
    train: tuple[str, ...]
    truth: dict[str, list[int] | None]
    has_masks: bool
    label_files: tuple[str, ...]
    num_train_frames: int = 4


def flags(num_frames: int, *ranges: tuple[int, int]) -> list[int]:
    """0/1 per frame from 0-based, half-open ranges, spelled out frame by frame."""
    return [int(any(start <= frame < end for start, end in ranges)) for frame in range(num_frames)]


def write_mp4(path: Path, frames: Iterable[np.ndarray], rate: Fraction) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with av.open(str(path), "w") as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("mpeg4", rate=rate)
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            count += 1
        if stream is not None:
            container.mux(stream.encode(None))
    return count


def touch_video(path: Path) -> None:
    """A file with a video's name: data sets never look inside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not looked at")


def write_images(folder: Path, num: int, suffix: str, *, first: int = 1, lit: Iterable[int] = ()) -> None:
    """`num` black grey images 001, 002, ...; those at the positions `lit` have one white pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    lit = set(lit)
    for position in range(num):
        image = np.zeros(SIZE_HW, np.uint8)
        if position in lit:
            image[3, 5] = 255
        assert cv2.imwrite(str(folder / f"{position + first:03d}{suffix}"), image)


def write_ucsd(root: Path, number: int, truth: dict[str, list[int]], lines: list[str], masked: Iterable[str]) -> Path:
    base = root / f"UCSDped{number}"
    for name in ("Train001", "Train002"):
        write_images(base / "Train" / name, 4, ".tif")
    for name, labels in truth.items():
        write_images(base / "Test" / name, len(labels), ".tif")
        if name in masked:
            write_images(base / "Test" / f"{name}_gt", len(labels), ".bmp", lit=np.flatnonzero(labels))
    (base / "Test" / f"UCSDped{number}.m").write_text("\n".join(["TestVideoFile = {};", *lines]) + "\n")
    return base


def ped2(root: Path) -> Copy:
    truth = {"Test001": flags(6, (2, 6)), "Test002": flags(12, (0, 2), (8, 12)), "Test003": flags(5, (0, 5))}
    lines = [
        "TestVideoFile{end+1}.gt_frame = [3:6];",
        "TestVideoFile{end+1}.gt_frame =  [1:2,   9 :12 ] ;  % two of them",
        "  TestVideoFile{ end + 1 }.gt_frame=[1:5]",
    ]
    write_ucsd(root, 2, truth, lines, masked=truth)
    return Copy("ucsd-ped2", root, ("Train001", "Train002"), truth, True, ("UCSDped2/Test/UCSDped2.m",))


def ped1(root: Path) -> Copy:
    truth = {"Test001": flags(6, (2, 6)), "Test002": flags(8, (0, 2), (5, 8))}
    lines = ["TestVideoFile{end+1}.gt_frame = [3:6];", "TestVideoFile{end+1}.gt_frame = [1:2 6:8];"]
    base = write_ucsd(root, 1, truth, lines, masked=["Test002"])
    return Copy("ucsd-ped1", base, ("Train001", "Train002"), truth, False, ("Test/UCSDped1.m",))


OWN_TRUTH = {"cam1/2": flags(5, (1, 3)), "cam1/10": flags(4, (0, 4)), "door": flags(6)}


def own_footage(root: Path) -> None:
    touch_video(root / "train" / "monday.MP4")
    write_images(root / "train" / "cam1" / "0001.first", 4, ".jpg")
    touch_video(root / "test" / "cam1" / "10.avi")
    touch_video(root / "test" / "cam1" / "2.mkv")
    write_images(root / "test" / "door", 6, ".png")


def folder_csv(root: Path) -> Copy:
    own_footage(root)
    rows = "video,start_frame,end_frame\ncam1/10,0,3\ncam1/10,2,4\n\ncam1/2, 1, 3\n"
    (root / "labels.csv").write_text(rows, encoding="utf-8-sig")
    return Copy("folder", root, ("cam1/0001.first", "monday"), dict(OWN_TRUTH), False, ("labels.csv",))


def folder_npy(root: Path) -> Copy:
    own_footage(root)
    for name, dtype in (("cam1/2", np.float64), ("cam1/10", np.bool_), ("door", np.uint8)):
        path = root / "labels" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.array(OWN_TRUTH[name], dtype))
    files = tuple(f"labels/{name}.npy" for name in OWN_TRUTH)
    return Copy("folder", root, ("cam1/0001.first", "monday"), dict(OWN_TRUTH), False, files)


def folder_masks(root: Path) -> Copy:
    own_footage(root)
    for name, labels in OWN_TRUTH.items():
        write_images(root / "masks" / name, len(labels), ".png", first=0, lit=np.flatnonzero(labels))
    files = tuple(f"masks/{name}/000.png" for name in OWN_TRUTH)
    return Copy("folder", root, ("cam1/0001.first", "monday"), dict(OWN_TRUTH), True, files)


def folder_mat(root: Path) -> Copy:
    from scipy.io import savemat

    own_footage(root)
    (root / "labels" / "cam1").mkdir(parents=True)
    savemat(root / "labels" / "cam1" / "2.mat", {"gt": np.array([[2, 3]])})
    savemat(root / "labels" / "cam1" / "10.mat", {"gt": np.array([[1], [1], [1], [1]], np.uint8)})
    savemat(root / "labels" / "door.mat", {"gt": np.zeros((0, 0)), "made_by": "hand"})
    files = tuple(f"labels/{name}.mat" for name in OWN_TRUTH)
    return Copy("folder", root, ("cam1/0001.first", "monday"), dict(OWN_TRUTH), False, files)


def folder_tracks(root: Path) -> Copy:
    own_footage(root)
    tracks = {
        "cam1/2": {"tracks": [{"id": 7, "boxes": [[1, 3, 4, 10, 12], [2, 4.5, 4, 11.5, 12]]}]},
        "cam1/10": {"tracks": [{"id": 0, "interpolate": True, "boxes": [[0, 0, 0, 5, 5], [3, 9, 0, 14, 5]]}]},
    }
    (root / "tracks.json").write_text(json.dumps(tracks))
    return Copy("folder", root, ("cam1/0001.first", "monday"), dict(OWN_TRUTH), False, ("tracks.json",))


def folder_cameras(root: Path) -> Copy:
    """The cameras above the splits; the third has only a training video."""
    touch_video(root / "cam2" / "train" / "monday.mp4")
    write_images(root / "cam10" / "train" / "0001", 4, ".jpg")
    touch_video(root / "cam2" / "test" / "late" / "door.avi")
    write_images(root / "cam10" / "test" / "0002", 6, ".png")
    touch_video(root / "side" / "train" / "monday.mp4")
    (root / "labels.csv").write_text("video,start_frame,end_frame\ncam10/0002,1,3\n")
    train = ("cam2/monday", "cam10/0001", "side/monday")
    truth: dict[str, list[int] | None] = {"cam2/late/door": flags(4), "cam10/0002": flags(6, (1, 3))}
    return Copy("folder", root, train, truth, False, ("labels.csv",))


def folder_unlabelled(root: Path) -> Copy:
    own_footage(root)
    return Copy("folder", root, ("cam1/0001.first", "monday"), dict.fromkeys(OWN_TRUTH), False, ())


def synthetic(root: Path) -> Copy:
    write_world(root, write_video=write_mp4, train_clips=2, test_clips=3, num_frames=24, size_hw=(90, 160))
    truth: dict[str, list[int] | None] = {}
    for name in ("test01", "test02", "test03"):
        rows = [line.split(",") for line in (root / "causes.csv").read_text().splitlines()]
        truth[name] = flags(24, *((int(row[1]), int(row[2])) for row in rows if row[0] == name))
    return Copy("synthetic", root, ("train01", "train02"), truth, True, ("labels.csv",), num_train_frames=24)


def boxes_alone(root: Path) -> Copy:
    """A file of boxes per video in each of the forms."""
    for name in ("train/monday.txt", "test/2.json", "test/cam1/door.txt"):
        touch_video(root / name)
    rows = ["train/monday,32,24,25,4,1", "test/2,32,24,30000/1001,5,0", "test/cam1/door,32,24,25,6,1"]
    (root / "videos.csv").write_text("\n".join(["video,width,height,frame_rate,frames,first_frame", *rows]))
    (root / "labels.csv").write_text("video,start_frame,end_frame\n2,1,3\n")
    truth: dict[str, list[int] | None] = {"2": flags(5, (1, 3)), "cam1/door": flags(6)}
    return Copy("boxes", root, ("monday",), truth, False, ("labels.csv",))


COPIES = {
    "boxes": boxes_alone,
    "ped1": ped1,
    "ped2": ped2,
    "folder-csv": folder_csv,
    "folder-npy": folder_npy,
    "folder-masks": folder_masks,
    "folder-mat": folder_mat,
    "folder-tracks": folder_tracks,
    "folder-cameras": folder_cameras,
    "folder-unlabelled": folder_unlabelled,
    "synthetic": synthetic,
}
