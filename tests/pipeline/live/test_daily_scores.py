from __future__ import annotations

import numpy as np
import pytest

from mulde.errors import MuldeError
from mulde.pipeline.live.daily_scores import OBJECTS, cameras_of
from mulde.pipeline.live.utc import HOUR_MS, day_name, second_name, second_start_ms
from mulde.pipeline.scoring.frames import write_scores
from mulde.records import ScoredVideo, ScoreTrack

from .stored_days import DAY0, MODEL, normal_days, write_days, write_hour


def days_of(root, camera="yard", before=10**9):
    (found,) = [each for each in cameras_of(root) if each.camera == camera]
    found.read(before)
    return found.days()


def recording(root, name, seconds, value, rate=1.0):
    num = round(seconds * rate)
    scores = np.full(num, value)
    track = ScoreTrack(name, np.arange(num), np.arange(num) / rate, scores, scores, {"velocity": scores}, None)
    write_scores(ScoredVideo(track, 1.0, 0, rate), root / "scores")


def test_days_hold_the_means_of_their_hours(tmp_path):
    values = normal_days(3)
    values[OBJECTS] = np.rint(values[OBJECTS])
    write_days(tmp_path, "yard", values)
    write_days(tmp_path, "gate", {"velocity": values["velocity"][:1]})
    days = days_of(tmp_path)
    assert days.days == (DAY0, DAY0 + 1, DAY0 + 2)
    assert days.names[0] == day_name(DAY0) == "2026-09-04"
    assert days.values.keys() == values.keys()
    for name, expected in values.items():
        np.testing.assert_allclose(days.values[name], expected)
    assert (days.model_sha256, days.left_out) == (MODEL, ())
    assert days_of(tmp_path, "gate").days == (DAY0,)


def test_hours_before_the_one_that_is_asked_for_are_read_and_each_once(tmp_path):
    write_days(tmp_path, "yard", normal_days(3))
    (yard,) = cameras_of(tmp_path)
    yard.read(24 * (DAY0 + 2))
    assert yard.days().days == (DAY0, DAY0 + 1)
    for path in (tmp_path / "scores/yard").glob("20260904*.parquet"):
        path.write_bytes(b"")
    yard.read(24 * (DAY0 + 3))
    assert len(yard.days().days) == 3


def test_days_of_another_model_and_short_ones_do_not_count(tmp_path):
    write_days(tmp_path, "yard", normal_days(5))
    hour = 24 * (DAY0 + 1) + 23
    write_hour(tmp_path, "yard", hour, {"velocity": 1.0}, model="b" * 64)
    for number in (8, 12, 16):
        (tmp_path / f"scores/yard/20260908T{number:02d}.parquet").unlink()
    write_hour(tmp_path, "yard", 24 * (DAY0 + 4) + 5, {"velocity": 1.0}, rows=5)  # five minutes
    days = days_of(tmp_path)
    assert days.days == (DAY0 + 2, DAY0 + 3)
    assert days.left_out == (
        "2 days up to 2026-09-05 had another model",
        "1 day with scores of fewer than 4 hours: 2026-09-08",
    )


def test_a_damaged_table_is_left_out_and_named(tmp_path):
    write_days(tmp_path, "yard", normal_days(2))
    damaged = tmp_path / "scores/yard/20260904T08.parquet"
    damaged.write_bytes(damaged.read_bytes()[:200])
    days = days_of(tmp_path)
    assert len(days.days) == 2
    assert np.isnan(days.values["velocity"][0, 8])
    (said,) = days.left_out
    assert str(damaged) in said


def test_recordings_are_placed_by_their_names(tmp_path):
    start = 24 * DAY0 * HOUR_MS + 8 * HOUR_MS + 30 * 60_000
    recording(tmp_path, f"yard/{second_name(start)}", 3600, 2.0)  # from half past 8 to half past 9
    recording(tmp_path, f"yard/{second_name(start + 3600_000)}", 3600, 4.0)
    recording(tmp_path, f"yard/{second_name(start + 7200_000)}", 5400, 6.0)
    recording(tmp_path, "yard/front door", 3600, 9.0)
    velocity = days_of(tmp_path).values["velocity"][0]
    assert velocity[8:12].tolist() == [2.0, 3.0, 5.0, 6.0]
    assert np.isnan(velocity[12:]).all()


def test_recordings_without_a_folder_are_a_camera_called_like_the_run(tmp_path):
    recording(tmp_path / "gate", second_name(24 * DAY0 * HOUR_MS), 600, 2.0)
    (camera,) = cameras_of(tmp_path / "gate")
    assert camera.camera == "gate"


def test_a_run_whose_times_nobody_knows_is_refused(tmp_path):
    recording(tmp_path, "front door", 60, 1.0)
    with pytest.raises(MuldeError, match="when its videos were taken is not known"):
        cameras_of(tmp_path)
    with pytest.raises(MuldeError, match="expected scores of mulde watch"):
        cameras_of(tmp_path / "nothing")


def test_names_of_seconds_are_read_back():
    assert second_start_ms(second_name(1_795_874_400_000)) == 1_795_874_400_000
    for other in ("20261128T14", "20261128T140000", "20261128T146000Z", "x"):
        assert second_start_ms(other) is None
