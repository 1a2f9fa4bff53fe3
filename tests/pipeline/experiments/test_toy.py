"""`mulde toy`: the comparison against closed forms and obvious answers, the pictures, the files, the command."""

from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from scipy.stats import multivariate_normal
from sklearn.metrics import roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mulde.density.estimator import MuldeDensity
from mulde.density.options import PRESETS
from mulde.density.rows import TrainingProgress
from mulde.density.toy import GaussianTruth, draw_toy_set, toy_truth
from mulde.errors import UsageError
from mulde.pipeline.experiments import toy
from mulde.pipeline.experiments.toy_comparison import (
    SHOWN_AGGREGATES,
    AggregateRow,
    LearntField,
    LevelRow,
    Plane,
    compare,
    evaluator,
)
from mulde.progress import Reporter
from mulde.report import plots as figures
from tests.pipeline.experiments.commands import command

SIGMA = np.linspace(0.001, 1, 16).tolist()
SMALL = toy.Sizes(num_train=400, num_heldout=300, num_test=300, grid=12)
TINY = {**PRESETS["fast"], "hidden": (16, 8), "steps": 60}
PICTURES = [
    "aggregates", "auc", "data", "energy", "energy_points", "score_norm", "score_norm_points", "training",
]  # fmt: skip


@dataclass
class Changed:
    """The exact energy times `factor` plus a constant of each noise level."""

    truth: GaussianTruth
    factor: float = 1.0

    def energy(self, x, s):
        return self.factor * self.truth.energy(x, s) + 7 * s - 3

    def gradient(self, x, s):
        return self.factor * self.truth.gradient(x, s)


@pytest.fixture(scope="module")
def density():
    small = MuldeDensity(hidden=(16, 8), steps=40)
    return small.fit(draw_toy_set(0, SMALL.num_train, 0).train)


@pytest.fixture(scope="module")
def plane(density):
    drawn = draw_toy_set(3, 600, 1000)
    return toy.lay_out(density, drawn, draw_toy_set(4, 1000, 0).train, 40)


@pytest.fixture(scope="module")
def truth(density):
    return toy_truth(density.standardiser_.mean, density.standardiser_.scale)


@pytest.fixture(scope="module")
def same(truth, plane):
    """The exact energy, but for a constant per level, in the place of the learnt one."""
    return compare(Changed(truth), truth, plane, SIGMA, seed=0)


def test_the_exact_energy_in_the_place_of_the_learnt_one_is_perfect(same):
    assert [row.sigma for row in same.levels] == SIGMA
    assert [row.aggregate for row in same.aggregates] == list(SHOWN_AGGREGATES)
    for row in same.levels:
        assert row.energy_auc_learnt == row.energy_auc_exact
        assert row.score_norm_auc_learnt == row.score_norm_auc_exact
        assert row.correlation == pytest.approx(1, abs=1e-12)
        assert row.dsm_loss_learnt == row.dsm_loss_exact
    for row in same.aggregates:
        assert row.score_norm_auc_learnt == row.score_norm_auc_exact
    assert all(promise.kept for promise in same.promises)


@pytest.mark.parametrize("level", [0, 3, 10, 15])
def test_exact_columns_equal_the_mixture_written_out(same, truth, plane, level):
    s, row = SIGMA[level], same.levels[level]
    gaussians = [multivariate_normal(centre, np.diag(truth.variance + s**2)) for centre in truth.centres]

    def density_at(x):
        return sum(gaussian.pdf(x) for gaussian in gaussians) / 4

    def log_slope(x, step=1e-5):
        units = np.eye(2) * step
        return np.stack([(density_at(x + u) - density_at(x - u)) / (2 * step * density_at(x)) for u in units], axis=1)

    labels = np.repeat([0, 1], [len(plane.normal), len(plane.anomalous)])
    both = np.concatenate([plane.normal, plane.anomalous])
    with np.errstate(divide="ignore"):
        assert row.energy_auc_exact == pytest.approx(roc_auc_score(labels, -density_at(both)), abs=1e-4)
    if s > 0.1:  # densities far away are too small to be divided by otherwise
        norms = np.square(log_slope(both)).sum(axis=1)
        assert row.score_norm_auc_exact == pytest.approx(roc_auc_score(labels, norms), abs=1e-4)
        x = np.random.default_rng(0).choice(truth.centres, 200_000)
        x = x + np.sqrt(truth.variance + s**2) * np.random.default_rng(1).standard_normal(x.shape)
        least = 0.5 * (2 - s**2 * np.square(log_slope(x)).sum(axis=1).mean())
        assert row.dsm_loss_least == pytest.approx(least, abs=0.01)
        assert row.dsm_loss_exact == pytest.approx(least, abs=0.03)


def test_an_energy_upside_down_is_as_wrong_as_can_be(truth, plane):
    wrong = compare(Changed(truth, factor=-1), truth, plane, SIGMA, seed=0)
    for row in wrong.levels:
        assert row.energy_auc_learnt == pytest.approx(1 - row.energy_auc_exact)
        assert row.score_norm_auc_learnt == row.score_norm_auc_exact
        assert row.correlation == pytest.approx(-1)
        assert row.dsm_loss_learnt > row.dsm_loss_exact or row.sigma < 0.01  # where both predict next to nothing
    assert wrong.aggregates[1].energy_auc_learnt < 0.1  # the median
    assert not any(promise.kept for promise in wrong.promises)


@dataclass
class WrongFarAway(Changed):
    """Right where the density is above its maximum over `depth`, nonsense elsewhere."""

    depth: float = 1e3

    def energy(self, x, s):
        energy = self.truth.energy(x, s)
        lowest = min(self.truth.energy(self.truth.centres, s))
        return np.where(energy < lowest + math.log(self.depth), energy, -100.0)


def test_the_correlation_looks_at_dense_grid_points_and_all_held_out_ones(truth, plane):
    def correlations(heldout, depth=1e3):
        changed, field = replace(plane, heldout=heldout), WrongFarAway(truth, depth=depth)
        return [row.correlation for row in compare(field, truth, changed, SIGMA[1::7], seed=0).levels]

    # So near the centres all points are dense, at every level.
    near = np.tile(truth.centres, (200, 1)) + 0.05 * np.random.default_rng(0).standard_normal((800, 2))
    assert min(correlations(near)) > 0.999
    assert max(correlations(near, depth=1e2)) < 0.9
    assert max(correlations(np.concatenate([near, [[9.0, 9.0]]]))) < 0.9


def test_the_learnt_field_is_what_the_density_reads(density):
    drawn = draw_toy_set(5, 0, 50)
    points = np.concatenate([drawn.normal, drawn.anomalous])
    x, field = density.standardiser_.apply(points), LearntField(density)
    energies, norms = density.energies(points), density.score_norms(points)
    for i, s in enumerate(density.sigma_):
        np.testing.assert_allclose(field.energy(x, float(s)), energies[:, i], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.square(field.gradient(x, float(s))).sum(axis=1), norms[:, i], rtol=1e-4)
    step = 3e-3
    for column, unit in enumerate(np.eye(2)):
        slope = (field.energy(x + step * unit, 0.3) - field.energy(x - step * unit, 0.3)) / (2 * step)
        np.testing.assert_allclose(field.gradient(x, 0.3)[:, column], slope, atol=2e-3)


def level(sigma, learnt=1.0, correlation=1.0):
    return LevelRow(sigma, learnt, 1.0, 1.0, 1.0, correlation, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("levels", "aggregate_auc", "kept"),
    [
        ([level(s) for s in SIGMA], 1.0, [True, True, True]),
        ([level(s, learnt=0.9901) for s in SIGMA], 0.9951, [True, True, True]),
        ([level(s, learnt=0.989 if s == SIGMA[10] else 1.0) for s in SIGMA], 0.9949, [False, False, True]),
        ([level(s, learnt=0.5 if s > 0.667 else 1.0) for s in SIGMA], 1.0, [True, True, True]),
        ([level(s, correlation=0.9899 if s == SIGMA[3] else 1.0) for s in SIGMA], 1.0, [True, True, False]),
        ([level(s, correlation=0.2 if s in (SIGMA[0], SIGMA[9]) else 1.0) for s in SIGMA], 1.0, [True, True, True]),
    ],
)
def test_promises_are_judged_at_their_levels(levels, aggregate_auc, kept):
    aggregates = [AggregateRow("max", 1.0, 1.0, 0.5, 0.5), AggregateRow("mean", aggregate_auc, 1.0, 0.5, 0.5)]
    assert [promise.kept for promise in evaluator(levels, aggregates)] == kept


def test_what_was_found_is_said_with_its_place():
    levels = [level(s, learnt=0.97 if s == SIGMA[2] else 1.0, correlation=0.9 if s == SIGMA[6] else 1) for s in SIGMA]
    found = [p.found for p in evaluator(levels, [AggregateRow("median", 0.75, 1.0, 0.5, 0.5)])]
    assert found == [
        "largest difference 0.0300, at sigma 0.134",
        "least 0.7500, median",
        "least 0.9000, at sigma 0.401",
    ]


@pytest.fixture
def drawn_figures(monkeypatch):
    """The figures that are saved, by file name."""
    saved = {}

    def save(figure, path):
        saved[path.name] = figure

    monkeypatch.setattr(figures, "save", save)
    return saved


@pytest.mark.parametrize("factor", [1, 2])
def test_maps_show_learnt_and_exact_in_the_same_colours(truth, density, drawn_figures, tmp_path, factor):
    """The factor 1 gives the same maps twice; the constant between the energies is gone."""
    plane = toy.lay_out(density, draw_toy_set(3, 500, 500), draw_toy_set(4, 50, 0).train, 12)
    paths = toy.draw_plane(Changed(truth, factor), truth, plane, tmp_path)
    assert [path.name for path in paths] == list(drawn_figures)
    for name in ("energy", "energy_points", "score_norm", "score_norm_points"):
        axes = [axes for axes in drawn_figures[f"{name}.png"].axes if axes.images]
        assert len(axes) == 10
        for i, s in enumerate(toy.MAP_SIGMAS):
            learnt, exact = (a for a in axes if a.get_title().endswith(f"sigma {s:g}"))
            assert (learnt.get_title(), exact.get_title()) == (f"learnt, sigma {s:g}", f"exact, sigma {s:g}")
            expected = factor**2 * exact.images[0].get_array()
            if "energy" in name:
                on_grid, on_train = truth.energy(plane.grid, s).reshape(12, 12), truth.energy(plane.train, s).mean()
                expected = on_train + factor * (on_grid - on_train) - on_grid.min()
            np.testing.assert_allclose(learnt.images[0].get_array(), expected, rtol=1e-9, atol=1e-9)
            assert learnt.images[0].norm is exact.images[0].norm
            assert [len(c.get_offsets()) for c in exact.collections] == ([500, 500] if "points" in name else []), i
    shown = next(a for a in drawn_figures["energy.png"].axes if a.get_title() == "exact, sigma 0.5").images[0]
    corner = truth.energy(np.array([[-3.0, 3.0]]), 0.5)[0] - truth.energy(plane.grid, 0.5).min()
    assert shown.get_array()[-1, 0] == pytest.approx(corner)  # the last row is the upper one
    assert shown.origin == "lower"
    scatter = drawn_figures["data.png"].axes[0]
    assert [len(c.get_offsets()) for c in scatter.collections] == [500, 500, 500]


def test_curves_and_bars_show_the_table(truth, plane, drawn_figures, tmp_path):
    comparison = compare(Changed(truth, factor=-1), truth, plane, SIGMA, seed=0)
    toy.draw_comparison(comparison, tmp_path)
    lines = {line.get_label(): line for line in drawn_figures["auc.png"].axes[0].lines}
    for name, column in (("energy", "energy_auc"), ("score norm", "score_norm_auc")):
        for kind in ("learnt", "exact"):
            line = lines[f"{name}, {kind}"]
            assert list(line.get_xdata()) == SIGMA
            assert list(line.get_ydata()) == [getattr(row, f"{column}_{kind}") for row in comparison.levels]
    for axes, column in zip(drawn_figures["aggregates.png"].axes, ("energy_auc", "score_norm_auc"), strict=True):
        assert [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()] == list(SHOWN_AGGREGATES)
        for bars, kind in zip(axes.containers, ("learnt", "exact"), strict=True):
            heights = [bar.get_height() for bar in bars]
            assert heights == [getattr(row, f"{column}_{kind}") for row in comparison.aggregates]


def test_the_course_of_a_training_is_drawn_as_it_was_told(drawn_figures, tmp_path):
    looks = [
        TrainingProgress(10, 30, 1.0, 0.5, 2.0, 0.1),
        TrainingProgress(20, 30, 0.9, 0.4, 3.0, 0.05, 0.8, (0.9, 0.7)),
    ]
    figures.plot_training(looks, tmp_path / "t.png", band_names=["low", "high"], lowest_losses=[0.6, 0.65, 0.55])
    loss, heldout, gradient, rate = drawn_figures["t.png"].axes
    curves = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in loss.lines}
    assert curves == {"total": ([10, 20], [1.5, 1.3]), "dsm": ([10, 20], [1.0, 0.9]), "reg": ([10, 20], [0.5, 0.4])}
    curves = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in heldout.lines[:3]}
    assert curves == {"all noise levels": ([20], [0.8]), "low": ([20], [0.9]), "high": ([20], [0.7])}
    assert [line.get_ydata()[0] for line in heldout.lines[3:]] == [0.6, 0.65, 0.55]
    assert list(gradient.lines[0].get_ydata()) == [2.0, 3.0]
    assert list(rate.lines[0].get_ydata()) == [0.1, 0.05]


def test_a_training_without_held_out_rows_is_drawn_too(tmp_path):
    figures.plot_training([TrainingProgress(10, 30, 1.0, 0.0, 2.0, 0.1)], tmp_path / "t.png")
    assert imread(tmp_path / "t.png").shape[2] == 4


@pytest.fixture
def tiny(monkeypatch):
    """The command in small: few points, a small network, few steps."""
    shrink(monkeypatch)


def shrink(patch):
    patch.setitem(PRESETS, "fast", TINY)
    patch.setattr(toy, "FULL", SMALL)
    patch.setattr(toy, "MAP_SIGMAS", (0.01, 0.5))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run of the command: its folder and what it printed."""
    out, printed = tmp_path_factory.mktemp("run") / "toy", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        shrink(patch)
        assert command(patch, "toy", "--out", out, "--seed", 3, "--device", "cpu", "-q") == 0
    return out, printed.getvalue()


def test_every_file_is_written_and_the_pictures_show_something(done):
    out, _ = done
    assert {p.name for p in out.iterdir()} == {"toy.json", "toy.csv", "tensorboard", *(f"{n}.png" for n in PICTURES)}
    for name in PICTURES:
        picture = imread(out / f"{name}.png")
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.05, name


def test_json_csv_and_print_agree(done):
    out, printed = done
    stored, table = json.loads((out / "toy.json").read_text()), pd.read_csv(out / "toy.csv")
    assert stored["seed"] == 3
    assert stored["settings"]["hidden"] == [16, 8]
    assert stored["training"]["num_steps"] == 60
    rows = [*stored["levels"], *stored["aggregates"]]
    assert len(rows) == len(table) == 16 + len(SHOWN_AGGREGATES)
    for row, (_, in_table) in zip(rows, table.iterrows(), strict=True):
        assert {name: in_table[name] for name in row} == row
        assert all(f"{value:.4f}" in printed for value in row.values() if isinstance(value, float))
    text = " ".join(printed.split())
    assert "Not all expectations are met:" in text
    for promise in stored["promises"]:
        assert f"{'met' if promise['kept'] else 'NOT MET'}: {promise['promise']} ({promise['found']})" in text


def test_tensorboard_has_every_curve_and_picture(done):
    out, _ = done
    training = json.loads((out / "toy.json").read_text())["training"]
    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {f"toy/{name}" for name in PICTURES}
    assert [event.step for event in events.Scalars("loss/dsm")] == [10, 20, 30, 40, 50, 60]
    [heldout] = events.Scalars("heldout/dsm")
    assert heldout.value == np.float32(training["heldout_loss"])
    [auc] = events.Images("toy/auc")
    assert (auc.height, auc.width) == imread(out / "auc.png").shape[:2]


def run(out, **changes):
    given = {"seed": 0, "device": "cpu", "preset": "fast", "reporter": Reporter(quiet=True)} | changes
    return toy.run_toy(out, **given)


def test_what_is_drawn_depends_on_the_seed_alone(tiny, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(toy, "compare", lambda learnt, exact, plane, sigma, seed: seen.append(plane) or 1 / 0)
    for seed in (0, 0, 1):
        with pytest.raises(ZeroDivisionError):
            run(tmp_path / "toy", seed=seed)
    first, again, other = seen
    for name in Plane.__dataclass_fields__:
        assert (getattr(first, name) == getattr(again, name)).all()
    assert (first.train != other.train).all()
    test_points = {tuple(point) for point in first.normal}
    assert not test_points & {tuple(point) for point in (*first.heldout, *first.train)}
    assert not {tuple(point) for point in first.heldout} & {tuple(point) for point in first.train}


def test_bad_requests_are_refused_before_anything_is_done(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert command(monkeypatch, "toy", "--out", tmp_path / "toy", "--preset", "huge") == 2
    assert "preset: expected one of fast, paper, got 'huge'" in capsys.readouterr().err
    assert command(monkeypatch, "toy", "--out", tmp_path / "file") == 2
    assert "expected a folder, or nothing yet, got a file" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageError, match="device 'cuda:9' cannot be used"):
        run(tmp_path / "toy", device="cuda:9")
    assert not (tmp_path / "toy").exists()
