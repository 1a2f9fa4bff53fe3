"""`mulde toy --columns`: the comparison against obvious answers, the files, the pictures, the command."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from scipy.stats import multivariate_normal

from mulde.density.aggregate import AGGREGATES
from mulde.density.embedded import draw_embedded_set
from mulde.density.estimator import MuldeDensity
from mulde.density.options import PRESETS
from mulde.density.registry import build_density
from mulde.errors import UsageError
from mulde.pipeline.experiments import embedded
from mulde.pipeline.experiments.embedded import BASELINES, ScoreRow, judge
from mulde.progress import Reporter
from mulde.report import plots as figures
from tests.pipeline.experiments.commands import command

COLUMNS, ROWS, NUM_TEST = 64, 200, 150
TINY = {**PRESETS["fast"], "hidden": (16, 8), "steps": 60}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run of the command: its folder, what it printed, and what `run_embedded` returned."""
    folder, printed, returned = tmp_path_factory.mktemp("run"), io.StringIO(), []
    run = embedded.run_embedded

    def small(*args, **options):
        returned.append(run(*args, **options, num_test=NUM_TEST))
        return returned[0]

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setitem(PRESETS, "fast", TINY)
        patch.setattr(embedded, "run_embedded", small)
        patch.chdir(folder)
        options = ("--columns", COLUMNS, "--rows", ROWS, "--seed", 3, "--device", "cpu", "-q")
        assert command(patch, "toy", *options) == 0
    return folder / f"toy-{COLUMNS}", printed.getvalue(), returned[0]


@pytest.fixture(scope="module")
def drawn():
    return draw_embedded_set(COLUMNS, ROWS, ROWS // 4, NUM_TEST, seed=3)


@pytest.fixture(scope="module")
def density(drawn):
    return MuldeDensity(**TINY, seed=3).fit(drawn.train, heldout=drawn.heldout)


def count_auc(normal, anomalous):
    """The share of pairs in which the anomaly has the higher score."""
    return ((np.sign(anomalous[:, None] - normal) + 1) / 2).mean()


def aucs(score, drawn):
    normal, inside, outside = (score(x) for x in (drawn.normal, drawn.inside, drawn.outside))
    kinds = {"inside": inside, "outside": outside, "both": np.concatenate([inside, outside])}
    return {kind: count_auc(normal, scores) for kind, scores in kinds.items()}


def dense_energy(drawn, density, x, s):
    """-log q_s of rows by covariances (D, D), on the columns as the density standardises them."""
    mean, scale = density.standardiser_.mean, density.standardiser_.scale
    truth, joint = drawn.truth, []
    for centre, factor in zip(truth.centres, truth.factors, strict=True):
        covariance = (factor @ factor.T + np.diag(truth.noise)) / np.outer(scale, scale) + s**2 * np.eye(len(scale))
        joint.append(multivariate_normal((centre - mean) / scale, covariance).logpdf((x - mean) / scale))
    return -np.logaddexp.reduce(joint, axis=0)


@pytest.mark.parametrize("level", [0, 5, 15])
def test_levels_are_those_of_pairs_counted(done, drawn, density, level):
    row, s = done[2].levels[level], density.sigma_[level]
    assert row.sigma == s
    learnt = aucs(lambda x: density.energies(x)[:, level], drawn)
    exact = aucs(lambda x: dense_energy(drawn, density, x, s), drawn)
    for kind in ("inside", "outside", "both"):
        assert getattr(row, f"{kind}_auc_learnt") == pytest.approx(learnt[kind], abs=1e-9)
        assert getattr(row, f"{kind}_auc_exact") == pytest.approx(exact[kind], abs=1e-9)
    both = density.energies(drawn.normal)[:, level], dense_energy(drawn, density, drawn.normal, s)
    assert row.correlation == pytest.approx(np.corrcoef(*both)[0, 1], abs=1e-6)


def test_the_exact_loss_is_the_lowest_at_every_level(done):
    for row in done[2].levels:
        assert 0 < row.dsm_loss_exact < row.dsm_loss_learnt or row.sigma < 0.01  # where both predict next to nothing
    assert done[2].levels[0].dsm_loss_exact == pytest.approx(COLUMNS / 2, rel=0.05)


def test_scores_are_those_of_the_densities(done, drawn, density):
    rows = {row.score: row for row in done[2].scores}
    default = f"MULDE, {density.effective_options.aggregate} (default)"
    learnt = {f"MULDE, {name}" for name in AGGREGATES} - {default.removesuffix(" (default)")}
    assert rows.keys() == {
        "exact, lowest sigma", *(f"exact, {name}" for name in AGGREGATES), default, *learnt, *BASELINES
    }  # fmt: skip
    lowest = float(density.sigma_[0])
    expected = {
        default: density.anomaly_score,
        "exact, lowest sigma": lambda x: dense_energy(drawn, density, x, lowest),
    }
    for name in BASELINES:
        expected[name] = build_density(name, seed=3).fit(drawn.train, heldout=drawn.heldout).anomaly_score
    for name, score in expected.items():
        for kind, auc in aucs(score, drawn).items():
            assert getattr(rows[name], f"{kind}_auc") == pytest.approx(auc, abs=1e-9), (name, kind)


def test_files_and_print_agree(done):
    out, printed, comparison = done
    stored, table = json.loads((out / "toy.json").read_text()), pd.read_csv(out / "toy.csv")
    assert stored["seed"] == 3
    assert stored["sizes"] == {
        "columns": 64, "train": 200, "heldout": 50, "normal": 150, "inside": 150, "outside": 150,
    }  # fmt: skip
    assert stored["settings"]["hidden"] == [16, 8]
    assert [vars(row) for row in comparison.scores] == stored["scores"]
    rows = [*stored["levels"], *stored["scores"]]
    assert len(rows) == len(table)
    for row, (_, in_table) in zip(rows, table.iterrows(), strict=True):
        assert {name: in_table[name] for name in row} == row
        assert all(f"{value:.4f}" in printed for value in row.values() if isinstance(value, float))
    text = " ".join(printed.split())
    [promise] = stored["promises"]
    assert f"{'met' if promise['kept'] else 'NOT MET'}: {promise['promise']} ({promise['found']})" in text
    assert {path.name for path in out.iterdir()} == {
        "toy.json", "toy.csv", "tensorboard", "auc.png", "data.png", "training.png",
    }  # fmt: skip
    for name in ("auc", "data", "training"):
        assert imread(out / f"{name}.png")[..., :3].std() > 0.05, name


@pytest.mark.parametrize(
    ("learnt", "found", "kept"),
    [
        ((0.99, 0.98, 0.97), "largest gap -0.0100, outside", True),
        ((0.93, 0.9501, 0.95), "largest gap 0.0199, outside", True),
        ((0.5, 0.99, 0.8), "largest gap 0.4400, inside", False),
        ((0.94, 0.97, 0.92), "largest gap 0.0300, both", False),
    ],
)
def test_the_promise_is_judged_by_the_default_reading(learnt, found, kept):
    others = [ScoreRow("exact, max", 1, 1, 1), ScoreRow("MULDE, max", 0, 0, 0), ScoreRow("neighbours", 1, 1, 1)]
    promise = judge(
        [ScoreRow("exact, lowest sigma", 0.94, 0.97, 0.95), *others, ScoreRow("MULDE, x (default)", *learnt)]
    )
    assert (promise.found, promise.kept) == (found, kept)


def test_the_scatter_shows_components_and_the_distance_from_their_subspace(monkeypatch, drawn, density, tmp_path):
    saved = {}
    monkeypatch.setattr(figures, "save", lambda figure, path: saved.update({path.name: figure}))
    samples = embedded.SampleRows(**{
        name: density.standardiser_.apply(getattr(drawn, name)) for name in embedded.SampleRows.__dataclass_fields__
    })  # fmt: skip
    embedded._draw_data(samples, tmp_path)
    components, rest = saved["data.png"].axes
    centred = samples.train - samples.train.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][: embedded.RANK]  # (r, D)
    for i, name in enumerate(("normal", "inside", "outside")):
        x = getattr(samples, name) - samples.train.mean(axis=0)
        np.testing.assert_allclose(np.abs(components.collections[i].get_offsets()), np.abs(x @ axes[:2].T))
        distance = np.linalg.norm(x - x @ axes.T @ axes, axis=1)
        np.testing.assert_allclose(rest.collections[i].get_offsets()[:, 1], distance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rows", 100), "--rows: expected --columns beside it, got --rows alone. Try: --columns 64"),
        (("--columns", 15), "--columns: expected 16 to 16,384, got 15"),
        (("--columns", 64, "--rows", 49), "--rows: expected 50 to 1,000,000, got 49"),
        (("--columns", 1000, "--rows", 50_001), "expected at most 50,000,000 numbers to learn from, got 50,001,000"),
        (("--columns", 64, "--preset", "huge"), "preset: expected one of fast, paper, got 'huge'"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_done(monkeypatch, capsys, tmp_path, options, message):
    assert command(monkeypatch, "toy", "--out", tmp_path / "toy", *options) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "toy").exists()


def test_a_file_in_the_place_of_the_folder_and_an_unknown_device_are_refused(tmp_path):
    (tmp_path / "file").touch()
    given = {"columns": 16, "rows": 50, "seed": 0, "preset": "fast", "reporter": Reporter(quiet=True)}
    with pytest.raises(UsageError, match="expected a folder, or nothing yet, got a file"):
        embedded.run_embedded(tmp_path / "file", device="cpu", **given)
    with pytest.raises(UsageError, match="device 'cuda:9' cannot be used"):
        embedded.run_embedded(tmp_path / "toy", device="cuda:9", **given)
    assert not (tmp_path / "toy").exists()
