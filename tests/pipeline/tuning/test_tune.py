"""`mulde tune` from footage to settings: what it chooses, what it never opens, how it goes on when it was stopped."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mulde.config import StreamDensitySettings
from mulde.errors import Failure, FitError, UsageError
from mulde.images import read_image, write_png
from mulde.media import write_video
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.model.world import ObservedVideo
from mulde.pipeline.tuning import candidates, clips, material, scorer, scoring, search
from mulde.pipeline.tuning.candidates import DensityCandidate
from mulde.pipeline.tuning.clips import FOLDER, Clip
from mulde.pipeline.tuning.figures import MIN_PIXELS
from mulde.pipeline.tuning.material import _not_used
from mulde.pipeline.tuning.page import _with_box
from mulde.pipeline.tuning.search import ALONE
from mulde.pipeline.tuning.tune import run_tune
from mulde.progress import Reporter
from mulde.reconstruction.model_file import load_models
from mulde.settings_file import load_settings
from mulde.typed import read_typed

RATE = Fraction(10)
KINDS = ("fast", "standing", "falling", "large", "patch", "bag")  # tests/pipeline/tuning/test_figures.py draws all
QUICK = ('features.extractors=["velocity", "geometry"]', 'density.method="mahalanobis"', 'features.flow.preset="fast"')


def walkers(num_frames: int, seed: int) -> np.ndarray:
    """(T, 96, 128, 3): two people-sized things that walk to the right over a still ground, again and again."""
    rng = np.random.default_rng(seed)
    ground = np.repeat(np.random.default_rng(7).integers(60, 100, (96, 128, 1)).astype(np.uint8), 3, axis=2)
    frames = np.repeat(ground[None], num_frames, axis=0)
    for y, speed, start in ((34, 2, rng.integers(60)), (62, 2, rng.integers(60))):
        thing = np.repeat(rng.integers(150, 250, (22, 12, 1)).astype(np.uint8), 3, axis=2)
        for t in range(num_frames):
            x = 4 + (start + t * speed) % 108
            frames[t, y : y + 22, x : x + 12] = thing
    return frames


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("footage")
    for i in range(3):
        write_video(root / f"n{i}.mp4", iter(walkers(60, i)), RATE, crf=1)
    return root


@pytest.fixture(scope="module", autouse=True)
def _few_candidates():
    """Two cheap densities, one round of clips."""
    lines = tuple(DensityCandidate(name, StreamDensitySettings(method=name)) for name in ("mahalanobis", "mixture"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "DENSITIES", lines)
        patch.setattr(clips, "ROUNDS", 1)
        patch.setattr(clips, "KINDS", [kind for kind in clips.KINDS if kind.name in KINDS])
        patch.setattr(clips, "_MAX_FRAMES", 40)
        patch.setattr(search, "FLOW_STEPS", {"velocity": (2,)})
        patch.setattr(search, "AVERAGE_S", (0.2,))
        yield


def session(tmp_path: Path) -> Session:
    return Session.open(tmp_path / "store", "cpu", Reporter(quiet=True), keeps_record=False)


def tune(source: object, tmp_path: Path, out: str = "out", seed: int = 0, hours: float | None = None) -> Path:
    run_tune(str(source), load_settings(overrides=QUICK), tmp_path / out, seed, session(tmp_path), hours=hours)
    return tmp_path / out


@pytest.fixture(scope="module")
def tuned(footage, tmp_path_factory) -> Path:
    return tune(footage, tmp_path_factory.mktemp("tuned"))


PREDICTION = (
    'features.extractors=["velocity", "prediction"]',
    "features.prediction.options={side=64, width=2, num_codes=4, side_width=2, pyramid_width=2, max_steps=2}",
    "features.prediction.preset=paper",
)


def test_networks_of_a_stream_are_trained_on_the_folds_that_judge(footage, tmp_path):
    settings = load_settings(overrides=[*QUICK, *PREDICTION])
    with pytest.raises(UsageError, match=r"--hours with prediction: expected trained networks.*Try: mulde train"):
        run_tune(str(footage), settings, tmp_path / "out", 0, session(tmp_path), hours=1)
    run_tune(str(footage), settings, tmp_path / "out", 0, session(tmp_path))
    trained = tmp_path / "out/prediction.safetensors"
    record = json.loads((tmp_path / "out/run.json").read_text())
    sha256 = record["video_sha256"]
    halves = [[name for name in sorted(sha256) if one.has_seen(sha256[name], 0)] for one in load_models(trained)]
    assert sorted(halves) == sorted(sorted(fold) for fold in record["tuning"]["folds"])
    table = results(tmp_path / "out")[1]
    assert table[(table["stage"] == ALONE) & (table["candidate"] == "prediction")]["found"].notna().all()
    tuned = load_settings(tmp_path / "out/tuned.toml")
    assert tuned.features.prediction.weights == str(trained)
    written = trained.stat().st_mtime_ns
    run_tune(str(footage), settings, tmp_path / "out", 0, session(tmp_path))
    assert trained.stat().st_mtime_ns == written


def test_a_clip_is_known_as_the_footage_that_it_was_made_of(footage, tmp_path, monkeypatch):
    """So networks that have seen that footage do not describe it."""
    asked = []
    monkeypatch.setattr(ExtractionPlan, "describe", noting(ExtractionPlan.describe, asked))
    out = tune(footage, tmp_path)
    sha256 = json.loads((out / "run.json").read_text())["video_sha256"]
    clips = [read_typed(path, Clip, hint="") for path in (out / FOLDER).glob("*.json")]
    assert {(origin.sha256, origin.first_frame) for origin in asked} == {
        *((digest, 0) for digest in sha256.values()), *((sha256[clip.source], clip.first) for clip in clips)
    }  # fmt: skip


def noting(describe, asked):
    def noted(self, window, known, kinds, origin):
        asked.append(origin)
        return describe(self, window, known, kinds, origin)

    return noted


def results(out: Path) -> tuple[str, pd.DataFrame]:
    return (out / "tuned.toml").read_text(), pd.read_csv(out / "candidates.csv")


def test_it_writes_settings_candidates_and_a_page(tuned):
    text, table = results(tuned)
    settings = load_settings(tuned / "tuned.toml")
    assert set(settings.features.extractors) <= {"velocity", "geometry"}
    assert "# Chosen by mulde" in text
    assert "# chosen: " in text
    assert {ALONE, "streams", "smoothing", "density of velocity", "flow step of velocity"} <= {*table["stage"]}
    assert table["found"].between(0, 1).all()
    assert (table["found_low"] <= table["found_high"]).all()
    assert table[table["stage"] != ALONE].groupby("stage")["chosen"].sum().eq(1).all()
    assert not table[table["stage"] == ALONE]["chosen"].any()
    page = (tuned / "tuning.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<img") > 5
    record = json.loads((tuned / "run.json").read_text())
    assert (record["kind"], record["seed"]) == ("tune", 0)
    assert sorted(name for fold in record["tuning"]["folds"] for name in fold) == ["n0", "n1", "n2"]
    assert len(record["tuning"]["folds"]) == 2


def test_the_labels_of_clips_are_the_frames_that_show_the_figure(tuned, footage):
    """Frames without it are those of the video; a label stands where the picture differs, and nowhere before it."""
    checked = 0
    for path in sorted((tuned / FOLDER).glob("*.json")):
        clip = read_typed(path, Clip)
        index = int(clip.source[1:])
        with_it = [read_image(p) for p in sorted((tuned / FOLDER / clip.name).glob("*.png"))]
        assert len(with_it) == clip.num_frames
        plain = walkers(60, index)[clip.first : clip.first + clip.num_frames]
        changed = np.array(
            [(np.abs(a.astype(int) - b).max(axis=2) > 40).sum() for a, b in zip(with_it, plain, strict=True)]
        )
        if clip.is_control:
            assert not clip.labels.any()
        elif clip.kind in ("fast", "bag", "patch", "large"):
            assert changed[clip.labels].max() >= MIN_PIXELS
            outside = ~clip.labels
            if clip.kind == "fast" and outside.any():
                assert changed[outside].max() < 3 * MIN_PIXELS
            checked += 1
    assert checked


def test_a_run_that_was_stopped_goes_on_to_the_same_result(tuned, footage, tmp_path, monkeypatch):
    count = 0
    real = scorer.score

    def dies(*args: object) -> object:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return real(*args)

    shutil.copytree(tuned.parent / "store", tmp_path / "store")
    monkeypatch.setattr(scorer, "score", dies)
    with pytest.raises(KeyboardInterrupt):
        tune(footage, tmp_path)
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / FOLDER).glob("*.json")}
    kept = len(list((tmp_path / "out" / scoring.FOLDER).iterdir()))
    assert kept >= 2
    count = 100
    tune(footage, tmp_path)
    text, table = results(tmp_path / "out")
    expected, frame = results(tuned)
    pd.testing.assert_frame_equal(table, frame)
    assert text == expected
    assert made == {p: p.stat().st_mtime_ns for p in made}  # nothing was drawn again
    scored = count - 100
    count = 100
    tune(footage, tmp_path)
    assert (scored > 0, count) == (True, 100)


def test_all_streams_that_need_no_weights_take_part_unless_some_are_named():
    every = candidates.with_all_streams(load_settings(), None, [])
    assert {"velocity", "geometry", "place", "trajectory", "descriptor"} == {*every.streams}
    assert every.tracks.tracker != "none"
    named = ['features.extractors=["geometry"]']
    assert candidates.with_all_streams(load_settings(overrides=named), None, named).streams == ("geometry",)


def test_another_seed_or_other_settings_are_another_run(tuned, footage):
    with pytest.raises(UsageError, match="holds another run: one with seed 0"):
        tune(footage, tuned.parent, seed=1)
    with pytest.raises(UsageError, match="holds another run"):
        run_tune(str(footage), load_settings(), tuned, 0, session(tuned.parent))
    with pytest.raises(UsageError, match="holds another run: one with other --without"):
        run_tune(str(footage), load_settings(overrides=QUICK), tuned, 0, session(tuned.parent), without=["fast"])


def test_options_that_a_density_does_not_take_are_refused_before_anything_is_made(footage, tmp_path):
    settings = load_settings(overrides=[*QUICK, "density.options={sigma=1}"])
    with pytest.raises(UsageError, match="expected settings among contamination, seed, got sigma"):
        run_tune(str(footage), settings, tmp_path / "out", 0, session(tmp_path))
    assert not (tmp_path / "out").exists()


def test_no_time_at_all_ends_with_the_given_settings(footage, tmp_path):
    out = tune(footage, tmp_path, hours=1e-9)
    assert load_settings(out / "tuned.toml") == load_settings(overrides=QUICK)
    assert "The time was up before anything could be compared" in (out / "tuned.toml").read_text()
    assert "The time was up" in (out / "tuning.html").read_text()
    assert len(pd.read_csv(out / "candidates.csv")) == 0


def test_no_label_is_read_and_no_test_video(footage, tmp_path):
    """The labels are no labels, the test videos no videos, and neither may be opened at all."""
    root = tmp_path / "data"
    shutil.copytree(footage, root / "train")
    (root / "test").mkdir()
    (root / "test" / "t.mp4").symlink_to("/dev/full")
    (root / "labels.csv").mkdir()
    shutil.copytree(footage, root / "masks")
    opened = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("labels", "masks", "regions"):
            patch.setattr(f"mulde.datasets.folder.dataset.FolderDataset.{name}", lambda *a, **k: opened.append(a))
        out = tune(f"folder:{root}", tmp_path, hours=1e-9)
        record = json.loads((out / "run.json").read_text())
        assert record["sources"] == [f"folder:{root}"]
        from mulde.datasets.sources import open_sources

        assert {video.split for video in open_sources([f"folder:{root}"], "train").videos} == {"train"}
    assert not opened


def test_one_video_alone_is_cut_in_time(footage, tmp_path):
    write_video(tmp_path / "one.mp4", iter(walkers(120, 0)), RATE, crf=1)
    out = tune(tmp_path / "one.mp4", tmp_path)
    record = json.loads((out / "run.json").read_text())
    assert record["tuning"]["folds"] == [["one 0-60"], ["one 60-120"]]


def test_videos_that_take_no_part_are_named():
    def stored(name: str, size_hw: tuple[int, int]) -> Any:
        observed = ObservedVideo(name, size_hw, 25.0, 60, True, np.ones(60, np.int64))
        return SimpleNamespace(size_hw=size_hw, observed=lambda: observed, video=SimpleNamespace(name=name))

    normal = [stored("a", (60, 80)), stored("b", (60, 80)), stored("площадь", (30, 40))]
    videos, failed = [object()] * 6, [Failure("cut", "cut off")]
    mixed, late, unused = _not_used(videos, normal, (60, 80), failed)
    assert mixed.startswith("the videos have frames of several sizes: 80 x 60 (2 videos), 40 x 30 (1 video)")
    assert late == "2 of 6 videos were not extracted: no time left"
    assert unused == "videos that are not 80 x 60 are not used (1): площадь"
    assert _not_used(videos[:3], [normal[0]] * 3, (60, 80), []) == []


def test_pictures_on_the_page_keep_their_colours(tmp_path):
    write_png(tmp_path / "red.png", np.full((60, 80, 3), (220, 30, 20), np.uint8))
    clip = Clip(
        name="c", kind="fast", source="n", made_from="", first=0, num_frames=1, anomalous=[], shown=0,
        box_xyxy=[30, 20, 50, 40],
    )  # fmt: skip
    (tmp_path / "page.jpg").write_bytes(_with_box(tmp_path / "red.png", clip))
    blue, green, red = read_image(tmp_path / "page.jpg", "bgr")[5, 5].tolist()
    assert (red, green, blue) == pytest.approx((220, 30, 20), abs=6)


def test_footage_in_which_nothing_moves_is_a_sentence(tmp_path):
    write_video(tmp_path / "empty" / "still.mp4", iter(np.repeat(walkers(1, 0), 40, axis=0)), RATE, crf=1)
    with pytest.raises(FitError, match="anomalies cannot be inserted: expected normal video in which an object goes"):
        tune(tmp_path / "empty", tmp_path)


def test_footage_of_which_nothing_can_be_read_is_a_sentence(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cut.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    with pytest.raises(FitError, match="tuning: expected at least one normal video that could be read, got none"):
        tune(tmp_path / "broken", tmp_path)


def test_what_cannot_be_read_is_counted_also_when_the_time_is_up(footage, tmp_path, monkeypatch):
    """The first video is extracted, then the time is up: no clip, and the cut-off one still is a failure."""
    shutil.copytree(footage, tmp_path / "some")
    some = tmp_path / "some" / "train" if (tmp_path / "some" / "train").is_dir() else tmp_path / "some"
    (some / "00-cut.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    calls = iter([False] + [True] * 1000)
    monkeypatch.setattr(material.Deadline, "is_over", lambda self, share=1.0: next(calls))
    outcome = run_tune(str(tmp_path / "some"), load_settings(overrides=QUICK), tmp_path / "out", 0, session(tmp_path))
    assert [failure.video for failure in outcome.failures] == ["00-cut"]
    assert "The time was up" in (tmp_path / "out" / "tuned.toml").read_text()
