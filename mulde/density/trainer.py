"""The training loop: Adam on noisy rows, held-out rows decide which weights are kept, checkpoints let it go on."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from mulde.checkpoint import Checkpoint
from mulde.density.heldout import HeldoutEvaluator, TrainingResult
from mulde.density.noise import draw_noise
from mulde.density.objective import Net, loss_per_row
from mulde.density.rows import Progress, TrainingProgress
from mulde.errors import FitError

SCHEDULES = ("constant", "linear")
SAVE_EVERY_S = 60.0
_REPORT_EVERY = 10
_RECORDED = ("dsm", "reg", "worst_sigma", "worst_column", "worst_value")


@dataclass(frozen=True)
class Training:
    """How to train; `ScoreMatchingOptions` and `MuldeOptions` say what each setting means."""

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

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 1."""
        return self.lr * (1 - (step - 1) / self.steps) if self.schedule == "linear" else self.lr


class _Run:
    """The state of a training, all that a checkpoint holds: weights, the best, moments, random state."""

    def __init__(self, net: Net, how: Training) -> None:
        self.net = net
        self.best: dict[str, Tensor] = {}
        self.optimiser = torch.optim.Adam(net.parameters(), lr=how.lr, betas=(0.5, 0.9), fused=True)
        self.device = next(net.parameters()).device
        self.generator = torch.Generator(device=self.device).manual_seed(int(how.seed))
        self.step = 0
        self.finished = False

    def keep_as_best(self) -> None:
        self.best = {name: value.clone() for name, value in self.net.state_dict().items()}

    def save(self, checkpoint: Checkpoint, evaluator: HeldoutEvaluator | None) -> None:
        parts: dict[str, dict[str, Tensor]] = {"net": self.net.state_dict(), "best": self.best}
        parts |= {f"adam.{i}": state for i, state in self.optimiser.state_dict()["state"].items()}
        tensors = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        facts: dict[str, Any] = {"step": self.step, "finished": self.finished}
        if evaluator is not None:
            facts |= {"best": asdict(evaluator.best), "num_worse": evaluator.num_worse}
        checkpoint.save(tensors | {"generator": self.generator.get_state()}, facts)

    def resume(self, checkpoint: Checkpoint, evaluator: HeldoutEvaluator | None) -> None:
        """Go on from the checkpoint, where there is one."""
        if (saved := checkpoint.load()) is None:
            return
        tensors, facts = saved

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}

        self.step, self.finished = facts["step"], facts["finished"]
        self.generator.set_state(tensors["generator"])
        self.net.load_state_dict(part("net"))
        self.best = {name: value.to(self.device) for name, value in part("best").items()}
        moments = {i: part(f"adam.{i}") for i in range(len(list(self.net.parameters())))}
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        if evaluator is not None:
            evaluator.best, evaluator.num_worse = TrainingResult(**facts["best"]), facts["num_worse"]


def train(
    net: Net,
    rows: Tensor,
    heldout: Tensor | None,
    how: Training,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainingResult:
    """Train `net` in place on standardised rows (N, D) float32; `heldout` (M, D) likewise.

    A step takes min(batch_size, N) rows drawn with replacement: a step then depends on the generator's state alone.
    rows may lie on the host while the net is on a GPU: batches then travel. With held-out rows their L_dsm, under noise
    drawn once, is measured every `eval_every` steps; training stops after `patience` measurements without a new
    minimum, and the weights of the minimum are kept. Without them, or with a patience of 0, it runs to the end. A
    training that finds its checkpoint goes on from there and ends, on a CPU, with the same bits. Raises FitError, with
    the step, the noise level and the column, when a loss is not finite.
    """
    run = _Run(net, how)
    evaluator = None if heldout is None else HeldoutEvaluator(heldout, how.sigma_low, how.sigma_high, run.device)
    if checkpoint is not None:
        run.resume(checkpoint, evaluator)
    record = torch.zeros(_REPORT_EVERY, len(_RECORDED), device=run.device)
    pending, saved, measured = 0, time.monotonic(), TrainingResult()
    if evaluator is not None and not run.step and how.patience:
        evaluator.measure(net, 0)  # with a base the network starts as none, which may stay the best
        run.keep_as_best()
    while not run.finished:
        run.step += 1
        record[pending] = _step(run, rows, how)
        pending += 1
        evaluate = run.step % how.eval_every == 0 or run.step == how.steps
        if pending < _REPORT_EVERY and not evaluate:
            continue
        # Read back only now and then: on a GPU each reading waits for the device.
        dsm, reg = _mean_losses(record[:pending], run.step, how)
        pending = 0
        if evaluator is not None and evaluate:
            measured = evaluator.measure(net, run.step)
            if not math.isfinite(measured.heldout_loss or 0.0):
                raise _not_finite("held-out loss", measured.heldout_loss, run.step, how)
            if evaluator.num_worse == 0:
                run.keep_as_best()
        run.finished = run.step == how.steps or (evaluator is not None and 0 < how.patience <= evaluator.num_worse)
        if progress is not None:
            progress(_report(run, how, dsm, reg, measured))
        if checkpoint is not None and evaluate and (run.finished or time.monotonic() - saved >= SAVE_EVERY_S):
            run.save(checkpoint, evaluator)
            saved = time.monotonic()
    if evaluator is None or not how.patience:
        return TrainingResult(run.step, run.step) if evaluator is None else evaluator.measure(net, run.step)
    net.load_state_dict(run.best)
    return TrainingResult(**asdict(evaluator.best) | {"num_steps": run.step})


def _step(run: _Run, rows: Tensor, how: Training) -> Tensor:
    """One step of Adam. Returns `_RECORDED` (5,) on the device: both terms of the loss and, of the row that lost most,
    its noise level, its most extreme column and the value there."""
    size, net = min(how.batch_size, len(rows)), run.net
    index = torch.randint(len(rows), (size,), generator=run.generator, device=run.device)
    x = rows[index.to(rows.device)].to(run.device)
    s, z = draw_noise(size, rows.shape[1], how.sigma_low, how.sigma_high, run.generator)
    l_dsm, l_reg = loss_per_row(net, x, s, z, how.beta)
    run.optimiser.zero_grad()
    (l_dsm.mean() + l_reg.mean()).backward()  # type: ignore[no-untyped-call]
    run.optimiser.param_groups[0]["lr"] = how.rate(run.step)
    run.optimiser.step()
    with torch.no_grad():  # by index_select and gather, which do not wait for the device as x[i] would
        worst = (l_dsm + l_reg).argmax(dim=0, keepdim=True)  # (1,), a NaN, should there be one
        row = x.index_select(0, worst)  # (1, D)
        column = row.abs().argmax(dim=1, keepdim=True)  # (1, 1)
        where = [s.index_select(0, worst), column.float(), row.gather(1, column)]
        return torch.cat([l_dsm.mean()[None], l_reg.mean()[None], *(value[0] for value in where)])


def _mean_losses(record: Tensor, last_step: int, how: Training) -> tuple[float, float]:
    """Mean L_dsm and L_reg of consecutive steps that end at `last_step`."""
    values: list[list[float]] = record.tolist()
    for step, (dsm, reg, sigma, column, value) in enumerate(values, start=last_step - len(values) + 1):
        if not math.isfinite(dsm + reg):
            where = f", at noise level {sigma:g}, most extreme in column {column:.0f} ({value:g} standard deviations)"
            raise _not_finite("loss", dsm + reg, step, how, where)
    return sum(v[0] for v in values) / len(values), sum(v[1] for v in values) / len(values)


def _not_finite(what: str, loss: Any, step: int, how: Training, where: str = "") -> FitError:
    return FitError(
        f"training, {what}",
        expected="a finite number",
        got=f"{loss} at step {step} of {how.steps}{where}",
        hint=f"a learning rate below {how.lr:g}, or a look at the training rows for extreme values",
    )


def _report(run: _Run, how: Training, dsm: float, reg: float, heldout: TrainingResult) -> TrainingProgress:
    gradients = [p.grad for p in run.net.parameters() if p.grad is not None]
    return TrainingProgress(
        step=run.step,
        num_steps=how.steps,
        loss_dsm=dsm,
        loss_reg=reg,
        largest_gradient=float(get_total_norm(gradients, norm_type=math.inf)),
        lr=how.rate(run.step),
        heldout_loss=heldout.heldout_loss,
        heldout_bands=tuple(heldout.heldout_bands or ()),
    )
