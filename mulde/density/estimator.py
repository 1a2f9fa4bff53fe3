"""MULDE as an estimator: standardise, learn E(x, s), read it at L noise levels, aggregate (METHOD.md section 1)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sklearn
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mulde.density.aggregate import AGGREGATES, Aggregate
from mulde.density.base import Density, Limits, check_number
from mulde.density.checkpoint import Checkpoint, fingerprint
from mulde.density.devices import PRECISIONS, fits_on, products_in
from mulde.density.energy import EnergyNet
from mulde.density.heldout import TrainingResult
from mulde.density.noise import sigma_levels
from mulde.density.objective import Net
from mulde.density.presets import PRESETS
from mulde.density.reading import INDICATORS, read_gradients, read_levels
from mulde.density.rows import Float32, Float64, Meta, Progress, Rows, Tensors
from mulde.density.state import take, under_prefix, with_prefix
from mulde.density.trainer import SCHEDULES, Training, train
from mulde.density.whiten import Whitener
from mulde.devices import choose_device
from mulde.errors import UsageError

_FAST = PRESETS["fast"]
_MAX_LAYERS = 64


class MuldeDensity(Density):
    """The multiscale log-density approximation.

    The network. hidden: widths of the hidden layers. layer_norm, dropout: as in the paper's code, both off by default.
    sigma_everywhere: the noise level enters every layer, not the first alone. whiten: PCA whitening of the standardised
    columns that keeps this share of their variance (None: none).

    The training. steps, epochs: most training steps and most passes over the rows, the smaller one counts (None: no
    such bound). batch_size: rows per step. lr, schedule: Adam's rate; constant, linear (in a straight line to 0),
    cosine, or step (times 0.9 every 50 epochs). beta: weight of the clean-sample regulariser. ema: decay of the running
    average of the weights that is kept in place of the last ones (0: none). clip_gradient: bound on each element of the
    parameters' gradient (None: none). eval_every: steps between two looks at the held-out rows; patience: how many
    looks without a gain end the training, whose best weights are then kept (0: it runs to the end, and the last are).

    The reading. sigma_low, sigma_high, num_scales: the noise levels, in standard deviations of the columns. indicator:
    energy, or score_norm, || dE/dx ||^2. aggregate: max, median, mean or mixture (of `components` Gaussians; None: the
    number that makes held-out rows likeliest). contamination: share of normal rows that `predict` may call outliers.

    The machine. device: cpu, cuda, cuda:1 ... or auto. precision: float32, tf32 or bfloat16, for all products of the
    training but that of the data with the first layer; reading_precision: likewise of the reading. The levels are
    almost collinear, so a mixture over them hears the rounding: read in bfloat16 only with another aggregate.
    compile: let torch.compile fuse the loss; needs a C++ compiler.

    `PRESETS` holds named sizes; the defaults are "fast".
    After `fit`: net_, sigma_ (L,), aggregate_, whitener_, trained_ (steps done, held-out loss), device_, offset_.
    """

    kind: ClassVar[str] = "mulde"
    LIMITS: ClassVar[Limits] = {
        "batch_size": (1, 10**7),
        "lr": (1e-9, 10.0),
        "beta": (0.0, 1e6),
        "ema": (0.0, 0.999999),
        "dropout": (0.0, 0.99),
        "sigma_low": (1e-6, 1e3),
        "sigma_high": (1e-6, 1e3),
        "num_scales": (1, 1000),
        "eval_every": (1, 10**9),
        "patience": (0, 10**9),
        "contamination": (0.0, 0.5),
        "seed": (0, 2**32 - 1),
    }
    OPTIONAL: ClassVar[Limits] = {
        "steps": (1, 10**9),
        "epochs": (1, 10**9),
        "clip_gradient": (1e-9, 1e9),
        "whiten": (1e-3, 1.0),
        "components": (1, 1000),
    }

    def __init__(
        self,
        hidden: Sequence[int] = _FAST["hidden"],
        layer_norm: bool = False,
        dropout: float = 0.0,
        sigma_everywhere: bool = False,
        whiten: float | None = None,
        steps: int | None = _FAST["steps"],
        epochs: int | None = _FAST["epochs"],
        batch_size: int = _FAST["batch_size"],
        lr: float = _FAST["lr"],
        schedule: str = _FAST["schedule"],
        beta: float = 0.1,
        ema: float = _FAST["ema"],
        clip_gradient: float | None = None,
        eval_every: int = 250,
        patience: int = 8,
        sigma_low: float = 1e-3,
        sigma_high: float = 1.0,
        num_scales: int = 16,
        indicator: str = "energy",
        aggregate: str = "mixture",
        components: int | None = 5,
        contamination: float = 0.01,
        precision: str = "float32",
        reading_precision: str = "float32",
        compile: bool = False,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.hidden = hidden
        self.layer_norm = layer_norm
        self.dropout = dropout
        self.sigma_everywhere = sigma_everywhere
        self.whiten = whiten
        self.steps = steps
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.schedule = schedule
        self.beta = beta
        self.ema = ema
        self.clip_gradient = clip_gradient
        self.eval_every = eval_every
        self.patience = patience
        self.sigma_low = sigma_low
        self.sigma_high = sigma_high
        self.num_scales = num_scales
        self.indicator = indicator
        self.aggregate = aggregate
        self.components = components
        self.contamination = contamination
        self.precision = precision
        self.reading_precision = reading_precision
        self.compile = compile
        self.seed = seed
        self.device = device

    def energies(self, X: ArrayLike) -> Float32:
        """E(x, s) of rows X (N, D) at each noise level of `sigma_`: (N, L) float32; higher = more anomalous.

        Raises as `anomaly_score` does.
        """
        return self._read(self._rows_to_score(X), "energy")

    def score_norms(self, X: ArrayLike) -> Float32:
        """|| dE/dx ||^2 of rows X (N, D) at each noise level of `sigma_`: (N, L) float32; raises as `anomaly_score`."""
        return self._read(self._rows_to_score(X), "score_norm")

    def gradient(self, X: ArrayLike) -> Float64:
        """The mean of dE/dx over the noise levels, for rows X (N, D): (N, D), per standard deviation of each column in
        training. Of the energy whatever the indicator; of MSMA, which has none, what its network says in its place.
        Raises as `anomaly_score` does."""
        rows = self._rows_to_score(X)
        with products_in(self.reading_precision):
            gradients = read_gradients(self.net_, rows, self._sigma_there(), self._to_device, self._reading_format)
        if self.whitener_ is None:
            return gradients.astype(np.float64)
        return np.asarray(gradients @ self.whitener_.matrix.T)  # (N, K) (K, D)

    @property
    def noise_levels(self) -> Float64:
        """`sigma_` (L,), in standard deviations of the columns."""
        self._require_fit()
        return self.sigma_

    def level_excess(self, X: ArrayLike) -> Float64:
        """How many standard deviations of the training rows each row of X (N, D) reads above their mean at each noise
        level: (N, L); of the indicator that the aggregate takes. Raises as `anomaly_score` does."""
        rows = self._rows_to_score(X)
        return self.aggregate_.levels.apply(self._readings(rows))

    def check_settings(self) -> None:
        """Raises UsageError for a setting that is out of its limits or does not fit the others."""
        super().check_settings()
        if self.steps is None and self.epochs is None:
            raise UsageError("steps, epochs", expected="a number for at least one of them", got="None for both")
        if not len(self.hidden):
            raise UsageError("hidden", expected="at least one width", got="none")
        if len(self.hidden) > _MAX_LAYERS:
            raise UsageError("hidden", expected=f"at most {_MAX_LAYERS} widths", got=len(self.hidden))
        for width in self.hidden:
            check_number("hidden", width, 1, 10**6)
        if self.sigma_low > self.sigma_high:
            raise UsageError("sigma_low", expected=f"at most sigma_high {self.sigma_high:g}", got=f"{self.sigma_low:g}")
        for name in ("layer_norm", "sigma_everywhere", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(name, expected="true or false", got=repr(getattr(self, name)))
        choices: dict[str, Collection[str]] = {
            "aggregate": AGGREGATES,
            "schedule": SCHEDULES,
            "indicator": INDICATORS,
            "precision": PRECISIONS,
            "reading_precision": PRECISIONS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UsageError(name, expected=f"one of {', '.join(known)}", got=repr(getattr(self, name)))

    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None, checkpoint: Path | None) -> None:
        self.device_ = torch.device(choose_device(self.device))
        self.whitener_ = None if self.whiten is None else Whitener.fit(self.standardiser_.apply(rows), self.whiten)
        self._make_net()
        self.net_.initialise(torch.Generator().manual_seed(int(self.seed)))
        self.net_.to(self.device_)
        x = torch.from_numpy(self._prepared(rows))
        held = None if heldout is None else torch.from_numpy(self._prepared(heldout))
        if fits_on(self.device_, x):
            x = x.to(self.device_)
        kept = None
        if checkpoint is not None:
            versions = {"torch": torch.__version__, "sklearn": sklearn.__version__, "device": str(self.device_)}
            kept = Checkpoint(checkpoint, fingerprint([self.kind, self.settings(), versions], rows, heldout))
        with products_in(self.precision):
            self.trained_ = train(self.net_, x, held, self._training(len(rows)), progress, kept)
        chooses = heldout is not None and self.components is None
        self.aggregate_ = Aggregate.fit(
            self.aggregate,
            self._readings(rows),
            self.components,
            self.seed,
            self._readings(heldout) if heldout is not None and chooses else None,
        )

    def _score(self, rows: Rows) -> Float64:
        return self.aggregate_.score(self._readings(rows), self.device_)

    def _tensors(self) -> Tensors:
        net = {name: value.cpu().numpy() for name, value in self.net_.state_dict().items()}
        whitener = {} if self.whitener_ is None else self.whitener_.tensors()
        return (
            with_prefix("net.", net)
            | with_prefix("whiten.", whitener)
            | with_prefix("aggregate.", self.aggregate_.tensors())
        )

    def _learnt(self) -> Meta:
        return vars(self.trained_).copy()

    def _restore(self, tensors: Tensors, learnt: Meta) -> None:
        self.trained_ = TrainingResult.of(learnt)
        self.device_ = torch.device(choose_device(self.device))
        whitening = under_prefix("whiten.", tensors)
        self.whitener_ = None if self.whiten is None else Whitener.from_tensors(whitening, self.n_features_in_)
        with torch.device("meta"):  # sizes alone: a state that asks for more than it holds takes no memory
            self._make_net()
        arrays = {
            name: take(tensors, f"net.{name}", np.float32, tuple(value.shape))
            for name, value in self.net_.state_dict().items()
        }
        self._make_net()
        self.net_.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        self.net_.to(self.device_)
        self.aggregate_ = Aggregate.from_tensors(self.aggregate, under_prefix("aggregate.", tensors), self.num_scales)

    def _make_net(self) -> None:
        self.sigma_ = sigma_levels(self.sigma_low, self.sigma_high, self.num_scales)
        columns = self.n_features_in_ if self.whitener_ is None else self.whitener_.matrix.shape[1]
        self.net_ = self._new_net(
            columns,
            layer_norm=self.layer_norm,
            sigma_everywhere=self.sigma_everywhere,
            precision=PRECISIONS[self.precision],
        )

    def _new_net(self, num_columns: int, **options: Any) -> Net:
        return EnergyNet(num_columns, self.hidden, **options)

    def _training(self, num_rows: int) -> Training:
        epoch_steps = math.ceil(num_rows / self.batch_size)
        bounds = (self.steps, None if self.epochs is None else self.epochs * epoch_steps)
        return Training(
            steps=min(bound for bound in bounds if bound is not None),
            epoch_steps=epoch_steps,
            **{name: getattr(self, name) for name in Training.__dataclass_fields__.keys() - {"steps", "epoch_steps"}},
        )

    def _prepared(self, rows: Rows) -> Float32:
        """Rows as the network takes them: standardised and, if asked for, whitened, (N, K) float32."""
        if self.whitener_ is None:
            return self.standardiser_.apply(rows, np.float32)
        return (self.standardiser_.apply(rows) @ self.whitener_.matrix).astype(np.float32)

    def _read(self, rows: Rows, indicator: str) -> Float32:
        with products_in(self.reading_precision):
            return read_levels(self.net_, rows, self._sigma_there(), indicator, self._to_device, self._reading_format)

    def _sigma_there(self) -> Tensor:
        """The noise levels (L,) as the network takes them."""
        return torch.from_numpy(self.sigma_).float().to(self.device_)

    @property
    def _reading_format(self) -> torch.dtype:
        return PRECISIONS[self.reading_precision]

    def _readings(self, rows: Rows) -> Float32:
        """What the aggregate takes, (N, L)."""
        return self._read(rows, self.indicator)

    def _to_device(self, rows: Rows) -> Tensor:
        return torch.from_numpy(self._prepared(rows)).to(self.device_)
