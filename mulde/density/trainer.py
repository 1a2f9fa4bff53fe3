"""The training loop: Adam on noisy rows, held-out rows decide which weights are kept."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mulde.density.energy import EnergyNet
from mulde.density.noise import draw_noise, fixed_noise
from mulde.density.objective import dsm_loss, training_loss
from mulde.density.rows import Progress
from mulde.errors import FitError

SCHEDULES = ("constant", "linear")
_REPORT_EVERY = 10
_HELDOUT_DRAWS = (2048, 4096)
_HELDOUT_SEED = 20240617  # fixed, so that held-out losses of runs with different seeds can be compared


@dataclass(frozen=True)
class Training:
    """How to train. `schedule`: "constant", or "linear": the rate falls in a straight line to 0 at the last step."""

    steps: int
    batch_size: int
    lr: float
    schedule: str
    beta: float
    sigma_low: float
    sigma_high: float
    eval_every: int
    patience: int
    seed: int


@dataclass
class Trained:
    """What came of it: steps done, the step whose weights were kept, their held-out L_dsm (None without held-out)."""

    num_steps: int = 0
    best_step: int = 0
    heldout_loss: float | None = None


@dataclass
class _HeldOut:
    """L_dsm on held-out rows under noise drawn once; keeps the weights of the lowest."""

    x: Tensor
    s: Tensor
    z: Tensor
    loss: float = math.inf
    step: int = 0
    num_worse: int = 0
    weights: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Tensor, how: Training) -> _HeldOut:
        """Few rows are used several times, many are thinned evenly."""
        least, most = _HELDOUT_DRAWS
        num_draws = min(max(len(rows), least), most)
        index = torch.arange(num_draws) % len(rows)
        if len(rows) > most:
            index = torch.linspace(0, len(rows) - 1, most).long()
        s, z = fixed_noise(num_draws, rows.shape[1], how.sigma_low, how.sigma_high, _HELDOUT_SEED)
        return cls(rows[index.to(rows.device)], s.to(rows.device), z.to(rows.device))

    def measure(self, net: EnergyNet, step: int) -> float:
        loss = dsm_loss(net, self.x, self.s, self.z)
        if loss < self.loss:
            self.loss, self.step, self.num_worse = loss, step, 0
            self.weights = copy.deepcopy(net.state_dict())
        else:
            self.num_worse += 1
        return loss


def train(
    net: EnergyNet, rows: Tensor, heldout: Tensor | None, how: Training, progress: Progress | None = None
) -> Trained:
    """Train `net` in place on standardised rows (N, D) float32; `heldout` (M, D) likewise, both on the net's device.

    A step takes min(batch_size, N) rows drawn with replacement: a step then depends on the generator's state alone.
    With held-out rows their L_dsm, under noise drawn once, is measured every `eval_every` steps; training stops after
    `patience` measurements without a new minimum, and the weights of the minimum are kept. Without them it runs to the
    end. Raises FitError, with the step, when a loss is not finite.
    """
    generator = torch.Generator(device=rows.device).manual_seed(int(how.seed))
    optimiser = torch.optim.Adam(net.parameters(), lr=how.lr, betas=(0.5, 0.9), fused=True)
    judge = None if heldout is None else _HeldOut.of(heldout, how)
    losses = torch.zeros(_REPORT_EVERY, device=rows.device)
    pending, heldout_loss = 0, None
    done = Trained()
    for step in range(1, how.steps + 1):
        if how.schedule == "linear":
            optimiser.param_groups[0]["lr"] = how.lr * (1 - (step - 1) / how.steps)
        losses[pending] = _step(net, rows, optimiser, how, generator)
        pending += 1
        evaluate = judge is not None and (step % how.eval_every == 0 or step == how.steps)
        if pending < _REPORT_EVERY and not evaluate and step < how.steps:
            continue
        # Read back only now and then: on a GPU each reading waits for the device.
        loss = _mean_loss(losses[:pending], step, how)
        pending = 0
        done.num_steps = done.best_step = step
        if judge is not None and evaluate:
            heldout_loss = judge.measure(net, step)
            _refuse_bad_loss(heldout_loss, "held-out loss", step, how)
        if progress is not None:
            progress(step, how.steps, loss, heldout_loss)
        if judge is not None and judge.num_worse >= how.patience:
            break
    if judge is not None:
        net.load_state_dict(judge.weights)
        done.best_step, done.heldout_loss = judge.step, judge.loss
    return done


def _step(
    net: EnergyNet, rows: Tensor, optimiser: torch.optim.Adam, how: Training, generator: torch.Generator
) -> Tensor:
    size = min(how.batch_size, len(rows))
    index = torch.randint(len(rows), (size,), generator=generator, device=rows.device)
    s, z = draw_noise(size, rows.shape[1], how.sigma_low, how.sigma_high, generator)
    l_dsm, l_reg = training_loss(net, rows[index], s, z, how.beta)
    loss = l_dsm + l_reg
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.detach()


def _mean_loss(losses: Tensor, last_step: int, how: Training) -> float:
    """Mean of the losses of consecutive steps that end at `last_step`."""
    values: list[float] = losses.tolist()
    for step, value in enumerate(values, start=last_step - len(values) + 1):
        _refuse_bad_loss(value, "loss", step, how)
    return sum(values) / len(values)


def _refuse_bad_loss(loss: float, what: str, step: int, how: Training) -> None:
    if not math.isfinite(loss):
        raise FitError(
            f"training, {what}",
            expected="a finite number",
            got=f"{loss} at step {step} of {how.steps}",
            hint=f"a learning rate below {how.lr:g}, or a look at the training rows for extreme values",
        )
