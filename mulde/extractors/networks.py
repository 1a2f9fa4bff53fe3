"""Torch networks for pictures and clips: what they expect, and running them in batches that fit. Imports torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from mulde.errors import MuldeError
from mulde.extractors.base import Fingerprint, local_weights, weights_source
from mulde.extractors.formats import is_exported
from mulde.records import Float32, UInt8

log = logging.getLogger(__name__)

INTERPOLATIONS = ("", "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""What `Preprocessing.interpolation` can be."""

_CPU_PICTURES = 16
"""The most pictures at once on a CPU, whatever the settings allow: larger batches miss the caches and are slower."""

_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""Words in the errors of torch's CPU allocator, of other devices, and of cuBLAS and cuDNN: they have no class."""


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects: squares of size_px, RGB in 0..1 minus `mean` over `std` per channel.

    `frames` is 1 for a network of single pictures, else the number of frames in a clip. `interpolation` is one of
    Pillow's, by name, which smooths where a picture shrinks; without it, pixels are averaged where a picture shrinks
    and interpolated by cubics where it grows. `fit`: `stretch` brings a picture of any shape to the square, `pad`
    keeps its shape and fills the rest with `mean`.
    """

    size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    frames: int = 1
    interpolation: str = ""
    fit: str = "stretch"

    def __call__(self, pictures: Sequence[UInt8] | UInt8, device: str = "cpu") -> torch.Tensor:
        """(N, 3, size_px, size_px) float32 on `device` from N RGB pictures of any size."""
        return self.normalise(self.squares(pictures), device)

    def squares(self, pictures: Sequence[UInt8] | UInt8) -> UInt8:
        """(N, size_px, size_px, 3): each picture (H, W, 3) brought to the square, whatever its shape."""
        size = self.size_px
        packed = np.empty((len(pictures), size, size, 3), np.uint8)
        if self.fit == "pad":
            packed[:] = np.round(np.multiply(self.mean, 255))
        for picture, square in zip(pictures, packed, strict=True):
            height, width = self._size_hw(picture)
            top, left = (size - height) // 2, (size - width) // 2
            square[top : top + height, left : left + width] = self._resized(picture, height, width)
        return packed

    def _size_hw(self, picture: UInt8) -> tuple[int, int]:
        if self.fit == "stretch":
            return self.size_px, self.size_px
        scale = self.size_px / max(picture.shape[:2])
        height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
        return height, width

    def _resized(self, picture: UInt8, height: int, width: int) -> UInt8:
        if self.interpolation:
            from PIL import Image

            resample = Image.Resampling[self.interpolation.upper()]
            return np.asarray(Image.fromarray(picture).resize((width, height), resample))
        import cv2

        shrinks = picture.shape[0] >= height and picture.shape[1] >= width
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        return np.asarray(resized, np.uint8)

    def normalise(self, squares: UInt8, device: str = "cpu") -> torch.Tensor:
        """Squares (N, S, S, 3) to (N, 3, S, S), or clips of them (N, T, S, S, 3) to (N, 3, T, S, S), float32.

        Bytes are sent to the device. The channels stay last in memory, which is fastest for convolutions.
        """
        rows = torch.from_numpy(squares).to(device).flatten(-2).float()  # (..., S, S * 3): long rows for the CPU
        mean, std = (torch.tensor(values, device=device).repeat(self.size_px) for values in (self.mean, self.std))
        return rows.div_(255).sub_(mean).div_(std).view(squares.shape).movedim(-1, 1)


Loaded = tuple[Callable[[torch.Tensor], torch.Tensor], Preprocessing, int]
"""A network on its device that maps (n, 3, ...) to (n, dim), what it expects, and dim."""

Network = TypeVar("Network", bound=nn.Module)


def ready(network: Network, device: str) -> Network:
    """A network in evaluation mode on its device, the weights of its convolutions with the channels last."""
    network = network.eval().requires_grad_(False).to(device)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
        elif isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)
    return network


def resolve_precision(wanted: str, device: str) -> str:
    """`float32` or `bfloat16`; `auto` takes bfloat16 on a CUDA device that computes with it, else float32."""
    if wanted != "auto":
        return wanted
    if torch.device(device).type != "cuda":
        return "float32"
    with torch.cuda.device(device):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


class BatchedNetwork:
    """A network that takes any number of inputs, in batches that fit the memory. Many threads may call it at once.

    `load` builds it at the first call. When memory runs out, the batch size is halved for good.
    """

    def __init__(
        self, load: Callable[[], Loaded], *, device: str, precision: str = "float32", batch_size: int = 64
    ) -> None:
        self.device, self.precision, self.batch_size = device, precision, batch_size
        self._load, self._lock = load, Lock()
        self._loaded: Loaded | None = None
        self._was_halved = False

    @property
    def loaded(self) -> Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    @property
    def expects(self) -> Preprocessing:
        return self.loaded[1]

    def __call__(self, num_inputs: int, prepare: Callable[[range], torch.Tensor]) -> Float32:
        """Outputs (num_inputs, dim) of the network; `prepare` makes the input tensor of a range of inputs.

        Raises MuldeError when the memory does not even hold one input.
        """
        _, expects, dim = self.loaded
        values = np.zeros((num_inputs, dim), np.float32)
        start = 0
        while start < num_inputs:
            batch_size = self.batch_size
            if self.device == "cpu":
                batch_size = min(batch_size, max(1, _CPU_PICTURES // expects.frames))
            rows = range(start, min(start + batch_size, num_inputs))
            output = self._run(prepare, rows)
            if output is None:
                self._halve(len(rows))
            else:
                values[rows.start : rows.stop] = output
                start = rows.stop
        return values

    def _run(self, prepare: Callable[[range], torch.Tensor], rows: range) -> Float32 | None:
        """Outputs of one batch, None when the memory does not hold it."""
        kind = torch.device(self.device).type
        try:
            with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
                output: Float32 = self.loaded[0](prepare(rows)).float().cpu().numpy()
                return output
        except (MemoryError, RuntimeError) as error:
            known = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
            if not known and not any(words in str(error) for words in _OUT_OF_MEMORY):
                raise
        if kind == "cuda":
            torch.cuda.empty_cache()  # out here, where the exception no longer holds the tensors of the batch
        return None

    def _halve(self, failed: int) -> None:
        if failed == 1:
            raise MuldeError(
                f"the memory of {self.device} does not hold one input of the network",
                hint="a smaller model, features.precision=bfloat16, or a device with more memory",
            )
        with self._lock:
            self.batch_size = min(self.batch_size, failed // 2)
            if not self._was_halved:
                log.warning(
                    "%s: no memory for %d inputs at once, batches are halved until they fit", self.device, failed
                )
            self._was_halved = True


class NetworkExtractor:
    """What the extractors by a torch network share: the network in batches, and the fingerprint.

    `load` builds the network when the first input comes. `weights` is the path of a local file, whose digest enters
    the fingerprint, or the tag of published weights. `precision` is float32 or bfloat16 (see `resolve_precision`).
    `options` are further settings that change the rows; they enter the fingerprint as well.
    """

    before = after = 0

    def __init__(
        self,
        name: str,
        model: str,
        weights: str,
        load: Callable[[], Loaded],
        *,
        device: str,
        precision: str = "float32",
        batch_size: int = 64,
        options: Fingerprint | None = None,
    ) -> None:
        self.name, self.model, self.weights, self.options = name, model, weights, options or {}
        if is_exported(local_weights(weights)):
            precision = "float32"  # it computes in the format that it was exported in
        self.network = BatchedNetwork(load, device=device, precision=precision, batch_size=batch_size)

    def fingerprint(self) -> Fingerprint:
        precision = {} if self.network.precision == "float32" else {"precision": self.network.precision}
        return {"extractor": self.name, "version": 1, "model": self.model, **self._source, **self.options, **precision}

    @cached_property
    def _source(self) -> Fingerprint:
        """Where the weights come from; read once, because every video asks for the fingerprint."""
        return weights_source(self.weights)
