"""Frames on a grid of time stamps: what is looked at, what it means, and that files and streams agree on it."""

from __future__ import annotations

import warnings
from fractions import Fraction

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import mulde
from mulde.cli import app
from mulde.errors import MuldeWarning, UsageError
from mulde.media import Conversion, write_video
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.scoring.frames import read_scores
from mulde.settings_file import load_settings
from tests.api_world import QUICK, frames_of, write_small_world

STREAMS = {"features.extractors": ["velocity", "geometry", "flow_histogram"]}


def slow_numbers(stamps, fps):
    """Number k is the first frame whose stamp reaches k / fps, less a tenth of 1 / fps; None: a frame that no k has."""
    numbers, last = [], -1
    for stamp in stamps:
        k = last + 1
        found = None
        while k <= stamp * fps + 0.1:
            found, k = k, k + 1
        numbers.append(found)
        last = last if found is None else found
    return numbers


@pytest.mark.parametrize("fps", [2, 5, 10, 25, 40])
@pytest.mark.parametrize("rate", [10, 25, 29.97])
@pytest.mark.parametrize("shake", [0.0, 0.2, 0.9])
def test_the_grid_is_the_first_frame_that_reaches_each_place(fps, rate, shake):
    rng = np.random.default_rng(int(fps + rate))
    stamps = np.sort(np.arange(200) + shake * rng.uniform(-0.5, 0.5, 200)) / rate
    stamps = np.delete(stamps - stamps[0], rng.integers(1, 200, 30))  # and some are lost
    conversion = Conversion((1, 1), None, Fraction(fps))
    slow = slow_numbers(stamps.tolist(), fps)
    kept = conversion.kept(stamps)
    assert kept.tolist() == [number is not None for number in slow]
    assert conversion.numbers(stamps[kept]).tolist() == [number for number in slow if number is not None]


def test_stamps_that_are_rounded_lose_no_frame():
    """Ten frames a second in milliseconds, looked at ten and five times a second."""
    for step in (33.3667, 100.0, 66.7):
        stamps = np.round(np.arange(300) * step) / 1000
        assert Conversion((1, 1), None, Fraction(1000 / step)).kept(stamps).all()
    assert np.flatnonzero(Conversion((1, 1), None, Fraction(5)).kept(np.arange(40) / 10)).tolist() == list(
        range(0, 40, 2)
    )


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """The small world at 25 frames a second as folders of images, as it is and with every frame twice at 50."""
    root = tmp_path_factory.mktemp("analysis")
    write_small_world(root / "world")
    for clip in sorted((root / "world").rglob("*.mp4")):
        images = [image for image, _ in frames_of(clip)]
        write_video(root / "once" / clip.parent.name / f"{clip.stem}.mkv", iter(images), Fraction(25), crf=0)
        twice = (image for image in images for _ in range(2))
        write_video(root / "twice" / clip.parent.name / f"{clip.stem}.mkv", twice, Fraction(50), crf=0)
    return root


@pytest.fixture(scope="module")
def models(worlds):
    """Trained on every frame of the one, and at 25 frames a second of the other; and at 10 of the first."""
    settings = {**QUICK, **STREAMS}
    return {
        name: mulde.train(
            worlds / of / "train", settings={**settings, "video.analysis_fps": fps}, store=worlds / "store"
        )
        for name, of, fps in (("once", "once", 0), ("twice", "twice", 25), ("ten", "once", 10))
    }


def changed(model, folder, settings):
    """The model with other settings to score with."""
    model.save(folder / "changed.safetensors")
    return mulde.load_model(folder / "changed.safetensors", settings=settings)


def test_every_frame_twice_and_half_of_them_looked_at_is_the_same(worlds, models):
    once = models["once"].score(worlds / "once/test")
    twice = models["twice"].score(worlds / "twice/test")
    for video in once.videos:
        one, other = (result.frames[result.frames["video"] == video] for result in (once, twice))
        assert len(other) == 2 * len(one)
        for column in ("fused", "smoothed", "p_value", *(f"score_{name}" for name in models["once"].streams)):
            np.testing.assert_allclose(np.repeat(one[column], 2), other[column], rtol=0, atol=1e-6, err_msg=column)
    assert once.level == pytest.approx(twice.level, abs=1e-6)
    assert len(once.events)
    for column in ("start_s", "end_s", "peak_s", "score", "p_value", "reason"):
        ours, theirs = once.events[column].tolist(), twice.events[column].tolist()
        assert ours == theirs if column == "reason" else ours == pytest.approx(theirs, abs=1e-6)
    assert (2 * once.events["start_frame"]).tolist() == twice.events["start_frame"].tolist()
    assert (2 * once.events["end_frame"]).tolist() == twice.events["end_frame"].tolist()


def test_a_faster_camera_needs_no_conversion(worlds, models):
    """A model that looks at ten frames a second takes any faster video as it is, and says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slow, fast = (models["ten"].score(worlds / of / "test/test01.mkv") for of in ("once", "twice"))
    assert len(fast.frames) == 2 * len(slow.frames)
    assert fast.frames["smoothed"].nunique() <= 21


def test_a_slower_video_is_said(worlds, models, tmp_path):
    images = [image for image, _ in frames_of(worlds / "once/test/test01.mkv")][::5]
    write_video(tmp_path / "slow.mkv", iter(images), Fraction(5))
    with pytest.raises(
        mulde.errors.MuldeError, match="5 frames per second, the model learnt 10; frames cannot be added"
    ):
        models["ten"].score(tmp_path / "slow.mkv")
    settings = {**QUICK, **STREAMS, "video.analysis_fps": 40}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MuldeWarning)
        model = mulde.train(worlds / "once/train", settings=settings, store=worlds / "store")
    with pytest.warns(MuldeWarning, match=r"25 frames per second, fewer than video\.analysis_fps asks for"):
        model.score(worlds / "once/test/test01.mkv")


@pytest.mark.parametrize("name", ["once", "twice", "ten"])
@pytest.mark.parametrize("of", ["once", "twice"])
def test_a_stream_is_the_causal_file(worlds, models, tmp_path, name, of):
    """Scores, p-values and what is repeated; the model's rate, or twice it."""
    path, model = worlds / of / "test/test01.mkv", models[name]
    rate = 50 if of == "twice" else 25
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MuldeWarning)
        causal = changed(model, tmp_path, {"fusion.smoothing": "causal"})
        whole = causal.score(path).frames
        found = list(model.stream(frames_of(path), rate=rate))
    for column, values in (
        ("smoothed", [frame.anomaly_score for frame in found]),
        ("p_value", [frame.p_value for frame in found]),
        ("fused", [frame.fused for frame in found]),
    ):
        np.testing.assert_allclose(values, whole[column], rtol=0, atol=1e-6, err_msg=column)


def test_lost_frames_of_a_folder_are_a_hole_in_time(worlds, models, tmp_path):
    """Images that cannot be read: the frames behind them have the scores that they have without the damage, as soon as
    smoothing no longer reaches over the hole."""
    images = [image for image, _ in frames_of(worlds / "once/test/test01.mkv")]
    for name, damaged in (("whole", ()), ("holed", range(20, 24))):
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            file = tmp_path / name / f"{i:03d}.png"
            cv2.imwrite(str(file), image[..., ::-1])
            if i in damaged:
                file.write_bytes(b"no image")
    settings = {"fusion.smoothing_s": 0.1, "video.frame_rate": 25}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MuldeWarning)
        model = changed(models["ten"], tmp_path, settings)
        whole, holed = (model.score(tmp_path / name).frames for name in ("whole", "holed"))
    assert len(holed) == 46
    late = holed["frame_index"] >= 40
    np.testing.assert_allclose(
        holed["smoothed"][late], whole["smoothed"][whole["frame_index"] >= 40], rtol=0, atol=1e-6
    )


def test_the_table_says_which_frames_were_looked_at(worlds, models, tmp_path):
    models["ten"].save(tmp_path / "ten.safetensors")
    command = ["score", str(worlds / "once/test"), "--model", str(tmp_path / "ten.safetensors"), "--causal"]
    command += ["--store", str(worlds / "store"), "--out", str(tmp_path / "run"), "--device", "cpu", "-q"]
    assert CliRunner().invoke(app, command).exit_code == 0
    scored = read_scores(tmp_path / "run/scores")
    for video in scored.values():
        assert video.is_causal
        assert video.analysed.rate == 10
        assert np.array_equal(np.flatnonzero(video.analysed.own), slow_kept(video.track.time_s, 10))
        own = video.analysed.own
        assert np.array_equal(
            video.track.fused, video.track.fused[np.maximum.accumulate(np.where(own, np.arange(50), 0))]
        )


def slow_kept(stamps, fps):
    return [i for i, number in enumerate(slow_numbers(stamps.tolist(), fps)) if number is not None]


def test_it_is_part_of_what_was_made(models, tmp_path):
    settings = load_settings(overrides=["video.analysis_fps=5"])
    assert ExtractionPlan(settings, "cpu").fingerprint()["analysis_fps"] == 5
    assert "analysis_fps" not in ExtractionPlan(load_settings(), "cpu").fingerprint()
    with pytest.raises(UsageError, match=r"video\.analysis_fps cannot be changed for scoring"):
        changed(models["ten"], tmp_path, {"video.analysis_fps": 5})


def test_imported_features_cannot_be_thinned():
    changes = ["video.analysis_fps=5", 'features.imported=["mine"]']
    with pytest.raises(UsageError, match=r"video\.analysis_fps: expected 0, as features or boxes that were imported"):
        ExtractionPlan(load_settings(overrides=changes), "cpu")
