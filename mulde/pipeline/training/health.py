"""The reference of camera health, from pictures that are spread over the training videos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mulde.health import HealthReference, Sample, Thumbnail, learn_reference, thumbnail
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.training.exclusions import Exclusions, kept
from mulde.records import UInt8

_PAIR_S = 1.0
"""Between two pictures that are compared to learn whether footage stands still."""


class HealthSampler:
    """Takes pictures of training videos, by the place of the video among them, and makes the reference of them.

    wanted: the frames of each video that are to be handed to `take`. Frames of `exclusions` are in none.
    """

    def __init__(self, videos: Sequence[StoredVideo], max_pictures: int, exclusions: Exclusions) -> None:
        usable = [
            stored.frame_index[kept(stored.frame_index, exclusions.ranges_of(stored.video.name))] for stored in videos
        ]
        total = sum(map(len, usable))
        chosen = np.unique(((np.arange(max_pictures) + 0.5) * total / max(max_pictures, 1)).astype(np.int64))
        self._next: list[dict[int, int]] = []  # frame -> the one a second later, or itself where there is none
        first = 0
        for stored, frames in zip(videos, usable, strict=True):
            own = chosen[(chosen >= first) & (chosen < first + len(frames))] - first if total else chosen[:0]
            later = own + max(round(_PAIR_S * float(stored.rate)), 1)
            has_later = later < len(frames)
            pairs = np.where(has_later, frames[np.minimum(later, max(len(frames) - 1, 0))], frames[own])
            self._next.append(dict(zip(frames[own].tolist(), pairs.tolist(), strict=True)))
            first += len(frames)
        self._wanted = [{*pairs, *pairs.values()} for pairs in self._next]
        self._taken: list[dict[int, Thumbnail]] = [{} for _ in videos]

    def wanted(self, place: int) -> list[int]:
        """Frames of a video."""
        return sorted(self._wanted[place])

    def take(self, place: int, frame: int, image: UInt8) -> None:
        """Take a picture (H, W, 3) RGB; one that is not wanted is left."""
        if frame in self._wanted[place]:
            self._taken[place][frame] = thumbnail(image)

    def reference(self) -> HealthReference | None:
        """What was learnt; None where there were too few pictures."""
        samples = []
        for place, pictures in enumerate(self._taken):
            for frame, later in self._next[place].items():
                if frame in pictures:
                    is_still = None
                    if later != frame and later in pictures:
                        is_still = bool(np.array_equal(pictures[frame].grey, pictures[later].grey))
                    samples.append(Sample(place, pictures[frame], is_still))
        return learn_reference(samples)
