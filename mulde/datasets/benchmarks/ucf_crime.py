"""UCF-Crime under the one-class protocol: the normal training videos train, the 290 annotated test videos test.

Sultani, Chen, Shah, "Real-World Anomaly Detection in Surveillance Videos", CVPR 2018. The videos lie anywhere below
`root` (in UCF_Crimes/Videos/, or Anomaly-Videos-Part-1/ to 4 side by side, as unpacked), their names are unique:

    Abuse/Abuse028_x264.mp4 ...    Training_Normal_Videos_Anomaly/Normal_Videos141_x264.mp4 ...
    Anomaly_Train.txt              one path per line; only those of Training_Normal_Videos_Anomaly are taken
    Temporal_Anomaly_Annotation_for_Testing_Videos.txt (or Temporal_Anomaly_Annotation.txt)
                                   "Abuse028_x264.mp4 Abuse 165 240 -1 -1": up to two intervals, 1-based, last frame
                                   included, -1 for none

The 50 videos of Normal_Videos_for_Event_Recognition (z_Normal_Videos_event) repeat others and are left out. An
interval that runs past the end of its video ends there, as in the authors' evaluation; one that begins behind the end
is refused. Opening reads the first word of each line of the two lists.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath

from mulde.datasets.base import SPLITS, Video, listing
from mulde.datasets.benchmarks.benchmark import Benchmark, wrong_layout
from mulde.datasets.benchmarks.common import COMMON_LAYOUT, common_layout, open_common
from mulde.datasets.facts import DatasetSpec, Facts
from mulde.datasets.labels.ground_truth import COUNT_HINT
from mulde.datasets.labels.label_files import track_from_inclusive
from mulde.datasets.layout import LEVELS_ABOVE, LEVELS_BELOW, find_files, locate
from mulde.errors import LabelError, MuldeError, UsageError
from mulde.files import read_text
from mulde.filetypes import is_clutter, natural_key
from mulde.records import LabelTrack

FRAME_RATE = Fraction(30)
_TRAIN_LIST = "Anomaly_Train.txt"
_TEST_LISTS = ("Temporal_Anomaly_Annotation_for_Testing_Videos.txt", "Temporal_Anomaly_Annotation.txt")
_NORMAL = "Training_Normal_Videos_Anomaly"
_REPEATED = re.compile(r"(z_)?Normal_Videos_(for_Event_Recognition|event)", re.IGNORECASE)
_PART = re.compile(r"ucf|videos$|(anomaly|training|testing)[-_]|.*split", re.IGNORECASE)
_COMMON = common_layout("ucf")


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
    """Raises UsageError when neither `root` nor a folder near it has a known layout, or a listed video is missing."""
    name = "ucf-crime"
    common = locate(name, root, (_COMMON,))
    if common is not None:
        return open_common(name, common[0], FRAME_RATE)
    for top in (root, *_above(root)):
        levels = LEVELS_BELOW if top == root else 2
        train_lists = find_files((top,), _TRAIN_LIST, levels)
        test_lists = [path for file in _TEST_LISTS for path in find_files((top,), file, levels)]
        if train_lists and test_lists:
            benchmark = _open(top, _train_list(top, train_lists), _test_list(top, test_lists))
            videos = [video.path for split in SPLITS for video in benchmark.videos(split)]
            if top == root or any(path.is_relative_to(root.resolve()) for path in (*train_lists, *test_lists, *videos)):
                return benchmark
    raise wrong_layout(name, root, f"{_TRAIN_LIST} and {_TEST_LISTS[0]} somewhere in it, or {COMMON_LAYOUT}")


def _above(root: Path) -> list[Path]:
    """The folders above one that may be a part of the data set: its archives come one by one, lists beside videos."""
    inner = root.resolve()
    return [parent for parent in list(inner.parents)[:LEVELS_ABOVE] if _PART.match(inner.relative_to(parent).parts[0])]


def _open(top: Path, train_list: Path, test_list: Path) -> Benchmark:
    """The data set below `top`; its root is the folder that holds all of it."""
    listed = {"train": _normal(train_list), "test": _first_words(test_list)}
    videos = _find(top, {PurePosixPath(line).name for lines in listed.values() for line in lines})
    splits = {split: _videos(top, split, names, videos) for split, names in listed.items()}
    base = os.path.commonpath([path.parent for path in (train_list, test_list, *videos.values())])
    return Benchmark("ucf-crime", Path(base), splits, UcfAnnotations(test_list))


def _train_list(top: Path, lists: list[Path]) -> Path:
    """The list of training videos; a list without normal ones, as one archive has it, does not count."""
    by_names = {names: path for path in reversed(lists) if (names := frozenset(_normal(path)))}
    if not by_names:
        raise UsageError(
            f"ucf-crime in {top}: {listing([str(path) for path in lists], 5)}",
            expected=f"paths of normal videos, as {_NORMAL}/Normal_Videos001_x264.mp4",
            got="none, as in the damaged list of one archive",
            hint=f"get {_TRAIN_LIST} from github.com/WaqasSultani/AnomalyDetectionCVPR2018",
        )
    return _same(top, _TRAIN_LIST, list(by_names.values()))


def _test_list(top: Path, lists: list[Path]) -> Path:
    by_lines = {frozenset(tuple(line.split()) for line in _lines(path, UsageError)): path for path in reversed(lists)}
    return _same(top, _TEST_LISTS[0], list(by_lines.values()) if len(lists) > 1 else lists)


def _same(top: Path, name: str, different: list[Path]) -> Path:
    if len(different) > 1:
        raise UsageError(
            f"ucf-crime in {top}: lists that differ",
            expected=f"one {name}",
            got=listing([str(path) for path in different], 5),
            hint="rename or remove those that are not meant",
        )
    return different[0]


def _find(top: Path, wanted: set[str]) -> dict[str, Path]:
    """The `wanted` videos below `top` by file name. Raises UsageError for a video that is there twice."""
    videos: dict[str, Path] = {}
    seen = set[str]()
    for folder, inner, files in os.walk(top, followlinks=True):
        inner[:] = sorted(name for name in inner if not is_clutter(name) and not _REPEATED.fullmatch(name))
        if (real := os.path.realpath(folder)) in seen:
            inner.clear()
            continue
        seen.add(real)
        for file in sorted(wanted.intersection(files)):
            path = Path(folder) / file
            if file in videos:
                raise UsageError(f"ucf-crime in {top}", expected="each video once", got=f"{videos[file]}, {path}")
            videos[file] = path
    return videos


def _normal(path: Path) -> list[str]:
    return [line for line in _first_words(path) if PurePosixPath(line).parent.name.lower() == _NORMAL.lower()]


def _videos(root: Path, split: str, listed: list[str], found: dict[str, Path]) -> tuple[Video, ...]:
    names = sorted({PurePosixPath(line).name for line in listed}, key=natural_key)
    missing = [name for name in names if name not in found]
    if missing or not names:
        raise UsageError(
            f"ucf-crime in {root}: {split} videos",
            expected=f"{len(names)} listed videos",
            got=f"{len(names) - len(missing)} (missing: {listing(missing, 5)})",
            hint="get a full copy, or use lists that name only what is there",
        )
    return tuple(Video(Path(name).stem, split, found[name]) for name in names)


def _first_words(path: Path) -> list[str]:
    return [line.split()[0] for line in _lines(path, UsageError) if line.strip()]


def _lines(path: Path, error: type[MuldeError] = LabelError) -> list[str]:
    return read_text(path, error=error).replace("\\", "/").splitlines()


_FACTS = Facts(
    name="ucf-crime",
    title="UCF-Crime, one-class protocol (normal training videos only)",
    address="https://www.crcv.ucf.edu/projects/real-world/",
    link="by hand",
    how="Download the videos from that page (one archive, or parts on Dropbox), and Anomaly_Train.txt (that of the one"
    " archive lacks the normal videos) and Temporal_Anomaly_Annotation.txt from"
    " https://github.com/WaqasSultani/AnomalyDetectionCVPR2018; put these two beside the folders of the videos.",
    licence="none stated; see the page",
    citation="Sultani, Chen, Shah, Real-World Anomaly Detection in Surveillance Videos, CVPR 2018",
    checked="addresses, size and folders in published notes and issues of that repository; the split was not checked",
    size_bytes=96_000_000_000,
    num_train_videos=800,
    num_test_videos=290,
    unpacks_to="UCF_Crimes/ with Videos/ and Anomaly_Detection_splits/; in parts Anomaly-Videos-Part-1/ to 4/,"
    " Training-Normal-Videos-Part-1/ and 2/, Testing_Normal_Videos_Anomaly/ side by side",
)
UCF_CRIME = DatasetSpec(_FACTS, open_ucf_crime)
