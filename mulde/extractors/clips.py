"""Clips around each frame through a video network. Imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mulde.extractors.base import Fingerprint
from mulde.extractors.networks import Loaded, NetworkExtractor
from mulde.records import FeatureTable, Int64, Regions, Window


class VideoBackbone(NetworkExtractor):
    """A video network applied to the clip around each frame: one row per frame.

    The clip of frame t holds the `frames` frames t + stride * (k - frames // 2), k = 0 ... frames - 1; the first and
    the last frame of the video stand for what lies beyond them. Frames are stretched to the square that the network
    expects, so that nothing at the borders is lost.
    """

    object_centric = False

    def __init__(
        self,
        model: str,
        weights: str,
        load: Callable[[], Loaded],
        *,
        frames: int,
        stride: int,
        device: str,
        precision: str = "float32",
        batch_size: int = 64,
        options: Fingerprint | None = None,
    ) -> None:
        how: dict[str, Any] = {"device": device, "precision": precision, "batch_size": batch_size, "options": options}
        super().__init__("video", model, weights, load, **how)
        self.offsets = stride * (np.arange(frames) - frames // 2)
        self.before, self.after = -int(self.offsets[0]), max(0, int(self.offsets[-1]))
        self.stride = stride

    def fingerprint(self) -> Fingerprint:
        return {**super().fingerprint(), "frames": len(self.offsets), "stride": self.stride}

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        del regions  # whole frames
        expects, device = self.network.expects, self.network.device
        used, clips = np.unique(clip_positions(window, self.offsets), return_inverse=True)
        clips = clips.reshape(-1, len(self.offsets))  # (n, frames): numpy versions differ in the shape they give
        squares = expects.squares([window.frames.images[position] for position in used])  # each frame once

        def prepare(rows: range) -> torch.Tensor:
            return expects.normalise(squares[clips[rows.start : rows.stop]], device)

        return FeatureTable(self.network(len(clips), prepare), window.core_index)


def clip_positions(window: Window, offsets: Int64) -> Int64:
    """Where in the window the clip of each core frame lies: (n, len(offsets)) positions in `window.frames`.

    Offsets are in frame numbers. A frame that could not be decoded is replaced by the one before it.
    """
    wanted = window.core_index[:, None] + offsets
    decoded = window.frames.frame_index
    return np.clip(np.searchsorted(decoded, wanted, side="right") - 1, 0, len(decoded) - 1)
