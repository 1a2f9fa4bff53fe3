"""The null of models of single images: an image is expected to be the mean of all normal ones."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mulde.reconstruction.frames import as_tensor, batches
from mulde.reconstruction.pixel_model import Arrays, Fitting, PixelModel
from mulde.reconstruction.smoothing import MAP_SIGMA, smoothed
from mulde.reconstruction.state import check_arrays
from mulde.records import Float32, UInt8
from mulde.section import Section


class MeanOptions(Section):
    side: int = Field(256, ge=64, le=1024, multiple_of=32, description="height and width of an image, pixels")


class MeanModel(PixelModel):
    """How far a pixel's colours are from the mean over the normal images, from 0 to 2: the mean absolute difference,
    under a Gaussian of 4/256 of the side."""

    kind = "mean"
    MAPS = ("difference",)
    NUM_PAST = 0
    OPTIONS = MeanOptions

    def __init__(self, options: Any, *, seed: int = 0, device: str = "cpu", teacher: Any = None) -> None:
        super().__init__(options, seed=seed, device=device, teacher=teacher)
        self.mean: Tensor | None = None

    def _learn(self, given: Fitting) -> None:
        total = torch.zeros(3, self.side, self.side, dtype=torch.float64)
        for number in range(len(given.clips)):
            total += as_tensor(given.clips[number][0], "cpu")
            given.report(number + 1)
        self.mean = (total / len(given.clips)).float().to(self.device)

    def _maps(self, clips: UInt8) -> Float32:
        mean = self._fitted(self.mean)
        maps = np.zeros((len(clips), 1, self.side, self.side), np.float32)
        for some in batches(len(clips), self.device):
            away = (as_tensor(clips[some, 0], self.device) - mean).abs().mean(dim=1, keepdim=True)
            maps[some] = smoothed(away, MAP_SIGMA * self.side).cpu().numpy()
        return maps

    def arrays(self) -> Arrays:
        return {"mean": self._fitted(self.mean).cpu().numpy()}

    def restore(self, arrays: Arrays) -> Self:
        check_arrays(self.kind, arrays, {"mean": torch.empty(3, self.side, self.side)})
        self.mean = torch.from_numpy(arrays["mean"].copy()).to(self.device)
        return self
