"""A frozen network that knows pictures, and its maps at a quarter, an eighth and a sixteenth of the side."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mulde.errors import UsageError
from mulde.reconstruction.seeding import seeded

STRIDES = (4, 8, 16)
RANDOM = "RANDOM"
"""In place of weights: a teacher that knows nothing, which is a null."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which its networks were trained with
_PROBE = 64


class Teacher(nn.Module):
    """The first stages of a network of torchvision, frozen and in evaluation mode: those up to the last map of stride
    16. `channels` of its three maps.

    Raises UsageError for a network whose stages do not follow each other, or that has no map at one of the strides.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        stages = _stages(network)
        self.ends, self.channels = _ends(stages, name)
        self.stages = nn.ModuleList(stages[: self.ends[-1] + 1]).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Teacher:
        """It stays as it is: what it knows of pictures includes the means of its normalisation."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps (N, C, H/4, W/4), (N, C', H/8, W/8), (N, C'', H/16, W/16) of images (N, 3, H, W), normalised."""
        return [x for number, x in enumerate(_through(self.stages, images)) if number in self.ends]


def normalise(frames: Tensor) -> Tensor:
    """Frames (N, 3, H, W) from -1 to 1 as ImageNet's networks take them."""
    mean, std = (torch.tensor(values, device=frames.device)[:, None, None] for values in (_MEAN, _STD))
    return ((frames + 1) / 2 - mean) / std


def untaught(name: str) -> nn.Module:
    """A network of torchvision by its name, with random weights. Raises UsageError for an unknown one."""
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UsageError(f"teacher {name!r}", expected="a network of torchvision for pictures", hint="wide_resnet50_2")
    network: nn.Module = models.get_model(name, weights=None)
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
def _ends(stages: list[nn.Module], name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The number of the last stage of each stride, and the channels there."""
    last: dict[int, tuple[int, int]] = {}
    for stage in stages:
        stage.eval()
    try:
        for number, x in enumerate(_through(stages, torch.zeros(1, 3, _PROBE, _PROBE))):
            if x.ndim == 4 and x.shape[2] == x.shape[3] and x.shape[2] > 1:
                last[_PROBE // x.shape[2]] = number, x.shape[1]
    except (RuntimeError, TypeError, AttributeError, AssertionError):
        pass  # what comes behind the maps, as a classifier
    if missing := [stride for stride in STRIDES if stride not in last]:
        raise UsageError(
            f"teacher {name}",
            expected="a network of torchvision whose stages follow each other, with maps at strides 4, 8 and 16",
            got=f"none at {missing[0]}",
            hint="mobilenet_v2, resnet18, wide_resnet50_2, efficientnet_b0, convnext_tiny",
        )
    return tuple(last[stride][0] for stride in STRIDES), tuple(last[stride][1] for stride in STRIDES)
