"""`mulde toy --columns`: train on a mixture of low rank among many columns, and show what is learnt beside exact."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mulde.density.aggregate import AGGREGATES, Aggregate
from mulde.density.embedded import RANK, EmbeddedSet, FactorMixture, draw_embedded_set
from mulde.density.estimator import MuldeDensity
from mulde.density.options import PRESETS
from mulde.density.registry import build_density
from mulde.density.rows import Float64
from mulde.errors import UsageError
from mulde.files import write_json
from mulde.pipeline.experiments.toy import (
    check_request,
    describe,
    draw_training,
    say_where,
    train_and_log,
    write_rows,
)
from mulde.pipeline.experiments.toy_comparison import LearntField, Promise, auc_of, dsm_loss, read_field
from mulde.pipeline.training.tensorboard import TrainingLog
from mulde.progress import Reporter
from mulde.report import plots as figures
from mulde.report.plots import Curve

BASELINES = ("neighbours", "mixture", "mahalanobis")
MIN_COLUMNS, MAX_COLUMNS = 2 * RANK, 16_384
MIN_ROWS, MAX_ROWS = 50, 1_000_000
DEFAULT_ROWS = 4_000
MAX_NUMBERS = 50_000_000
"""In the rows to learn from: rows times columns."""
NUM_TEST = 2_000
"""Rows of each kind to test with."""
_MAX_HELDOUT = 5_000
_NOISED = 2_000  # rows with noise that a loss is measured on, at least: fewer held-out rows are used several times
_SHOWN = 400  # points of each kind in the scatter
_MAX_GAP = 0.02
EXACT, DEFAULT = "exact, lowest sigma", "(default)"
"""Names of scores: -log of the exact density, and the end of that of MULDE's own reading."""


@dataclass(frozen=True)
class SampleRows:
    """Standardised rows (N, D): those learnt from, other normal ones, and those to test with."""

    train: Float64
    heldout: Float64
    normal: Float64
    inside: Float64
    outside: Float64


@dataclass(frozen=True)
class EmbeddedLevelRow:
    """Learnt against exact at one noise level.

    AUC of the energy: anomalies inside the subspace, outside it, and both. Correlation of the energies on the normal
    rows to test with. L_dsm of the held-out rows, of both under the same draw of the noise.
    """

    sigma: float
    inside_auc_learnt: float
    inside_auc_exact: float
    outside_auc_learnt: float
    outside_auc_exact: float
    both_auc_learnt: float
    both_auc_exact: float
    correlation: float
    dsm_loss_learnt: float
    dsm_loss_exact: float


@dataclass(frozen=True)
class ScoreRow:
    """AUC of one score per row: anomalies inside the subspace, outside it, and both."""

    score: str
    inside_auc: float
    outside_auc: float
    both_auc: float


@dataclass(frozen=True)
class EmbeddedComparison:
    """A row per noise level; a row per score: exact, learnt and baselines; what they mean for the promise."""

    levels: list[EmbeddedLevelRow]
    scores: list[ScoreRow]
    promises: list[Promise]


def run_embedded(
    out: Path,
    *,
    columns: int,
    rows: int,
    seed: int,
    device: str,
    preset: str,
    reporter: Reporter,
    num_test: int = NUM_TEST,
) -> EmbeddedComparison:
    """Train MULDE and the baselines on `rows` normal rows of `columns` columns; write toy.json, toy.csv, PNG files and
    tensorboard/ into `out`.

    A quarter as many other rows, at most 5,000, decide when the training stops. Raises UsageError for an unknown preset
    or device, for an `out` that is a file, and for sizes out of their bounds.
    """
    check_request(out, preset)
    _check_sizes(columns, rows)
    start = time.perf_counter()
    drawn = draw_embedded_set(columns, rows, min(math.ceil(rows / 4), _MAX_HELDOUT), num_test, seed)
    density = MuldeDensity(**PRESETS[preset], seed=seed, device=device)
    with TrainingLog(out / "tensorboard") as log:
        progress = train_and_log(density, drawn.train, drawn.heldout, log, reporter)
        train_s = time.perf_counter() - start
        reporter.say("fitting the baselines, comparing with the exact answers and drawing")
        exact = drawn.truth.standardised(density.standardiser_.mean, density.standardiser_.scale)
        samples = SampleRows(**{
            name: density.standardiser_.apply(getattr(drawn, name)) for name in SampleRows.__dataclass_fields__
        })  # fmt: skip
        comparison = compare(density, exact, drawn, samples, seed, device)
        noised, z = _noised(samples.heldout, seed)
        pictures = [
            _draw_aucs(comparison, out),
            _draw_data(samples, out),
            draw_training(progress, density, lambda s: dsm_loss(exact, noised, z, s), out, levels_per_band=5),
        ]
        for path in pictures:
            log.figure(f"toy/{path.stem}", path)
    facts = describe(density, seed, preset) | {
        "sizes": {"columns": columns, **{name: len(x) for name, x in vars(samples).items()}},
        "wall_time_s": {"train": round(train_s, 3), "all": round(time.perf_counter() - start, 3)},
    }
    write_json(out / "toy.json", {**facts, **asdict(comparison)})
    write_rows([*comparison.levels, *comparison.scores], out / "toy.csv")
    say_where(out, reporter)
    return comparison


def _check_sizes(columns: int, rows: int) -> None:
    for option, number, least, most in (
        ("--columns", columns, MIN_COLUMNS, MAX_COLUMNS),
        ("--rows", rows, MIN_ROWS, MAX_ROWS),
    ):
        if not least <= number <= most:
            raise UsageError(option, expected=f"{least:,} to {most:,}", got=f"{number:,}")
    if columns * rows > MAX_NUMBERS:
        raise UsageError(
            f"--columns {columns} --rows {rows}",
            expected=f"at most {MAX_NUMBERS:,} numbers to learn from",
            got=f"{columns * rows:,}",
            hint=f"--rows {MAX_NUMBERS // columns}",
        )


def compare(
    density: MuldeDensity, exact: FactorMixture, drawn: EmbeddedSet, samples: SampleRows, seed: int, device: str
) -> EmbeddedComparison:
    """A fitted density beside `exact`, the density of its standardised columns, and beside baselines fitted on the same
    rows; `seed`: of mixtures, baselines and held-out noise."""
    learnt, sigma = LearntField(density), density.sigma_.tolist()
    names = ("train", "normal", "inside", "outside")
    energies = {
        "learnt": {name: density.energies(getattr(drawn, name)).astype(np.float64) for name in names},
        "exact": {name: read_field(exact, "energy", getattr(samples, name), sigma) for name in names},
    }
    noised, z = _noised(samples.heldout, seed)
    levels = [
        EmbeddedLevelRow(
            sigma=s,
            **{
                f"{kind}_auc_{name}": auc
                for name, of_parts in energies.items()
                for kind, auc in _aucs({part: energy[:, i] for part, energy in of_parts.items()}).items()
            },
            correlation=float(np.corrcoef(energies["learnt"]["normal"][:, i], energies["exact"]["normal"][:, i])[0, 1]),
            dsm_loss_learnt=dsm_loss(learnt, noised, z, s),
            dsm_loss_exact=dsm_loss(exact, noised, z, s),
        )
        for i, s in enumerate(sigma)
    ]
    scores = _score_rows(density, drawn, energies, seed, device)
    return EmbeddedComparison(levels, scores, [judge(scores)])


def _score_rows(
    density: MuldeDensity, drawn: EmbeddedSet, energies: Mapping[str, Mapping[str, Float64]], seed: int, device: str
) -> list[ScoreRow]:
    """Exact at the lowest level; each aggregate of exact and of learnt energies, the latter as `density` scores where
    the aggregate is its own; the baselines."""
    test = {name: getattr(drawn, name) for name in ("normal", "inside", "outside")}
    scores = {EXACT: {name: energies["exact"][name][:, 0] for name in test}}
    for kind, shown in (("exact", "exact"), ("learnt", "MULDE")):
        for name in AGGREGATES:
            if kind == "learnt" and name == density.effective_options.aggregate:
                scores[f"{shown}, {name} {DEFAULT}"] = {part: density.anomaly_score(x) for part, x in test.items()}
            else:
                aggregate = Aggregate.fit(name, energies[kind]["train"], density.effective_options.components, seed)
                scores[f"{shown}, {name}"] = {part: aggregate.score(energies[kind][part]) for part in test}
    for name in BASELINES:
        baseline = build_density(name, seed=seed, device=device).fit(drawn.train, heldout=drawn.heldout)
        scores[name] = {part: baseline.anomaly_score(x) for part, x in test.items()}
    return [
        ScoreRow(name, **{f"{kind}_auc": auc for kind, auc in _aucs(of_parts).items()})
        for name, of_parts in scores.items()
    ]


def _aucs(scores: Mapping[str, Float64]) -> dict[str, float]:
    """AUC of anomalies `inside`, `outside` and both against `normal` ones, from their scores (N,)."""
    inside, outside = scores["inside"], scores["outside"]
    anomalous = {"inside": inside, "outside": outside, "both": np.concatenate([inside, outside])}
    return {kind: auc_of(scores["normal"], x) for kind, x in anomalous.items()}


def judge(scores: list[ScoreRow]) -> Promise:
    """Whether the score of MULDE's default reading comes near the exact density."""
    exact = next(row for row in scores if row.score == EXACT)
    learnt = next(row for row in scores if row.score.endswith(DEFAULT))
    gap, kind = max(
        (getattr(exact, f"{kind}_auc") - getattr(learnt, f"{kind}_auc"), kind) for kind in ("inside", "outside", "both")
    )
    return Promise(
        f"AUC of MULDE's score at most {_MAX_GAP:g} below that of the exact density: inside, outside and both",
        f"largest gap {gap:.4f}, {kind}",
        gap <= _MAX_GAP,
    )


def _noised(heldout: Float64, seed: int) -> tuple[Float64, Float64]:
    """Held-out rows (M, D), each as often as it takes, and standard normal noise for them."""
    x = np.tile(heldout, (max(1, _NOISED // len(heldout)), 1))
    return x, np.random.default_rng(seed).standard_normal(x.shape)


def _draw_aucs(comparison: EmbeddedComparison, out: Path) -> Path:
    levels = comparison.levels
    curves = [
        Curve(kind, *([getattr(row, f"{kind}_auc_{name}") for row in levels] for name in ("learnt", "exact")))
        for kind in ("inside", "outside")
    ]
    figures.plot_auc([row.sigma for row in levels], curves, out / "auc.png")
    return out / "auc.png"


def _draw_data(samples: SampleRows, out: Path) -> Path:
    """Some rows of each kind to test with, by the principal components of those learnt from."""
    from sklearn.decomposition import PCA

    pca = PCA(min(RANK, len(samples.train)), random_state=0).fit(samples.train)
    groups: dict[str, Any] = {}
    for name in ("normal", "inside", "outside"):
        x = getattr(samples, name)[:_SHOWN]
        projected = pca.transform(x)
        rest = np.linalg.norm(x - pca.inverse_transform(projected), axis=1)
        groups[name] = np.column_stack([projected[:, :2], rest])
    figures.plot_projection(groups, out / "data.png", rank=RANK)
    return out / "data.png"
