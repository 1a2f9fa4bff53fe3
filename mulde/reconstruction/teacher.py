"""A frozen network that knows pictures, and its maps at a quarter, an eighth and a sixteenth of the side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from mulde.errors import UsageError
from mulde.reconstruction.seeding import seeded

STRIDES = (4, 8, 16)
TIMM = "timm:"
"""Before the name of a network of timm."""
RANDOM = "RANDOM"
"""In place of weights: a teacher that knows nothing, which is a null."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which its networks were trained with
_PROBE = 64


class Teacher(nn.Module):
    """The first stages of a network, frozen and in evaluation mode: those up to the last map of stride 16.

    channels: of its three maps. mean, std: of the pictures that the network was trained with.

    Raises UsageError for a network that has no map at one of the strides.
    """

    channels: tuple[int, ...]
    mean: tuple[float, ...] = _MEAN
    std: tuple[float, ...] = _STD

    def train(self, mode: bool = True) -> Self:
        """It stays as it is: what it knows of pictures includes the means of its normalisation."""
        return super().train(False)

    def normalise(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) from -1 to 1 as the network takes them."""
        mean, std = (torch.tensor(values, device=frames.device)[:, None, None] for values in (self.mean, self.std))
        return ((frames + 1) / 2 - mean) / std

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps (N, C, H/4, W/4), (N, C', H/8, W/8), (N, C'', H/16, W/16) of images (N, 3, H, W), normalised."""
        raise NotImplementedError


def teacher_of(network: nn.Module, name: str) -> Teacher:
    """The teacher that the network of this name makes. Raises UsageError as `Teacher` does."""
    return _TimmTeacher(network, name) if name.startswith(TIMM) else _StagedTeacher(network, name)


class _StagedTeacher(Teacher):
    """Of a network of torchvision whose stages follow each other."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        stages = _stages(network.eval())
        last = _last_of_each_stride(_probed(partial(_through, stages)), name)
        self.ends, self.channels = zip(*last, strict=True)
        self.stages = nn.ModuleList(stages[: self.ends[-1] + 1]).requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        return [x for number, x in enumerate(_through(self.stages, images)) if number in self.ends]


class _TimmTeacher(Teacher):
    """Of a network of timm that gives its intermediate maps."""

    def __init__(self, network: Any, name: str) -> None:
        super().__init__()
        self.mean = tuple(network.pretrained_cfg["mean"])
        self.std = tuple(network.pretrained_cfg["std"])
        network.eval()

        def maps(images: Tensor) -> Iterator[Tensor]:
            yield from network.forward_intermediates(images, intermediates_only=True)

        last = _last_of_each_stride(_probed(maps), name)
        ends, self.channels = zip(*last, strict=True)
        self.ends = network.prune_intermediate_layers(list(ends), prune_head=True)
        self.network = network.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.network.forward_intermediates(images, indices=self.ends, intermediates_only=True)
        return maps


def untaught(name: str) -> nn.Module:
    """A network of torchvision or, behind `timm:`, of timm by its name, with random weights. Raises UsageError for an
    unknown one."""
    if name.startswith(TIMM):
        return _untaught_of_timm(name.removeprefix(TIMM))
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UsageError(
            f"teacher {name!r}", expected=f"a network of torchvision, or {TIMM}NAME", hint="wide_resnet50_2"
        )
    network: nn.Module = models.get_model(name, weights=None)
    return network


def _untaught_of_timm(name: str) -> nn.Module:
    import timm

    plain, _, tag = name.partition(".")
    if not timm.is_model(plain) or (tag and name not in timm.list_pretrained(f"{plain}.*")):
        raise UsageError(f"teacher {TIMM}{name}", expected="a network of timm", hint=f"{TIMM}resnet18.a1_in1k")
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    return network


def random_network(name: str, seed: int) -> nn.Module:
    """Likewise, the same for the same seed."""
    with seeded(seed):
        return untaught(name)


def _stages(network: nn.Module) -> list[nn.Module]:
    features = getattr(network, "features", None)
    return list((features if isinstance(features, nn.Sequential) else network).children())


def _through(stages: nn.ModuleList | list[nn.Module], x: Tensor) -> Iterator[Tensor]:
    for stage in stages:
        x = stage(x)
        yield x


@torch.no_grad()
def _probed(maps: Callable[[Tensor], Iterator[Tensor]]) -> list[tuple[int, ...]]:
    """The shapes of the maps of a picture of 64 pixels, as far as there are any."""
    shapes = []
    try:
        for x in maps(torch.zeros(1, 3, _PROBE, _PROBE)):
            shapes.append(tuple(x.shape))
    except (RuntimeError, TypeError, AttributeError, AssertionError):
        pass  # what comes behind the maps, as a classifier
    return shapes


def _last_of_each_stride(shapes: list[tuple[int, ...]], name: str) -> list[tuple[int, int]]:
    """The number of the last map of each stride, and its channels. Raises UsageError where one is missing."""
    last: dict[int, tuple[int, int]] = {}
    for number, shape in enumerate(shapes):
        if len(shape) == 4 and shape[2] == shape[3] and shape[2] > 1:
            last[_PROBE // shape[2]] = number, shape[1]
    if missing := [stride for stride in STRIDES if stride not in last]:
        raise UsageError(
            f"teacher {name}",
            expected="a network for pictures whose stages follow each other, with maps at strides 4, 8 and 16",
            got=f"none at {missing[0]}",
            hint=f"mobilenet_v2, resnet18, wide_resnet50_2, efficientnet_b0, {TIMM}convnext_tiny.in12k_ft_in1k",
        )
    return [last[stride] for stride in STRIDES]
