"""`mulde compare` on run folders: what differs is said, figures are those of the runs, the page is whole."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mulde.errors import UsageError
from mulde.pipeline.evaluation.compare import run_names
from mulde.pipeline.run_folder import AlarmRecord, RunFolder
from mulde.pipeline.scoring.frames import write_scores
from mulde.records import ScoredVideo, ScoreTrack, spans
from tests.report.test_evaluation_page import Page

LENGTHS = {"Test001": 40, "Test002": 30, "Test010": 50, '<b>&"ψ': 35}
NASTY = '<b>&"ψ'


def flags(name: str) -> np.ndarray:
    return np.arange(LENGTHS[name]) % 20 > 11


def write_run(root: Path, seed: int, strength: float, *, names=tuple(LENGTHS), sigma: float = 5.0, alarm=None) -> Path:
    """A run folder as evaluate leaves it: scores, labels and a record."""
    rng = np.random.default_rng(seed)
    folder = RunFolder(root)
    folder.note(kind="score", **({"alarm": alarm} if alarm else {}))
    for name in names:
        values = rng.normal(size=LENGTHS[name]) + strength * flags(name)
        index = np.arange(LENGTHS[name])
        track = ScoreTrack(name, index, index / 10, values, values)
        write_scores(ScoredVideo(track, sigma, 0, 10.0), folder.scores)
    (root / "truth.json").write_text(json.dumps({name: spans(flags(name)) for name in names}))
    return root


@pytest.fixture
def runs(tmp_path) -> tuple[Path, Path]:
    for seed in range(3):
        write_run(tmp_path / "many" / f"seed-{seed}", 10 + seed, 1.5)
    return write_run(tmp_path / "one", 0, 0.5), tmp_path / "many"


def test_table_page_and_csv_say_the_same(mulde, runs, tmp_path):
    code, out, err = mulde("compare", *runs, "--out", "cmp", "--bootstrap", 300)
    assert code == 0
    table = pd.read_csv(tmp_path / "cmp" / "comparison.csv")
    page = Page((tmp_path / "cmp" / "comparison.html").read_text())
    row = table[(table["smoothing"] == "centred") & (table["run"] == "many")].iloc[0]
    assert row["num_seeds"] == 3
    for cell in (
        f"{100 * row['micro_auc']:.2f} ({100 * row['micro_auc_std']:.2f})",
        f"{100 * row['micro_auc_difference']:+.2f}",
        f"{100 * row['micro_auc_difference_low']:+.2f} to {100 * row['micro_auc_difference_high']:+.2f}",
        "300 resamples of the videos",
        "Means over seeds (one 1, many 3), sample standard deviation in brackets.",
        "null: triangle",
    ):
        assert cell in page.words
        assert cell in " ".join(out.split())
    assert "many micro AUC" in page.words
    assert "one micro AUC" not in page.words
    assert len(page.all("polyline")) == 2 * 4
    assert {tag["class"] for tag in page.all("polyline")} == {"run-1", "run-2"}
    assert len(page.all("rect")) == sum(len(spans(flags(name))) for name in LENGTHS) + 1
    assert NASTY in page.words
    assert "<b>" not in (tmp_path / "cmp" / "comparison.html").read_text()
    assert max(map(len, out.splitlines())) <= 110
    assert "comparison.csv" in err


def test_a_run_of_ours_and_scores_made_elsewhere(mulde, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: Path(path).touch())
    rng, names = np.random.default_rng(0), list(LENGTHS)[:3]
    for name in names:
        (tmp_path / "f" / "test" / name).mkdir(parents=True)
        for i in range(LENGTHS[name]):
            (tmp_path / "f" / "test" / name / f"{i}.png").touch()
    lines = [f"{name},{start},{end}\n" for name in names for start, end in spans(flags(name))]
    (tmp_path / "f" / "labels.csv").write_text("".join(["video,start_frame,end_frame\n", *lines]))
    for file in ("a.npy", "b.npy"):
        np.save(file, rng.normal(size=120) + np.concatenate([flags(name) for name in names]))
        assert mulde("evaluate", "--scores", file, "--labels", "folder:f", "--bootstrap", 0)[0] == 0
    ours = write_run(tmp_path / "ours", 1, 1.0, names=names)
    code, _, _ = mulde("compare", "a-evaluation", "b-evaluation", ours, "-q")
    assert code == 0
    table = pd.read_csv(tmp_path / "runs" / "compare" / "comparison.csv").set_index(["smoothing", "run"])
    for name in ("a-evaluation", "b-evaluation"):
        for row in json.loads((tmp_path / name / "metrics.json").read_text())["rows"]:
            for figure in ("micro_auc", "macro_auc", "average_precision", "equal_error_rate"):
                expected = row["result"][figure]
                assert table.loc[(row["smoothing"], name), figure] == pytest.approx(expected, abs=1e-12)


def test_events_stand_beside_where_a_run_has_a_level(mulde, runs, tmp_path):
    alarm = AlarmRecord(false_alarms_per_hour=60.0, levels={m: {"alarm": 1.0} for m in ("raw", "causal", "centred")})
    write_run(tmp_path / "alarmed", 5, 2.0, alarm=alarm)
    code, out, _ = mulde("compare", tmp_path / "alarmed", *runs, "--bootstrap", 0)
    assert code == 0
    num_events = sum(len(spans(flags(name))) for name in LENGTHS)
    page = Page((tmp_path / "runs" / "compare" / "comparison.html").read_text())
    assert f"events found (of {num_events})" in page.words
    assert "there are no intervals (--bootstrap 0)" in " ".join(out.split())
    assert all(line.endswith(("│", "┃")) and len(line) <= 110 for line in out.splitlines() if "100.00" in line)
    assert "null: constant" in out
    table = pd.read_csv(tmp_path / "runs" / "compare" / "comparison.csv")
    assert (table["num_events_found"].notna() == (table["run"] == "alarmed")).all()
    assert table["num_events_found"].max() > 0


def test_videos_that_not_all_runs_have_are_left_out_and_said(mulde, runs, tmp_path):
    few = write_run(tmp_path / "few", 3, 1.0, names=("Test001", "Test010"))
    code, _, err = mulde("compare", few, runs[0], "--out", "cmp")
    assert code == 0
    sentence = f"Only the 2 videos that all runs have are compared, without {NASTY}, Test002."
    assert sentence in err
    page = Page((tmp_path / "cmp" / "comparison.html").read_text())
    assert sentence in page.words
    assert "2 videos, 90 frames, 32 labelled anomalous" in page.words


def test_other_smoothing_is_said(mulde, runs, tmp_path):
    other = write_run(tmp_path / "other", 3, 1.0, sigma=3.0)
    _, _, err = mulde("compare", runs[0], other)
    assert "The runs are smoothed differently, each as it says itself: one 0.5 s, other 0.3 s." in err


def change_labels(root: Path) -> None:
    truth = json.loads((root / "truth.json").read_text())
    truth["Test002"] = [[12, 22]]
    (root / "truth.json").write_text(json.dumps(truth))


def drop_frames(root: Path) -> None:
    index = np.delete(np.arange(30), 7)
    track = ScoreTrack("Test002", index, index / 10, np.zeros(29), np.zeros(29))
    write_scores(ScoredVideo(track, 5.0, 0, 10.0), root / "scores")


CHANGES = {
    "labels of Test002: expected those of .*one, got others in 2 of 30 frames in .*same --labels": change_labels,
    r"scored frames of Test002: expected the 30 of .*one, got others in .*other \(29\)": drop_frames,
    "other: expected a run that was evaluated, got no labels of its .* Try: mulde evaluate .*other": lambda root: (
        root / "truth.json"
    ).unlink(),
    "truth.json": lambda root: (root / "truth.json").write_text('{"Test001": [[1]]}'),
    "no scores in .*other: expected scores/, or seed-<n>/scores/": lambda root: shutil.rmtree(root / "scores"),
}


@pytest.mark.parametrize(("sentence", "change"), CHANGES.items())
def test_what_cannot_be_compared_is_refused(mulde, runs, tmp_path, sentence, change):
    other = write_run(tmp_path / "other", 3, 1.0)
    change(other)
    code, _, err = mulde("compare", runs[0], other, "--out", "cmp")
    assert code == 1
    assert re.search(sentence, err)
    assert not (tmp_path / "cmp").exists()


def test_frames_without_a_score_have_no_label(mulde, runs, tmp_path):
    """Behind a hole in the scored frames, positions are no frames."""
    for name in ("one", "other"):
        drop_frames(write_run(tmp_path / name, 3, 1.0))
    assert mulde("compare", runs[0], tmp_path / "other", "--out", "cmp")[0] == 0
    page = Page((tmp_path / "cmp" / "comparison.html").read_text())
    num_anomalous = sum(int(flags(name).sum()) for name in LENGTHS)
    assert f"4 videos, 154 frames, {num_anomalous} labelled anomalous" in page.words
    assert "29 frames; AUC % of its own frames: one 50.00, other 50.00" in page.words
    assert "Labelled anomalous: frames 12-19." in page.words


def test_runs_without_a_common_video_are_refused(mulde, tmp_path):
    a, b = (write_run(tmp_path / n[-1], 0, 1.0, names=(n,)) for n in ("Test001", "Test002"))
    code, _, err = mulde("compare", a, b)
    assert code == 1
    assert re.search("expected videos that all of them have, got Test001 in .*1; Test002 in .*2", err)


def test_the_number_of_runs_and_their_names(mulde, runs, tmp_path):
    assert "expected 2 to 8 runs, got 1" in mulde("compare", runs[0])[2]
    assert "expected each run once" in mulde("compare", runs[0], runs[0])[2]
    paths = [Path("/x/a/run"), Path("/x/b/run"), Path("/y/b/run")]
    assert list(run_names(paths)) == ["x/a/run", "x/b/run", "y/b/run"]
    assert list(run_names(paths[:2])) == ["a/run", "b/run"]
    with pytest.raises(UsageError, match="each run once"):
        run_names([tmp_path, tmp_path / "one" / ".."])
