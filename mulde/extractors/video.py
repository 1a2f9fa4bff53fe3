"""Frame features by a video network: one row per frame from the clip centred on it. Imports torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from mulde.errors import UsageError
from mulde.extractors.base import Fingerprint
from mulde.extractors.networks import Loaded, NetworkExtractor
from mulde.records import FeatureTable, Int64, Regions, Window

HIERA_MODELS = ("hiera_base_16x224", "hiera_base_plus_16x224", "hiera_large_16x224", "hiera_huge_16x224")
"""Video models of the package hiera-transformer."""


def video_backbone(
    model: str = "mvit_v2_s",
    weights: str = "DEFAULT",
    *,
    stride: int = 4,
    device: str = "cpu",
    precision: str = "float32",
    batch_size: int = 64,
) -> VideoBackbone:
    """What goes into the last layer of a video network trained on Kinetics-400, per frame.

    `model` is one of torchvision's (mvit_v2_s and swin3d_t give 768 numbers, r2plus1d_18 512, s3d 1024) or of the
    package hiera-transformer (hiera_large_16x224: 1152, as in the MULDE paper, section 4). `weights` is a tag of that
    library, downloaded once, or the path of a local state dict (.safetensors, .pth).
    Raises UsageError for an unknown model; at the first frame UsageError for an unknown tag, a file that does not fit
    or a missing package, and MuldeError for a failed download.
    """
    from torchvision.models import list_models, video

    if model not in HIERA_MODELS and model not in list_models(module=video):
        known = ", ".join([*list_models(module=video), *HIERA_MODELS])
        raise UsageError(f"video model {model!r}", expected=f"one of {known}")
    frames = 32 if model.startswith("swin3d") else 16  # as they were trained; s3d, trained on more, takes any number

    def load() -> Loaded:
        if model in HIERA_MODELS:
            from mulde.extractors.hiera import load_hiera

            return load_hiera(model, weights, device)
        from mulde.extractors.backbone import load_torchvision

        return load_torchvision(video, model, weights, device, frames=frames)

    return VideoBackbone(
        model,
        weights,
        load,
        frames=frames,
        stride=stride,
        device=device,
        precision=precision,
        batch_size=batch_size,
    )


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
    ) -> None:
        super().__init__("video", model, weights, load, device=device, precision=precision, batch_size=batch_size)
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
    held = window.frames.frame_index
    return np.clip(np.searchsorted(held, wanted, side="right") - 1, 0, len(held) - 1)
