"""What each stream adds, against scores whose answers are plain to see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from mulde.commands.console.research import print_ablation
from mulde.config import Settings
from mulde.errors import LabelError, MuldeError, UsageError
from mulde.evaluation.smoothing import smooth
from mulde.files import write_json
from mulde.pipeline.evaluation.ablation import choices_of, rank_correlation, run_ablate
from mulde.pipeline.run_folder import RunFolder
from mulde.pipeline.scoring.frames import write_scores
from mulde.progress import Reporter
from mulde.records import ScoredVideo, ScoreTrack
from mulde.settings_file import load_settings

NUM_FRAMES, SIGMA = 40, 2.0
TRUTH = {"a": np.arange(NUM_FRAMES) >= 25, "b": (np.arange(NUM_FRAMES) // 10) % 2 == 1}
QUIET = Reporter(quiet=True)


def streams_of(video: str, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, len(video), ord(video)])
    knows = TRUTH[video] + rng.normal(0, 0.1, NUM_FRAMES)
    return {"knows": knows, "guesses": rng.normal(0, 1, NUM_FRAMES), "still": np.ones(NUM_FRAMES)}


def write_run(root: Path, *, source: Path | None, seed: int = 0, shift: float = 0.0) -> Path:
    """A run folder with three streams of two videos, fused as the settings say, plus `shift`."""
    folder = RunFolder(root)
    folder.write_settings(Settings())
    folder.note(sources=[str(source)] if source else [])
    for video in TRUTH:
        streams = streams_of(video, seed)
        fused = sum(streams.values()) + shift
        index = np.arange(NUM_FRAMES, dtype=np.int64)
        track = ScoreTrack(video, index, index / 25, fused, smooth(fused, SIGMA, "centred"), streams)
        write_scores(ScoredVideo(track, SIGMA, 0, 25.0), folder.scores)
    return root


@pytest.fixture
def labelled(tmp_path) -> Path:
    """Own footage as far as labels go: the videos are never opened."""
    root = tmp_path / "footage"
    (root / "test").mkdir(parents=True)
    (root / "labels").mkdir()
    for video, anomalous in TRUTH.items():
        (root / "test" / f"{video}.mp4").touch()
        np.save(root / "labels" / f"{video}.npy", anomalous)
    return root


def line(lines: list[dict], streams: str, smoothing: str, score: str = "result") -> dict:
    found = [row for row in lines if (row["streams"], row["smoothing"], row["score"]) == (streams, smoothing, score)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("streams", "choices"),
    [
        ((), {}),
        (("a",), {"all": ("a",)}),
        (("a", "b"), {"all": ("a", "b"), "only a": ("a",), "only b": ("b",)}),
        (
            ("a", "b", "c"),
            {
                "all": ("a", "b", "c"),
                "only a": ("a",), "only b": ("b",), "only c": ("c",),
                "without a": ("b", "c"), "without b": ("a", "c"), "without c": ("a", "b"),
            },
        ),
    ],
)  # fmt: skip
def test_the_same_choice_of_streams_stands_once(streams, choices):
    assert choices_of(streams) == choices


@pytest.mark.parametrize("mode", ["raw", "causal", "centred"])
def test_every_choice_has_the_figures_of_its_own_sum(labelled, tmp_path, mode):
    lines = run_ablate(write_run(tmp_path / "run", source=labelled), None, QUIET).lines
    for name, choice in choices_of(["knows", "guesses", "still"]).items():
        summed = [smooth(sum(streams_of(v)[s] for s in choice), SIGMA, mode) for v in TRUTH]
        own = line(lines, name, mode)
        assert own["micro_auc"] == pytest.approx(
            roc_auc_score(np.concatenate([*TRUTH.values()]), np.concatenate(summed))
        )
        each = [roc_auc_score(t, s) for t, s in zip(TRUTH.values(), summed, strict=True)]
        assert own["macro_auc"] == pytest.approx(np.mean(each))
    assert line(lines, "only knows", mode)["micro_auc"] > line(lines, "only guesses", mode)["micro_auc"] + 0.2
    assert line(lines, "only still", mode)["micro_auc"] == 0.5
    assert {row["score"] for row in lines if row["streams"] == "none"} == {"random", "ramp", "triangle", "constant"}


def test_how_alike_streams_are_needs_no_labels(tmp_path, capsys):
    ablation = run_ablate(write_run(tmp_path / "run", source=None), None, QUIET)
    streams = {s: np.concatenate([streams_of(v)[s] for v in TRUTH]) for s in ("knows", "guesses", "still")}
    found = ablation.correlations["run"]
    assert found["knows"]["guesses"] == pytest.approx(spearmanr(streams["knows"], streams["guesses"]).statistic)
    assert found["knows"]["knows"] == pytest.approx(1)
    assert found["knows"]["still"] is None
    both = streams["knows"] + streams["guesses"]
    expected = spearmanr(streams["knows"], both).statistic
    alone = next(row for row in ablation.lines if row["streams"] == "only knows")
    assert alone == {"run": "run", "streams": "only knows", "rank_correlation_with_all": pytest.approx(expected)}
    print_ablation(ablation)
    out = capsys.readouterr().out
    assert f"{expected:.2f}" in out
    assert "AUC" not in out


def test_seeds_of_one_run_stand_together(labelled, tmp_path, capsys):
    for seed in (0, 10, 2):
        write_run(tmp_path / "runs" / f"seed-{seed}", source=labelled, seed=seed)
    ablation = run_ablate(tmp_path / "runs", None, QUIET)
    assert list(ablation.correlations) == ["seed-0", "seed-2", "seed-10"]
    values = [r["micro_auc"] for r in ablation.lines if (r["streams"], r["smoothing"]) == ("all", "causal")]
    assert len(set(values)) == 3
    print_ablation(ablation)
    out = capsys.readouterr().out
    assert "mean of 3 runs" in out
    assert f"{100 * np.mean(values):.2f}" in out
    assert "null: triangle" in out
    assert "on test labels" in out


def test_the_three_files_hold_the_same_lines(labelled, tmp_path):
    run = write_run(tmp_path / "run", source=labelled)
    lines = run_ablate(run, None, QUIET).lines
    stored = json.loads((run / "ablation.json").read_text())
    assert stored["lines"] == lines
    tables = pd.read_csv(run / "ablation.csv"), pd.read_parquet(run / "ablation.parquet")
    pd.testing.assert_frame_equal(*tables, check_dtype=False)
    assert tables[0]["micro_auc"].tolist() == pytest.approx([row["micro_auc"] for row in lines])


def test_streams_that_do_not_give_the_stored_scores_are_refused(labelled, tmp_path):
    run = write_run(tmp_path / "run", source=labelled, shift=0.25)
    with pytest.raises(MuldeError, match=r"expected streams that give the stored .*, got others, up to 0\.25 away"):
        run_ablate(run, None, QUIET)


def test_the_combination_is_the_one_of_the_run(labelled, tmp_path):
    run = write_run(tmp_path / "run", source=labelled)
    RunFolder(run).write_settings(load_settings(overrides=["fusion.combine=max"]))
    with pytest.raises(MuldeError, match=r"under settings\.toml"):
        run_ablate(run, None, QUIET)


def test_labels_can_come_from_elsewhere_and_must_be_there_when_named(labelled, tmp_path, capsys):
    run = write_run(tmp_path / "run", source=tmp_path / "gone")
    assert "smoothing" not in run_ablate(run, None, QUIET).lines[0]
    assert "without labels: source" in capsys.readouterr().err
    assert run_ablate(run, f"folder:{labelled}", QUIET).lines[0]["smoothing"] == "raw"
    with pytest.raises(UsageError, match="gone"):
        run_ablate(run, str(tmp_path / "gone"), QUIET)
    for file in (labelled / "labels").iterdir():
        file.unlink()
    with pytest.raises(LabelError, match="expected labels of the scored videos, got none"):
        run_ablate(run, f"folder:{labelled}", QUIET)


def test_a_folder_without_scores_is_a_sentence(tmp_path):
    write_json(tmp_path / "run.json", {})
    with pytest.raises(MuldeError, match=r"no scores in .*: expected scores/, or seed-<n>/scores/"):
        run_ablate(tmp_path, None, QUIET)


def test_rank_correlation_of_ties_and_of_scores_turned_round():
    a = np.array([1.0, 2.0, 2.0, 5.0, 9.0])
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1)
    assert rank_correlation(a, np.zeros(5)) is None
