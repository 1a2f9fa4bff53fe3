"""UCSD Ped1 and Ped2.

Mahadevan, Li, Bhalodia, Vasconcelos, "Anomaly Detection in Crowded Scenes", CVPR 2010. The archive unpacks to a folder
UCSD_Anomaly_Dataset.v1p2 with UCSDped1 and UCSDped2, each of which holds

    Train/Train001/001.tif ...    Test/Test001/001.tif ...    Test/Test001_gt/001.bmp ...    Test/UCSDped2.m

The .m file has one line per test clip, `TestVideoFile{end+1}.gt_frame = [5:90, 140:200];`, 1-based and inclusive. All
clips of Ped2 have pixel masks, ten of Ped1. Frames come about 10 times a second. Boxes with track numbers (Ramachandra
& Jones, WACV 2020), where they lie beside the clips: Test/Test001_gt.txt, as in `tracks`.

Also read: the common layout, with ped1.mat or ped2.mat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from mulde.datasets.base import DataChecks, Dataset, LabelFinding, Video, check_split, listing
from mulde.datasets.benchmarks.benchmark import check_decoded, wrong_layout
from mulde.datasets.benchmarks.common import COMMON_LAYOUT, beside, common_layout, open_common
from mulde.datasets.facts import DatasetSpec, Download, Facts
from mulde.datasets.labels.ground_truth import iter_masks, track_from_masks, track_from_ranges
from mulde.datasets.labels.tracks import CentreTracks, centre_file
from mulde.datasets.layout import (
    folders_layout,
    locate,
    named,
    names_in,
    number_in,
    subfolder,
    whatever_case,
)
from mulde.datasets.tree import sub_folders
from mulde.errors import LabelError, UsageError
from mulde.files import read_text
from mulde.filetypes import is_frame_folder, list_frames
from mulde.records import Bool, LabelTrack, TruthRegions

FRAME_RATE = Fraction(10)
_FOLDERS = {"train": "Train", "test": "Test"}
_COMMON = {"ucsd-ped1": common_layout("ped1"), "ucsd-ped2": common_layout("ped2")}
_LINE = re.compile(r"TestVideoFile\s*\{\s*end\s*\+\s*1\s*\}\s*\.\s*gt_frame\s*=\s*\[([^\]]*)\]\s*;?\s*")
_RANGE = re.compile(r"([0-9]{1,9})\s*:\s*([0-9]{1,9})[\s,]*")


@dataclass(frozen=True)
class UcsdDataset(DataChecks):
    """Ped1 or Ped2; `root` holds Train/ and Test/. `all_masked`: every test clip must have a mask folder;
    `num_published`: how many test clips there are in a whole copy."""

    name: str
    root: Path
    interval_file: str
    all_masked: bool
    num_published: int

    def videos(self, split: str) -> tuple[Video, ...]:
        check_split(split)
        return self._clips[split]

    @cached_property
    def video_folders(self) -> dict[str, Path]:
        return {split: subfolder(self.root, name) or self.root / name for split, name in _FOLDERS.items()}

    @cached_property
    def notes(self) -> tuple[str, ...]:
        return beside(self.root, _COMMON[self.name])

    @cached_property
    def _clips(self) -> dict[str, tuple[Video, ...]]:
        return {split: _find_clips(folder, split) for split, folder in self.video_folders.items()}

    def labels(self, video: Video, num_frames: int) -> LabelTrack:
        """The .m intervals, compared with the masks where the clip has them; training clips are wholly normal."""
        title = f"{self.name} {video.name}"
        check_decoded(self.name, video, num_frames)
        if video.split == "train":
            return track_from_ranges(video.name, [], num_frames, self.name)
        track = track_from_ranges(video.name, self._ranges(video, num_frames), num_frames, self.name)
        masks = self._mask_paths(video)
        if masks is not None:
            masks, _ = _of_frames(title, list_frames(video.path), masks)
            _compare(title, self.interval_file, track, track_from_masks(video.name, masks, num_frames, title), masks)
        return track

    def masks(self, video: Video) -> Iterator[Bool] | None:
        """The masks in the order of the frames; in the order of their names where they are not those of the frames."""
        paths = self._mask_paths(video) if video.split == "test" else None
        if paths is not None:
            with suppress(LabelError):
                paths, _ = _of_frames(video.name, list_frames(video.path), paths)
        return None if paths is None else iter_masks(paths)

    def label_source(self, video: Video, num_frames: int) -> str:
        """Where the labels of a test clip come from, and how its masks were matched with the frames."""
        paths = self._mask_paths(video) if video.split == "test" else None
        if paths is None:
            return self.interval_file
        frames = list_frames(video.path)
        _, by_number = _of_frames(f"{self.name} {video.name}", frames, paths)
        how = f" by number, as {paths[0].name} to {frames[0].name}" if by_number else ""
        return f"{self.interval_file}, compared with {len(paths)} masks matched with the frames{how or ' by name'}"

    def split_folders(self, split: str) -> dict[str, Path]:
        return {"": self.video_folders[split]}

    def is_video_folder(self, name: str, split: str) -> bool:
        """Only folders named as clips, Train001 or Test001, hold videos."""
        return _is_clip(name, split)

    def label_findings(self) -> Iterator[LabelFinding]:
        """Masks of training clips, masks without a clip, and more lines of intervals than clips were published."""
        for split, folder in self.video_folders.items():
            names = {video.name.lower() for video in self.videos(split)}
            for path in sub_folders(folder):
                name, ending = path.name[:-3], path.name[-3:].lower()
                where = f"{folder.name}/{path.name}"
                if ending == "_gt" and split == "train":
                    what = f"{where} holds masks of a training clip"
                    yield LabelFinding("anomalous training", f"train/{name}", what)
                elif ending == "_gt" and name.lower() not in names:
                    what = f"{where} holds masks, but there is no {name}"
                    yield LabelFinding("stray labels", f"test/{name}", what)
        try:
            num_lines = len(self._intervals)
        except LabelError:  # which `labels` raises for every clip
            return
        if num_lines > self.num_published:
            what = f"{self.interval_file} has {num_lines} lines for {self.num_published} test clips"
            yield LabelFinding("stray labels", "", f"{what}: one or more do not belong there")

    def flags_without_masks(self, video: Video, num_frames: int) -> Bool | None:
        number = number_in(video.name) or 0
        if video.split != "test" or not 1 <= number <= len(self._intervals):
            return None
        ranges = self._intervals[number - 1]
        flags = np.zeros(max([num_frames, *(last for _, last in ranges)]), np.bool_)
        for first, last in ranges:
            flags[first - 1 : last] = True
        return flags

    def labels_read_as(self, video: Video, num_frames: int) -> str:
        """Masks whose names are not those of the frames are matched by number."""
        source = self.label_source(video, num_frames)
        return source if "by number" in source else ""

    def regions(self, video: Video) -> TruthRegions | None:
        """Annotated boxes, where their file lies in the folder of the clip or beside it."""
        annotated = video.split == "test" and centre_file(video).is_file()
        return CentreTracks().regions(video) if annotated else None

    def _mask_paths(self, video: Video) -> list[Path] | None:
        folder = whatever_case(video.path.parent, f"{video.name}_gt")
        if folder.is_dir():
            return list_frames(folder)
        if self.all_masked:
            raise LabelError(
                f"{self.name} {video.name}", expected=f"masks in {folder}", got="no such folder", hint="get a full copy"
            )
        return None

    def _ranges(self, video: Video, num_frames: int) -> list[tuple[int, int]]:
        """The clip's intervals, half-open and 0-based. Clip TestNNN owns line NNN, so a subset of clips stays right."""
        number = number_in(video.name) or 0
        if not 1 <= number <= len(self._intervals):
            raise LabelError(
                f"{self.name} {video.name}: {self.interval_file}",
                expected=f"a line number {number} with intervals",
                got=f"{len(self._intervals)} lines",
            )
        for first, last in self._intervals[number - 1]:
            if last > num_frames:
                raise LabelError(
                    f"{self.name} {video.name}: interval [{first}:{last}] of {self.interval_file}",
                    expected=f"frames 1 to {num_frames}",
                    got=f"frame {last}",
                )
        return [(first - 1, last) for first, last in self._intervals[number - 1]]

    @cached_property
    def _intervals(self) -> list[list[tuple[int, int]]]:
        """What the interval file says of each test clip, 1-based and inclusive. Raises LabelError."""
        path = whatever_case(self.video_folders["test"], self.interval_file)
        if not path.is_file():
            raise LabelError(f"{self.name}: interval file", expected=path, got="no such file", hint="get a full copy")
        return parse_intervals(read_text(path, error=LabelError), self.interval_file)


def open_ped1(root: Path) -> Dataset:
    return _open(_PED1_FACTS, root, "UCSDped1", all_masked=False)


def open_ped2(root: Path) -> Dataset:
    return _open(_PED2_FACTS, root, "UCSDped2", all_masked=True)


def _is_clip(name: str, split: str) -> bool:
    """Whether a folder is named as a clip of a split, Train001 or Test001."""
    return re.fullmatch(rf"{_FOLDERS[split]}[0-9]+", name, re.IGNORECASE) is not None


def parse_intervals(text: str, source: str) -> list[list[tuple[int, int]]]:
    """The intervals of each test clip, 1-based and inclusive as written; spaces and % comments do not matter.

    Raises LabelError, naming the line, for a `gt_frame` line that cannot be understood.
    """
    clips = []
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.split("%")[0].strip()
        if "gt_frame" not in code:
            continue
        match = _LINE.fullmatch(code)
        ranges = [(int(a), int(b)) for a, b in _RANGE.findall(match[1])] if match else []
        left_over = _RANGE.sub("", match[1]).strip() if match else code
        if left_over or not all(1 <= first <= last for first, last in ranges):
            raise LabelError(
                f"{source} line {number}",
                expected="TestVideoFile{end+1}.gt_frame = [first:last, ...]; with 1 <= first <= last",
                got=line.strip(),
            )
        clips.append(ranges)
    return clips


def _open(facts: Facts, root: Path, folder: str, *, all_masked: bool) -> Dataset:
    name, common, interval_file = facts.name, _COMMON[facts.name], f"{folder}.m"
    original = folders_layout(
        *_FOLDERS.values(), proves=lambda base, names: _is_of(base, interval_file, named(folder.lower())(base, names))
    )
    located = locate(name, root, (original, common))
    if located is None:
        raise wrong_layout(name, root, f"folders Train and Test of {folder}, or {COMMON_LAYOUT}")
    base, layout = located
    if layout is common:
        return open_common(name, base, FRAME_RATE, mat_file=f"{folder.removeprefix('UCSD')}.mat")
    others = _interval_files(base)
    if others and interval_file.lower() not in map(str.lower, others):
        raise UsageError(f"{name} in {base}", expected=f"Test/{interval_file}", got=listing(others))
    dataset = UcsdDataset(name, base, interval_file, all_masked, facts.num_test_videos or 0)
    for split in _FOLDERS:
        dataset.videos(split)
    return dataset


def _is_of(base: Path, interval_file: str, is_named: bool) -> bool:
    """True for a folder with the interval file, or with none where its name tells that it is of this set."""
    interval_files = _interval_files(base)
    return interval_file.lower() in map(str.lower, interval_files) if interval_files else is_named


def _interval_files(base: Path) -> list[str]:
    test = subfolder(base, "Test")
    return [name for name in names_in(test or base) if name.lower().endswith(".m")]


def _find_clips(folder: Path, split: str) -> tuple[Video, ...]:
    """Train001, Train002, ... The pattern leaves out mask folders and what file managers left behind."""
    clips = [path for path in sub_folders(folder) if _is_clip(path.name, split)]
    if not clips:
        got = listing(names_in(folder), limit=5)
        raise UsageError(f"{folder}", expected=f"clip folders {_FOLDERS[split]}001, ...", got=got)
    for path in clips:
        if not is_frame_folder(path):
            raise UsageError(f"{path}", expected="frames 001.tif, 002.tif, ...", got="no image")
    return tuple(Video(path.name, split, path, FRAME_RATE) for path in clips)


def _of_frames(title: str, frames: list[Path], masks: list[Path]) -> tuple[list[Path], bool]:
    """The masks in the order of the frames, and whether numbers told which is whose, since no name does.

    The archive of Ped2 has frame001.bmp for 001.tif in three clips. Raises LabelError unless there is one per frame.
    """
    by_number = not {path.stem for path in frames} & {path.stem for path in masks}

    def key(path: Path) -> str | int | None:
        return number_in(path.name) if by_number else path.stem

    of_key = {key(path): path for path in masks}
    wanted = {key(path) for path in frames}
    if of_key.keys() == wanted and len(wanted) == len(frames) == len(masks):
        return [of_key[key(path)] for path in frames], by_number
    missing = [path.stem for path in frames if key(path) not in of_key]
    extra = [path.stem for path in masks if key(path) not in wanted or of_key[key(path)] != path]
    raise LabelError(
        f"{title}: masks",
        expected=f"{len(frames)}, one per frame",
        got=f"{len(masks)} (missing: {listing(missing, 5)}; without a frame: {listing(extra, 5)})",
    )


def _compare(title: str, source: str, intervals: LabelTrack, masks: LabelTrack, mask_paths: list[Path]) -> None:
    differ = np.flatnonzero(intervals.anomalous != masks.anomalous)
    if not differ.size:
        return
    at = int(differ[0])
    inside = bool(intervals.anomalous[at])
    raise LabelError(
        f"{title}: mask and {source} disagree at frame {at} ({mask_paths[at].name}),"
        f" the first of {differ.size} such frames",
        expected=f"{'an anomalous' if inside else 'no anomalous'} pixel, as {source} says",
        got="an empty mask" if inside else "a mask with anomalous pixels",
    )


_ARCHIVE = Download(
    "http://www.svcl.ucsd.edu/projects/anomaly/UCSD_Anomaly_Dataset.tar.gz",
    740_306_953,
    "md5:5006421b89885f45a6f93b041145f2eb",
)
_PED2_FACTS = Facts(
    name="ucsd-ped2",
    title="UCSD Ped2",
    address="http://www.svcl.ucsd.edu/projects/anomaly/dataset.htm",
    link="direct",
    how="One archive holds Ped1 and Ped2. Where the server does not answer, compare the MD5 of a copy from elsewhere.",
    licence="none stated; research use, cite the paper",
    citation="Mahadevan, Li, Bhalodia, Vasconcelos, Anomaly Detection in Crowded Scenes, CVPR 2010",
    checked="address, size and MD5 in several published scripts; counts of Ped2 on a copy, of Ped1 in a table",
    size_bytes=_ARCHIVE.size_bytes,
    downloads=(_ARCHIVE,),
    num_train_videos=16,
    num_test_videos=12,
    num_train_frames=2_550,
    num_test_frames=2_010,
    one_size_hw=(240, 360),
    exact=True,
    unpacks_to="UCSD_Anomaly_Dataset.v1p2/ with UCSDped1/ and UCSDped2/, and in each Train/ and Test/",
)
_PED1_FACTS = replace(
    _PED2_FACTS,
    name="ucsd-ped1",
    title="UCSD Ped1",
    num_train_videos=34,
    num_test_videos=36,
    num_train_frames=6_800,
    num_test_frames=7_200,
    one_size_hw=(158, 238),
)
PED1 = DatasetSpec(_PED1_FACTS, open_ped1)
PED2 = DatasetSpec(_PED2_FACTS, open_ped2)
