"""Three small networks that reconstruct handwritten digits: a memory alone, with a skip beside it, with a deformation.

They show what the deformation is for (the toy of DMAD, Liu et al., CVPR 2023): a memory of prototypes cannot draw
normal digits in all their variety, a skip around it draws anomalies too, prototypes that may be bent draw the variety
and little else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mulde.errors import FitError
from mulde.reconstruction.losses import gradient_difference, mean_length, roughness
from mulde.reconstruction.memory import Memory, Recall
from mulde.reconstruction.positions import normalised
from mulde.reconstruction.pyramid import Deformation, DeformationPyramid
from mulde.reconstruction.seeding import seeded
from mulde.reconstruction.warping import lengths, warp

SIDE = 32
"""Height and width of the images, in pixels."""
VARIANTS = ("memory", "skip", "deformation")
_CELLS = 8
_SIDES = (2, 4, 8, 16, 32)  # of the images in the decoder, in pixels
_READ_AT_ONCE = 500


@dataclass(frozen=True)
class DigitOptions:
    """Sizes of the networks and of their training, the same for all three.

    Attributes:
        width: Channels at half the side of the image; twice as many at a quarter, four times below.
        num_codes: Codes in the memory, prototypes of whole images.
        dim: Numbers in a code.
        pyramid_width: Channels of the deformation pyramid.
        max_px: The largest coarse and the largest fine offset along an axis, in pixels.
        steps: Training steps.
        batch_size: Images in a step.
        lr: Learning rate of AdamW at the first step; it falls to 0 along a cosine.
        gradient_weight: Weight of the gradient difference, a quarter of it for the image after coarse bending alone.
        length_weight: Weight of the mean length of the offsets.
        roughness_weight: Weight of their roughness, on 7 x 7 pixels for the coarse ones and 3 x 3 for the fine ones.
    """

    width: int = 16
    num_codes: int = 64
    dim: int = 64
    pyramid_width: int = 16
    max_px: tuple[float, float] = (4.0, 2.0)
    steps: int = 800
    batch_size: int = 64
    lr: float = 2e-3
    gradient_weight: float = 0.2
    length_weight: float = 0.1
    roughness_weight: float = 0.25


class Reconstruction(NamedTuple):
    """What a network makes of images (N, 1, 32, 32).

    Attributes:
        reference: The image that the memory gives, (N, 1, 32, 32), from 0 to 1.
        bent: The reference after coarse and after fine bending; without a deformation, nothing.
        deformation: The fields that bent it, or None.
        features: What was looked up in the memory, (N, D, 1, 1).
        recall: What was found there.
    """

    reference: Tensor
    bent: tuple[Tensor, ...]
    deformation: Deformation | None
    features: Tensor
    recall: Recall

    @property
    def output(self) -> Tensor:
        """The reconstruction, (N, 1, 32, 32)."""
        return (self.reference, *self.bent)[-1]


class DigitNet(nn.Module):
    """One of `VARIANTS`."""

    def __init__(self, variant: str, options: DigitOptions) -> None:
        super().__init__()
        w = options.width
        self.options = options
        widths = (w, 2 * w, 4 * w, 4 * w, 4 * w)  # at 16, 8, 4, 2 and 1 pixels a side
        self.encoder = nn.ModuleList(
            [normalised(nn.Conv2d(i, o, 3, 2, 1, bias=False), o) for i, o in pairwise((1, *widths))]
        )
        self.to_code = nn.Conv2d(widths[-1], options.dim, 1)
        self.memory = Memory(options.num_codes, options.dim)
        self.from_code = normalised(nn.Conv2d(options.dim, widths[-1], 1, bias=False), widths[-1])
        self.has_skip = variant == "skip"
        steps = list(pairwise((*reversed(widths), max(w // 2, 1))))
        self.doublers = nn.ModuleList([nn.ConvTranspose2d(i, o, 2, 2) for i, o in steps])
        beside = [w if self.has_skip and side == SIDE // 2 else 0 for side in _SIDES]
        self.decoder = nn.ModuleList([
            normalised(nn.Conv2d(o + more, o, 3, 1, 1, bias=False), o)
            for (_, o), more in zip(steps, beside, strict=True)
        ])  # fmt: skip
        self.to_image = nn.Conv2d(steps[-1][1], 1, 3, 1, 1)
        self.pyramid = _pyramid(options) if variant == "deformation" else None

    def forward(self, images: Tensor) -> Reconstruction:
        """Of images (N, 1, 32, 32) from 0 to 1."""
        halves = x = self.encoder[0](images)  # (N, w, 16, 16)
        for halve in self.encoder[1:]:
            x = halve(x)
        features = self.to_code(x)  # (N, D, 1, 1)
        recall = self.memory(features)
        x = self.from_code(recall.codes)
        for side, double, decode in zip(_SIDES, self.doublers, self.decoder, strict=True):
            x = double(x)  # (N, ., side, side)
            x = decode(torch.cat([x, halves], dim=1) if self.has_skip and side == SIDE // 2 else x)
        reference = torch.sigmoid(self.to_image(x))
        if self.pyramid is None:
            return Reconstruction(reference, (), None, features, recall)
        deformation = self.pyramid(images)
        coarse = warp(reference, deformation.coarse)
        return Reconstruction(reference, (coarse, warp(coarse, deformation.fine)), deformation, features, recall)

    def loss(self, made: Reconstruction, images: Tensor) -> Tensor:
        """Squared error and gradient difference of every image that is held against the input, what the memory asks
        for, and what keeps the fields short and smooth."""
        how = self.options
        loss = made.recall.loss + functional.mse_loss(made.output, images)
        loss = loss + how.gradient_weight * gradient_difference(made.output, images)
        if made.deformation is None:
            return loss
        coarse, fine = made.deformation
        loss = loss + functional.mse_loss(made.bent[0], images)
        loss = loss + how.gradient_weight / 4 * gradient_difference(made.bent[0], images)
        loss = loss + how.length_weight * (mean_length(coarse) + mean_length(fine))
        return loss + how.roughness_weight * (roughness(coarse, 7) + roughness(fine, 3))


def _pyramid(options: DigitOptions) -> DeformationPyramid:
    """On half the side, so fields of 4 x 4 and 16 x 16 offsets."""
    return DeformationPyramid(
        1, options.pyramid_width, stride=2, coarse=(2, 2, 1), fine=(1, 1), max_px=options.max_px, cells=_CELLS
    )


def train_digits(
    variant: str,
    images: Tensor,
    options: DigitOptions,
    *,
    seed: int,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> DigitNet:
    """Train one of `VARIANTS` on images (N, 1, 32, 32) from 0 to 1.

    All variants see the same batches in the same order. progress: called after each step, with the mean squared error
    of its batch. The last weights are kept. With the same seed and number of threads, a CPU gives the same bits. Raises
    FitError when a loss is not finite.
    """
    with seeded(seed):
        net = DigitNet(variant, options).to(device).train()
    births = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), options.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    for chosen in islice(_draw_batches(len(images), options.batch_size, seed), options.steps):
        batch = images[chosen].to(device)
        made = net(batch)
        loss = net.loss(made, batch)
        if not torch.isfinite(loss):
            raise FitError(
                "the loss of the reconstruction is not finite", got=loss.item(), hint="a smaller learning rate"
            )
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        net.memory.renew(made.features, made.recall.nearest, births)
        if progress is not None:
            progress(float(functional.mse_loss(made.output.detach(), batch)))
    return net.eval()


def _draw_batches(num_images: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Numbers of images, in full batches, from one shuffled order after the other; without end."""
    generator = torch.Generator().manual_seed(seed)
    batch_size = min(batch_size, num_images)
    while True:
        order = torch.randperm(num_images, generator=generator)
        yield from torch.split(order[: num_images // batch_size * batch_size], batch_size)


class DigitReading(NamedTuple):
    """Of each image (N,): the mean squared error, and the mean length of its deformation in pixels, or None."""

    error: Tensor
    bending_px: Tensor | None


@torch.no_grad()
def score_digits(net: DigitNet, images: Tensor) -> DigitReading:
    """Scores of images (N, 1, 32, 32), higher = more anomalous, on the CPU; the net is left in evaluation mode."""
    net.eval()
    device = next(net.parameters()).device
    errors, bendings = [], []
    for batch in torch.split(images, _READ_AT_ONCE):
        batch = batch.to(device)
        made = net(batch)
        errors.append((made.output - batch).square().mean(dim=(1, 2, 3)).cpu())
        if made.deformation is not None:
            bendings.append(lengths(made.deformation.total()).mean(dim=(1, 2)).cpu() * (SIDE - 1) / 2)
    return DigitReading(torch.cat(errors), torch.cat(bendings) if bendings else None)
