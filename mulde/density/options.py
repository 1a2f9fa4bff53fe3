"""The options of MULDE and of MSMA: records that are refused when they are made, with the same keys as in TOML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from mulde.density.aggregate import AGGREGATES
from mulde.density.devices import PRECISIONS
from mulde.density.limits import Limits, check_choice, check_known, check_number, check_numbers
from mulde.density.noise import SPACINGS
from mulde.density.reading import INDICATORS
from mulde.density.trainer import SCHEDULES
from mulde.errors import UsageError

PAPER_SIZES: Mapping[str, Any] = {
    "hidden": (4096, 4096),
    "steps": None,
    "epochs": 1000,
    "batch_size": 2048,
    "lr": 4e-5,
    "schedule": "constant",
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {},
    "paper": {
        **PAPER_SIZES,
        "base": "none",
        "beta": 0.1,
        "sigma_low": 1e-3,
        "spacing": "linear",
        "aggregate": "mixture",
    },
}
"""Named settings of MULDE: what differs from the defaults, which are "fast"; "paper" is the paper's own.

The sizes of "fast" were chosen by held-out L_dsm on the toy set and on random mixtures of 8, 34 and 512 columns, at
equal time: small batches and many steps beat large ones, three layers beat two, and many columns need a wide first
layer. How the rest was chosen: docs/density.md.
"""
REMOVED = {
    "layer_norm": "no measured result uses a LayerNorm",
    "dropout": "no measured result uses dropout",
    "clip_gradient": "no measured result uses clipping",
    "compile": "no measured result uses torch.compile",
    "ema": "the running average of the weights gained nothing in the trials",
    "sigma_everywhere": "no measured result uses the noise level in every layer",
    "whiten": 'base="gaussians" has taken its place: rows are seen along their principal axes',
}
"""Options of earlier versions, and why they left. Models that carry them are still read (`state.py`)."""
BASES = ("gaussians", "none")
_MAX_LAYERS = 64


@dataclass(frozen=True, kw_only=True, repr=False)
class ScoreMatchingOptions:
    """What MULDE and MSMA have in common: the network, its training by denoising score matching, and the reading.

    Attributes:
        hidden: Widths of the hidden layers, from the input on.
        steps: Most training steps; None sets no such bound. Of `steps` and `epochs` the smaller one counts.
        epochs: Most passes over the training rows; None sets no such bound.
        batch_size: Rows per training step.
        lr: Learning rate of Adam, at the first step.
        schedule: "constant", or "linear": in a straight line to 0 at the last step.
        eval_every: Training steps between two measurements of the loss on held-out rows.
        patience: How many measurements without a gain end the training; the best weights are then kept. 0: the
            training runs to its end, and the last weights are kept.
        sigma_low: Lowest noise level, in standard deviations of the columns.
        sigma_high: Highest noise level, likewise.
        num_scales: How many levels L are read, from `sigma_low` to `sigma_high`, both included.
        spacing: How they are spaced: "log", as the levels of the training are drawn, or "linear".
        aggregate: What makes one score of the L readings of a row: "max", "median", "mean" (of standardised readings)
            or "mixture" (negative log-likelihood under Gaussians fitted to the readings of the training rows).
        components: Most Gaussians in that mixture; None: the number that makes held-out rows likeliest.
        precision: Number format of the products in training, but for that of the data with the first layer: "float32",
            "tf32" or "bfloat16".
    """

    hidden: tuple[int, ...] = (512, 128, 128)
    steps: int | None = 2000
    epochs: int | None = None
    batch_size: int = 128
    lr: float = 4e-3
    schedule: str = "linear"
    eval_every: int = 250
    patience: int = 8
    sigma_low: float = 1e-3
    sigma_high: float = 1.0
    num_scales: int = 16
    spacing: str = "linear"
    aggregate: str = "mixture"
    components: int | None = 5
    precision: str = "float32"

    LIMITS: ClassVar[Limits] = {
        "batch_size": (1, 10**7),
        "lr": (1e-9, 10.0),
        "sigma_low": (1e-6, 1e3),
        "sigma_high": (1e-6, 1e3),
        "num_scales": (1, 1000),
        "eval_every": (1, 10**9),
        "patience": (0, 10**9),
    }
    OPTIONAL: ClassVar[Limits] = {"steps": (1, 10**9), "epochs": (1, 10**9), "components": (1, 1000)}
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "schedule": SCHEDULES,
        "spacing": SPACINGS,
        "aggregate": AGGREGATES,
        "precision": tuple(PRECISIONS),
    }

    def __post_init__(self) -> None:
        """Raises UsageError for an option that is out of its limits or does not fit the others."""
        for field in fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))
        check_numbers(self, self.LIMITS, self.OPTIONAL)
        for name, choices in self.CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        if not isinstance(self.hidden, tuple):
            raise UsageError("hidden", expected="a list of widths", got=repr(self.hidden))
        if not 1 <= len(self.hidden) <= _MAX_LAYERS:
            raise UsageError("hidden", expected=f"1 to {_MAX_LAYERS} widths", got=len(self.hidden) or "none")
        for width in self.hidden:
            check_number("hidden", width, 1, 10**6)
        if self.steps is None and self.epochs is None:
            raise UsageError("steps, epochs", expected="a number for at least one of them", got="None for both")
        if self.sigma_high is not None and self.sigma_low > self.sigma_high:
            raise UsageError("sigma_low", expected=f"at most sigma_high {self.sigma_high:g}", got=f"{self.sigma_low:g}")

    @classmethod
    def names(cls) -> list[str]:
        """The names of the options, in the order of the attributes."""
        return [field.name for field in fields(cls)]

    @classmethod
    def of(cls, changes: Mapping[str, Any]) -> Self:
        """The defaults with `changes`. Raises UsageError, by name, for an option that there is not or no more."""
        return cls().changed(changes)

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """These options with `changes`. Raises UsageError, by name, for an option that there is not or no more."""
        check_known(type(self).__name__, changes, self.names(), REMOVED)
        return type(self)(**(vars(self) | dict(changes)))

    def as_json(self) -> dict[str, Any]:
        """The options as JSON holds them: tuples as lists."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    def __repr__(self) -> str:
        """What differs from the defaults."""
        changed = (f for f in fields(self) if getattr(self, f.name) != f.default)
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"


@dataclass(frozen=True, kw_only=True, repr=False)
class MsmaOptions(ScoreMatchingOptions):
    """The options of MSMA, whose network gives the score itself: it has no energy, so no regulariser."""


@dataclass(frozen=True, kw_only=True, repr=False)
class MuldeOptions(ScoreMatchingOptions):
    """The options of MULDE; equations are those of the paper (arXiv 2403.14497).

    The attributes of `ScoreMatchingOptions`, and:

    Attributes:
        base: What the network's output is added to: "gaussians", the energy of Gaussians fitted to the training rows
            under noise of the same level, in closed form; or "none", as in the paper.
        gaussians: How many; None: the number with the lowest denoising loss on held-out rows, from 1 to 34.
        rank: Along how many of the rows' principal axes, the widest first, they may differ; along the others all are
            alike. None: of 8, 32 and 128 the number with the lowest loss, likewise.
        sigma_high: Highest noise level; None: half the spread of the standardised rows along their widest axis, and at
            least 1: in many columns modes lie further apart than noise of level 1 reaches. Without a base, 1.
        beta: Weight of the regulariser E(x, s)^2 / 2 on clean rows (eq. 5), which aligns the levels; with a base, E is
            the network's part of the energy.
        indicator: What is read at each level: "energy", E(x, s), or "score_norm", || dE/dx ||^2.
        reading_precision: Number format of the products when rows are scored. The levels are almost collinear, so a
            mixture over them follows the rounding: read in "bfloat16" only with another aggregate.
    """

    sigma_low: float = 0.03
    sigma_high: float | None = None  # type: ignore[assignment]
    spacing: str = "log"
    aggregate: str = "mean"
    base: str = "gaussians"
    gaussians: int | None = None
    rank: int | None = None
    beta: float = 0.01
    indicator: str = "energy"
    reading_precision: str = "float32"

    LIMITS: ClassVar[Limits] = {
        **{name: limits for name, limits in ScoreMatchingOptions.LIMITS.items() if name != "sigma_high"},
        "beta": (0.0, 1e6),
    }
    OPTIONAL: ClassVar[Limits] = {
        **ScoreMatchingOptions.OPTIONAL,
        "gaussians": (1, 1000),
        "rank": (1, 10**6),
        "sigma_high": (1e-6, 1e3),
    }
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **ScoreMatchingOptions.CHOICES,
        "base": BASES,
        "indicator": tuple(INDICATORS),
        "reading_precision": tuple(PRECISIONS),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base == "none" and (self.gaussians is not None or self.rank is not None):
            raise UsageError('gaussians or rank beside base "none" have no effect', hint='base="gaussians"')
        if self.gaussians == 1 and self.rank is not None:
            raise UsageError("rank beside a single Gaussian has no effect", hint="more gaussians, or no rank")

    def noise_range(self, largest_variance: float | None) -> tuple[float, float]:
        """Lowest and highest level, for rows of this variance along their widest axis (None: without a base)."""
        high = self.sigma_high
        if high is None:
            spread = 0.0 if largest_variance is None else math.sqrt(largest_variance)
            high = max(1.0, spread / 2, self.sigma_low)
        return self.sigma_low, high


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's, sequences as tuples."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(_plain(item) for item in value) if isinstance(value, list | tuple | np.ndarray) else value
