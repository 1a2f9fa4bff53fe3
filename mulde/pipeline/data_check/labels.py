"""Findings of `mulde data check` about labels and masks: against the frames, each other, and the other videos."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from mulde.datasets.base import Dataset, Video, listing, with_times
from mulde.errors import LabelError, MuldeError, sentence
from mulde.pipeline.data_check.decoding import THUMB_HW, VideoSummary, small
from mulde.pipeline.data_check.findings import Finding
from mulde.records import Bool, LabelTrack, UInt8, spans

_MAX_ALIKE = 5


@dataclass
class Truth:
    """The labels of one video, as far as they can be read: `labels` is None without any, or where `error` says why.

    `flags` is what the frames are labelled without looking at masks (None where masks are all there is); `masked` says
    for each mask whether it has an anomalous pixel, None without masks.
    """

    summary: VideoSummary
    video: Video
    labels: LabelTrack | None = None
    error: LabelError | None = None
    flags: Bool | None = None
    masked: Bool | None = None
    mask_size_hw: tuple[int, ...] | None = None
    mask_digest: str = ""
    mask_thumbs: UInt8 = field(default_factory=lambda: np.zeros((0, *THUMB_HW), np.uint8))
    mask_error: LabelError | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def num_frames(self) -> int:
        return self.summary.num_frames or 0

    def add(self, kind: str, what: str) -> None:
        self.findings.append(Finding(kind, self.summary.title, what))


def check_labels(dataset: Dataset, summaries: Sequence[VideoSummary]) -> list[Finding]:
    """Everything about labels of the videos in `summaries`; those whose frames cannot be counted are left out."""
    findings = [Finding(*finding) for finding in dataset.label_findings()]
    dataset = dataset.tolerant()
    truths = [_read(dataset, summary) for summary in summaries if summary.num_frames]
    test = [truth for truth in truths if truth.video.split == "test"]
    swapped = list(_swaps(test))
    findings += [finding for _, finding in swapped]
    explained = {title for titles, _ in swapped for title in titles}
    for truth in truths:
        if truth.summary.title not in explained:
            _compare(dataset, truth)
        _check_content(dataset, truth)
    said_already = {finding.what for finding in findings}
    findings += _gathered(f for truth in truths for f in truth.findings if f.what not in said_already)
    return findings + list(_unlabelled(test))


def _read(dataset: Dataset, summary: VideoSummary) -> Truth:
    # The rate turns labels in seconds into frames; a folder's has to be named by somebody.
    rate = summary.video.frame_rate or summary.rate
    video = with_times(summary.video, rate, summary.frame_index, summary.time_s, summary.num_frames or 0)
    truth = Truth(summary, video)
    try:
        truth.labels = dataset.labels(video, truth.num_frames)
        truth.flags = None if truth.labels is None else truth.labels.anomalous
    except Exception as error:
        truth.error = _as_label_error(error, summary)
    try:
        if truth.flags is None:
            truth.flags = dataset.flags_without_masks(video, truth.num_frames)
        _read_masks(dataset, truth)
    except Exception as error:
        truth.mask_error = _as_label_error(error, summary)
    return truth


def _as_label_error(error: Exception, summary: VideoSummary) -> LabelError:
    """Raises a MuldeError that is not of labels again."""
    if isinstance(error, MuldeError) and not isinstance(error, LabelError):
        raise error
    return error if isinstance(error, LabelError) else LabelError(f"labels of {sentence(error, summary.title)}")


def _read_masks(dataset: Dataset, truth: Truth) -> None:
    masks = dataset.masks(truth.video)
    if masks is None:
        return
    digest, flags, thumbs = hashlib.sha256(), list[bool](), list[UInt8]()
    wanted = set(truth.summary.thumb_index)
    for mask in masks:
        if len(flags) in wanted:
            thumbs.append(small(mask.astype(np.uint8) * 255))
        truth.mask_size_hw = mask.shape
        digest.update(np.packbits(mask).tobytes())
        flags.append(bool(mask.any()))
    truth.masked, truth.mask_digest = np.array(flags, np.bool_), digest.hexdigest()
    truth.mask_thumbs = np.stack(thumbs) if thumbs else truth.mask_thumbs


def _compare(dataset: Dataset, truth: Truth) -> None:
    """Labels against frames, masks against frames and against the other labels."""
    n, num_masks = truth.num_frames, None if truth.masked is None else len(truth.masked)
    explained = False
    if num_masks is not None and num_masks != n:
        explained = True
        truth.add(_miscount(truth, num_masks), f"{num_masks} masks for {n} frames{_of_hole(truth, num_masks)}")
    if truth.mask_size_hw is not None and truth.summary.size_hw not in (None, truth.mask_size_hw):
        explained = True
        truth.add("mask size", f"masks of {_size(truth.mask_size_hw)}, frames of {_size(truth.summary.size_hw)}")
    if truth.flags is not None and len(truth.flags) > n:
        explained = True
        last = len(truth.flags)
        truth.add(_miscount(truth, last), f"labelled up to frame {last}, counted from 1, but there are {n} frames")
    elif (
        truth.flags is not None and truth.masked is not None and num_masks == n and (truth.flags != truth.masked).any()
    ):
        explained = True
        truth.add(*_disagreement(truth.flags, truth.masked))
    if truth.error is None and truth.mask_error is None:
        return
    if truth.error is not None and not explained:
        fits = [m for m in (n - 1, n + 1) if _fits(dataset, truth.video, m)]
        if fits:
            truth.add(_miscount(truth, fits[0]), f"labels fit {fits[0]} frames, but there are {n} ({truth.error})")
        else:
            truth.add("bad labels", str(truth.error))
    elif truth.mask_error is not None and str(truth.mask_error) != str(truth.error):
        truth.add("bad labels", str(truth.mask_error))


def _disagreement(flags: Bool, masked: Bool) -> tuple[str, str]:
    """Kind and sentence for labels (T,) and masks (T,) that differ: moved or cut by one frame, or something else."""
    differ = np.flatnonzero(flags != masked)
    what = f"masks and labels differ in {len(differ)} of {len(flags)} frames, first in frame {differ[0]} (from 0)"
    if np.array_equal(flags[1:], masked[:-1]):
        return "off by one", f"{what}: the labels come one frame later than the masks"
    if np.array_equal(flags[:-1], masked[1:]):
        return "off by one", f"{what}: the labels come one frame earlier than the masks"
    stretches = spans(flags != masked)
    if all(last - first == 1 for first, last in stretches) and len(stretches) <= 2 * len(spans(flags)):
        return "off by one", f"{what}: a range begins or ends one frame off"
    return "masks disagree", what


def _miscount(truth: Truth, counted: int) -> str:
    """Off by one, unless frames are known to be missing."""
    return "off by one" if abs(counted - truth.num_frames) == 1 and not truth.summary.holes else "count"


def _of_hole(truth: Truth, counted: int) -> str:
    lost = truth.summary.holes
    return (
        f", as many as with the missing {'frame' if lost == 1 else 'frames'}"
        if lost and counted == truth.num_frames + lost
        else ""
    )


def _fits(dataset: Dataset, video: Video, num_frames: int) -> bool:
    try:
        return num_frames > 0 and dataset.labels_for_count(video, num_frames) is not None
    except LabelError:
        return False


def _check_content(dataset: Dataset, truth: Truth) -> None:
    """What labels that can be read say of a video."""
    if truth.labels is None:
        return
    count = int(truth.labels.anomalous.sum())
    if truth.video.split == "train" and count:
        truth.add("anomalous training", f"{count} of {truth.num_frames} frames are labelled anomalous")
    if truth.video.split == "test" and count == truth.num_frames > 1:  # a single image is one or the other
        truth.add("wholly anomalous", "all frames are labelled anomalous")
    if truth.video.split == "test" and (how := dataset.labels_read_as(truth.video, truth.num_frames)):
        truth.add("labels read as", how)


def _swaps(truths: Sequence[Truth]) -> Iterator[tuple[tuple[str, ...], Finding]]:
    """Pairs of videos whose masks fit each other's labels but not their own, and those with the very same masks."""
    for first, second in combinations([t for t in truths if t.masked is not None and t.masked.any()], 2):
        pair = (first.summary.title, second.summary.title)
        if first.mask_digest == second.mask_digest and len(first.mask_thumbs) > 1:  # single pictures may well agree
            yield (), Finding("same masks", pair[1], f"its masks are those of {pair[0]}, pixel by pixel")
        elif _same(first.masked, second.flags) and _same(second.masked, first.flags):
            if not _same(first.masked, first.flags):
                what = "its masks fit the labels of {}, not its own"
            elif _lie_on_movement_of_the_other(first, second):
                what = "its masks lie where things move in {}, not where they move in itself"
            else:
                continue
            for mine, other in (pair, pair[::-1]):
                yield pair, Finding("swapped masks", mine, what.format(other))


def _lie_on_movement_of_the_other(first: Truth, second: Truth) -> bool:
    """Whether masks that fit the labels of both videos fit the pictures better when they are exchanged.

    On Ped2 the sum of both correlations is at least 1.9 times as high for the right masks as for exchanged ones.
    """
    right = _on_movement(first, first) + _on_movement(second, second)
    exchanged = _on_movement(first, second) + _on_movement(second, first)
    return exchanged > 0.1 and exchanged > 1.5 * right


def _on_movement(video: Truth, masks: Truth) -> float:
    """Correlation of where a video differs from its usual picture with masks, over small pixels of some frames."""
    thumbs = video.summary.thumbs.astype(np.float64)
    if len(thumbs) < 2 or len(thumbs) != len(masks.mask_thumbs):
        return 0.0
    moving = np.abs(thumbs - np.median(thumbs, axis=0)).ravel()
    masked = masks.mask_thumbs.astype(np.float64).ravel()
    moving, masked = moving - moving.mean(), masked - masked.mean()
    length = np.linalg.norm(moving) * np.linalg.norm(masked)
    return float(moving @ masked / length) if length > 0 else 0.0


def _same(masked: Bool | None, flags: Bool | None) -> bool:
    return masked is not None and flags is not None and np.array_equal(masked, flags)


def _unlabelled(test: Sequence[Truth]) -> Iterator[Finding]:
    without = [truth for truth in test if truth.labels is None and truth.error is None]
    if test and len(without) == len(test):
        yield Finding("no labels", "", f"none of {len(test)} test videos has labels")
    else:
        for truth in without:
            yield Finding("unlabelled", truth.summary.title, f"no labels, unlike {len(test) - len(without)} others")


def _gathered(findings: Iterable[Finding]) -> Iterator[Finding]:
    """What is said alike of many videos, but for their names, becomes one finding of the data set."""
    alike: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        name = finding.video.partition("/")[2]
        gathers = finding.kind in ("bad labels", "wholly anomalous", "labels read as")
        alike[finding.kind, finding.what.replace(name, "*") if gathers else f"{finding.video} {finding.what}"].append(
            finding
        )
    for (kind, _), group in alike.items():
        if len(group) <= _MAX_ALIKE:
            yield from group
        else:
            videos = listing([finding.video for finding in group], 5)
            yield Finding(kind, "", f"{group[0].what} (and the like for {len(group)} videos: {videos})")


def _size(size_hw: tuple[int, ...] | None) -> str:
    return "unknown size" if size_hw is None else f"{size_hw[0]} x {size_hw[1]}"
