"""Normal videos split into folds: each is held out once, so that every video is scored by a density that has not seen
it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mulde.config import FusionSettings
from mulde.errors import FitError
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.training.exclusions import Exclusions, Range, kept
from mulde.records import Bool, FeatureTable, Int64

NOTHING = Exclusions()


@dataclass(frozen=True)
class Share:
    """The frames first:last of one video that have features, without the excluded ones, on one side of the split."""

    stored: StoredVideo
    first: int
    last: int
    excluded: tuple[Range, ...] = ()

    @property
    def name(self) -> str:
        return self.stored.video.name

    @property
    def label(self) -> str:
        """The name of the video; of a part of a video, with its frames."""
        whole = self.first == 0 and self.last == self.stored.end_frame
        return self.name if whole else f"{self.name} {self.first}-{self.last}"

    @property
    def frame_index(self) -> Int64:
        index = self.stored.frame_index[self.stored.described]
        return index[self._contains(index)]

    def rows(self, extractor: str) -> FeatureTable:
        table = self.stored.features(extractor)
        return table.select(self._contains(table.frame_index))

    def _contains(self, frame_index: Int64) -> Bool:
        return (frame_index >= self.first) & (frame_index < self.last) & kept(frame_index, self.excluded)

    def pieces(self) -> list[Share]:
        """Its contiguous stretches: those between the excluded frames that have any frame."""
        edges = np.clip(np.array(self.excluded, np.int64).ravel(), self.first, self.last).tolist()
        edges = [self.first, *edges, self.last]
        stretches = [Share(self.stored, *ends) for ends in zip(edges[::2], edges[1::2], strict=True)]
        return [stretch for stretch in stretches if len(stretch.frame_index)]


@dataclass(frozen=True)
class Fold:
    """Normal videos to fit on, and those held out, which stop the training and set the scale."""

    fitting: tuple[Share, ...]
    heldout: tuple[Share, ...]


def split_folds(
    videos: Sequence[StoredVideo], settings: FusionSettings, seed: int, exclusions: Exclusions = NOTHING
) -> list[Fold]:
    """`settings.folds` folds of whole videos, drawn by `seed`, each of which is held out once; 1: a share held out.

    With fewer videos than folds each video is a fold. A single video is cut in time. A video of which no frame is left
    does not count. Raises FitError when no video has any frame.
    """
    wanted = settings.folds
    whole = [Share(video, 0, video.end_frame, exclusions.ranges_of(video.video.name)) for video in videos]
    whole = [share for share in whole if len(share.frame_index)]
    if not whole:
        got = f"{len(videos)} with every frame excluded" if videos else "none"
        raise FitError("training", expected="at least one normal video that could be read", got=got)
    if len(whole) == 1:
        parts = [[part] for part in _cut_in_time(whole[0], settings)]
        return _hold_out(parts if wanted > 1 else parts[-1:], parts)
    order = np.random.default_rng(seed).permutation(len(whole)).tolist()
    if wanted == 1:
        count = min(max(round(len(whole) * settings.heldout_share), 1), len(whole) - 1)
        drawn = [sorted(order[:count])]
    else:
        drawn = [sorted(order[i::wanted]) for i in range(min(wanted, len(whole)))]
    return _hold_out([[whole[i] for i in fold] for fold in drawn], [whole])


def _cut_in_time(share: Share, settings: FusionSettings) -> list[Share]:
    """A whole video in parts with equally many frames that are not excluded; with 1 fold, the last part is held out."""
    wanted, end = settings.folds, share.last
    cuts = np.linspace(0, 1, wanted + 1) if wanted > 1 else np.array([0, 1 - settings.heldout_share, 1])
    left = np.flatnonzero(kept(np.arange(end), share.excluded))
    edges = np.append(left, end)[np.rint(cuts * len(left)).astype(int)].tolist()
    return [replace(share, first=first, last=last) for first, last in pairwise(edges) if last > first]


def _hold_out(heldout: Sequence[Sequence[Share]], groups: Sequence[Sequence[Share]]) -> list[Fold]:
    """A fold for each group that is held out; it is fitted on the shares of all groups but those."""
    shares = [share for group in groups for share in group]
    return [
        Fold(tuple(share for share in shares if all(share is not other for other in fold)), tuple(fold))
        for fold in heldout
    ]
