"""Nearest patches of normal images in a teacher's maps: what a distillation of the same teacher has to beat."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mulde.errors import BundleError
from mulde.reconstruction.frames import as_tensor, batches
from mulde.reconstruction.pixel_model import Arrays, Fitting, PixelModel
from mulde.reconstruction.smoothing import MAP_SIGMA, smoothed
from mulde.reconstruction.state import restored
from mulde.reconstruction.teacher import Teacher, teacher_of, untaught
from mulde.records import Float32, UInt8
from mulde.section import Section, Text

_BANK = "bank"


class PatchOptions(Section):
    """Sizes of the images and of the bank."""

    side: int = Field(256, ge=64, le=1024, multiple_of=32, description="height and width of an image, pixels")
    teacher: Text = Field("wide_resnet50_2", description="network of torchvision, or timm:NAME, that is frozen")
    bank: int = Field(10_000, ge=1, le=1_000_000, description="patches of normal images that are kept, drawn at random")


class PatchModel(PixelModel):
    """How far each patch of an image is from the nearest patch of any normal image.

    A patch is what the teacher's maps at an eighth and a sixteenth of the side say around a cell of the former, each
    averaged over 3 x 3 cells (PatchCore, Roth et al., CVPR 2022, section 3.1; the bank is drawn at random, not chosen).
    Its map is the Euclidean distance, under a Gaussian of 4/256 of the side. Nothing is trained.
    """

    kind = "patches"
    MAPS = ("distance",)
    NUM_PAST = 0
    NEEDS_TEACHER = True
    OPTIONS = PatchOptions

    def __init__(self, options: Any, *, seed: int = 0, device: str = "cpu", teacher: nn.Module | None = None) -> None:
        super().__init__(options, seed=seed, device=device, teacher=teacher)
        self.teacher = None if teacher is None else teacher_of(teacher, options.teacher).to(device)
        self.bank: Tensor | None = None

    def _learn(self, given: Fitting) -> None:
        rng, kept = np.random.default_rng(self.seed), []
        clips = given.clips
        share = -(-self.options.bank // len(clips))  # of each image, so that no image is left out
        for number in range(len(clips)):
            patches = self._patches(clips[number][None])[0]
            chosen = rng.permutation(len(patches))[:share]
            kept.append(patches[torch.from_numpy(chosen)])
            given.report(number + 1)
        bank = torch.cat(kept)
        self.bank = bank[torch.from_numpy(rng.permutation(len(bank))[: self.options.bank])]

    @torch.no_grad()
    def _patches(self, clips: UInt8) -> Tensor:
        """Patches (N, cells, D) of clips (N, 1, S, S, 3)."""
        teacher = self._fitted(self.teacher)
        _, eighth, sixteenth = teacher(teacher.normalise(as_tensor(clips[:, 0], self.device)))
        maps = [functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False) for x in (eighth, sixteenth)]
        size = eighth.shape[2:]
        maps[1] = functional.interpolate(maps[1], size=size, mode="bilinear", align_corners=False)
        return torch.cat(maps, dim=1).flatten(2).movedim(1, 2)

    @torch.no_grad()
    def _maps(self, clips: UInt8) -> Float32:
        bank = self._fitted(self.bank)
        maps = np.zeros((len(clips), 1, self.side, self.side), np.float32)
        for some in batches(len(clips), self.device):
            patches = self._patches(clips[some])
            away = torch.cdist(patches.flatten(0, 1), bank).min(dim=1).values
            cells = self.side // 8
            grid = away.view(len(patches), 1, cells, cells)
            whole = functional.interpolate(grid, size=(self.side, self.side), mode="bilinear", align_corners=False)
            maps[some] = smoothed(whole, MAP_SIGMA * self.side).cpu().numpy()
        return maps

    def arrays(self) -> Arrays:
        state = _Stored(self._fitted(self.teacher), 0).state_dict()
        state |= {_BANK: self._fitted(self.bank)}
        return {name: value.cpu().numpy() for name, value in state.items()}

    def restore(self, arrays: Arrays) -> Self:
        bank = arrays.get(_BANK)
        if bank is None or bank.ndim != 2 or not 0 < len(bank) <= self.options.bank:
            raise BundleError(f"stored model {self.kind}, {_BANK}", expected="a table of patches", got="another")

        def build() -> _Stored:
            return _Stored(teacher_of(untaught(self.options.teacher), self.options.teacher), len(bank))

        stored = restored(self.kind, build, arrays, self.device)
        self.teacher, self.bank = stored.teacher, stored.bank
        return self


class _Stored(nn.Module):
    """What is kept in a file: a teacher and the patches (num_patches, D) that it made."""

    def __init__(self, teacher: Teacher, num_patches: int) -> None:
        super().__init__()
        self.teacher = teacher
        self.bank: Tensor
        self.register_buffer(_BANK, torch.empty(num_patches, teacher.channels[1] + teacher.channels[2]))
