"""`mulde toy`: train on four Gaussians whose exact answers are known, and show learnt beside exact."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mulde import __version__
from mulde.density.estimator import MuldeDensity
from mulde.density.heldout import NUM_BANDS
from mulde.density.options import PRESETS
from mulde.density.rows import Float64, TrainingProgress
from mulde.density.toy import GaussianTruth, ToySet, draw_toy_set, toy_truth
from mulde.errors import UsageError
from mulde.files import write_csv, write_json
from mulde.pipeline.experiments.toy_comparison import INDICATORS, Comparison, Field, LearntField, Plane, compare
from mulde.pipeline.training.fit import shown_and_logged
from mulde.pipeline.training.tensorboard import TrainingLog
from mulde.progress import Reporter
from mulde.report import plots as figures
from mulde.report.plots import Curve, MapPair

MAP_SIGMAS = (0.001, 0.01, 0.1, 0.5, 1.0)
LIMIT = 3.0
"""The maps show the square +-LIMIT of the standardised plane; the outermost anomalies lie around 2.4."""


@dataclass(frozen=True)
class Sizes:
    """How many points are drawn (test points: of each kind), and into how many rows and columns a map is divided."""

    num_train: int = 10_000
    num_heldout: int = 5_000
    num_test: int = 5_000
    grid: int = 200


FULL = Sizes()


def run_toy(
    out: Path, *, seed: int, device: str, preset: str, reporter: Reporter, sizes: Sizes | None = None
) -> Comparison:
    """Train MULDE on the toy set of `seed`; write toy.json, toy.csv, PNG files and tensorboard/ into `out`.

    Raises UsageError for an unknown preset or device, and for an `out` that is a file.
    """
    check_request(out, preset)
    sizes, start = sizes or FULL, time.perf_counter()
    drawn = draw_toy_set(seed, sizes.num_train, sizes.num_test)
    heldout = draw_toy_set(seed + 1, sizes.num_heldout, 0).train
    density = MuldeDensity(**PRESETS[preset], seed=seed, device=device)
    with TrainingLog(out / "tensorboard") as log:
        progress = train_and_log(density, drawn.train, heldout, log, reporter)
        train_s = time.perf_counter() - start
        reporter.say("comparing with the exact answers and drawing")
        truth = toy_truth(density.standardiser_.mean, density.standardiser_.scale)
        plane = lay_out(density, drawn, heldout, sizes.grid)
        learnt = LearntField(density)
        comparison = compare(learnt, truth, plane, density.sigma_.tolist(), seed)
        pictures = draw_comparison(comparison, out) + draw_plane(learnt, truth, plane, out)
        lowest = partial(truth.lowest_dsm_loss, num_nodes=40)
        for path in [*pictures, draw_training(progress, density, lowest, out)]:
            log.figure(f"toy/{path.stem}", path)
    facts = describe(density, seed, preset) | {
        "sizes": asdict(sizes),
        "wall_time_s": {"train": round(train_s, 3), "all": round(time.perf_counter() - start, 3)},
    }
    write_json(out / "toy.json", {**facts, **asdict(comparison)})
    write_rows([*comparison.levels, *comparison.aggregates], out / "toy.csv")
    say_where(out, reporter)
    return comparison


def check_request(out: Path, preset: str) -> None:
    """Raises UsageError for an unknown preset, and for an `out` that is a file."""
    if preset not in PRESETS:
        raise UsageError("preset", expected=f"one of {', '.join(PRESETS)}", got=repr(preset))
    check_out(out)


def check_out(out: Path) -> None:
    """Raises UsageError for an `out` that is a file."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}", expected="a folder, or nothing yet", got="a file")


def describe(density: MuldeDensity, seed: int, preset: str) -> dict[str, Any]:
    """What toy.json holds of any fitted density."""
    return {
        "versions": {"mulde": __version__, "torch": torch.__version__, "numpy": np.__version__},
        "seed": seed,
        "preset": preset,
        "settings": density.settings(),
        "device": str(density.device_),
        "training": asdict(density.trained_),
    }


def say_where(out: Path, reporter: Reporter) -> None:
    reporter.say(f"figures: {out / 'toy.json'}; pictures: {out}/*.png; tensorboard --logdir {out / 'tensorboard'}")


def train_and_log(
    density: MuldeDensity, rows: Float64, heldout: Float64, log: TrainingLog, reporter: Reporter
) -> list[TrainingProgress]:
    """Fit on rows (N, D), with `heldout` (M, D) to decide when to stop; the course of the training."""
    reported: list[TrainingProgress] = []
    with reporter.bar("train", 0, "steps") as advance:
        show = shown_and_logged(advance, log)

        def progress(now: TrainingProgress) -> None:
            reported.append(now)
            show(now)

        density.fit(rows, heldout=heldout, progress=progress)
    return reported


def lay_out(density: MuldeDensity, drawn: ToySet, heldout: Float64, grid: int) -> Plane:
    """The points as the density standardises them, and grid x grid points over the map, rows from low y to high."""
    axis = np.linspace(-LIMIT, LIMIT, grid)
    apply = density.standardiser_.apply
    return Plane(
        train=apply(drawn.train),
        heldout=apply(heldout),
        normal=apply(drawn.normal),
        anomalous=apply(drawn.anomalous),
        grid=np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2),
    )


def draw_plane(learnt: Field, exact: GaussianTruth, plane: Plane, out: Path) -> list[Path]:
    """Scatter of the points; maps of both indicators, learnt above exact, bare and under the test points.

    Energies are shown above the lowest exact one. The learnt ones are shifted by what they differ by on average on the
    training points, for an energy is defined up to a constant at each noise level.
    """
    energies, norms = [], []
    side = round(len(plane.grid) ** 0.5)
    for s in MAP_SIGMAS:
        exact_energy = exact.energy(plane.grid, s)
        shift = float(np.mean(learnt.energy(plane.train, s) - exact.energy(plane.train, s)))
        both = (learnt.energy(plane.grid, s) - shift, exact_energy)
        energies.append(MapPair(s, *(e.reshape(side, side) - exact_energy.min() for e in both)))
        both = tuple(np.square(field.gradient(plane.grid, s)).sum(axis=1) for field in (learnt, exact))
        norms.append(MapPair(s, *(norm.reshape(side, side) for norm in both)))
    test = {"normal, to test": plane.normal, "anomalous": plane.anomalous}
    figures.plot_points({"normal, to learn from": plane.train, **test}, out / "data.png", limit=LIMIT)
    paths = [out / "data.png"]
    for name, pairs, label in (
        ("energy", energies, "energy above the lowest exact one"),
        ("score_norm", norms, "score norm, || dE/dx ||²"),
    ):
        for suffix, points in (("", {}), ("_points", test)):
            paths.append(out / f"{name}{suffix}.png")
            figures.plot_maps(
                pairs, paths[-1], label=label, limit=LIMIT, logarithmic=name == "score_norm", points=points
            )
    return paths


def draw_comparison(comparison: Comparison, out: Path) -> list[Path]:
    """AUC against the noise level, and bars of the aggregates."""

    def curves(rows: Sequence[Any]) -> list[Curve]:
        return [
            Curve(shown, *([getattr(row, f"{name}_auc_{kind}") for row in rows] for kind in ("learnt", "exact")))
            for name, shown in INDICATORS.items()
        ]

    paths = [out / "auc.png", out / "aggregates.png"]
    figures.plot_auc([row.sigma for row in comparison.levels], curves(comparison.levels), paths[0])
    names = [row.aggregate for row in comparison.aggregates]
    figures.plot_aggregates(names, curves(comparison.aggregates), paths[1])
    return paths


def draw_training(
    progress: Sequence[TrainingProgress],
    density: MuldeDensity,
    lowest_loss: Callable[[float], float],
    out: Path,
    levels_per_band: int = 21,
) -> Path:
    """The course of the training, beside the least held-out loss of each band of noise levels; `lowest_loss` gives
    that of one level."""
    edges = np.geomspace(float(density.sigma_[0]), float(density.sigma_[-1]), NUM_BANDS + 1)
    inside = np.geomspace(edges[:-1], edges[1:], levels_per_band, axis=1)  # (bands, levels_per_band)
    lowest = [np.mean([lowest_loss(float(s)) for s in band]) for band in inside]
    figures.plot_training(
        progress,
        out / "training.png",
        band_names=[f"sigma {low:.2g} to {high:.2g}" for low, high in pairwise(edges.tolist())],
        lowest_losses=[float(np.mean(lowest)), *map(float, lowest)],
    )
    return out / "training.png"


def write_rows(rows: Sequence[Any], path: Path) -> None:
    """Records as CSV, a line each; what a record does not have is empty."""
    import pandas as pd

    write_csv(pd.DataFrame([asdict(row) for row in rows]), path)
