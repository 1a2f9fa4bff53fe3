"""One line in the registry is enough for a data set to be listed, opened, checked, scored and evaluated."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mulde.datasets import DATASETS
from mulde.media import write_video
from tests.conftest import moving_square

QUICK = [
    "--set", "density.method=mixture", "--set", 'features.extractors=["velocity"]', "--set", "fusion.folds=1",
    "--set", "reasons.normal_moments=0", "--device", "cpu", "-q",
]  # fmt: skip


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setitem(DATASETS, "own", "tests.datasets.own_dataset:OWN")
    root = tmp_path / "squares"
    for i in range(3):
        write_video(root / "normal" / f"{i}.mp4", iter(moving_square(40, seed=i, speed_px=1 + i)), Fraction(25))
    slow, fast = moving_square(30, seed=7), moving_square(20, seed=7, speed_px=9)
    write_video(root / "odd" / "fast.mp4", iter(np.concatenate([slow, fast])), Fraction(25))
    write_video(root / "odd" / "plain.mp4", iter(moving_square(30, seed=8)), Fraction(25))
    (root / "odd" / "fast.txt").write_text("30 49\n")
    (root / "odd" / "plain.txt").touch()
    return root


def check(root: Path, mulde) -> tuple[int, set[tuple[str, str]]]:
    code, out, _ = mulde("data", "check", f"own:{root}", "--json", "-q")
    return code, {(finding["kind"], finding["video"]) for finding in json.loads(out)}


def test_it_is_checked_and_says_what_is_wrong_with_its_own_labels(root, mulde):
    assert check(root, mulde) == (0, set())
    (root / "odd" / "gone.txt").touch()
    (root / "odd" / "fast.txt").write_text("30 50\n")
    assert check(root, mulde) == (1, {("stray labels", "test/gone"), ("off by one", "test/fast")})


def test_it_is_listed_run_and_evaluated(root, tmp_path, mulde, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **options: Path(path).touch())
    assert "own" in [row["name"] for row in json.loads(mulde("data", "list", "--json")[1])]
    code, _, err = mulde("run", f"own:{root}", "--out", tmp_path / "run", "--store", tmp_path / "store", *QUICK)
    assert code == 0, err
    rows = json.loads((tmp_path / "run" / "metrics.json").read_text())["rows"]
    assert max(row["result"]["micro_auc"] for row in rows) > 0.9
