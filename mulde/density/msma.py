"""The baseline MSMA (Mahmood et al., ICLR 2021): a score network read by its norms at many noise levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mulde.density.base import Limits
from mulde.density.energy import ScoreNet
from mulde.density.estimator import MuldeDensity
from mulde.density.presets import PRESETS
from mulde.density.rows import Float32, Rows
from mulde.errors import UsageError

_FAST = PRESETS["fast"]


class MsmaDensity(MuldeDensity):
    """MULDE's training with a network of D outputs that are the score itself, so without the regulariser; read as
    || score || at each level, a Gaussian mixture over the levels. Settings mean what they mean for `MuldeDensity`.
    """

    kind: ClassVar[str] = "msma"
    LIMITS: ClassVar[Limits] = {
        name: limits for name, limits in MuldeDensity.LIMITS.items() if name not in ("beta", "dropout")
    }

    def __init__(
        self,
        hidden: Sequence[int] = _FAST["hidden"],
        steps: int | None = _FAST["steps"],
        epochs: int | None = _FAST["epochs"],
        batch_size: int = _FAST["batch_size"],
        lr: float = _FAST["lr"],
        schedule: str = _FAST["schedule"],
        ema: float = _FAST["ema"],
        eval_every: int = 250,
        patience: int = 8,
        sigma_low: float = 1e-3,
        sigma_high: float = 1.0,
        num_scales: int = 16,
        aggregate: str = "mixture",
        components: int | None = 5,
        contamination: float = 0.01,
        precision: str = "float32",
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        own = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(**own, beta=0.0, indicator="score_norm")

    def energies(self, X: ArrayLike) -> Float32:
        """There are none: raises UsageError."""
        raise UsageError("energies of msma", expected="a density with an energy", got="a score", hint="score_norms(X)")

    def _new_net(self, num_columns: int, **options: Any) -> ScoreNet:
        return ScoreNet(num_columns, self.hidden, **options)

    def _readings(self, rows: Rows) -> Float32:
        return np.sqrt(super()._readings(rows))
