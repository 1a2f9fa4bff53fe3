"""Reverse distillation behind a bending, as a pixel model of single images (DMAD-PPDM, Liu et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from mulde import __version__
from mulde.checkpoint import Checkpoint
from mulde.checkpoint import fingerprint as digest
from mulde.errors import UsageError
from mulde.reconstruction.distillation import Bending, TrainableDistillation, distance_map
from mulde.reconstruction.frames import batches
from mulde.reconstruction.pixel_model import Arrays, Clips, PixelModel, PixelProgress
from mulde.reconstruction.seeding import seeded
from mulde.reconstruction.smoothing import MAP_SIGMA, smoothed
from mulde.reconstruction.state import check_arrays
from mulde.reconstruction.teacher import Teacher, untaught
from mulde.reconstruction.trainer import Schedule, train
from mulde.reconstruction.warping import lengths, warp
from mulde.records import Float32, UInt8
from mulde.section import Section, Text


class DistillationOptions(Section):
    """Sizes of the networks and of their training. The defaults are those of MVTec AD in the paper, but for the blocks:
    these are plain ones of two convolutions here."""

    side: int = Field(256, ge=64, le=1024, multiple_of=32, description="height and width of an image, pixels")
    teacher: Text = Field("wide_resnet50_2", description="network of torchvision that is frozen")
    variant: Literal["image", "pixel"] = Field(
        "image", description="image: the teacher's deepest map goes through a memory; pixel: no memory"
    )
    num_codes: int = Field(200, ge=1, le=10_000, description="prototypes in the memory")
    reduced: int = Field(64, ge=1, le=1024, description="channels of each map beside the memory")
    blocks: int = Field(
        3, ge=1, le=12, description="residual blocks of the bottleneck and of each stage of the student"
    )
    pyramid_width: int = Field(64, ge=1, le=512, description="channels of the bending")
    coarse_px: float = Field(8.0, gt=0, le=64, description="largest coarse offset, pixels")
    fine_px: float = Field(3.0, gt=0, le=64, description="largest fine offset, pixels")
    epochs: int = Field(400, ge=1, le=10_000, description="passes over the images")
    max_steps: int = Field(0, ge=0, le=10_000_000, description="most training steps; 0: as many as the epochs take")
    batch_size: int = Field(8, ge=2, le=1024, description="images in a training step")
    lr: float = Field(5e-3, gt=0, le=1, description="learning rate at the first step; it falls along a cosine")
    eval_every: int = Field(100, ge=1, description="steps between measurements of the loss on held-out images")
    heldout_clips: int = Field(64, ge=1, le=10_000, description="held-out images that are measured")


class DistillationModel(PixelModel):
    """Makes a teacher's maps of an image again from little.

    Its maps: how far the student's maps point from the teacher's, and how far the image had to be bent, in pixels; both
    on the image as it was, smoothed by a Gaussian of 4/256 of the side. teacher: the network of `options.teacher` with
    its weights, for `fit`; what was learnt holds its weights too.
    """

    kind = "ppdm"
    MAPS = ("distillation", "bending")
    NUM_PAST = 0
    OPTIONS = DistillationOptions
    NEEDS_TEACHER = True

    def __init__(self, options: Any, *, seed: int = 0, device: str = "cpu", teacher: nn.Module | None = None) -> None:
        self.options, self.seed, self.device, self.network = options, seed, device, teacher
        self.net: TrainableDistillation | None = None

    @property
    def side(self) -> int:
        return int(self.options.side)

    def fit(
        self,
        clips: Clips,
        heldout: Clips | None = None,
        *,
        progress: Callable[[PixelProgress], None] | None = None,
        checkpoint: Path | None = None,
        fingerprint: str = "",
    ) -> Self:
        how = self.options
        if self.network is None:
            raise UsageError("pixel model ppdm", expected=f"its teacher {how.teacher} with weights", got="none")
        steps = how.epochs * max(len(clips) // how.batch_size, 1)
        if how.max_steps:
            steps = min(steps, how.max_steps)
        schedule = Schedule(
            steps=steps,
            batch_size=how.batch_size,
            lr=how.lr,
            betas=(0.5, 0.999),
            rates={},
            eval_every=how.eval_every,
            heldout_clips=how.heldout_clips,
        )
        net = self._build(self.network, self.seed)
        saved = None
        if checkpoint is not None:
            facts = [fingerprint, how.model_dump(), self.seed, len(clips), self.device, __version__, torch.__version__]
            saved = Checkpoint(checkpoint, digest(facts))
        train(net, clips, heldout, schedule, seed=self.seed, progress=progress, checkpoint=saved)
        self.net = net
        return self

    def _build(self, network: nn.Module, seed: int) -> TrainableDistillation:
        how = self.options
        with seeded(seed):
            return TrainableDistillation(
                Teacher(network, how.teacher),
                num_codes=how.num_codes if how.variant == "image" else 0,
                reduced=how.reduced,
                blocks=how.blocks,
                pyramid_width=how.pyramid_width,
                max_px=(how.coarse_px, how.fine_px),
                cells=how.side // 4,
            ).to(self.device)

    @torch.no_grad()
    def _maps(self, clips: UInt8) -> Float32:
        net = self._fitted()
        maps = np.zeros((len(clips), len(self.MAPS), self.side, self.side), np.float32)
        for some in batches(len(clips), self.device):
            made = net(net.images(torch.from_numpy(clips[some])))
            away = made.bending.undo(distance_map(made.taught, made.made, self.side)[:, None])
            both = torch.cat([away, bent_px(made.bending)], dim=1)
            maps[some] = smoothed(both, MAP_SIGMA * self.side).cpu().numpy()
        return maps

    def arrays(self) -> Arrays:
        return {name: value.cpu().numpy() for name, value in self._fitted().state_dict().items()}

    def restore(self, arrays: Arrays) -> Self:
        net = self._build(untaught(self.options.teacher), 0)
        check_arrays(self.kind, arrays, net.state_dict())
        net.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
        self.net = net.eval()
        return self

    def _fitted(self) -> TrainableDistillation:
        if self.net is None:
            raise UsageError(
                "DistillationModel", expected="a fitted model", got="one before fit", hint="fit(clips) first"
            )
        return self.net


def bent_px(bending: Bending) -> Tensor:
    """How far each pixel of the image was moved, in pixels, (N, 1, H, W): the length of the inverse coarse offset, plus
    that of the inverse fine one where the coarse one has it."""
    coarse, fine = bending.inverse
    total = lengths(coarse)[:, None] + warp(lengths(fine)[:, None], coarse)
    return total * coarse.shape[-1] / 2
