"""UCF-Crime under the one-class protocol: the normal training videos train, the 290 annotated test videos test.

Sultani, Chen, Shah, "Real-World Anomaly Detection in Surveillance Videos", CVPR 2018. The videos lie anywhere below
`root` (in Videos/, Anomaly-Videos-Part-1/, ... as unpacked), their names are unique:

    Abuse/Abuse028_x264.mp4 ...    Training_Normal_Videos_Anomaly/Normal_Videos141_x264.mp4 ...
    Anomaly_Train.txt              one path per line; only those of Training_Normal_Videos_Anomaly are taken
    Temporal_Anomaly_Annotation_for_Testing_Videos.txt (or Temporal_Anomaly_Annotation.txt)
                                   "Abuse028_x264.mp4 Abuse 165 240 -1 -1": up to two intervals, 1-based, last frame
                                   included, -1 for none

The 50 videos of Normal_Videos_for_Event_Recognition repeat others and are left out. An interval that runs past the end
of its video ends there, as in the authors' evaluation; one that begins behind the end is refused. Opening reads the
first word of each line of the two lists.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath

from mulde.datasets.base import Video, listing
from mulde.datasets.benchmark import Benchmark, wrong_layout
from mulde.datasets.common import COMMON_LAYOUT, open_common
from mulde.datasets.ground_truth import COUNT_HINT
from mulde.datasets.label_files import track_from_inclusive
from mulde.errors import LabelError, UsageError
from mulde.filetypes import VIDEO_SUFFIXES, is_hidden, natural_key
from mulde.records import LabelTrack

FRAME_RATE = Fraction(30)
_TRAIN_LIST = "Anomaly_Train.txt"
_TEST_LISTS = ("Temporal_Anomaly_Annotation_for_Testing_Videos.txt", "Temporal_Anomaly_Annotation.txt")
_NORMAL = "Training_Normal_Videos_Anomaly"
_REPEATED = ("Normal_Videos_for_Event_Recognition", "Normal_Videos_event")


@dataclass(frozen=True)
class UcfAnnotations:
    """The file with up to two intervals per test video."""

    path: Path

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        for number, line in enumerate(_lines(self.path), start=1):
            if line.split()[:1] and PurePosixPath(line.split()[0]).stem == video.name:
                source = f"{self.path} line {number}"
                return track_from_inclusive(video.name, self._pairs(source, line, num_frames), num_frames, source)
        raise LabelError(f"{self.path}", expected=f"a line for {video.name}", got="none")

    def _pairs(self, source: str, line: str, num_frames: int) -> list[tuple[int, int]]:
        try:
            ends = [int(field) for field in line.split()[2:]]
        except ValueError:
            ends = []
        pairs = [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=False) if (a, b) != (-1, -1)]
        if len(ends) != 4 or not all(1 <= first <= last for first, last in pairs):
            raise LabelError(
                source, expected="name class first last first last, 1-based, -1 -1 for no interval", got=line.strip()
            )
        for first, last in pairs:
            if first > num_frames:
                raise LabelError(
                    f"{source}: interval {first} to {last}",
                    expected=f"a first frame of at most {num_frames}, the number of decoded frames",
                    got=first,
                    hint=COUNT_HINT,
                )
        return [(first, min(last, num_frames)) for first, last in pairs]


def open_ucf_crime(root: Path) -> Benchmark:
    """Raises UsageError when `root` has neither layout or a listed video is missing."""
    name = "ucf-crime"
    common = open_common(name, root, FRAME_RATE)
    if common is not None:
        return common
    lists, videos = _find(root)
    train_list = lists.get(_TRAIN_LIST)
    test_list = next((lists[file] for file in _TEST_LISTS if file in lists), None)
    if train_list is None or test_list is None:
        raise wrong_layout(name, root, f"{_TRAIN_LIST} and {_TEST_LISTS[0]} somewhere in it, or {COMMON_LAYOUT}")
    listed = {
        "train": [line for line in _first_words(train_list) if PurePosixPath(line).parent.name == _NORMAL],
        "test": _first_words(test_list),
    }
    splits = {split: _videos(root, split, names, videos) for split, names in listed.items()}
    return Benchmark(name, root, splits, UcfAnnotations(test_list))


def _find(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The list files and the videos below `root`, by file name. Raises UsageError for a video that is there twice."""
    lists: dict[str, Path] = {}
    videos: dict[str, Path] = {}
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not is_hidden(name) and name not in _REPEATED)
        for file in files:
            path = Path(folder) / file
            if file in (_TRAIN_LIST, *_TEST_LISTS):
                lists.setdefault(file, path)
            elif path.suffix.lower() in VIDEO_SUFFIXES and not is_hidden(file):
                if file in videos:
                    raise UsageError(f"ucf-crime in {root}", expected="each video once", got=f"{videos[file]}, {path}")
                videos[file] = path
    return lists, videos


def _videos(root: Path, split: str, listed: list[str], found: dict[str, Path]) -> tuple[Video, ...]:
    names = sorted({PurePosixPath(line).name for line in listed}, key=natural_key)
    missing = [name for name in names if name not in found]
    if missing or not names:
        raise UsageError(
            f"ucf-crime in {root}: {split} videos",
            expected=f"{len(names)} listed videos",
            got=f"{len(names) - len(missing)} (missing: {listing(missing, 5)})",
            hint="a full copy, or lists that name only what is there",
        )
    return tuple(Video(Path(name).stem, split, found[name]) for name in names)


def _first_words(path: Path) -> list[str]:
    return [line.split()[0] for line in _lines(path) if line.strip()]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").replace("\\", "/").splitlines()
