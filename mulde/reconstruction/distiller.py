"""Reverse distillation behind a bending, as a pixel model of single images (DMAD-PPDM, Liu et al., CVPR 2023)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from mulde.reconstruction.distillation import Bending, TrainableDistillation, distance_map
from mulde.reconstruction.frames import batches
from mulde.reconstruction.network_model import NetworkModel
from mulde.reconstruction.pixel_model import Clips
from mulde.reconstruction.smoothing import MAP_SIGMA, smoothed
from mulde.reconstruction.teacher import teacher_of, untaught
from mulde.reconstruction.warping import lengths, warp
from mulde.records import Float32, UInt8
from mulde.section import Section, Text


class DistillationOptions(Section):
    """Sizes of the networks and of their training. The defaults are those of MVTec AD in the paper, but for the blocks:
    these are plain ones of two convolutions here."""

    side: int = Field(256, ge=64, le=1024, multiple_of=32, description="height and width of an image, pixels")
    teacher: Text = Field("wide_resnet50_2", description="network of torchvision, or timm:NAME, that is frozen")
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


class DistillationModel(NetworkModel[TrainableDistillation]):
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
    BETAS = (0.5, 0.999)

    def _first_net(self, clips: Clips) -> TrainableDistillation:
        return self._net_of(self.network)

    def _empty_net(self) -> TrainableDistillation:
        return self._net_of(untaught(self.options.teacher))

    def _net_of(self, network: nn.Module) -> TrainableDistillation:
        how = self.options
        return TrainableDistillation(
            teacher_of(network, how.teacher),
            num_codes=how.num_codes if how.variant == "image" else 0,
            reduced=how.reduced,
            blocks=how.blocks,
            pyramid_width=how.pyramid_width,
            max_px=(how.coarse_px, how.fine_px),
            cells=how.side // 4,
        )

    @torch.no_grad()
    def _maps(self, clips: UInt8) -> Float32:
        net = self._fitted(self.net)
        maps = np.zeros((len(clips), len(self.MAPS), self.side, self.side), np.float32)
        for some in batches(len(clips), self.device):
            made = net(net.images(torch.from_numpy(clips[some])))
            away = made.bending.undo(distance_map(made.taught, made.made, self.side)[:, None])
            both = torch.cat([away, bent_px(made.bending)], dim=1)
            maps[some] = smoothed(both, MAP_SIGMA * self.side).cpu().numpy()
        return maps


def bent_px(bending: Bending) -> Tensor:
    """How far each pixel of the image was moved, in pixels, (N, 1, H, W): the length of the inverse coarse offset, plus
    that of the inverse fine one where the coarse one has it."""
    coarse, fine = bending.inverse
    total = lengths(coarse)[:, None] + warp(lengths(fine)[:, None], coarse)
    return total * coarse.shape[-1] / 2
