"""What the pixel models of one trained network share: training, checkpoints, state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import nn

from mulde import __version__
from mulde.checkpoint import Checkpoint
from mulde.checkpoint import fingerprint as digest
from mulde.reconstruction.pixel_model import Arrays, Clips, Fitting, PixelModel
from mulde.reconstruction.seeding import seeded
from mulde.reconstruction.state import restored
from mulde.reconstruction.trainer import Schedule, train

Net = TypeVar("Net", bound=nn.Module)


class NetworkModel(PixelModel, Generic[Net]):
    """A pixel model whose `net` is a `trainer.TrainableNet`. Its options say how long and how fast to train.

    BETAS: of AdamW.
    """

    BETAS: ClassVar[tuple[float, float]] = (0.9, 0.999)
    net: Net | None = None

    @abstractmethod
    def _first_net(self, clips: Clips) -> Net:
        """The network that training on clips begins with; chance comes from torch's own state."""

    @abstractmethod
    def _empty_net(self) -> Net:
        """A network of the same shape, whatever its weights."""

    def _rates(self, num_steps: int) -> Mapping[str, Callable[[int], float]]:
        """Of a training of that many steps, as `trainer.Schedule` has them."""
        return {}

    def _course(self) -> list[Any]:
        """What decides the course of a training beside options, seed, clips, device and versions."""
        return []

    def _learn(self, given: Fitting) -> None:
        how, clips = self.options, given.clips
        steps = how.epochs * max(len(clips) // how.batch_size, 1)
        steps = min(steps, how.max_steps or steps)
        schedule = Schedule(
            steps=steps,
            batch_size=how.batch_size,
            lr=how.lr,
            betas=self.BETAS,
            rates=self._rates(steps),
            eval_every=how.eval_every,
            heldout_clips=how.heldout_clips,
        )
        with seeded(self.seed):
            net = self._first_net(clips).to(self.device)
        net = net.to(memory_format=torch.channels_last)  # a quarter faster
        saved = None
        if given.checkpoint is not None:
            versions = [self.device, *self._course(), __version__, torch.__version__]
            saved = Checkpoint(
                given.checkpoint, digest([given.fingerprint, how.model_dump(), self.seed, len(clips), *versions])
            )
        train(net, clips, given.heldout, schedule, seed=self.seed, progress=given.progress, checkpoint=saved)
        self.net = net

    def arrays(self) -> Arrays:
        return {name: value.cpu().numpy() for name, value in self._fitted(self.net).state_dict().items()}

    def restore(self, arrays: Arrays) -> Self:
        self.net = restored(self.kind, self._empty_net, arrays, self.device)
        return self
