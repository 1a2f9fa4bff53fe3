"""The networks: E(x, s) ~ -log q_s(x) + const with its gradient in x in closed form, and the score of MSMA
(docs/method.md, "Density")."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from mulde.density.gaussians import GaussianBase

_INV_SQRT_2 = 1 / math.sqrt(2)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
NORM_EPS = 1e-5
"""Added to the variance, as in torch's LayerNorm."""


class _Gelu(torch.autograd.Function):
    """gelu(h) = h Phi(h) of all rows and gelu'(h) = Phi(h) + h phi(h) of the first ones, in one go: the backward pass
    of the former needs the latter; gelu''(h) = phi(h) (2 - h^2)."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, num_slopes: int) -> tuple[Tensor, Tensor]:
        phi = (h * h).mul_(-0.5).exp_().mul_(_INV_SQRT_2PI)
        cdf = (h * _INV_SQRT_2).erf_().add_(1).mul_(0.5)
        slope = torch.addcmul(cdf, h, phi)
        ctx.save_for_backward(slope, h[:num_slopes], phi[:num_slopes])
        return cdf.mul_(h), slope[:num_slopes].clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        slope, h, phi = ctx.saved_tensors
        into_h = slope * upstream[0]
        into_h[: len(h)].addcmul_((2 - h * h).mul_(phi), upstream[1])
        return into_h, None


def gelu_and_slope(h: Tensor, num_slopes: int) -> tuple[Tensor, Tensor]:
    """The exact GELU of h (N, H), and its derivative for the first `num_slopes` rows; both differentiable once."""
    if not (num_slopes or (torch.is_grad_enabled() and h.requires_grad)):  # the same bits, in 40 % of the time
        return (h * _INV_SQRT_2).erf_().add_(1).mul_(0.5).mul_(h), h[:0]
    activations, slopes = _Gelu.apply(h, num_slopes)
    return activations, slopes


class _Step(NamedTuple):
    """What the way back needs of one hidden layer, for the rows that go back."""

    slope: Tensor  # gelu' of what went into the GELU, (M, H)
    centred: Tensor | None  # (h before the LayerNorm - its mean) / std, (M, H)
    rstd: Tensor | None  # 1 / std, (M, 1)


class Network(nn.Module):
    """concat(x, s) -> [Linear, LayerNorm?, GELU] for each width in `hidden` -> Linear to `num_outputs`.

    layer_norm: normalise each hidden layer, as some models of version 0.1 do. sigma_everywhere: s also enters each
    later hidden layer, by weights of its own, as in some models of versions 0.1 and 0.2. precision: number format of
    all products but that of the data with the first layer (None: that of the parameters). x' = x + s z is never formed:
    W x' = W x + s (W z), so a format with few digits cannot swallow the noise of a small s.
    noise_range: s enters as its place between these levels on a logarithmic scale, -1 to 1; None: as it is.
    Made with all weights 0; `initialise` draws them.
    """

    def __init__(
        self,
        num_features: int,
        hidden: Sequence[int],
        num_outputs: int,
        *,
        layer_norm: bool = False,
        sigma_everywhere: bool = False,
        precision: torch.dtype | None = None,
        noise_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self._noise_range = noise_range
        self.hidden = tuple(hidden)
        self._precision = precision
        self._cast_once: list[Tensor] = []
        pairs = list(itertools.pairwise([num_features + 1, *hidden, num_outputs]))
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(out, into)) for into, out in pairs])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(out)) for _, out in pairs])
        normed = hidden if layer_norm else ()
        self.gains = nn.ParameterList([nn.Parameter(torch.ones(width)) for width in normed])
        self.shifts = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in normed])
        fed = hidden[1:] if sigma_everywhere else ()
        self.sigma_weights = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in fed])

    @property
    def exact(self) -> torch.dtype:
        """Number format of the parameters."""
        dtype: torch.dtype = self.biases[0].dtype
        return dtype

    @property
    def precision(self) -> torch.dtype:
        """Number format of the products."""
        return self._precision or self.exact

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """torch's own initialisation of a Linear, U(-1/sqrt(fan in), 1/sqrt(fan in)), from the given generator."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)

    @contextmanager
    def cast_once(self, precision: torch.dtype | None = None) -> Iterator[None]:
        """While the block runs, products are in `precision` (None: as ever) and weights must not change: their copies
        in that format are made once, not in every pass. What is differentiated goes back through them once, too."""
        before = self._precision
        self._precision = precision or before
        self._cast_once = [self._weight(i) for i in range(len(self.weights))] if self.precision != self.exact else []
        try:
            yield
        finally:
            self._precision, self._cast_once = before, []

    def _weight(self, i: int) -> Tensor:
        """The weights of layer i in `precision`; of the first layer those of the data alone."""
        if self._cast_once:
            return self._cast_once[i]
        weight: Tensor = self.weights[i] if i else self.data_weight()
        return weight.to(self.precision)

    def data_weight(self) -> Tensor:
        """The first layer's weights of the data (H, D)."""
        weight: Tensor = self.weights[0][:, :-1]
        return weight

    def noise_input(self, s: Tensor) -> Tensor:
        """How noise levels s (any shape) enter the layers."""
        if self._noise_range is None:
            return s
        low, high = self._noise_range
        return (s / low).log() * (2 / math.log(high / low)) - 1 if high > low else torch.zeros_like(s)

    def _of_data(self, x: Tensor) -> Tensor:
        """The data's part of the first layer, W x + b (N, H), always exact."""
        product: Tensor = torch.addmm(self.biases[0], x, self.data_weight().T)
        return product

    def _of_noise(self, z: Tensor) -> Tensor:
        """W z (N, H) in `precision`."""
        return z.to(self.precision) @ self._weight(0).T

    def _first(self, x: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """The first layer's output (N, H) at x + s z, or at x."""
        h = self._of_data(x) + self.noise_input(s) * self.weights[0][:, -1]
        return h if z is None else self._moved(h, s, z)

    def _moved(self, h: Tensor, s: Tensor, z: Tensor) -> Tensor:
        """The first layer's output at x + s z from that at x."""
        return torch.addcmul(h, s, self._of_noise(z).to(self.exact))

    def _last(self, activations: Tensor) -> Tensor:
        """The last layer (N, outputs), its product in `precision`."""
        out = linear(activations, self._weight(len(self.hidden)), self.biases[-1].to(self.precision))
        return out.to(self.exact)

    def _hidden(self, h: Tensor, s: Tensor, num_back: int = 0) -> tuple[Tensor, list[_Step]]:
        """From the first layer's output h (N, H) at s (N, 1) to the last hidden activations (N, H_n), and what the way
        back needs for the first `num_back` rows."""
        steps: list[_Step] = []
        a, level = h, self.noise_input(s).to(self.precision)
        for i in range(len(self.hidden)):
            if i:
                h = linear(a, self._weight(i), self.biases[i].to(self.precision))
                if self.sigma_weights:
                    h = torch.addcmul(h, level, self.sigma_weights[i - 1].to(self.precision))
            centred = rstd = None
            if self.gains:
                h = h - h.mean(dim=1, keepdim=True)
                rstd = torch.rsqrt(h.square().mean(dim=1, keepdim=True) + NORM_EPS)
                centred = (h * rstd).to(self.precision)
                h = torch.addcmul(self.shifts[i].to(self.precision), centred, self.gains[i].to(self.precision))
                centred, rstd = centred[:num_back], rstd[:num_back]
            a, slope = gelu_and_slope(h.to(self.precision), num_back)
            steps.append(_Step(slope, centred, rstd))
        return a, steps


class EnergyNet(Network):
    """E(x, s) for x (N, D) and s (N, 1).

    base: of the rows along their principal axes, of which x are the coordinates; None: E is the network alone. With it,
    E is the network's output plus the energy of the base, which is known in closed form at every s; the network learns
    what is missing. It then sees every coordinate divided by its spread at the highest noise level: axes along which
    the data spread less than that, of which many columns have many, reach it the weaker the less they spread.
    """

    base: GaussianBase | None
    scale: Tensor | None

    def __init__(
        self,
        num_features: int,
        hidden: Sequence[int],
        *,
        base: GaussianBase | None = None,
        **options: Any,
    ) -> None:
        super().__init__(num_features, hidden, 1, **options)
        high = self._noise_range[1] if self._noise_range else 1.0
        self.base = base
        self.register_buffer("scale", None if base is None else torch.rsqrt(base.variance + high**2))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """As `Network.initialise`; with a base the last layer is 0, so E starts as the base's and stays near it
        where there are no data."""
        super().initialise(generator)
        if self.base is not None:
            self.weights[-1].zero_()
            self.biases[-1].zero_()

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Energies (N,)."""
        own = self._read(self._hidden(self._first(x, s), s)[0])
        if self.base is None:
            return own
        energies: Tensor = own + self.base(x, s)
        return energies

    def gradient(self, x: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """dE/dx (N, D) at x + s z, or at x. Without a graph inside the graph, see `_gradient`."""
        own = self._gradient(self._hidden(self._first(x, s, z), s, num_back=len(x))[1])
        return own if self.base is None else own + self.base.gradient(x if z is None else x + s * z, s)

    def noisy_and_clean(self, x: Tensor, s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """dE/dx (N, D) at x + s z, and the network's part of E (N,) at x, both at s, in one pass."""
        n = len(x)
        with self.cast_once():
            clean = self._first(x, s)
            noisy = self._moved(clean, s, z)
            entry = self.exact if self.gains else self.precision  # a LayerNorm comes before the first rounding
            h = torch.cat([noisy.to(entry), clean.to(entry)])
            activations, steps = self._hidden(h, torch.cat([s, s]), num_back=n)
            gradient, energy = self._gradient(steps), self._last(activations[n:]).squeeze(1)
        return gradient if self.base is None else gradient + self.base.gradient(x + s * z, s), energy

    def energies(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Energies (N, L) of rows x (N, D) at each level of sigma (L,)."""
        h, s = self._at_levels(x, sigma)
        own = self._read(self._hidden(h, s)[0]).view(len(x), len(sigma))
        if self.base is None:
            return own
        return own + self.base.energies(x, sigma)

    def score_norms(self, x: Tensor, sigma: Tensor) -> Tensor:
        """|| dE/dx ||^2 (N, L) of rows x (N, D) at each level of sigma (L,)."""
        return self.gradients(x, sigma).square().sum(dim=2)

    def gradients(self, x: Tensor, sigma: Tensor) -> Tensor:
        """dE/dx (N, L, D) of rows x (N, D) at each level of sigma (L,)."""
        h, s = self._at_levels(x, sigma)
        own = self._gradient(self._hidden(h, s, num_back=len(h))[1]).view(len(x), len(sigma), x.shape[1])
        return own if self.base is None else own + self.base.gradients(x, sigma)

    def data_weight(self) -> Tensor:
        """The first layer's weights of the data (H, D), for coordinates as they are."""
        weight = super().data_weight()
        return weight if self.scale is None else weight * self.scale

    def _at_levels(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The first layer's output (N * L, H) and s (N * L, 1); the data's part is computed once for all levels."""
        of_x = self._of_data(x).to(self.precision)[:, None, :]  # rounded alike for all levels
        h = of_x + (self.noise_input(sigma)[:, None] * self.weights[0][:, -1]).to(self.precision)  # (N, L, H)
        return h.flatten(0, 1), sigma.repeat(len(x))[:, None]

    def _read(self, activations: Tensor) -> Tensor:
        """The last layer, exact: energies are compared across rows, so their last digits count."""
        return linear(activations.to(self.exact), self.weights[-1], self.biases[-1]).squeeze(1)

    def _gradient(self, steps: list[_Step]) -> Tensor:
        """dE/dx (N, D), layer by layer backwards. With h_i = W_i gelu(h_{i-1}) + b_i, E = w gelu(h_n) + b:

            delta_n = w * gelu'(h_n),  delta_{i-1} = (delta_i W_i) * gelu'(h_{i-1}),  dE/dx = delta_1 W_1[:, :D].

        Two more products than the forward pass; one ordinary backward pass through this trains the network.
        """
        delta = self._weight(len(steps))  # (1, H_n)
        for i in reversed(range(len(steps))):
            step = steps[i]
            delta = delta * step.slope
            if step.centred is not None and step.rstd is not None:
                delta = _back_through_norm(delta * self.gains[i].to(self.precision), step.centred, step.rstd)
            delta = delta @ self._weight(i)
        return delta.to(self.exact)


class ScoreNet(Network):
    """The baseline MSMA: D outputs that are read as dE/dx, minus the score, themselves."""

    def __init__(self, num_features: int, hidden: Sequence[int], **options: Any) -> None:
        super().__init__(num_features, hidden, num_features, **options)

    def gradient(self, x: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """dE/dx (N, D) at x + s z, or at x."""
        return self._last(self._hidden(self._first(x, s, z), s)[0])

    def noisy_and_clean(self, x: Tensor, s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """dE/dx (N, D) at x + s z; there is no energy to hold to 0, so its place (N,) is 0."""
        return self.gradient(x, s, z), x.new_zeros(len(x))

    def score_norms(self, x: Tensor, sigma: Tensor) -> Tensor:
        """|| dE/dx ||^2 (N, L) of rows x (N, D) at each level of sigma (L,)."""
        return self.gradients(x, sigma).square().sum(dim=2)

    def gradients(self, x: Tensor, sigma: Tensor) -> Tensor:
        """dE/dx (N, L, D) of rows x (N, D) at each level of sigma (L,)."""
        rows = x.repeat_interleave(len(sigma), dim=0)
        gradients = self.gradient(rows, sigma.repeat(len(x))[:, None])
        return gradients.view(len(x), len(sigma), x.shape[1])


def _back_through_norm(delta: Tensor, centred: Tensor, rstd: Tensor) -> Tensor:
    """Gradient at the input of a LayerNorm (N, H) from the one at its output, gain taken in."""
    along = (delta * centred).mean(dim=1, keepdim=True)
    return (delta - delta.mean(dim=1, keepdim=True) - centred * along) * rstd.to(delta.dtype)
