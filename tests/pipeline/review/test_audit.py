"""The audit finds what does not belong among normal clips, shows it, and leaves it out when told to."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from mulde.datasets.base import Video
from mulde.evaluation.conformal import NormalVideo, event_p_values
from mulde.evaluation.smoothing import smooth
from mulde.events import Event
from mulde.media import write_video
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle
from mulde.pipeline.model.training_record import TrainingRecord
from mulde.pipeline.review.audit import MAX_EVENTS, audit_table, manner, write_audit
from mulde.pipeline.scoring.frames import score_video
from mulde.pipeline.scoring.threshold import AlarmRule, find_alarms, learn_threshold
from mulde.pipeline.training.exclusions import Exclusions, kept, read_exclusions
from mulde.pipeline.training.fit import train
from mulde.pipeline.training.folds import NOTHING
from mulde.progress import Reporter
from tests.conftest import moving_square
from tests.pipeline.clips import plan_of, run

OPTIONS = ('features.extractors=["velocity","geometry"]', "density.method=mixture", "fusion.smoothing_s=0.1")
RATE, LENGTH = Fraction(25), 45


class Told(Reporter):
    """Keeps what a person is told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[StoredVideo]:
    """Squares of several sizes that walk at two speeds; the one of clip2 runs in frames 20 to 29."""
    folder = tmp_path_factory.mktemp("clips")
    clips = []
    for i in range(8):
        frames = moving_square(LENGTH, seed=i, speed_px=1 + i % 2, size=18 + i % 5)
        if i == 2:
            frames[20:30] = moving_square(10, seed=i, speed_px=9)
        write_video(folder / f"clip{i}.mp4", iter(frames), RATE)
        clips.append(Video(f"clip{i}", "train", folder / f"clip{i}.mp4"))
    return run(clips, plan_of(*OPTIONS), folder / "store").done


def trained(videos: list[StoredVideo], folder: Path, left_out: Exclusions = NOTHING) -> Bundle:
    plan = plan_of(*OPTIONS)
    return train(
        videos, plan.settings, plan.fingerprint(), seed=0, device="cpu", reporter=Told(), folder=folder,
        exclusions=left_out,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(videos, tmp_path_factory) -> Bundle:
    return trained(videos, tmp_path_factory.mktemp("run"))


@pytest.fixture
def audit(bundle, videos, tmp_path):
    told = Told()
    path = write_audit(bundle, videos, plan_of(*OPTIONS), tmp_path, told)
    return path, told


def rule_of(bundle: Bundle) -> AlarmRule:
    rule = learn_threshold(bundle, bundle.settings.alarms, Told())
    assert rule is not None
    return rule


def level(bundle: Bundle) -> float:
    return rule_of(bundle).centred.level


def alarms(bundle: Bundle, stored: StoredVideo) -> list[Event]:
    return find_alarms({stored.video.name: score_video(stored, bundle)}, rule_of(bundle))


def test_what_does_not_belong_comes_first_and_is_left_out(audit, videos, bundle, tmp_path):
    path, told = audit
    table = pd.read_csv(path, keep_default_na=False)
    first = table.iloc[0]
    assert (first["rank"], first["video"], first["stream"]) == (1, "clip2", "velocity")
    assert 15 <= first["start_frame"] < 25 < first["end_frame"] <= 35
    assert told.said[-1].startswith("the least normal training moments, each video scored by a model that has not seen")
    assert "clip2 0:0" in told.said[-1]
    assert (table["leave_out"] == "").all()
    table.loc[table["video"] == "clip2", "leave_out"] = "yes"
    table.to_csv(path, index=False)
    left_out = read_exclusions(path, videos)
    again = trained(videos, tmp_path / "again", left_out)
    assert level(again) < level(bundle)
    assert alarms(bundle, videos[2]) == []  # the anomaly hid itself
    assert any(event.start_frame < 30 and event.end_frame > 20 for event in alarms(again, videos[2]))
    after = pd.read_csv(write_audit(again, videos, plan_of(*OPTIONS), tmp_path / "again", Told()))
    ranges = left_out.ranges_of("clip2")
    for row in after[after["video"] == "clip2"].itertuples():
        assert all(row.end_frame <= start or end <= row.start_frame for start, end in ranges)


def test_rows_are_the_highest_stretches_of_the_normal_scores(audit, bundle, videos):
    table = pd.read_csv(audit[0])
    sigma = bundle.settings.fusion.smoothing_s * 25
    smoothed = {name: smooth(video.scores, sigma, "centred") for name, video in bundle.normal.items()}
    highest_tenth = np.quantile(np.concatenate(list(smoothed.values())), 0.9)
    assert table["rank"].tolist() == list(range(1, len(table) + 1))
    assert table["score"].is_monotonic_decreasing
    assert len(table) <= MAX_EVENTS
    seen = {name: np.zeros(LENGTH, bool) for name in smoothed}
    for row in table.itertuples():
        inside = slice(row.start_frame, row.end_frame)
        own = smoothed[row.video]
        assert row.start_frame + own[inside].argmax() == row.peak_frame
        assert own[row.peak_frame] == pytest.approx(row.score, rel=1e-6)
        assert (row.start_s, row.peak_s, row.end_s) == pytest.approx(
            (row.start_frame / 25, row.peak_frame / 25, (row.end_frame - 1) / 25)
        )
        assert min(own[inside][[0, -1]]) >= highest_tenth
        seen[row.video][inside] = True
    for name, own in smoothed.items():
        assert seen[name][own > highest_tenth].all()
    normal = [NormalVideo(own, 25) for own in smoothed.values()]
    expected = event_p_values(table["score"].to_numpy() - 1e-6, normal, merge_gap_s=1.0)
    np.testing.assert_allclose(table["p_value"], expected, rtol=1e-6)


def test_the_box_is_one_of_the_video_in_the_moment(audit, videos):
    by_name = {stored.video.name: stored for stored in videos}
    table = pd.read_csv(audit[0])
    assert len(table)
    for row in table.itertuples():
        found = by_name[row.video].features(row.stream)
        here = found.box_xyxy[found.frame_index == row.region_frame]
        assert np.abs(here - [row.x0, row.y0, row.x1, row.y1]).max(axis=1).min() < 1e-3
        assert row.start_frame <= row.region_frame < row.end_frame


def test_the_streams_shares_are_those_of_the_model_that_has_not_seen_the_video(bundle, videos, tmp_path, monkeypatch):
    listed = []
    monkeypatch.setattr(
        "mulde.pipeline.review.audit.audit_table", lambda events: listed.extend(events) or audit_table(events)
    )
    write_audit(bundle, videos, plan_of(*OPTIONS), tmp_path, Told())
    assert listed
    for event in listed:
        assert sum(event.reason.streams.values()) == pytest.approx(event.score, rel=1e-6)


def test_parts_of_a_single_video_keep_its_frame_numbers(videos, tmp_path):
    left_out = Exclusions({"clip2": ((0, 5), (38, 40))})
    alone = trained(videos[2:3], tmp_path, left_out)
    assert len(alone.normal) == 5
    table = pd.read_csv(write_audit(alone, videos[2:3], plan_of(*OPTIONS), tmp_path, Told()))
    assert set(table["video"]) == {"clip2"}
    assert kept(table["peak_frame"].to_numpy(), left_out.ranges_of("clip2")).all()
    assert table["peak_frame"].iloc[0] in range(17, 33)


def test_the_sheet_shows_the_frame_of_each_moment(audit, videos):
    path, _ = audit
    sheet = cv2.imread(str(path.with_suffix(".png")))[:, :, ::-1]
    first = pd.read_csv(path).iloc[0]
    (stored,) = (one for one in videos if one.video.name == first["video"])
    with plan_of(*OPTIONS).open(stored.video) as reader:
        frames = np.concatenate([batch.images for batch in reader])
    expected = frames[first["region_frame"]][70:, :30]  # below and beside the box
    assert np.abs(sheet[70:96, :30].astype(int) - expected).mean() < 1
    assert not np.array_equal(sheet[:96, :128], frames[first["region_frame"]])  # the box is drawn
    assert (sheet[96:] == 0).any()  # words


def test_a_video_that_can_no_longer_be_read_costs_its_pictures_alone(bundle, videos, tmp_path):
    gone = [replace(one, video=replace(one.video, path=tmp_path / "gone.mp4")) for one in videos]
    told = Told()
    path = write_audit(bundle, gone, plan_of(*OPTIONS), tmp_path, told)
    assert len(pd.read_csv(path))
    assert any("no pictures of its events" in text for text in told.warned)


def test_a_clip_that_sets_the_alarm_level_alone_is_asked_about(videos, bundle, tmp_path):
    def warned(raised: float) -> list[str]:
        told = Told()
        rng = np.random.default_rng(0)
        normal = {name: NormalVideo(5 + rng.normal(size=LENGTH), 25.0) for name in bundle.normal}
        normal["clip3"].scores[15:30] += raised
        write_audit(replace(bundle, normal=normal), videos, plan_of(*OPTIONS), tmp_path, told)
        return told.warned

    assert warned(0) == []
    (sentence,) = warned(10)
    assert sentence.startswith("clip3 alone raises the threshold from 5.")
    assert sentence.endswith("Is it normal?")


def test_of_still_footage_nothing_stands_out(videos, bundle, tmp_path):
    told = Told()
    (tmp_path / "audit.png").touch()
    still = {name: NormalVideo(np.ones(LENGTH), 25.0) for name in bundle.normal}
    path = write_audit(replace(bundle, normal=still), videos, plan_of(*OPTIONS), tmp_path, told)
    assert len(pd.read_csv(path)) == 0
    assert told.said[-1:] == ["no part of the training videos looks less normal than the rest"]
    assert not path.with_suffix(".png").exists()


@pytest.mark.parametrize(
    ("heldout", "fitted", "sentence"),
    [
        ([["a"], ["b"]], ["a", "b"], "each video scored by a model that has not seen it (leave one video out)"),
        ([["a", "b"], ["c"]], ["a", "b", "c"], "each video scored by a model that has not seen it (2 folds of whole"),
        ([["a"]], ["b", "c"], "in the 1 of 3 videos that were held out (set fusion.folds above 1 to audit all)"),
        ([["a"], ["a"]], ["a"], "in a single video, cut in time into 2 parts, each scored by a model of the others"),
        ([["a"]], ["a"], "in the last part of a single video, scored by a model of the rest"),
    ],
)
def test_it_says_which_models_looked(heldout, fitted, sentence):
    assert manner(TrainingRecord(heldout=heldout, videos=fitted)).startswith(sentence)
