"""What is drawn into frames: that colours read in greyscale, and that nothing breaks where there is little to draw."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mulde.errors import VideoError
from mulde.events import Event, EventRegion, Reason
from mulde.records import LabelTrack, RegionScores, ScoreTrack
from mulde.report import text
from mulde.report.colours import score_range, shades, strengths
from mulde.report.painter import Painter
from mulde.report.sheets import NUM_FRAMES, sheet_rows, write_sheet
from mulde.report.strip import WINDOW_S, column_maxima

LUMA = np.array([0.299, 0.587, 0.114])
REASON = "Größe 3,1 × wie üblich → links, 歩行者 ✓"


def make_track(num_frames: int = 40, rate: float = 10.0, video: str = "a") -> ScoreTrack:
    score = 5 + 4 * np.sin(np.arange(num_frames) / 6)
    index = np.arange(num_frames)
    return ScoreTrack(video, index, index / rate, score, score, {"video": score})


def make_regions(boxes: list[tuple[float, ...]], frames: list[int], scores: list[float], tracks: list[int],
                 size_hw: tuple[int, int] = (120, 160)) -> RegionScores:  # fmt: skip
    box = np.array(boxes, np.float32).reshape(-1, 4)
    nan = np.full(len(box), np.nan)
    return RegionScores("a", size_hw, box, np.array(frames, np.int64), np.array(scores, np.float64),
                        np.array(tracks, np.int64), {"pose": nan})  # fmt: skip


def make_event(track: ScoreTrack, first: int, last: int, region: EventRegion | None = None, **more) -> Event:
    peak = (first + last) // 2
    reason = Reason("velocity", REASON, region=region)
    return Event(track.video, first, last + 1, track.time_s[first], track.time_s[last], peak, track.time_s[peak],
                     float(track.smoothed[peak]), 0.01, reason, **more)  # fmt: skip


def grey(size_hw: tuple[int, int] = (120, 160), level: int = 90) -> np.ndarray:
    return np.full((*size_hw, 3), level, np.uint8)


def test_brightness_rises_with_the_score_in_greyscale() -> None:
    luma = shades(np.linspace(0, 1, 60)) @ LUMA
    assert (np.diff(luma) > 0).all()
    assert luma[0] < 90
    assert luma[-1] > 210
    assert (np.diff(shades(np.linspace(0, 1, 60)).astype(int)[:, 1]) > 0).all()  # and in green alone


@pytest.mark.parametrize(
    ("scores", "level", "ends"),
    [([1, 2, 9], 4.0, (2.0, 6.0)), ([5, 6, 9], 4.0, (0.0, 8.0)), ([1, 2, 9], None, (2.0, 9.0)),
     ([1, 2, 9], -1.0, (2.0, 9.0)), ([], None, (0.0, 1.0)), ([3], None, (3.0, 4.0))],
)  # fmt: skip
def test_the_alarm_level_is_the_middle_of_the_shades(scores, level, ends) -> None:
    assert score_range(np.array(scores, np.float64), level) == ends
    np.testing.assert_allclose(strengths(np.array([ends[0] - 1, sum(ends) / 2, ends[1] + 1]), ends), [0, 0.5, 1])


def test_a_box_above_the_level_is_brighter_and_thicker() -> None:
    regions = make_regions([(10, 10, 50, 40), (70, 10, 110, 40)], [0, 0], [1.0, 9.0], [-1, -1])
    image = grey()
    Painter(image.shape[:2], make_track(), regions, alarm_level=5.0).paint_boxes(image, 0)
    luma = image[25] @ LUMA  # a row through the left and right sides of both boxes
    assert 0 < (np.abs(luma[:60] - 90) > 3).sum() < (np.abs(luma[62:] - 90) > 3).sum()
    assert luma[62:].max() > 200 > luma[:60].max()
    assert (luma[62:] > 200).sum() >= 4  # two pixels for each side


def test_boxes_are_scaled_to_the_frames() -> None:
    regions = make_regions([(10, 20, 50, 40)], [0], [1.0], [-1], size_hw=(60, 80))
    image = grey((120, 160))
    Painter((120, 160), make_track(), regions).paint_boxes(image, 0)
    changed = np.argwhere((image != 90).any(axis=2))
    assert changed.min(axis=0).tolist() == [40, 20]
    assert changed.max(axis=0).tolist() == [80, 100]


def test_the_box_of_an_event_is_found_again_by_its_track() -> None:
    boxes = [(10, 40, 30, 60), (100, 40, 120, 60), (14, 40, 34, 60), (100, 40, 120, 60)]
    regions = make_regions(boxes, [5, 5, 6, 6], [6.0, 9.0, 6.0, 9.0], [3, 4, 3, 4])
    track = make_track()
    event = make_event(track, 4, 8, EventRegion(5, boxes[0], 3, "person"))
    plain, with_event = grey(), grey()
    Painter((120, 160), track, regions, alarm_level=5.0).paint_boxes(plain, 6)
    Painter((120, 160), track, regions, [event], alarm_level=5.0).paint_boxes(with_event, 6)
    changed = np.argwhere((plain != with_event).any(axis=2))
    assert changed[:, 1].max() < 90  # only around the box of track 3, at its new place
    assert (with_event[50, 14 - 5 - 2 : 14] == 255).all(axis=1).any()


def test_an_event_without_boxes_marks_its_region_where_it_was_seen() -> None:
    track, empty = make_track(), make_regions([], [], [], [])
    event = make_event(track, 4, 8, EventRegion(6, (40, 40, 60, 60), -1, "place"))
    painter = Painter((120, 160), track, empty, [event], alarm_level=5.0)
    images = [grey(), grey()]
    for image, frame in zip(images, (5, 6), strict=True):
        painter.paint_boxes(image, frame)
    assert (images[0] == 90).all()
    assert (images[1] != 90).any()


def test_the_caption_shows_with_the_event_and_stays_long_enough_to_be_read() -> None:
    track = make_track(60)
    event = make_event(track, 10, 12)
    painter, plain = Painter((120, 160), track, events=[event]), Painter((120, 160), track)
    shown = []
    for frame in range(60):
        a, b = grey(), grey()
        assert painter.paint(a, frame) == plain.paint(b, frame) == frame
        shown.append(bool((a != b).any()))
    assert [i for i, s in enumerate(shown) if s] == list(range(10, 31))  # 2 s from its start


def test_the_curve_shows_now_and_the_truth_in_the_strip_alone() -> None:
    track = make_track(40)
    truth = np.zeros(40, np.bool_)
    truth[20:] = True
    a, b, c = grey(), grey(), grey()
    Painter((120, 160), track, alarm_level=5.0).paint(a, 10)
    Painter((120, 160), track, labels=LabelTrack("a", truth), alarm_level=5.0).paint(b, 10)
    Painter((120, 160), track, alarm_level=5.0).paint(c, 30)
    changed = np.argwhere((a != b).any(axis=2))
    assert changed[:, 0].min() >= 120 - 34
    below_the_words = changed[changed[:, 0] > 120 - 34 + 16]
    assert abs(below_the_words[:, 1].min() - 159 * 20 / 39) <= 6  # hatched from frame 20 on
    line_a, line_c = (np.flatnonzero((image[-34 + 16 :] == 255).all(axis=(0, 2))) for image in (a, c))
    np.testing.assert_allclose([line_a.mean(), line_c.mean()], [159 * 10 / 39, 159 * 30 / 39], atol=1)


@pytest.mark.parametrize("size_hw", [(90, 160), (20, 30), (241, 121), (720, 1280)])
@pytest.mark.parametrize("num_frames", [1, 2, 30, 900])
def test_any_size_and_length_can_be_painted(size_hw: tuple[int, int], num_frames: int) -> None:
    track = make_track(num_frames)
    assert num_frames < 900 or track.time_s[-1] > WINDOW_S
    regions = make_regions([(-5, -5, 300, 300), (3, 3, 4, 4)], [0, 0], [-1.0, 7.0], [7, -1])
    event = make_event(track, 0, num_frames - 1)
    labels = LabelTrack("a", np.ones(num_frames, np.bool_))
    for level, events, truth in ((None, [], None), (5.0, [event], labels), (1e9, [event], labels)):
        image = grey(size_hw)
        Painter(size_hw, track, regions, events, truth, level).paint(image, num_frames - 1)
        assert (image != 90).any()


def test_constant_scores_and_no_boxes_at_all() -> None:
    flat = np.zeros(5)
    track = ScoreTrack("a", np.arange(5), np.arange(5) / 5, flat, flat)
    image = grey()
    assert Painter((120, 160), track).paint(image, 4) == 4


def test_a_frame_without_a_score_is_named() -> None:
    with pytest.raises(VideoError, match="a: frame 40 has no score: expected the 40 frames that were scored"):
        Painter((120, 160), make_track(40)).paint(grey(), 40)


def test_text_wraps_and_is_shortened_to_the_width() -> None:
    words = REASON + " " + "w" * 60
    lines = text.wrapped(words, 120, 12)
    assert all(text.width(line, 12) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "").startswith(REASON.replace(" ", ""))
    assert lines[-1].endswith("…")
    short = text.wrapped(words, 120, 12, max_lines=1)
    assert len(short) == 1
    assert short[0].endswith("…")
    assert text.wrapped("", 120, 12) == []
    assert text.fitting("abc", 120, 12) == "abc"
    image, question = grey(), grey()
    text.write(image, "×→é歩", 5, 50, 14)
    text.write(question, "????", 5, 50, 14)
    assert (image != question).any()


@pytest.mark.parametrize(
    ("time_s", "said"), [(0, "0:00.0"), (67.34, "1:07.3"), (59.96, "1:00.0"), (4327.3, "1:12:07.3")]
)
def test_times_are_said_as_a_clock_does(time_s: float, said: str) -> None:
    assert text.clock(time_s) == said


def test_column_maxima_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    time_s, values = np.sort(rng.uniform(0, 10, 300)), rng.normal(size=300)
    got = column_maxima(time_s, values, 2.0, 5.0, 20)
    for column in range(20):
        inside = (time_s >= 2 + column / 4) & (time_s < 2 + (column + 1) / 4)
        if inside.any():
            assert got[column] == values[inside].max()
    few = column_maxima(np.array([0.0, 1.0]), np.array([3.0, 4.0]), 0.0, 4.0, 8)
    np.testing.assert_array_equal(few, [3, 3, 4, 4, np.nan, np.nan, np.nan, np.nan])


def test_sheets_show_the_peak_and_no_frame_twice(tmp_path: Path) -> None:
    track = make_track(100)
    for first, last in ((20, 79), (50, 51), (0, 0), (99, 99)):
        event = make_event(track, first, last)
        rows = sheet_rows(event, track.time_s, track.frame_index)
        assert len(np.unique(rows)) == len(rows) <= NUM_FRAMES
        assert event.peak_frame in rows
        assert (len(rows), rows[0], rows[-1]) == (6, first, last) or last - first < 6
    write_sheet(tmp_path / "x" / "s.png", event, [(int(i), i / 10, grey()) for i in rows])
    sheet = cv2.imread(str(tmp_path / "x" / "s.png"))
    assert sheet.shape[1] > 160 * 3
    assert 0 <= (sheet == 90).all(axis=2).sum() - len(rows) * 120 * 160 < 50  # and a few edges of letters
