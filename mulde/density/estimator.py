"""MULDE as an estimator: standardise, learn E(x, s), read it at L levels, aggregate (docs/method.md, "Density")."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import sklearn
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mulde.checkpoint import Checkpoint, fingerprint
from mulde.density.aggregate import Aggregate
from mulde.density.axes import PrincipalAxes
from mulde.density.base import Density, plain
from mulde.density.base_fit import fit_base
from mulde.density.devices import PRECISIONS, fits_on, products_in
from mulde.density.energy import EnergyNet, ScoreNet
from mulde.density.gaussians import GaussianBase
from mulde.density.heldout import TrainingResult
from mulde.density.limits import Limits
from mulde.density.mixture import thin
from mulde.density.noise import sigma_levels
from mulde.density.options import PRESETS, REMOVED, MuldeOptions, ScoreMatchingOptions
from mulde.density.reading import read_gradients, read_levels
from mulde.density.rows import Float32, Float64, Meta, Progress, Rows, Tensors, check_rows
from mulde.density.state import OLD_PARTS, WHITENED, take, under_prefix, with_prefix
from mulde.density.trainer import Training, train
from mulde.devices import choose_device
from mulde.errors import BundleError, FitError, UsageError


class MuldeDensity(Density):
    """The multiscale log-density approximation of MULDE (Micorek et al., CVPR 2024, arXiv 2403.14497).

    `fit` standardises rows (N, D) and learns a network E(x, s), which approximates -log q_s(x) + const: q_s is the
    density of the rows under Gaussian noise of standard deviation s (docs/method.md, equations 1 to 4). A row is read
    at L noise levels (5), and its readings become one score (6): higher = more anomalous. By default the network only
    learns what the energy has beyond that of Gaussians fitted to the rows.

    Options may be given as a record or by name: `MuldeDensity(MuldeOptions(steps=400))` is `MuldeDensity(steps=400)`.

    Args:
        options: What decides network, training and reading; None: the defaults of `MuldeOptions`.
        contamination: Share of normal rows that `predict` may call outliers.
        seed: Of the initial weights, the noise, the order of the rows and the mixture.
        device: "cpu", "cuda", "cuda:1" ..., or "auto": a GPU where there is one.
        **changes: Options by name that differ from `options`.

    Attributes:
        offset_: Minus the score from which `predict` calls a row an outlier.
        net_: The network.
        noise_range_: The lowest and the highest noise level of the training, in standard deviations of the columns.
        sigma_: The noise levels (L,) float64 at which rows are read, likewise.
        aggregate_: What makes one score of L readings.
        axes_: What standardised rows are multiplied with to be coordinates along the principal axes, (D, K) float32,
            where there is a base; or None.
        trained_: Steps done and kept, and the held-out loss.
        device_: Where the network is.

    Raises:
        UsageError: An option that there is not or no more, or a value out of its limits.

    Example:
        >>> density = MuldeDensity(steps=400, seed=1).fit(normal_rows, heldout=other_normal_rows)
        >>> density.anomaly_score(rows)  # (N, D) -> (N,) float64
    """

    kind: ClassVar[str] = "mulde"
    OPTIONS: ClassVar[type[ScoreMatchingOptions]] = MuldeOptions
    NET: ClassVar[type[EnergyNet] | type[ScoreNet]] = EnergyNet
    LIMITS: ClassVar[Limits] = {"contamination": (0.0, 0.5), "seed": (0, 2**32 - 1)}
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    REMOVED: ClassVar[Mapping[str, str]] = REMOVED
    READING: ClassVar[frozenset[str]] = frozenset({"aggregate", "components", "num_scales", "spacing"})
    """Options of the reading alone, on which the training does not depend."""

    def __init__(
        self,
        options: MuldeOptions | None = None,
        *,
        contamination: float = 0.01,
        seed: int = 0,
        device: str = "cpu",
        **changes: Any,
    ) -> None:
        self.options = self._changed(options, changes) if changes else options
        self.contamination = contamination
        self.seed = seed
        self.device = device

    @property
    def effective_options(self) -> MuldeOptions:
        """The options in effect: those that were given, or the defaults. Raises UsageError for what is no record."""
        options = MuldeOptions() if self.options is None else self.options
        if not isinstance(options, MuldeOptions):
            raise UsageError("options", expected="MuldeOptions or None", got=type(options).__name__)
        return options

    def set_params(self, **params: Any) -> Self:
        """As scikit-learn has it; options by name are taken too. Raises UsageError for a value out of its limits."""
        names = self.OPTIONS.names()
        changes = {name: params.pop(name) for name in list(params) if name in names}
        super().set_params(**params)
        if changes:
            self.options = self._changed(self.options, changes)
        return self

    @classmethod
    def _changed(cls, options: MuldeOptions | None, changes: Mapping[str, Any]) -> Any:
        options = cls.OPTIONS() if options is None else options  # type: ignore[assignment]
        if not isinstance(options, cls.OPTIONS):
            raise UsageError("options", expected=f"{cls.OPTIONS.__name__} or None", got=type(options).__name__)
        return options.changed(changes)

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
        with products_in(self.effective_options.reading_precision):
            gradients = read_gradients(self.net_, rows, self._sigma_there(), self._to_device, self._reading_format)
        if self.axes_ is None:
            return gradients.astype(np.float64)
        return np.asarray(gradients.astype(np.float64) @ self.axes_.T)  # (N, K) (K, D)

    @property
    def noise_levels(self) -> Float64:
        """`sigma_` (L,), in standard deviations of the columns."""
        self._require_fit()
        return self.sigma_

    def level_excess(self, X: ArrayLike) -> Float64:
        """How many standard deviations of normal rows, those that set the scale of the aggregate, each row of X (N, D)
        reads above their mean at each noise level: (N, L); of the indicator that the aggregate takes. Raises as
        `anomaly_score` does."""
        rows = self._rows_to_score(X)
        return self.aggregate_.levels.apply(self._readings(rows))

    @classmethod
    def setting_names(cls) -> list[str]:
        """The options by name, contamination and seed."""
        return [*cls.OPTIONS.names(), "contamination", "seed"]

    def settings(self) -> dict[str, Any]:
        """All that was chosen by `setting_names`, as JSON holds it."""
        options = (self.options or self.OPTIONS()).as_json()
        return {**options, "contamination": plain(self.contamination), "seed": plain(self.seed)}

    def check_settings(self) -> None:
        """Raises UsageError for a setting that is out of its limits."""
        super().check_settings()
        _ = self.effective_options

    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None, checkpoint: Path | None) -> None:
        self.device_ = torch.device(choose_device(self.device))
        options = self.effective_options
        axes, self.axes_, base = None, None, None
        if options.base == "gaussians":
            axes = PrincipalAxes.fit(thin(rows, self.seed, "principal axes"), self.standardiser_)
            self.axes_ = axes.matrix
        self.noise_range_ = options.noise_range(None if axes is None else float(axes.variance[0]))
        x = self._prepared(rows)
        x_heldout = None if heldout is None else self._prepared(heldout)
        if axes is not None:
            base = fit_base(
                x,
                x_heldout,
                axes.variance,
                self.noise_range_,
                self.seed,
                gaussians=options.gaussians,
                rank=options.rank,
            )
        self._make_net(base)
        self.net_.initialise(torch.Generator().manual_seed(int(self.seed)))
        self.net_.to(self.device_)
        learn = torch.from_numpy(x)
        if fits_on(self.device_, learn):
            learn = learn.to(self.device_)
        kept = None
        if checkpoint is not None:
            versions = {"torch": torch.__version__, "sklearn": sklearn.__version__, "device": str(self.device_)}
            kept = Checkpoint(checkpoint, fingerprint([self.kind, self.settings(), versions], rows, heldout))
        with products_in(options.precision):
            decide = None if x_heldout is None else torch.from_numpy(x_heldout)
            self.trained_ = train(self.net_, learn, decide, self._training(len(rows)), progress, kept)
        self.aggregate_ = self._fit_aggregate(rows, heldout)

    def with_reading(self, X: ArrayLike, heldout: ArrayLike | None = None, **changes: Any) -> Self:
        """This density, read in another way: what `fit` on the same rows gives with other options of `READING`, without
        training again. X and heldout as in `fit`. Raises UsageError for other options, FitError for bad rows."""
        if others := sorted(changes.keys() - self.READING):
            raise UsageError("options of a reading", expected=", ".join(sorted(self.READING)), got=", ".join(others))
        rows = check_rows(X, "training rows", FitError, self.n_features_in_)
        other_rows = None if heldout is None else check_rows(heldout, "held-out rows", FitError, self.n_features_in_)
        other_rows = other_rows if other_rows is not None and len(other_rows) else None
        other = copy.copy(self)
        other.options = self._changed(self.options, changes)
        options = other.effective_options
        other.sigma_ = sigma_levels(*self.noise_range_, options.num_scales, options.spacing)
        other.aggregate_ = other._fit_aggregate(rows, other_rows)
        scores = other._score_training(rows) if other_rows is None else other._score(other_rows)
        other.offset_ = -float(np.quantile(scores, 1 - self.contamination))
        return other

    def _fit_aggregate(self, rows: Rows, heldout: Rows | None) -> Aggregate:
        options = self.effective_options
        if options.aggregate == "mean" and heldout is not None and len(heldout) > 1:
            rows = heldout  # of rows that were learnt from, few in many columns, the energies are too low
        chooses = options.aggregate == "mixture" and options.components is None
        return Aggregate.fit(
            options.aggregate,
            self._readings(rows),
            options.components,
            self.seed,
            self._readings(heldout) if heldout is not None and chooses else None,
        )

    def _score(self, rows: Rows) -> Float64:
        return self.aggregate_.score(self._readings(rows), self.device_)

    def _tensors(self) -> Tensors:
        net = {name: value.cpu().numpy() for name, value in self.net_.state_dict().items()}
        axes = {} if self.axes_ is None else {"axes": self.axes_}
        return with_prefix("net.", net) | axes | with_prefix("aggregate.", self.aggregate_.tensors())

    def _learnt(self) -> Meta:
        was_whitened = self.axes_ is not None and self.effective_options.base == "none"
        parts = {"layer_norm": self.net_.gains, "sigma_everywhere": self.net_.sigma_weights}
        old = {name: bool(weights) for name, weights in parts.items()} | {WHITENED: was_whitened}
        return vars(self.trained_) | {name: True for name, is_so in old.items() if is_so}

    def _restore(self, tensors: Tensors, learnt: Meta) -> None:
        options = self.effective_options
        old = {name: learnt.pop(name, False) for name in (*OLD_PARTS, WHITENED)}  # which older models may have
        for name, is_so in old.items():
            if not isinstance(is_so, bool):
                raise BundleError(f"stored density, {name}", expected="true or false", got=repr(is_so))
        was_whitened = old.pop(WHITENED)
        self.trained_ = TrainingResult.of(learnt)
        self.device_ = torch.device(choose_device(self.device))
        columns, self.axes_, base = self.n_features_in_, None, None
        if options.base == "gaussians":
            self.axes_ = take(tensors, "axes", np.float32, (columns, columns))
            base = GaussianBase.from_tensors(tensors, "net.base.", columns)
        elif was_whitened:
            name = "axes" if "axes" in tensors else "whiten.matrix"
            self.axes_ = take(tensors, name, np.float64, (columns, None))
        self.noise_range_ = options.noise_range(None if base is None else float(base.variance[0]))
        with torch.device("meta"):  # sizes alone: a state that asks for more than it holds takes no memory
            self._make_net(base, **old)
        arrays = {
            name: take(tensors, f"net.{name}", np.float32, tuple(value.shape))
            for name, value in self.net_.state_dict().items()
        }
        self._make_net(base, **old)
        self.net_.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        self.net_.to(self.device_)
        aggregate = under_prefix("aggregate.", tensors)
        self.aggregate_ = Aggregate.from_tensors(options.aggregate, aggregate, options.num_scales)

    def _make_net(self, base: GaussianBase | None, **old_parts: bool) -> None:
        options = self.effective_options
        self.sigma_ = sigma_levels(*self.noise_range_, options.num_scales, options.spacing)
        chosen: dict[str, Any] = {**old_parts}
        if base is not None:
            chosen |= {"base": base, "noise_range": self.noise_range_}
        self.net_ = self.NET(
            self.n_features_in_ if self.axes_ is None else self.axes_.shape[1],
            options.hidden,
            precision=PRECISIONS[options.precision],
            **chosen,
        )

    def _training(self, num_rows: int) -> Training:
        options = self.effective_options
        epoch_steps = math.ceil(num_rows / options.batch_size)
        bounds = (options.steps, None if options.epochs is None else options.epochs * epoch_steps)
        low, high = self.noise_range_
        chosen = vars(options) | {"steps": min(bound for bound in bounds if bound is not None), "seed": self.seed}
        chosen |= {"sigma_low": low, "sigma_high": high}
        return Training(**{field.name: chosen[field.name] for field in fields(Training)})

    def _prepared(self, rows: Rows) -> Float32:
        """Rows as the network takes them: standardised, and along the principal axes where there is a base, (N, K)."""
        if self.axes_ is None:
            return self.standardiser_.apply(rows, np.float32)
        return np.asarray(self.standardiser_.apply(rows, self.axes_.dtype) @ self.axes_, np.float32)

    def _read(self, rows: Rows, indicator: str) -> Float32:
        with products_in(self.effective_options.reading_precision):
            return read_levels(self.net_, rows, self._sigma_there(), indicator, self._to_device, self._reading_format)

    def _sigma_there(self) -> Tensor:
        """The noise levels (L,) as the network takes them."""
        return torch.from_numpy(self.sigma_).float().to(self.device_)

    @property
    def _reading_format(self) -> torch.dtype:
        return PRECISIONS[self.effective_options.reading_precision]

    def _readings(self, rows: Rows) -> Float32:
        """What the aggregate takes, (N, L)."""
        return self._read(rows, self.effective_options.indicator)

    def _to_device(self, rows: Rows) -> Tensor:
        return torch.from_numpy(self._prepared(rows)).to(self.device_)
