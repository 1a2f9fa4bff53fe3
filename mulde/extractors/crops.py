"""Neural appearance of boxes: crops of many frames through an image model in shared batches. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mulde.extractors.base import Fingerprint, digest
from mulde.extractors.boxes import crop
from mulde.records import FeatureTable, Regions, UInt8, Window


@dataclass(frozen=True)
class Preprocessing:
    """What an image network expects: a square of size_px, RGB in 0..1 minus `mean` over `std` per channel."""

    size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, crops: Sequence[UInt8]) -> torch.Tensor:
        """(N, 3, size_px, size_px) float32 from RGB crops of any size, each stretched to the square."""
        import cv2

        size = (self.size_px, self.size_px)
        squares = [cv2.resize(c, size, interpolation=_interpolation(c.shape, self.size_px)) for c in crops]
        batch = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (batch - mean) / std


Loaded = tuple[Callable[[torch.Tensor], torch.Tensor], Preprocessing, int]
"""A network that maps (n, 3, size, size) to (n, dim), what it expects, and dim."""


def _interpolation(shape: tuple[int, ...], size_px: int) -> int:
    import cv2

    return int(cv2.INTER_AREA if min(shape[:2]) >= size_px else cv2.INTER_CUBIC)


class CropEmbedding:
    """An image network applied to the crop of each box: one embedding per box, crops of many frames in shared batches.

    `load` builds the network when the first box comes; it returns the network, its preprocessing and its width.
    `weights` is the path of a local file, whose digest enters the fingerprint, or the tag of published weights.
    """

    object_centric = True
    before = after = 0

    def __init__(
        self, name: str, model: str, weights: str, load: Callable[[], Loaded], *, device: str, batch_size: int = 64
    ) -> None:
        self.name, self.model, self.weights = name, model, weights
        self.device, self.batch_size, self._load = device, batch_size, load

    def fingerprint(self) -> Fingerprint:
        return {"extractor": self.name, "version": 1, "model": self.model, **self._source}

    @cached_property
    def _source(self) -> Fingerprint:
        """Where the weights come from; read once, because every video asks for the fingerprint."""
        path = Path(self.weights).expanduser()
        return {"weights_sha256": digest(path)} if path.exists() else {"weights": self.weights}

    @cached_property
    def _loaded(self) -> Loaded:
        return self._load()

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        network, preprocessing, dim = self._loaded
        values = np.zeros((len(regions), dim), np.float32)
        for start in range(0, len(regions), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(regions)))
            crops = [crop(window.image(regions.frame_index[i]), regions.box_xyxy[i]) for i in rows]
            with torch.inference_mode():
                embedding = network(preprocessing(crops).to(self.device))  # (n, dim)
            values[rows.start : rows.stop] = embedding.float().cpu().numpy()
        return FeatureTable(values, regions.frame_index, regions.box_xyxy)
