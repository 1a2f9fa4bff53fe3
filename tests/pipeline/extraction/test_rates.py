"""The same pictures with the stamps of other containers give the same scores and the same hours; smoothing goes by the
stamps.

Relatives looked for: a WebM as browsers record it, a transport stream with uneven stamps, an mp4 whose frames come in
bursts (pauses and the rest: tests/media/test_rates.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mulde.pipeline.model.bundle import load_bundle
from mulde.pipeline.scoring.frames import read_scores
from tests.conftest import moving_square
from tests.evaluation.test_smoothing import slow_in_time
from tests.media.media_samples import encode, remux
from tests.test_cli import run_main

QUICK = [
    "--set", "density.options={steps=20, hidden=[16]}", "--set", 'features.extractors=["velocity"]',
    "--set", "fusion.folds=2", "--device", "cpu", "-q",
]  # fmt: skip
NUM = 40
EVEN = 100 * np.arange(NUM)
UNEVEN = EVEN + np.append(np.random.default_rng(1).integers(0, 60, NUM - 1), 0)
UNEVEN[0] = 0
BURSTS = np.append((500 * (np.arange(NUM) // 5) + 4 * (np.arange(NUM) % 5))[:-1], EVEN[-1])


def copies(folder: Path, frames: np.ndarray) -> Path:
    """Four files with the same coded pictures, in which the coder wrote another rate."""
    folder.mkdir()
    coded = encode(folder.with_suffix(".mp4"), list(frames), rate=1000, options={"bf": "0", "crf": "0"})
    remux(coded, folder / "even.mp4", EVEN)
    remux(coded, folder / "web.webm", UNEVEN, "matroska")
    remux(coded, folder / "stream.ts", UNEVEN)
    remux(coded, folder / "bursts.mp4", BURSTS)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learnt from four copies, and what it makes of four copies of another video."""
    work = tmp_path_factory.mktemp("work")
    normal = copies(work / "normal", moving_square(NUM, seed=0))
    odd = np.concatenate([moving_square(NUM // 2, seed=7), moving_square(NUM // 2, seed=7, speed_px=9)])
    test, store, model = copies(work / "test", odd), work / "store", work / "model"
    run_main("train", normal, "--out", model, "--store", store, *QUICK)
    with pytest.MonkeyPatch.context() as patch:  # pictures take half of the time and are not what is looked at here
        patch.setattr("mulde.pipeline.predictor.scorer.Scorer.draw", lambda *args: None)
        run_main(
            "score", test, "--model", model / "model.safetensors", "--out", work / "run", "--store", store,
            "--device", "cpu", "-q",
        )  # fmt: skip
    return work


@pytest.mark.parametrize("name", ["web", "stream", "bursts"])
def test_scores_are_those_of_the_even_copy(run: Path, name: str) -> None:
    scored = read_scores(run / "run" / "scores")
    even, other = scored["even"].track, scored[name].track
    assert scored[name].rate == pytest.approx(10, rel=1e-3)
    assert even.smoothed.std() > 0.01
    np.testing.assert_allclose(other.fused, even.fused, atol=1e-3)
    by_time = slow_in_time(other.fused, other.time_s * scored[name].rate, scored[name].sigma_frames, "centred")
    np.testing.assert_allclose(other.smoothed, by_time, atol=1e-9)
    assert np.abs(other.smoothed - even.smoothed).max() < 0.5 * even.smoothed.std()


def test_hours_of_normal_video_are_the_time_that_passed(run: Path) -> None:
    normal = load_bundle(run / "model" / "model.safetensors").normal
    hours = {name: video.hours for name, video in normal.items()}
    assert hours == pytest.approx(dict.fromkeys(["even", "web", "stream", "bursts"], 4 / 3600), rel=1e-3)
