"""The network of DMAD-PDM (Liu et al., CVPR 2023, section 3): a frame predicted from those before it.

A memory of prototypes draws the frame, a coarse and a fine field of offsets bend it, and a background shows wherever a
mask says so. Sizes and loss follow what the authors' code computes on UCSD Ped2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mulde.reconstruction.losses import gradient_difference, mean_length, roughness
from mulde.reconstruction.memory import Memory, Recall
from mulde.reconstruction.positions import Places, PositionBlock, normalised
from mulde.reconstruction.pyramid import Deformation, DeformationPyramid
from mulde.reconstruction.warping import warp

NUM_PAST = 4
"""Frames that the next one is predicted from."""
_COLOURS = 3
_CELLS = 32
_GRADIENT_WEIGHTS = (0.25, 1.0)
_LENGTH_WEIGHT = 0.1
_ROUGHNESS_WEIGHT = 0.25
_ROUGHNESS_PX = (7, 3)


class Prediction(NamedTuple):
    """What the network makes of clips (N, 12, H, W).

    Attributes:
        reference: The frame that the memory draws, (N, 3, H, W), from -1 to 1.
        coarse: The frame after coarse bending, over the background, (N, 3, H, W).
        fine: The frame after both, which is the prediction, (N, 3, H, W).
        shown: How much of each pixel and colour of it is not background, (N, 3, H, W), from 0 to 1.
        deformation: The fields that bent it.
        features: What was looked up in the memory, (N, 8 width, H/8, W/8).
        recall: What was found there.
        background: What the clips show of it, (N, 3, H, W).
    """

    reference: Tensor
    coarse: Tensor
    fine: Tensor
    shown: Tensor
    deformation: Deformation
    features: Tensor
    recall: Recall
    background: Tensor


class PredictionNet(nn.Module):
    """Predicts a frame from the four before it.

    Args:
        background: Of the training clips, (3, side, side) from -1 to 1: where its learning begins.
        width: Channels of the first encoder block; the three that follow double them.
        num_codes: Codes in the memory, of 8 width numbers each.
        side_width: Channels of each path that leads around the memory; no gradient goes back through these.
        pyramid_width: Channels of the deformation pyramid.
        max_px: The largest coarse and the largest fine offset along an axis, in pixels.
    """

    def __init__(
        self,
        background: Tensor,
        *,
        width: int,
        num_codes: int,
        side_width: int,
        pyramid_width: int,
        max_px: tuple[float, float],
    ) -> None:
        super().__init__()
        w, s, channels = width, side_width, _COLOURS * NUM_PAST
        self.background = nn.Parameter(background.clone())
        self.pyramid = DeformationPyramid(
            channels, pyramid_width, stride=1, coarse=(1, 2, 2), fine=(1, 1), max_px=max_px, cells=_CELLS
        )
        self.encoder = nn.ModuleList([_block(channels, w), _block(w, 2 * w), _block(2 * w, 4 * w), _last(4 * w, 8 * w)])
        self.around = nn.ModuleList([_block(4 * w, s), _block(8 * w, s)])  # at a quarter and an eighth of the side
        self.mask_doubler = nn.ConvTranspose2d(2 * w, w, 2, 2)
        self.to_mask = nn.Sequential(_block(2 * w, w), nn.Conv2d(w, _COLOURS, 3, 1, 1))
        self.memory = Memory(num_codes, 8 * w)
        self.decoder = nn.ModuleList(
            [PositionBlock(8 * w + s, 8 * w), PositionBlock(4 * w + s, 4 * w), PositionBlock(2 * w, 2 * w)]
        )
        self.doublers = nn.ModuleList([nn.ConvTranspose2d(2 * c, c, 2, 2) for c in (4 * w, 2 * w, w)])
        self.to_frame = nn.Sequential(_block(w, w), nn.Conv2d(w, _COLOURS, 3, 1, 1))

    def forward(self, past: Tensor, places: Places | None = None) -> Prediction:
        """Of past frames (N, 12, H, W) from -1 to 1, oldest first: whole frames, or what they show at `places`."""
        full = self.encoder[0](past)  # (N, w, H, W)
        half = self.encoder[1](functional.max_pool2d(full, 2))
        quarter = self.encoder[2](functional.max_pool2d(half, 2))
        features = self.encoder[3](functional.max_pool2d(quarter, 2))  # (N, 8w, H/8, W/8)
        mask = torch.sigmoid(self.to_mask(torch.cat([self.mask_doubler(half), full], dim=1)))
        recall = self.memory(features)
        x = self.decoder[0](torch.cat([recall.codes, self.around[1](features.detach())], dim=1), places)
        x = torch.cat([self.doublers[0](x), self.around[0](quarter.detach())], dim=1)
        x = self.doublers[1](self.decoder[1](x, places))
        x = self.doublers[2](self.decoder[2](x, places))
        reference = torch.tanh(self.to_frame(x))
        deformation = self.pyramid(past, places)
        background = self._background(past, places)
        over, bent = [], torch.cat([reference, mask], dim=1)
        shown = mask
        for field in deformation:
            bent = warp(bent, field)
            frame, shown = bent[:, :_COLOURS], bent[:, _COLOURS:]
            over.append(frame * shown + (1 - shown) * background.detach())
        return Prediction(reference, over[0], over[1], shown, deformation, features, recall, background)

    def _background(self, past: Tensor, places: Places | None) -> Tensor:
        height, width = past.shape[2:]
        if places is None:
            return self.background.expand(len(past), -1, -1, -1)
        corners = torch.round(places.corners * self.background.shape[1]).long().tolist()
        return torch.stack([self.background[:, top : top + height, left : left + width] for top, left in corners])

    def loss(self, made: Prediction, frame: Tensor) -> Tensor:
        """Of predictions against the frames (N, 3, H, W) that came: squared errors and gradient differences, what the
        memory asks for, what keeps the fields short and smooth, and the squared error of the background alone.

        Lengths are in half sides of whole frames, whatever part of them the clips show.
        """
        share = frame.shape[2] / self.background.shape[1]
        loss = made.recall.loss + functional.mse_loss(made.background, frame)
        for bent, weight in zip((made.coarse, made.fine), _GRADIENT_WEIGHTS, strict=True):
            loss = loss + functional.mse_loss(bent, frame) + weight * gradient_difference(bent, frame)
        for field, size in zip(made.deformation, _ROUGHNESS_PX, strict=True):
            loss = loss + share * (_LENGTH_WEIGHT * mean_length(field) + _ROUGHNESS_WEIGHT * roughness(field, size))
        return loss


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with batch normalisation and ReLU."""
    return nn.Sequential(
        *(normalised(_conv(i, out_channels, bias=False), out_channels) for i in (in_channels, out_channels))
    )


def _last(in_channels: int, out_channels: int) -> nn.Sequential:
    """As `_block`, but with nothing behind the second convolution: what is looked up may have any sign."""
    return nn.Sequential(
        normalised(_conv(in_channels, out_channels, bias=False), out_channels), _conv(out_channels, out_channels)
    )


def _conv(in_channels: int, out_channels: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=bias)
