"""Events of a stream without boxes get the place where the map of their peak is highest."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from mulde.datasets.base import Video
from mulde.errors import VideoError
from mulde.events import Event, EventRegion, Reason
from mulde.media import write_video
from mulde.pipeline.events import location
from mulde.pipeline.events.location import located
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.extraction.video import StoredVideo
from mulde.progress import Reporter
from mulde.settings_file import load_settings

COPY = ('features.extractors=["prediction", "geometry"]', "features.prediction.model=copy")
PLACES = {0: None, 7: (60, 20), 15: (100, 70)}  # frame: the corner of a square that is there in this frame alone


def event(frame: int, stream: str = "prediction", score: float = 5.0) -> Event:
    return Event("v", max(frame - 2, 0), frame + 3, 0.0, 1.0, frame, 0.5, score, 0.01, Reason(stream, "something"))


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[StoredVideo, ExtractionPlan]:
    folder = tmp_path_factory.mktemp("located")
    ground = np.random.default_rng(0).integers(90, 110, (96, 160, 3)).astype(np.uint8)
    frames = np.repeat(ground[None], 20, axis=0)
    for frame, place in PLACES.items():
        if place is not None:
            frames[frame, place[1] : place[1] + 12, place[0] : place[0] + 12] = 250
    write_video(folder / "v.mp4", iter(frames), Fraction(25), crf=1)
    session = Session.open(folder / "store", "cpu", Reporter(quiet=True), keeps_record=False)
    plan = ExtractionPlan(load_settings(overrides=COPY), "cpu")
    return session.extract([Video("v", "test", folder / "v.mp4")], plan).done[0], plan


def test_the_box_is_where_something_was_not_foreseen_in_pixels_of_the_frame(stored):
    found = located([event(15), event(7)], *stored)
    assert [one.peak_frame for one in found] == [15, 7]
    for one in found:
        region = one.reason.region
        assert (region.frame_index, region.track_id, region.what) == (one.peak_frame, -1, "")
        x0, y0, x1, y1 = region.box_xyxy
        assert (x1 - x0, y1 - y0) == pytest.approx((160 * 14 / 256, 96 * 16 / 256), abs=1e-3)
        left, top = PLACES[one.peak_frame]
        assert left - 9 <= x0 <= left + 12
        assert top - 6 <= y0 <= top + 12


def test_the_first_frame_is_looked_at_as_it_was_described(stored):
    """By the first clip that has it in it, of which it is not the last frame."""
    (first,) = located([event(0)], *stored)
    assert first.reason.region.frame_index == 0


def test_other_events_stay_as_they_are(stored):
    known = EventRegion(3, (0.0, 0.0, 1.0, 1.0), 4, "person")
    others = [event(7, "geometry"), event(7), Event("v", 0, 3, 0.0, 1.0, 1, 0.5, 9.0, 0.01)]
    others[1] = type(others[1])(**{**vars(others[1]), "reason": Reason("prediction", "x", region=known)})
    assert located(others, *stored) == others


def test_of_many_events_the_clearest_are_looked_at(stored, monkeypatch):
    monkeypatch.setattr(location, "_MOST", 1)
    found = located([event(7, score=3.0), event(15, score=4.0)], *stored)
    assert [one.reason.region is not None for one in found] == [False, True]


def test_few_pictures_are_held(stored, monkeypatch):
    held = []
    make = location.Window
    monkeypatch.setattr(location, "Window", lambda frames, *core: held.append(len(frames)) or make(frames, *core))
    located([event(frame) for frame in range(20)], *stored)
    assert held == [2] * 20  # the frame and the one before


def test_a_video_that_is_gone_is_a_sentence(stored, tmp_path):
    one, plan = stored
    with pytest.raises(VideoError):
        located([event(7)], replace(one, video=Video("v", "test", tmp_path / "gone.mp4")), plan)
