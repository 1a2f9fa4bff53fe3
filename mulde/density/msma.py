"""The baseline MSMA (Mahmood et al., ICLR 2021): a score network read by its norms at many noise levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mulde.density.energy import EnergyNet, ScoreNet
from mulde.density.estimator import MuldeDensity
from mulde.density.options import PAPER_SIZES, MsmaOptions, MuldeOptions, ScoreMatchingOptions
from mulde.density.rows import Float32, Rows
from mulde.errors import UsageError


class MsmaDensity(MuldeDensity):
    """MULDE's training with a network of D outputs that are the score itself, so without the regulariser; read as
    || score || at each level, a Gaussian mixture over the levels.

    options: None for the defaults of `MsmaOptions`, or given by name. Everything else as for `MuldeDensity`.
    """

    kind: ClassVar[str] = "msma"
    OPTIONS: ClassVar[type[ScoreMatchingOptions]] = MsmaOptions
    NET: ClassVar[type[EnergyNet] | type[ScoreNet]] = ScoreNet
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"fast": {}, "paper": PAPER_SIZES}

    @property
    def effective_options(self) -> MuldeOptions:
        """The options in effect, as those of MULDE that mean the same."""
        options = MsmaOptions() if self.options is None else self.options
        if not isinstance(options, MsmaOptions):
            raise UsageError("options", expected="MsmaOptions or None", got=type(options).__name__)
        return MuldeOptions(**vars(options), base="none", beta=0.0, indicator="score_norm")

    def energies(self, X: ArrayLike) -> Float32:
        """There are none: raises UsageError."""
        raise UsageError("energies of msma", expected="a density with an energy", got="a score", hint="score_norms(X)")

    def _readings(self, rows: Rows) -> Float32:
        return np.sqrt(super()._readings(rows))
