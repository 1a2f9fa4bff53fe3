"""Thumbnails of events and of the reference samples that they name."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mulde.errors import VideoError
from mulde.events import Event, EventRegion, Reason, ReferenceSample
from mulde.pipeline.events.tables import picture_path
from mulde.pipeline.events.thumbnails import shown_frame, thumbnail, write_normal_pictures, write_pictures
from tests.pipeline.clips import clips, plan_of

NEAR = ReferenceSample(4, "normal1", 8, 0.32, 1.5)


def event_of(peak: int, region: EventRegion | None = None, video: str = "clip0") -> Event:
    reason = Reason("velocity", "moves", region=region, nearest=(NEAR, replace(NEAR, moment=2)))
    return Event(video, 0, 20, 0.0, 0.8, peak, peak / 25, 5.0, 0.01, reason)


def region_of(frame: int) -> EventRegion:
    return EventRegion(frame, (10.2, 39.8, 50.4, 60.0), 3, "person")


@pytest.fixture
def clip(tmp_path):
    """What is asked of a stored video, and its frames."""
    (video,) = clips(tmp_path, count=1)
    with plan_of().open(video) as reader:
        frames = np.concatenate([batch.images for batch in reader])
    return SimpleNamespace(video=video), frames


def read(path) -> np.ndarray:
    return cv2.imread(str(path))[:, :, ::-1].astype(int)


def test_a_thumbnail_shows_the_frame_of_the_object_and_the_figures_get_theirs_whole(clip, tmp_path):
    stored, frames = clip
    events = [event_of(5), event_of(9, region_of(11)), event_of(10)]
    pictures = write_pictures(events, stored, plan_of(), tmp_path, [3, 11, 3])
    assert sorted(pictures) == [3, 11]
    for frame, picture in pictures.items():
        np.testing.assert_array_equal(picture, frames[frame])
        assert picture.base is None  # else the batch stays in memory
    for event in events:
        shown = read(picture_path(tmp_path / "thumbnails", event, ".jpg"))
        assert shown.shape == frames[0].shape
        away = [np.abs(shown - thumbnail(frame, event)).mean() for frame in frames]
        assert int(np.argmin(away)) == shown_frame(event)
    assert [shown_frame(event) for event in events] == [5, 11, 10]
    names = sorted(path.relative_to(tmp_path / "thumbnails").as_posix() for path in tmp_path.rglob("*.jpg"))
    assert names == ["clip0/000005.jpg", "clip0/000009.jpg", "clip0/000010.jpg"]


def test_an_event_without_a_reason_shows_its_peak():
    assert shown_frame(replace(event_of(7), reason=None)) == 7


@pytest.mark.parametrize(
    ("size_hw", "expected"), [((240, 640), (120, 320)), ((900, 300), (320, 107)), ((9, 7), (9, 7))]
)
def test_thumbnails_are_small_and_keep_their_proportions(size_hw, expected):
    assert thumbnail(np.zeros((*size_hw, 3), np.uint8), event_of(0)).shape[:2] == expected


def test_the_box_is_drawn_where_the_object_is_however_much_the_picture_shrinks():
    image = np.full((480, 640, 3), 120, np.uint8)
    region = EventRegion(0, (100.0, 200.0, 300.0, 400.0), -1, "person")
    changed = np.argwhere((thumbnail(image, event_of(0, region)) != 120).any(axis=2))
    assert (np.abs(changed.min(axis=0) - [98, 48]) <= 2).all()
    assert (np.abs(changed.max(axis=0) - [202, 152]) <= 2).all()
    assert (image == 120).all()  # the frame itself stays as it is: figures show it too


def test_the_video_is_decoded_once_and_no_further_than_needed(clip, tmp_path, monkeypatch):
    stored, _ = clip
    plan, readers = plan_of(), []
    opened = plan.open
    monkeypatch.setattr(plan, "open", lambda video: readers.append(opened(video)) or readers[-1])
    write_pictures([event_of(2), event_of(5)], stored, plan, tmp_path, [8])
    assert [reader.num_frames_decoded for reader in readers] == [14]  # batches of 7
    assert write_pictures([], stored, plan, tmp_path) == {}
    assert len(readers) == 1


def test_frames_that_the_video_does_not_have_are_left_out(clip, tmp_path):
    stored, _ = clip
    assert list(
        write_pictures(
            [event_of(19), replace(event_of(19), end_frame=99, peak_frame=90)], stored, plan_of(), tmp_path, [70, 1]
        )
    ) == [1]
    assert [path.name for path in tmp_path.rglob("*.jpg")] == ["000019.jpg"]


def test_a_video_that_is_gone_is_an_error(clip, tmp_path):
    stored, _ = clip
    stored.video.path.unlink()
    with pytest.raises(VideoError):
        write_pictures([event_of(2)], stored, plan_of(), tmp_path)


def test_the_named_normal_moments_are_written_once_each(tmp_path):
    asked = []

    def jpeg(sample: int) -> bytes | None:
        asked.append(sample)
        return None if sample == 2 else b"a picture"

    write_normal_pictures(
        [event_of(1), event_of(2), replace(event_of(3), reason=None)], SimpleNamespace(jpeg=jpeg), tmp_path
    )
    assert asked == [2, 4]
    assert {path.name: path.read_bytes() for path in (tmp_path / "normal").iterdir()} == {"4.jpg": b"a picture"}
    write_normal_pictures([event_of(1)], None, tmp_path / "none")
    assert not (tmp_path / "none").exists()
