from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mulde.events import Event
from mulde.records import LabelTrack, ScoreTrack
from mulde.report import timeline
from mulde.report.timeline import MAX_ROWS, write_timeline

LEFT, WIDE = timeline._NAMES_PX, timeline._WIDTH_PX


def make_track(video: str, length_s: float, rate: float = 1.0) -> ScoreTrack:
    index = np.arange(round(length_s * rate) + 1)
    score = np.where(index / rate > length_s / 2, 8.0, 1.0)
    return ScoreTrack(video, index, index / rate, score, score)


def make_event(video: str, frame: int, length: int = 1) -> Event:
    return Event(video, frame, frame + length, frame, frame + length - 1, frame, frame, 8.0, 0.1)


def test_shades_events_and_truth_lie_at_their_times(tmp_path: Path) -> None:
    track = make_track("été", 100)
    truth = np.zeros(101, np.bool_)
    truth[20:40] = True
    event = make_event("été", 60, 21)
    write_timeline(tmp_path / "t.png", [track], [event], {"été": LabelTrack("été", truth)}, 4.0)
    picture = cv2.imread(str(tmp_path / "t.png"))[..., ::-1].astype(int)
    top = picture.shape[0] - timeline._EDGE_PX - timeline._ROW_PX
    luma = picture @ np.array([0.299, 0.587, 0.114])
    shade = luma[top + 5, LEFT : LEFT + WIDE]
    at = [round(s / 120 * WIDE) for s in (10, 45, 55, 95, 110)]  # the row is two minutes long
    assert shade[at[0]] == shade[at[1]] < shade[at[2]] == shade[at[3]]
    assert shade[at[4]] == 255
    bar = np.flatnonzero(luma[top + timeline._SHADE_PX + 2, LEFT : LEFT + WIDE] == 0) / WIDE * 120
    assert (round(bar.min()), round(bar.max())) == (60, 80)
    hatched = np.flatnonzero(luma[-timeline._EDGE_PX - timeline._GAP_PX - 5, LEFT : LEFT + WIDE] == 225) / WIDE * 120
    assert (round(hatched.min()), round(hatched.max())) == (20, 40)


def test_a_day_is_cut_into_hours_and_many_videos_are_capped(tmp_path: Path) -> None:
    day = make_track("day", 24 * 3600 - 1)
    assert len(timeline._rows([day])[0]) == 24
    tracks = [make_track(f"v{i:03d}", 30) for i in range(MAX_ROWS + 50)]
    rows, span_s = timeline._rows(tracks)
    shown = timeline._most_informative(rows, [make_event("v240", 3)], span_s)
    assert (len(rows), len(shown)) == (MAX_ROWS + 50, MAX_ROWS)
    assert "v240" in {row.track.video for row in shown}
    write_timeline(tmp_path / "t.png", tracks, [make_event("v240", 3)], {}, None)
    height, width, _ = cv2.imread(str(tmp_path / "t.png")).shape
    assert height < 12_000
    assert width < 2000
    assert timeline._notes(rows, shown, None, has_truth=False)[1].startswith("200 of 250 rows")


def test_long_and_short_videos_and_none(tmp_path: Path) -> None:
    tracks = [make_track("long", 3 * 3600 + 5), make_track("one frame", 0), make_track("n" * 100, 50)]
    events = [make_event("long", 9000), make_event("one frame", 0)]
    write_timeline(tmp_path / "t.png", tracks, events, {}, 5.0)
    write_timeline(tmp_path / "none.png", [], [], {}, None)
    assert cv2.imread(str(tmp_path / "none.png")) is not None
