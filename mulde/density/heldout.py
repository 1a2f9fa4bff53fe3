"""How a training does on held-out normal rows: L_dsm under noise drawn once, over all and per band of levels."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mulde.density.noise import fixed_noise
from mulde.density.objective import Net, dsm_rows
from mulde.density.rows import Meta
from mulde.errors import BundleError

NUM_BANDS = 4
"""Bands of noise levels, equally wide in log s, for which the held-out loss is given separately."""
_NUM_DRAWS = (2048, 4096)
_SEED = 20240617  # fixed, so that held-out losses of runs with different seeds can be compared


@dataclass
class TrainingResult:
    """What came of a training: steps done, the step whose weights were kept, their held-out L_dsm, over all and per
    band of s from low to high (None without held-out rows)."""

    num_steps: int = 0
    best_step: int = 0
    heldout_loss: float | None = None
    heldout_bands: list[float] | None = None

    @classmethod
    def of(cls, learnt: Meta) -> TrainingResult:
        """Raises BundleError for anything but what `vars` gave."""
        known = {field.name for field in fields(cls)}
        bands = learnt.get("heldout_bands")
        numbers = [learnt.get("num_steps", 0), learnt.get("best_step", 0), learnt.get("heldout_loss") or 0.0]
        is_list = bands is None or isinstance(bands, list)
        if not (learnt.keys() <= known and is_list and all(map(_is_number, [*numbers, *(bands or ())]))):
            raise BundleError("stored density, course of its training", expected=f"numbers {sorted(known)}")
        return cls(**learnt)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def fixed_draws(rows: Tensor, sigma_low: float, sigma_high: float) -> tuple[Tensor, Tensor, Tensor]:
    """Rows x (n, D) of held-out ones (M, D), M >= 1, a noise level s (n, 1) and noise z (n, D) for each, the same every
    time: few rows are used several times, many are thinned evenly. x lies where the rows do, s and z on the CPU."""
    min_draws, max_draws = _NUM_DRAWS
    num_draws = min(max(len(rows), min_draws), max_draws)
    index = torch.arange(num_draws) % len(rows)
    if len(rows) > max_draws:
        index = torch.linspace(0, len(rows) - 1, max_draws).long()
    return rows[index.to(rows.device)], *fixed_noise(num_draws, rows.shape[1], sigma_low, sigma_high, _SEED)


class HeldoutEvaluator:
    """Measures held-out rows (M, D) float32, M >= 1."""

    def __init__(self, rows: Tensor, sigma_low: float, sigma_high: float, device: torch.device) -> None:
        x, s, z = fixed_draws(rows, sigma_low, sigma_high)
        self.x, self.s, self.z = x.to(device), s.to(device), z.to(device)
        width = math.log(sigma_high / sigma_low) / NUM_BANDS
        band = ((s[:, 0] / sigma_low).log() / width).long() if width else torch.zeros(len(s), dtype=torch.long)
        self.band = band.clamp(0, NUM_BANDS - 1).to(device)
        self.best = TrainingResult()
        self.num_worse = 0

    def measure(self, net: Net, step: int) -> TrainingResult:
        """Held-out loss of `net` as it is after `step` steps; `best` and `num_worse` follow."""
        losses = dsm_rows(net, self.x, self.s, self.z)
        sums = torch.zeros(NUM_BANDS, dtype=torch.float64, device=losses.device).index_add_(0, self.band, losses)
        counts = torch.bincount(self.band, minlength=NUM_BANDS).clamp(min=1)
        now = TrainingResult(step, step, float(losses.mean()), (sums / counts).tolist())
        if self.best.heldout_loss is None or (now.heldout_loss or 0.0) < self.best.heldout_loss:
            self.best, self.num_worse = now, 0
        else:
            self.num_worse += 1
        return now
