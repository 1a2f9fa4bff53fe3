"""`mulde data check`: opens every video and label of a data set and lists what is wrong, video by video.

Pixels are decoded once. Test labels are read here, as by `evaluate`, and go nowhere.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from mulde.datasets.base import SPLITS, Dataset, listing
from mulde.datasets.boxes.formats import changes_text
from mulde.datasets.folder.dataset import FOLDER
from mulde.datasets.left_out import LeftOut, Reason, in_words
from mulde.datasets.registry import find_dataset
from mulde.datasets.sources import open_source, parse_source, refuse_left_out
from mulde.errors import UsageError
from mulde.filetypes import is_clutter
from mulde.pipeline.data_check.decoding import VideoSummary, gaps, movement, summarise_video
from mulde.pipeline.data_check.findings import FAULT, CheckReport, Finding
from mulde.pipeline.data_check.labels import check_labels
from mulde.pipeline.model.world import ObservedVideo, mixtures, world_of
from mulde.progress import Reporter

# Two videos whose movement agrees this closely are one, encoded twice; clips of one still camera reach 0.3.
_TWINS = 0.95
_RATES = (1, 240)
_MAX_RATE_ERROR = 0.02
_CHANGE_COUNTS = ("missing frame", "duplicate", "empty", "unreadable", "frame size")
_MASK_FOLDERS = ("_gt", "masks", "labels")


def check_data(source: str, reporter: Reporter, *, strict: bool = False) -> CheckReport:
    """Everything that is wrong with the data set NAME:ROOT (or a folder with train/ and test/).

    Raises UsageError where `source` names no data set or its root is not there. strict: also where something beside
    the videos is left out.
    """
    root = _root(source)
    if strict:
        refuse_left_out(_left_out(source))
    report = CheckReport(source, str(root))
    try:
        return _check(_open(source), reporter)
    except UsageError as error:
        # One empty clip must not hide what is wrong with the others.
        report.findings = [Finding("layout", "", str(error))]
    with tempfile.TemporaryDirectory() as scratch, suppress(UsageError):
        if empty := _empty_folders(root):
            copy = _without(root, set(empty), Path(scratch) / root.name)
            dataset = _open(_same_source(source, copy))
            report = _check(dataset, reporter)
            report.root = report.root.replace(str(copy), str(root))
            report.findings = [replace(f, what=f.what.replace(str(copy), str(root))) for f in report.findings]
            report.findings[:0] = _empty_videos(dataset, [copy / path.relative_to(root) for path in empty])
    return report


def _empty_videos(dataset: Dataset, empty: Sequence[Path]) -> list[Finding]:
    """The `empty` folders where videos of the data set should be; others, which some archives bring, do no harm."""
    findings = []
    for split in SPLITS:
        for prefix, folder in dataset.split_folders(split).items():
            names = [path.relative_to(folder).as_posix() for path in empty if path.is_relative_to(folder)]
            videos = [name for name in names if name != "." and dataset.is_video_folder(name, split)]
            findings += [Finding("empty", f"{split}/{prefix}{name}", "an empty folder") for name in videos]
    return findings


def _open(source: str) -> Dataset:
    dataset = open_source(source).dataset
    if dataset is None:
        raise UsageError(f"source {source}", expected="a data set: NAME:ROOT, or a folder with train/ and test/")
    return dataset


def _left_out(source: str) -> Sequence[LeftOut]:
    with suppress(UsageError):  # which becomes a finding
        return open_source(source).left_out
    return ()


def _root(source: str) -> Path:
    """The folder of a source, which must be there."""
    path = parse_source(source)[1]
    if not path.is_dir():
        raise UsageError(f"source {source}", expected="NAME:ROOT with a folder as ROOT", got="no such folder")
    return path


def _same_source(source: str, root: Path) -> str:
    return f"{parse_source(source)[0] or FOLDER.name}:{root}"


def _empty_folders(root: Path) -> list[Path]:
    """Folders without anything in them, but for those of masks and labels."""
    empty = []
    for folder, folders, files in os.walk(root):
        there = [name for name in folders if not is_clutter(name)]
        if not there and not [name for name in files if not is_clutter(name)] and Path(folder) != root:
            empty.append(Path(folder))
        folders[:] = sorted(name for name in there if not name.lower().endswith(_MASK_FOLDERS))
    return empty


def _without(folder: Path, left_out: set[Path], copy: Path) -> Path:
    """The same tree by links, less some folders."""
    copy.mkdir(parents=True)
    for path in folder.iterdir():
        if any(gone.is_relative_to(path) for gone in left_out):
            if path not in left_out:
                _without(path, left_out, copy / path.name)
        else:
            (copy / path.name).symlink_to(path.resolve())
    return copy


def _check(dataset: Dataset, reporter: Reporter) -> CheckReport:
    report = CheckReport(dataset.name, str(dataset.root))
    summaries: list[VideoSummary] = []
    videos = [video for split in SPLITS for video in dataset.videos(split)]
    with reporter.bar(f"check {dataset.name}", len(videos), "videos") as advance:
        for video in videos:
            summaries.append(summarise_video(video))
            advance(1, status=summaries[-1].title)
    for split in SPLITS:
        in_split = [summary for summary in summaries if summary.video.split == split]
        report.num_videos[split] = len(in_split)
        report.num_frames[split] = sum(summary.num_frames or 0 for summary in in_split)
    findings = [finding for summary in summaries for finding in _frames(summary)]
    findings += [*_first_numbers(summaries), *_duplicates(summaries), *_sizes(dataset, summaries), *_rates(summaries)]
    if text := changes_text(summary.changes for summary in summaries):
        findings.append(Finding("boxes", "", text))
    findings += [Finding("mixed training", "", sentence) for sentence in _mixtures(summaries)]
    findings += check_labels(dataset, summaries)
    findings += _whole(report, findings)
    findings += [Finding("chosen", "", note) for note in dataset.notes]
    findings += _beside(dataset.left_out)
    folders = {folder for split in SPLITS for folder in dataset.split_folders(split).values()}
    findings += _empty_videos(dataset, [path for folder in sorted(folders) for path in _empty_folders(folder)])
    report.findings = sorted(findings, key=lambda finding: finding.severity != FAULT)
    return report


def _frames(summary: VideoSummary) -> Iterator[Finding]:
    """What one video shows by itself."""
    _, left_out, twice = gaps(summary.names)
    if left_out:
        numbers = [str(number) for gap in left_out for number in gap]
        what = f"the numbers of its frames leave out {listing(numbers, 5)}: {len(summary.names)} images are there"
        yield Finding("missing frame", summary.title, what)
    if twice:
        what = f"two images have the number {listing([str(number) for number in twice], 5)}"
        yield Finding("missing frame", summary.title, what)
    if summary.error is not None:
        yield Finding(_kind_of(summary), summary.title, str(summary.error))
    if summary.missing:
        lost = [index for gap in summary.missing for index in gap]
        shown = [summary.names[index] if summary.names else str(index) for index in lost]
        what = f"{len(lost)} of {summary.num_frames} frames cannot be decoded: {listing(shown, 5)}"
        yield Finding("unreadable", summary.title, what)
    if summary.rate is not None and not _RATES[0] <= summary.rate <= _RATES[1]:
        yield Finding("frame rate", summary.title, f"{float(summary.rate):g} frames per second")
    elif summary.rate is not None and summary.measured_rate is not None:
        named, measured = float(summary.rate), summary.measured_rate
        if abs(measured / named - 1) > _MAX_RATE_ERROR:
            what = f"{named:g} frames per second are named, its time stamps come to {measured:.3f}"
            yield Finding("frame rate", summary.title, what)


def _kind_of(summary: VideoSummary) -> str:
    """What kind of fault an error of a reader is."""
    path = summary.video.path
    if (path.is_dir() and not summary.names) or (path.is_file() and not path.stat().st_size):
        return "empty"
    problem = summary.error.problem if summary.error is not None else ""
    return "frame size" if problem.endswith(("changes its frame size", "than the frames before it")) else "unreadable"


def _first_numbers(summaries: Sequence[VideoSummary]) -> Iterator[Finding]:
    """Videos whose frames begin to count later than those of the others: the front is gone."""
    first = {summary.title: number for summary in summaries if (number := gaps(summary.names)[0]) is not None}
    if len(first) < 3:
        return
    usual, count = Counter(first.values()).most_common(1)[0]
    if 2 * count <= len(first):
        return
    for title, number in first.items():
        if number > usual:
            yield Finding("missing frame", title, f"its frames begin with number {number}, the others' with {usual}")


def _duplicates(summaries: Sequence[VideoSummary]) -> Iterator[Finding]:
    """Videos that are there twice, frame by frame or encoded again."""
    by_content: dict[str, list[VideoSummary]] = defaultdict(list)
    for summary in summaries:
        if summary.digest is not None:
            by_content[summary.digest].append(summary)
    for same in by_content.values():
        for twin in same[1:]:
            yield Finding("duplicate", twin.title, f"every frame is that of {same[0].title}")
    different = [same[0] for same in by_content.values()]
    moving = [(summary, vector) for summary in different if (vector := movement(summary.thumbs)) is not None]
    if not moving:
        return
    vectors = np.stack([vector for _, vector in moving]).astype(np.float32)
    alike = np.triu(vectors @ vectors.T, 1)
    for first, other in np.argwhere(alike > _TWINS).tolist():
        what = f"it looks like {moving[first][0].title}, encoded again (correlation {alike[first, other]:.3f})"
        yield Finding("duplicate", moving[other][0].title, what)


def _sizes(dataset: Dataset, summaries: Sequence[VideoSummary]) -> Iterator[Finding]:
    """Sizes that differ from video to video: a fault where the data set is known to have one."""
    sizes = Counter(summary.size_hw for summary in summaries if summary.size_hw is not None)
    if len(sizes) < 2:
        return
    usual = sizes.most_common(1)[0][0]
    others = [summary for summary in summaries if summary.size_hw not in (None, usual)]
    if find_dataset(dataset.name).facts.one_size_hw is not None:
        for summary in others:
            what = f"frames of {summary.size_hw[0]} x {summary.size_hw[1]}, the others have {usual[0]} x {usual[1]}"  # type: ignore[index]
            yield Finding("frame size", summary.title, what)
    else:
        shown = [f"{height} x {width} ({count} videos)" for (height, width), count in sizes.most_common()]
        yield Finding("frame sizes", "", f"{listing(shown, 5)}; not the most common: {_titles(others)}")


def _rates(summaries: Sequence[VideoSummary]) -> Iterator[Finding]:
    rates = Counter(float(summary.rate) for summary in summaries if summary.rate is not None)
    if len(rates) > 1:
        shown = [f"{rate:g} ({count} videos)" for rate, count in rates.most_common()]
        usual = rates.most_common(1)[0][0]
        others = [summary for summary in summaries if summary.rate is not None and float(summary.rate) != usual]
        yield Finding(
            "frame rates", "", f"frames per second: {listing(shown, 5)}; not the most common: {_titles(others)}"
        )
    without = [summary for summary in summaries if summary.rate is None and (summary.num_frames or 0) > 1]
    if without:
        what = f"{len(without)} frame folders name no rate, 25 frames per second are taken: {_titles(without)}"
        yield Finding("frame rates", "", what)


def _beside(left_out: Sequence[LeftOut]) -> Iterator[Finding]:
    """What lies beside the videos and may have been meant to be one."""
    for entry in left_out:
        if entry.reason is Reason.UNREADABLE:
            yield Finding("unreadable", "", f"the folder {entry.name} cannot be read: {entry.detail}")
    if wanted := [entry for entry in left_out if entry.reason.is_strict and entry.reason is not Reason.UNREADABLE]:
        yield Finding("left out", "", in_words(wanted).removeprefix("left out: "))


def _mixtures(summaries: Sequence[VideoSummary]) -> list[str]:
    """What of the training footage is not of one kind, as `mulde train` says it."""
    return mixtures(
        world_of(
            ObservedVideo(
                summary.title,
                summary.size_hw,
                None if summary.steady_rate is None else float(summary.steady_rate),
                summary.num_frames,
                summary.coloured,
            )
            for summary in summaries
            if summary.video.split == "train" and summary.size_hw is not None and summary.num_frames
        )
    )


def _whole(report: CheckReport, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Counts against those of the publication, unless a fault that was `found` explains them."""
    facts = find_dataset(report.dataset).facts
    published = {
        "train": (facts.num_train_videos, facts.num_train_frames),
        "test": (facts.num_test_videos, facts.num_test_frames),
    }
    explained = {finding.video.partition("/")[0] for finding in findings if finding.kind in _CHANGE_COUNTS}
    for split, (num_videos, num_frames) in published.items():
        if num_videos is not None and report.num_videos[split] != num_videos:
            what = f"{report.num_videos[split]} {split} videos, {num_videos} were published"
            yield Finding("not whole", "", what)
        elif num_frames is not None and report.num_frames[split] != num_frames and split not in explained:
            what = f"{report.num_frames[split]} {split} frames, {num_frames} were published"
            yield Finding("count" if facts.exact else "not whole", "", what)


def _titles(summaries: Sequence[VideoSummary]) -> str:
    return listing([summary.title for summary in summaries], 5)
