"""Frames as tensors, and how far one is from another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mulde.reconstruction.losses import gradient_map
from mulde.records import Float32, UInt8

_ON_GPU = 8


def batches(num_clips: int, device: str) -> Iterator[slice]:
    """The clips that a network takes at a time: on a CPU one, so that what it makes of a clip depends, to the last bit,
    on nothing beside it, which costs no time there."""
    at_once = 1 if torch.device(device).type == "cpu" else _ON_GPU
    return (slice(start, start + at_once) for start in range(0, num_clips, at_once))


def to_square(image: UInt8, side: int) -> UInt8:
    """A frame (H, W, 3) stretched to (side, side, 3)."""
    import cv2

    if image.shape[:2] == (side, side):
        return image
    shrinks = min(image.shape[:2]) >= side
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def as_tensor(frames: UInt8 | Tensor, device: str) -> Tensor:
    """Frames (..., H, W, 3) of 0 to 255 as (..., 3, H, W) float32 from -1 to 1 on `device`."""
    pixels = frames if isinstance(frames, Tensor) else torch.from_numpy(frames)
    return pixels.to(device).movedim(-1, -3).float() / 127.5 - 1


def error_maps(predicted: Tensor, frame: Tensor) -> Float32:
    """Two maps (N, 2, H, W) of frames (N, 3, H, W): the mean absolute error of a pixel's colours, from 0 to 2, and the
    difference of image gradients."""
    error = (predicted - frame).abs().mean(dim=1)
    maps: Float32 = torch.stack([error, gradient_map(predicted, frame)], dim=1).float().cpu().numpy()
    return maps
