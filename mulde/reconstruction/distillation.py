"""The network of DMAD-PPDM (Liu et al., CVPR 2023, section 3.4): reverse distillation of a teacher's maps, on an image
that was bent before.

An image is bent towards what is common, a frozen teacher makes maps of it, a bottleneck keeps little of them, and a
student makes the maps again from that (reverse distillation: Deng & Li, CVPR 2022). Where it cannot, something is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mulde.reconstruction.frames import as_tensor
from mulde.reconstruction.losses import mean_length, roughness
from mulde.reconstruction.memory import Memory, Recall
from mulde.reconstruction.positions import normalised
from mulde.reconstruction.pyramid import Deformation, Head, Trunk
from mulde.reconstruction.teacher import Teacher
from mulde.reconstruction.warping import warp

_ROUGHNESS_PX = 3


class Bending(NamedTuple):
    """The fields that bend an image, and those that undo it.

    Attributes:
        forward: What bends, coarse before fine.
        inverse: What undoes it, fine before coarse.
    """

    forward: Deformation
    inverse: Deformation

    def bend(self, image: Tensor) -> Tensor:
        return warp(warp(image, self.forward.coarse), self.forward.fine)

    def undo(self, image: Tensor) -> Tensor:
        return warp(warp(image, self.inverse.fine), self.inverse.coarse)


class BendingNet(nn.Module):
    """How an image is to be bent, and unbent: four heads on one trunk."""

    def __init__(self, width: int, max_px: tuple[float, float], cells: int) -> None:
        super().__init__()
        self.trunk = Trunk(3, width, 1, cells)
        coarse, fine = (2, 2, 2, 1), (2, 1)
        heads = ((coarse, max_px[0]), (fine, max_px[1])) * 2
        self.heads = nn.ModuleList([Head(2 * width, width, strides, reach) for strides, reach in heads])

    def forward(self, image: Tensor) -> Bending:
        """Of images (N, 3, H, W)."""
        x, size = self.trunk(image), (image.shape[2], image.shape[3])
        coarse, fine, inverse_coarse, inverse_fine = (head(x, size) for head in self.heads)
        return Bending(Deformation(coarse, fine), Deformation(inverse_coarse, inverse_fine))


class Distilled(NamedTuple):
    """What the network makes of images (N, 3, H, W).

    Attributes:
        bending: How they were bent.
        taught: The teacher's maps of the bent images.
        made: The student's.
        recall: What the memory found, and `features` what was looked up; None without a memory.
        undone: The images, bent and unbent.
    """

    bending: Bending
    taught: list[Tensor]
    made: list[Tensor]
    features: Tensor | None
    recall: Recall | None
    undone: Tensor


class DistillationNet(nn.Module):
    """Bending, teacher, bottleneck and student.

    Args:
        teacher: Frozen.
        num_codes: Prototypes of the teacher's deepest map; 0: no memory, and the deepest map takes no other way than
            the others ("px" in the authors' code).
        reduced: Channels that each map has where it enters the bottleneck beside the memory.
        blocks: Residual blocks of the bottleneck, and of each stage of the student.
        pyramid_width: Channels of the bending.
        max_px: The largest coarse and the largest fine offset along an axis, in pixels.
        cells: Cells of the position channels along a side.
    """

    def __init__(
        self,
        teacher: Teacher,
        *,
        num_codes: int,
        reduced: int,
        blocks: int,
        pyramid_width: int,
        max_px: tuple[float, float],
        cells: int,
    ) -> None:
        super().__init__()
        self.teacher, channels = teacher, teacher.channels
        deepest = channels[-1]
        self.bending = BendingNet(pyramid_width, max_px, cells)
        self.memory = Memory(num_codes, deepest) if num_codes else None
        enters = reduced if num_codes else deepest
        self.reduce = nn.ModuleList(
            [_reduction(c, enters, halvings) for c, halvings in zip(channels, (2, 1, 0), strict=True)]
        )
        gathered = 3 * enters + (deepest if num_codes else 0)
        self.bottleneck = _residuals(gathered, 2 * deepest, blocks, stride=2)
        widths = (2 * deepest, deepest, channels[1], channels[0])
        self.doublers = nn.ModuleList([nn.ConvTranspose2d(i, o, 2, 2) for i, o in pairwise(widths)])
        self.student = nn.ModuleList([_residuals(c, c, blocks) for c in widths[1:]])
        self.to_maps = nn.ModuleList([nn.Conv2d(c, c, 1) for c in widths[1:]])  # a teacher's maps may have any sign

    def forward(self, images: Tensor) -> Distilled:
        """Of images (N, 3, H, W), normalised as the teacher takes them; sides are multiples of 32."""
        bending = self.bending(images)
        bent = bending.bend(images)
        taught = self.teacher(bent)
        gathered = [reduce(x) for reduce, x in zip(self.reduce, taught, strict=True)]
        recall = features = None
        if self.memory is not None:
            features = taught[-1]
            recall = self.memory(features)
            gathered.append(recall.codes)
        x = self.bottleneck(torch.cat(gathered, dim=1))
        made = []
        for double, blocks, to_map in zip(self.doublers, self.student, self.to_maps, strict=True):
            x = blocks(double(x))
            made.append(to_map(x))
        return Distilled(bending, taught, made[::-1], features, recall, bending.undo(bent))

    def loss(self, made: Distilled, images: Tensor) -> Tensor:
        """How far the student's maps point from the teacher's, what the memory asks for, and what keeps the fields
        short, smooth and undone."""
        loss = distance(made.taught, made.made) + functional.mse_loss(made.undone, images)
        loss = loss + mean_length(made.bending.forward.coarse) + mean_length(made.bending.forward.fine)
        for field in (*made.bending.forward, *made.bending.inverse):
            loss = loss + roughness(field, _ROUGHNESS_PX)
        return loss if made.recall is None else loss + made.recall.loss


class TrainableDistillation(DistillationNet):
    """The network as the training loop takes it."""

    _last: Distilled | None = None

    def training_loss(self, clips: Tensor, generator: torch.Generator) -> Tensor:
        images = self.images(clips)
        made = self._last = self(images)
        return self.loss(made, images)

    def after_step(self, generator: torch.Generator) -> None:
        made = self._last
        if self.memory is not None and made is not None and made.features is not None and made.recall is not None:
            self.memory.renew(made.features.detach(), made.recall.nearest, generator)
        self._last = None

    def heldout_loss(self, clips: Tensor) -> Tensor:
        made = self(self.images(clips))
        return distance(made.taught, made.made)

    def images(self, clips: Tensor) -> Tensor:
        """The pictures of clips (N, 1, S, S, 3), normalised."""
        device = next(self.student.parameters()).device
        return self.teacher.normalise(as_tensor(clips[:, 0], str(device)))

    def parameter_groups(self) -> Mapping[str, list[torch.nn.Parameter]]:
        return {"all": [value for value in self.parameters() if value.requires_grad]}


def distance(taught: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """The sum over scales of 1 - cosine between two maps (N, C, H, W), each taken as one long vector; the
    mean over N."""
    return sum(
        (
            (1 - functional.cosine_similarity(t.flatten(1), m.flatten(1))).mean()
            for t, m in zip(taught, made, strict=True)
        ),
        torch.zeros((), device=made[0].device),
    )


def distance_map(taught: Sequence[Tensor], made: Sequence[Tensor], side: int) -> Tensor:
    """Likewise at each place, (N, side, side): the sum over scales, each stretched to the side."""
    total = torch.zeros((), device=made[0].device)
    for t, m in zip(taught, made, strict=True):
        away = (1 - functional.cosine_similarity(t, m)).clamp(min=0)[:, None]
        total = total + functional.interpolate(away, size=(side, side), mode="bilinear", align_corners=True)
    return total[:, 0]


def _reduction(in_channels: int, out_channels: int, halvings: int) -> nn.Sequential:
    """To `out_channels` channels, with the side halved that often."""
    first = normalised(nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False), out_channels)
    halves = [
        normalised(nn.Conv2d(out_channels, out_channels, 3, 2, 1, bias=False), out_channels) for _ in range(halvings)
    ]
    return nn.Sequential(first, *halves)


class _Residual(nn.Module):
    """Two 3 x 3 convolutions with a way around them."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first = normalised(nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False), out_channels)
        self.second = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False), nn.BatchNorm2d(out_channels)
        )
        self.around: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.around = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.around(x))


def _residuals(in_channels: int, out_channels: int, count: int, stride: int = 1) -> nn.Sequential:
    rest = [_Residual(out_channels, out_channels) for _ in range(count - 1)]
    return nn.Sequential(_Residual(in_channels, out_channels, stride), *rest)
