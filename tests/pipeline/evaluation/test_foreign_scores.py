"""Scores of another program meet their videos and their labels: the figures are those of scikit-learn."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mulde.errors import MuldeError
from mulde.pipeline.evaluation.foreign_scores import match_names

LENGTHS = {"Test001": 30, "Test002": 45, "Test010": 26}


@pytest.fixture
def footage(tmp_path) -> Path:
    """Three videos as folders of empty images, which nobody may decode, with labels."""
    root = tmp_path / "footage"
    for name, length in LENGTHS.items():
        folder = root / "test" / name
        folder.mkdir(parents=True)
        for i in range(length):
            (folder / f"{i:03d}.png").touch()
    (root / "labels.csv").write_text("video,start_frame,end_frame\nTest001,2,9\nTest002,20,45\nTest010,0,3\n")
    return root


LABELS = {
    "Test001": np.isin(np.arange(30), range(2, 9)),
    "Test002": np.isin(np.arange(45), range(20, 45)),
    "Test010": np.isin(np.arange(26), range(3)),
}


def made(seed: int = 0) -> dict[str, np.ndarray]:
    """Scores with ties, better than chance."""
    rng = np.random.default_rng(seed)
    return {name: np.round(rng.normal(size=len(labels)) + labels, 1) for name, labels in LABELS.items()}


def figures(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def raw(folder: Path) -> dict:
    return next(row for row in figures(folder)["rows"] if row["smoothing"] == "raw")


def joined(scores, cut=slice(None)):
    names = list(LENGTHS)
    return np.concatenate([LABELS[name][cut] for name in names]), np.concatenate([scores[name] for name in names])


@pytest.fixture
def run(mulde, footage, tmp_path, monkeypatch):
    """Evaluates scores, without pictures; returns exit code and standard error in one line."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: Path(path).touch())

    def evaluate(scores: Path, *options: object) -> tuple[int, str]:
        code, _, err = mulde(
            "evaluate", "--scores", scores, "--labels", f"folder:{footage}", "--bootstrap", 0, *options
        )
        return code, err

    return evaluate


def test_one_file_per_video_gives_the_auc_of_all_frames(run, tmp_path):
    scores = made()
    (tmp_path / "s").mkdir()
    for name, values in scores.items():
        np.save(tmp_path / "s" / f"{name}.npy", values)
    code, err = run(tmp_path / "s")
    assert code == 0
    result = raw(tmp_path / "s-evaluation")["result"]
    assert result["micro_auc"] == pytest.approx(roc_auc_score(*joined(scores)), abs=1e-12)
    macro = np.mean([roc_auc_score(LABELS[name], scores[name]) for name in LENGTHS])
    assert result["macro_auc"] == pytest.approx(macro, abs=1e-12)
    assert figures(tmp_path / "s-evaluation")["method"] == "s"
    assert "Row raw is what was given" in err
    assert "Row raw is what was given" in (tmp_path / "s-evaluation" / "evaluation" / "evaluation.html").read_text()


def test_an_auc_that_is_known_in_closed_form(run, tmp_path):
    """Rising scores: a normal frame wins over the anomalous ones in front of it, which pairs of ranks count."""
    np.save(tmp_path / "ramp.npy", np.arange(sum(LENGTHS.values())))
    assert run(tmp_path / "ramp.npy")[0] == 0
    truth = np.concatenate(list(LABELS.values()))
    ranks, num = np.flatnonzero(truth) + 1, int(truth.sum())
    exact = (ranks.sum() - num * (num + 1) / 2) / (num * (len(truth) - num))
    assert raw(tmp_path / "ramp-evaluation")["result"]["micro_auc"] == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("ending", [".npy", ".csv", ".txt", ".parquet"])
def test_one_array_over_all_videos_is_cut_in_their_order(run, tmp_path, ending):
    scores = made()
    values, path = np.concatenate(list(scores.values())), tmp_path / f"all{ending}"
    if ending == ".npy":
        np.save(path, values[:, None])
    elif ending == ".txt":
        np.savetxt(path, values)
    else:
        table = pd.DataFrame({"score": values})
        table.to_parquet(path) if ending == ".parquet" else table.to_csv(path, sep=";", decimal=",")
    code, err = run(path)
    assert code == 0
    assert "one array over 3 videos in the order Test001, Test002, Test010" in err
    result = raw(tmp_path / "all-evaluation")["result"]
    assert result["micro_auc"] == pytest.approx(roc_auc_score(*joined(scores)), abs=1e-12)


def test_lower_scores_can_be_the_anomalous_ones(run, tmp_path):
    np.save(tmp_path / "psnr.npy", -joined(made())[1])
    assert run(tmp_path / "psnr.npy", "--lower-is-anomalous")[0] == 0
    result = raw(tmp_path / "psnr-evaluation")["result"]
    assert result["micro_auc"] == pytest.approx(roc_auc_score(*joined(made())), abs=1e-12)
    assert run(tmp_path / "psnr.npy", "--out", "as-it-is")[0] == 0
    assert raw(tmp_path / "as-it-is")["result"]["micro_auc"] == pytest.approx(1 - result["micro_auc"], abs=1e-12)


@pytest.mark.parametrize(("first", "last"), [(4, 0), (0, 5), (8, 7)])
@pytest.mark.parametrize("one_array", [True, False])
def test_skipped_frames_count_filled_and_left_out(run, tmp_path, first, last, one_array):
    kept = slice(first, -last or None)
    scores = {name: values[kept] for name, values in made().items()}
    path = tmp_path / ("s.npy" if one_array else "s")
    if one_array:
        np.save(path, np.concatenate(list(scores.values())))
    else:
        path.mkdir()
        for name, values in scores.items():
            np.savetxt(path / f"{name}.csv", values)
    code, err = run(path, "--skipped-frames", f"{first},{last}")
    assert code == 0
    assert f"{3 * (first + last)} of 101 frames repeat the nearest score" in err
    filled = {name: np.concatenate([np.repeat(v[0], first), v, np.repeat(v[-1], last)]) for name, v in scores.items()}
    folder = tmp_path / "s-evaluation"
    assert raw(folder)["result"]["micro_auc"] == pytest.approx(roc_auc_score(*joined(filled)), abs=1e-12)
    published = figures(folder)["without_skipped"]
    assert published["result"]["micro_auc"] == pytest.approx(roc_auc_score(*joined(scores, kept)), abs=1e-12)
    assert published["result"]["micro_auc"] != raw(folder)["result"]["micro_auc"]
    page = (folder / "evaluation" / "evaluation.html").read_text()
    assert "protocol variant without-skipped-frames" in page
    assert f"first {first} frames dropped" in page or not first
    assert f"last {last} frames dropped" in page or not last


def test_the_figure_of_a_paper_that_predicts_frames(run, tmp_path):
    """PSNR without the first 4 frames, stretched to 0..1 in each video, as the public script has it."""
    psnr = {name: 40 - values[4:] for name, values in made().items()}
    np.save(tmp_path / "psnr.npy", np.concatenate(list(psnr.values())))
    options = ("--lower-is-anomalous", "--skipped-frames", 4, "--compat", "future-frame")
    assert run(tmp_path / "psnr.npy", *options)[0] == 0
    stretched = {name: (v.max() - v) / (v.max() - v.min()) for name, v in psnr.items()}
    found = figures(tmp_path / "psnr-evaluation")["compat"]["result"]["micro_auc"]
    assert found == pytest.approx(roc_auc_score(*joined(stretched, slice(4, None))), abs=1e-12)


def test_our_own_tables_are_taken_and_give_the_same_figures(run, tmp_path, mulde):
    np.save(tmp_path / "s.npy", joined(made())[1])
    assert run(tmp_path / "s.npy")[0] == 0
    code, err = run(tmp_path / "s-evaluation" / "scores", "--out", "again")
    assert code == 0
    assert "the same names in another form, which are left out: Test001.csv" in err
    assert figures(tmp_path / "again")["rows"] == figures(tmp_path / "s-evaluation")["rows"]
    assert mulde("evaluate", tmp_path / "s-evaluation", "--bootstrap", 0)[0] == 0
    assert figures(tmp_path / "again")["rows"] == figures(tmp_path / "s-evaluation")["rows"]


def test_a_folder_full_of_other_things(run, tmp_path):
    folder = tmp_path / "s"
    (folder / "part 1" / "@eaDir").mkdir(parents=True)
    scores = made()
    for name, path in zip(scores, ("part 1/ψ_1.TXT", "ψ_002.csv", "ψ_10.npy"), strict=True):
        if path.endswith(".npy"):
            np.save(folder / path, scores[name])
        else:
            np.savetxt(folder / path, scores[name])
    for clutter in (".DS_Store", "._ψ_1.txt", "part 1/@eaDir/ψ_1.txt", "readme.md", "plot.png"):
        (folder / clutter).write_bytes(b"\0")
    (folder / "summary.csv").write_text("score\n0.9\n")
    code, err = run(folder)
    assert code == 0
    assert "no files of scores, which are left out: plot.png, readme.md" in err
    assert "scores without a video, which are not used: summary" in err
    assert "matched with the videos by the numbers in their names (part 1/ψ_1 is Test001)" in err
    result = raw(tmp_path / "s-evaluation")["result"]
    assert result["micro_auc"] == pytest.approx(roc_auc_score(*joined(scores)), abs=1e-12)


def test_one_table_with_a_column_of_videos(run, tmp_path):
    scores = made()
    rows = [
        {"video": name.upper(), "frame": i, "x": v} for name in reversed(scores) for i, v in enumerate(scores[name])
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "s.csv", index=False)
    code, err = run(tmp_path / "s.csv", "--column", "x")
    assert code == 0
    assert "by the last part of their names (TEST001 is Test001)" in err
    result = raw(tmp_path / "s-evaluation")["result"]
    assert result["micro_auc"] == pytest.approx(roc_auc_score(*joined(scores)), abs=1e-12)


GIVEN = {
    ("b", "a", "c"): ({"a": "a", "b": "b"}, ""),
    ("x/B", "A"): ({"a": "A", "b": "x/B"}, "the last part of their names"),
}


@pytest.mark.parametrize(("given", "expected"), GIVEN.items())
def test_names_match_whole_or_by_their_last_part(given, expected):
    assert match_names(given, ["a", "b"], "s") == expected


@pytest.mark.parametrize(
    ("given", "videos", "expected"),
    [
        (["2", "01"], ["Test001", "Test002"], {"Test001": "01", "Test002": "2"}),
        (["v2_02", "v2_01"], ["Test001", "Test002"], {"Test001": "v2_01", "Test002": "v2_02"}),
        (["2_1", "1_1", "1_2"], ["01_0001", "02_0001"], {"01_0001": "1_1", "02_0001": "2_1"}),
        (["кадр ٢", "кадр ١"], ["01", "02"], {"01": "кадр ١", "02": "кадр ٢"}),
        (["cafe\u0301"], ["café"], {"café": "cafe\u0301"}),
    ],
)
def test_names_match_by_their_numbers_in_any_script(given, videos, expected):
    assert match_names(given, videos, "s")[0] == expected


@pytest.mark.parametrize(
    ("given", "videos", "sentence"),
    [
        (
            ["1", "01", "2"],
            ["Test001", "Test002"],
            "one file of scores for each test video, got several for Test001 (1, 01)",
        ),
        (
            ["1", "3"],
            ["Test001", "Test002"],
            "each of the 2 test videos, named as these, got none for Test002; there are 1, 3",
        ),
        (["x", "y"], ["a", "b"], "got none for a, b; there are x, y"),
        (["1", "2"], ["a_1", "b_1"], "got none for a_1, b_1"),
    ],
)
def test_names_that_do_not_match_or_not_in_one_way_are_refused(given, videos, sentence):
    with pytest.raises(MuldeError, match=re.escape(sentence)):
        match_names(given, videos, "s")


def test_lengths_that_do_not_fit_name_video_expected_and_got(run, tmp_path):
    (tmp_path / "s").mkdir()
    for name, values in made().items():
        np.save(tmp_path / "s" / f"{name}.npy", values[1:])
    code, err = run(tmp_path / "s")
    assert code == 2
    assert "scores of Test001 in" in err
    assert "expected 30, one for each of its 30 frames, got 29. Try: --skipped-frames 1 if the first" in err
    np.save(tmp_path / "s" / "Test010.npy", np.zeros(26))
    code, err = run(tmp_path / "s", "--skipped-frames", "1")
    assert code == 2
    assert "scores of Test010 in" in err
    assert err.endswith("expected 25, one for each of its 26 frames but the first frame, got 26")
    np.save(tmp_path / "all.npy", np.zeros(101 - 12))
    code, err = run(tmp_path / "all.npy")
    assert code == 2
    assert "expected 101 numbers, one for each frame of 3 test videos, got 89. Try: --skipped-frames 4 if" in err
    code, err = run(tmp_path / "all.npy", "--skipped-frames", "13,13")
    assert code == 2
    assert "expected videos of more than 26 frames, got 26 frames in Test010" in err


def test_nothing_is_written_over(run, tmp_path, footage):
    np.save(tmp_path / "s.npy", joined(made())[1])
    other = tmp_path / "other"
    (other / "scores").mkdir(parents=True)
    assert "holds another run: without a run.json" in run(tmp_path / "s.npy", "--out", other)[1]
    (tmp_path / "s").mkdir()
    assert "expected a folder outside the scores" in run(tmp_path / "s", "--out", tmp_path / "s" / "out")[1]
    assert run(tmp_path / "s.npy")[0] == 0
    stale = tmp_path / "s-evaluation" / "scores" / "gone.parquet"
    stale.touch()
    assert run(tmp_path / "s.npy")[0] == 0
    assert not stale.exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["run", "--scores", "s.npy", "--labels", "folder:x"],
            "expected either RUN, or --scores with --labels, got both",
        ),
        ([], "expected either RUN, or --scores with --labels, got neither"),
        (["--scores", "s.npy"], "expected --labels NAME:ROOT"),
        (["--scores", "s.npy", "--labels", "folder:x", "--events"], "expected a run with events"),
        (["run", "--lower-is-anomalous"], "--lower-is-anomalous: expected --scores, which it belongs to"),
        (["run", "--skipped-frames", "4"], "--skipped-frames: expected --scores"),
        (["--scores", "s", "--labels", "folder:x", "--skipped-frames", "-4"], "expected N or N,M in frames, e.g. 4"),
        (["--scores", "gone", "--labels", "folder:x"], "got a path that does not exist"),
    ],
)
def test_options_that_do_not_go_together_are_refused(mulde, options, sentence):
    code, _, err = mulde("evaluate", *options)
    assert code == 2
    assert sentence in err
