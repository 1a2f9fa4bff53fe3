"""The training loop of pixel models: AdamW along a cosine, held-out clips decide which weights are kept, checkpoints
let it go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mulde.checkpoint import Checkpoint
from mulde.errors import FitError
from mulde.reconstruction.pixel_model import Clips, PixelProgress

_SAVE_EVERY_S = 60.0
_REPORT_EVERY = 5


class TrainableNet(Protocol):
    """What the loop asks of a network; it is a `torch.nn.Module` as well."""

    def training_loss(self, clips: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of uint8 clips (N, T, S, S, 3). All chance comes from `generator`, on the CPU."""
        ...

    def after_step(self, generator: torch.Generator) -> None:
        """Called when the optimiser has used the gradient of the last loss."""
        ...

    def heldout_loss(self, clips: Tensor) -> Tensor:
        """The mean loss of clips that are not learnt from, in evaluation mode and without a gradient."""
        ...

    def parameter_groups(self) -> Mapping[str, list[torch.nn.Parameter]]:
        """Parameters by the name of what sets their learning rate."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How to train.

    Attributes:
        steps: Training steps.
        batch_size: Clips in a step, drawn with replacement; a step then depends on the generator's state alone.
        lr: Learning rate of AdamW at the first step; it falls to 0 along half a cosine.
        rates: Factors of the learning rate at a step, counted from 0, by the name of the group; 1 for all others.
        betas: Of AdamW.
        eval_every: Steps between two measurements of the held-out loss.
        heldout_clips: The most held-out clips that are measured, spread evenly.
    """

    steps: int
    batch_size: int
    lr: float
    rates: Mapping[str, Callable[[int], float]]
    eval_every: int
    heldout_clips: int
    betas: tuple[float, float] = (0.9, 0.999)


class _Run:
    """The state of a training, all that a checkpoint holds."""

    def __init__(
        self, net: torch.nn.Module, groups: Mapping[str, list[torch.nn.Parameter]], how: Schedule, seed: int
    ) -> None:
        self.net, self.how = net, how
        named = [{"params": parameters, "name": name} for name, parameters in groups.items()]
        self.optimiser = torch.optim.AdamW(named, how.lr, how.betas)
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.best_loss = 0, math.inf
        self.best: dict[str, Tensor] = {}

    def set_rates(self) -> None:
        """Of the step that comes."""
        lr = self.how.lr * (1 + math.cos(math.pi * self.step / self.how.steps)) / 2
        for group in self.optimiser.param_groups:
            factor = self.how.rates.get(group["name"])
            group["lr"] = lr if factor is None else lr * factor(self.step)

    def keep_as_best(self, loss: float) -> None:
        self.best_loss = loss
        self.best = {name: value.clone() for name, value in self.net.state_dict().items()}

    def save(self, checkpoint: Checkpoint) -> None:
        parts: dict[str, dict[str, Tensor]] = {"net": self.net.state_dict(), "best": self.best}
        parts |= {f"adam.{i}": state for i, state in self.optimiser.state_dict()["state"].items()}
        tensors = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        checkpoint.save(
            tensors | {"generator": self.generator.get_state()}, {"step": self.step, "best_loss": self.best_loss}
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from the checkpoint, where there is one."""
        if (saved := checkpoint.load()) is None:
            return
        tensors, facts = saved

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}

        self.step, self.best_loss = facts["step"], facts["best_loss"]
        self.generator.set_state(tensors["generator"])
        self.net.load_state_dict(part("net"))
        device = next(self.net.parameters()).device
        self.best = {name: value.to(device) for name, value in part("best").items()}
        number = sum(len(group["params"]) for group in self.optimiser.param_groups)
        moments = {i: part(f"adam.{i}") for i in range(number)}
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})


def train(
    net: torch.nn.Module,
    clips: Clips,
    heldout: Clips | None,
    how: Schedule,
    *,
    seed: int,
    progress: Callable[[PixelProgress], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train `net`, which is a `TrainableNet`, in place on clips, and leave it in evaluation mode.

    With held-out clips, the weights of the lowest held-out loss are kept, else the last ones. A training that finds its
    checkpoint goes on from there and ends, on a CPU, with the same bits. Raises FitError without a clip, and with the
    step when a loss is not finite.
    """
    if not len(clips):
        raise FitError("training clips", expected="at least one", got="none")
    trainable: TrainableNet = net  # type: ignore[assignment]
    run = _Run(net, trainable.parameter_groups(), how, seed)
    if checkpoint is not None:
        run.resume(checkpoint)
    measured = _chosen(heldout, how.heldout_clips)
    losses: list[Tensor] = []
    saved = time.monotonic()
    while run.step < how.steps:
        net.train()
        run.set_rates()
        drawn = torch.randint(len(clips), (how.batch_size,), generator=run.generator).tolist()
        batch = torch.from_numpy(np.stack([clips[number] for number in drawn]))
        loss = trainable.training_loss(batch, run.generator)
        _finite(loss.detach(), "loss", run.step + 1, how)
        run.optimiser.zero_grad()
        torch.autograd.backward(loss)
        run.optimiser.step()
        trainable.after_step(run.generator)
        run.step += 1
        losses.append(loss.detach())
        is_last = run.step == how.steps
        evaluate = heldout is not None and bool(measured) and (is_last or run.step % how.eval_every == 0)
        if is_last or evaluate or run.step % _REPORT_EVERY == 0:
            mean = float(torch.stack(losses).mean())
            losses = []
            if evaluate and heldout is not None:
                found = _measure(net, trainable, heldout, measured, how)
                if _finite(found, "held-out loss", run.step, how) < run.best_loss:
                    run.keep_as_best(float(found))
            if progress is not None:
                progress(PixelProgress(run.step, how.steps, mean, run.best_loss if run.best else None))
        if checkpoint is not None and (is_last or time.monotonic() - saved >= _SAVE_EVERY_S):
            run.save(checkpoint)
            saved = time.monotonic()
    if run.best:
        net.load_state_dict(run.best)
    net.eval()


def _chosen(heldout: Clips | None, most: int) -> list[int]:
    """Numbers of the held-out clips to be measured."""
    if heldout is None:
        return []
    return [int(number) for number in np.unique(np.linspace(0, len(heldout) - 1, min(most, len(heldout))).round())]


def _measure(
    net: torch.nn.Module, trainable: TrainableNet, heldout: Clips, numbers: list[int], how: Schedule
) -> Tensor:
    net.eval()
    total = torch.zeros(())
    with torch.no_grad():
        for start in range(0, len(numbers), how.batch_size):
            some = numbers[start : start + how.batch_size]
            batch = torch.from_numpy(np.stack([heldout[number] for number in some]))
            total = total + trainable.heldout_loss(batch).cpu() * len(some)
    return total / len(numbers)


def _finite(loss: Tensor, what: str, step: int, how: Schedule) -> float:
    if not torch.isfinite(loss):
        raise FitError(
            f"training, {what}",
            expected="a finite number",
            got=f"{loss.item()} at step {step} of {how.steps}",
            hint=f"a learning rate below {how.lr:g}",
        )
    return float(loss)
