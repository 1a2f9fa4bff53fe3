"""MULDE as an estimator: standardise, learn E(x, s), read it at L noise levels, aggregate (METHOD.md section 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mulde.density.aggregate import AGGREGATES, Aggregate
from mulde.density.base import Density, Limits, check_number
from mulde.density.energy import EnergyNet
from mulde.density.noise import sigma_levels
from mulde.density.presets import PRESETS
from mulde.density.rows import Float32, Float64, Meta, Progress, Rows, Tensors
from mulde.density.state import take, under_prefix, with_prefix
from mulde.density.trainer import SCHEDULES, Trained, Training, train
from mulde.errors import BundleError, UsageError

_FAST = PRESETS["fast"]
_POINTS_AT_A_TIME = 1024
"""Rows x levels that go through the network at once when scoring."""


class MuldeDensity(Density):
    """The multiscale log-density approximation.

    hidden: widths of the hidden layers. steps, epochs: most training steps and most passes over the rows, the smaller
    one counts (None: no such bound). batch_size: rows per step. lr, schedule: Adam's rate, "constant" or "linear" (it
    falls in a straight line to 0). beta: weight of the clean-sample regulariser. sigma_low, sigma_high, num_scales: the
    noise levels, in standard deviations of the columns. aggregate: max, median, mean or mixture (of `components`
    Gaussians). eval_every: steps between two looks at the held-out rows; patience: how many looks without a gain end
    the training. device: cpu, cuda, cuda:1 ... or auto. `PRESETS` holds named sizes; the defaults are "fast".

    After `fit`: net_, sigma_ (L,), aggregate_, trained_ (steps done and held-out loss), device_.
    """

    kind: ClassVar[str] = "mulde"
    LIMITS: ClassVar[Limits] = {
        "batch_size": (1, 10**7),
        "lr": (1e-9, 10.0),
        "beta": (0.0, 1e6),
        "sigma_low": (1e-6, 1e3),
        "sigma_high": (1e-6, 1e3),
        "num_scales": (1, 1000),
        "components": (1, 1000),
        "eval_every": (1, 10**9),
        "patience": (1, 10**9),
        "seed": (0, 2**32 - 1),
    }

    def __init__(
        self,
        hidden: Sequence[int] = _FAST["hidden"],
        steps: int | None = _FAST["steps"],
        epochs: int | None = _FAST["epochs"],
        batch_size: int = _FAST["batch_size"],
        lr: float = _FAST["lr"],
        schedule: str = _FAST["schedule"],
        beta: float = 0.1,
        sigma_low: float = 1e-3,
        sigma_high: float = 1.0,
        num_scales: int = 16,
        aggregate: str = "mixture",
        components: int = 5,
        eval_every: int = 250,
        patience: int = 8,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.hidden = hidden
        self.steps = steps
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.schedule = schedule
        self.beta = beta
        self.sigma_low = sigma_low
        self.sigma_high = sigma_high
        self.num_scales = num_scales
        self.aggregate = aggregate
        self.components = components
        self.eval_every = eval_every
        self.patience = patience
        self.seed = seed
        self.device = device

    def energies(self, X: ArrayLike) -> Float32:
        """E(x, s) of rows X (N, D) at each noise level of `sigma_`: (N, L) float32; higher = more anomalous.

        Raises as `anomaly_score` does.
        """
        return self._energies(self._rows_to_score(X))

    def check_settings(self) -> None:
        """Raises UsageError for a setting that is out of its limits or does not fit the others."""
        super().check_settings()
        bounds = {name: getattr(self, name) for name in ("steps", "epochs") if getattr(self, name) is not None}
        if not bounds:
            raise UsageError("steps, epochs", expected="a number for at least one of them", got="None for both")
        for name, bound in bounds.items():
            check_number(name, bound, 1, 10**9)
        if not len(self.hidden):
            raise UsageError("hidden", expected="at least one width", got="none")
        for width in self.hidden:
            check_number("hidden", width, 1, 10**6)
        if self.sigma_low > self.sigma_high:
            raise UsageError("sigma_low", expected=f"at most sigma_high {self.sigma_high:g}", got=f"{self.sigma_low:g}")
        for name, known in {"aggregate": AGGREGATES, "schedule": SCHEDULES}.items():
            if getattr(self, name) not in known:
                raise UsageError(name, expected=f"one of {', '.join(known)}", got=repr(getattr(self, name)))

    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None) -> None:
        self._prepare(rows.shape[1])
        self.net_.initialise(torch.Generator().manual_seed(int(self.seed)))
        self.net_.to(self.device_)
        x = self._standardised(rows)
        held = None if heldout is None else self._standardised(heldout)
        self.trained_ = train(self.net_, x, held, self._training(len(rows)), progress)
        self.aggregate_ = Aggregate.fit(self.aggregate, self._energies(rows), self.components, self.seed)

    def _score(self, rows: Rows) -> Float64:
        return self.aggregate_.score(self._energies(rows))

    def _tensors(self) -> Tensors:
        net = {name: value.cpu().numpy() for name, value in self.net_.state_dict().items()}
        return with_prefix("net.", net) | with_prefix("aggregate.", self.aggregate_.tensors())

    def _learnt(self) -> Meta:
        return vars(self.trained_).copy()

    def _restore(self, tensors: Tensors, learnt: Meta) -> None:
        try:
            self.trained_ = Trained(**learnt)
        except TypeError as error:
            raise BundleError("stored density mulde", expected=f"{vars(Trained())}", got=f"{learnt}") from error
        self._prepare(len(self.standardiser_.mean))
        arrays = {
            name: take(tensors, f"net.{name}", np.float32, tuple(value.shape))
            for name, value in self.net_.state_dict().items()
        }
        self.net_.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        self.net_.to(self.device_)
        self.aggregate_ = Aggregate.from_tensors(self.aggregate, under_prefix("aggregate.", tensors), self.num_scales)

    def _prepare(self, num_columns: int) -> None:
        self.device_ = _resolve_device(self.device)
        self.sigma_ = sigma_levels(self.sigma_low, self.sigma_high, self.num_scales)
        self.net_ = EnergyNet(num_columns, self.hidden)

    def _training(self, num_rows: int) -> Training:
        per_epoch = math.ceil(num_rows / self.batch_size)
        bounds = (self.steps, None if self.epochs is None else self.epochs * per_epoch)
        return Training(
            steps=min(bound for bound in bounds if bound is not None),
            batch_size=self.batch_size,
            lr=self.lr,
            schedule=self.schedule,
            beta=self.beta,
            sigma_low=self.sigma_low,
            sigma_high=self.sigma_high,
            eval_every=self.eval_every,
            patience=self.patience,
            seed=self.seed,
        )

    def _standardised(self, rows: Rows) -> Tensor:
        return torch.from_numpy(self.standardiser_.apply(rows, np.float32)).to(self.device_)

    def _energies(self, rows: Rows) -> Float32:
        """Always the same number of rows at a time, the last ones padded: a row's energy then does not depend, to the
        last bit, on the rows around it. (Matrix products of other sizes round differently, and a mixture over almost
        collinear levels magnifies that a thousandfold.)"""
        size = max(1, _POINTS_AT_A_TIME // self.num_scales)
        sigma = torch.from_numpy(self.sigma_).float().to(self.device_)
        out = np.empty((len(rows), self.num_scales), np.float32)
        with torch.inference_mode():
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                x = torch.zeros(size, rows.shape[1], device=self.device_)
                x[: len(part)] = self._standardised(part)
                out[start : start + size] = self.net_.energies(x, sigma)[: len(part)].cpu().numpy()
        return out


def _resolve_device(device: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one. Raises UsageError when it cannot be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise UsageError("device", expected="a device of this machine", got=repr(device), hint="cpu or auto") from error
    return resolved
