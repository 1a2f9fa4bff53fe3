"""What every data set offers: names, splits and labels. No pixels of videos, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, Self

import numpy as np

from mulde.datasets.left_out import LeftOut
from mulde.errors import UsageError
from mulde.names import valid_text
from mulde.records import Bool, BoxesAlone, Float64, Int64, LabelTrack, TruthRegions

SPLITS = ("train", "test")
_MAX_JITTER_S = 2e-3  # containers round time stamps to milliseconds


class Origin(NamedTuple):
    """Where the frames of a video come from: the SHA-256 of a content, and the number there of its first frame."""

    sha256: str
    first_frame: int = 0


@dataclass(frozen=True)
class Video:
    """One video of a data set: a file or a folder of frames.

    `name` is unique inside its data set and split, valid Unicode in which bytes that are not UTF-8 are written as
    `\\xe9`; `frame_rate` is None where the file itself knows it; `dataset` is what the videos were opened as; `time_s`
    (T,) are the times of its frames where they are known and not index / frame_rate. `boxes` is given where the file
    holds boxes and there are no pixels. `origin` is given where the frames are those of another video with changes:
    what has seen that one has seen this one.
    """

    name: str
    split: str
    path: Path
    frame_rate: Fraction | None = None
    dataset: str = ""
    time_s: Float64 | None = field(default=None, compare=False, repr=False)
    boxes: BoxesAlone | None = None
    origin: Origin | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", valid_text(self.name))
        object.__setattr__(self, "dataset", valid_text(self.dataset))


def with_times(video: Video, rate: Fraction | None, frame_index: Int64, time_s: Float64, num_frames: int) -> Video:
    """The video with its rate and, where its frames are not even steps apart, the times of all `num_frames` frames.

    frame_index, time_s (T,): of the frames that could be decoded; the others lie between them and follow the rate.
    """
    if rate is None or not len(frame_index):
        return replace(video, frame_rate=rate)
    index = np.arange(num_frames)
    times = np.interp(index, frame_index, time_s) + np.maximum(index - frame_index[-1], 0) / float(rate)
    is_even = bool((np.abs(times - index / float(rate)) <= _MAX_JITTER_S).all())
    return replace(video, frame_rate=rate, time_s=None if is_even else times)


class LabelFinding(NamedTuple):
    """What is wrong with labels as a data set sees it: `kind` is one of those that `mulde data check` knows, `video` a
    split and a name ("test/Test001"), or "" for the data set as a whole."""

    kind: Literal["bad labels", "stray labels", "anomalous training"]
    video: str
    what: str


class DataChecks(Protocol):
    """What `mulde data check` asks a data set about its own files.

    A data set that inherits from this overrides what it knows more about; the answers here are those of one that knows
    its videos and labels alone.
    """

    def labels(self, video: Video, num_frames: int) -> LabelTrack | None: ...

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What lies beside the videos and is none."""
        return ()

    def split_folders(self, split: str) -> Mapping[str, Path]:
        """The folders that hold the videos of a split, by what the names of the videos there begin with."""
        return {}

    def is_video_folder(self, name: str, split: str) -> bool:
        """Whether a folder of this name, in one of `split_folders`, should hold the frames of a video."""
        return True

    def tolerant(self) -> Self:
        """The same data set, which uses what can be read of a label file with faults instead of refusing it."""
        return self

    def label_findings(self) -> Iterable[LabelFinding]:
        """What is wrong with label files, whatever the videos hold, and labels of videos that are not there."""
        return ()

    def labels_for_count(self, video: Video, num_frames: int) -> LabelTrack | None:
        """As `labels`, without comparing `num_frames` with the images of a frame folder."""
        return self.labels(video, num_frames)

    def flags_without_masks(self, video: Video, num_frames: int) -> Bool | None:
        """The labels (T,) that stand beside the masks of a video which `labels` refuses; T is `num_frames`, or more
        where they run past the end. None where masks are all there is. Raises LabelError."""
        return None

    def labels_read_as(self, video: Video, num_frames: int) -> str:
        """How the labels of a test video were read where they could be read in two ways; else ""."""
        return ""


class Dataset(DataChecks, Protocol):
    """A data set on disk. Opening one reads folder listings only; label files are read by `labels` and `masks`."""

    @property
    def name(self) -> str: ...

    @property
    def root(self) -> Path:
        """The folder that was found, which may lie above or below the one that was given."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was chosen where there was a choice, for a person to read once."""
        ...

    def videos(self, split: str) -> tuple[Video, ...]:
        """The videos of "train" or "test" in natural order; empty when an own folder has no such split."""
        ...

    def labels(self, video: Video, num_frames: int) -> LabelTrack | None:
        """Ground truth for the `num_frames` frames that were decoded; None when the data set has none for `video`.

        Raises LabelError when labels are missing, damaged, contradict each other or do not fit `num_frames`.
        """
        ...

    def masks(self, video: Video) -> Iterator[Bool] | None:
        """The anomalous pixels, one (H, W) bool array per frame; None when there are none for `video`."""
        ...

    def regions(self, video: Video) -> TruthRegions | None:
        """Annotated boxes with track numbers, where the data set has any for `video`; None where it has none."""
        ...


def check_split(split: str) -> None:
    """Raises UsageError unless `split` is "train" or "test"."""
    if split not in SPLITS:
        raise UsageError("split of a data set", expected=" or ".join(SPLITS), got=repr(split))


def listing(names: list[str], limit: int = 20) -> str:
    """Names for an error message: the first `limit` of them and how many there are."""
    if not names:
        return "nothing"
    return ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
