from __future__ import annotations

import json

import numpy as np
import pytest

from mulde.errors import UsageError
from mulde.pipeline.live.daily_scores import OBJECTS, CameraDays
from mulde.pipeline.live.drift import camera_drift, hours_text

from .stored_days import DAY0, MODEL, normal_days


def camera(values, name="yard"):
    num = len(next(iter(values.values())))
    return CameraDays(name, tuple(range(DAY0, DAY0 + num)), values, MODEL)


def test_a_shift_is_said_with_its_stream_day_direction_and_hours():
    values = normal_days(34)
    values["velocity"][22:, [4, 8, 12]] += 1.5
    drift = camera_drift(camera(values), 365.0)
    assert drift.threshold == 3 * 365
    assert [each.stream for each in drift.streams] == ["velocity", "geometry", OBJECTS]
    (velocity,) = drift.drifting
    assert velocity.course.current.first in range(16, 24)
    since = drift.days.names[velocity.course.current.first]
    assert drift.text(velocity) == f"velocity: more unusual, since about {since}, 04, 08 and 12 h UTC"
    assert drift.reason() == drift.text(velocity)
    assert velocity.evidence >= drift.threshold
    assert velocity.last_gauge > drift.streams[1].last_gauge


def test_fewer_objects_are_said_as_such():
    values = normal_days(30)
    values[OBJECTS][20:] -= 9
    drift = camera_drift(camera(values), 100.0)
    (objects,) = drift.drifting
    assert drift.text(objects).startswith("objects: fewer than before, since about 2026-09-")


def test_the_same_days_give_the_same_evidence_whatever_comes_later():
    values = normal_days(20)
    whole = camera_drift(camera(values), 365.0)
    part = camera_drift(camera({name: each[:15] for name, each in values.items()}), 365.0)
    for one, other in zip(whole.streams, part.streams, strict=True):
        np.testing.assert_array_equal(one.course.evidence[:15], other.course.evidence)
        np.testing.assert_array_equal(one.gauge[:15], other.gauge)
    other_camera = camera_drift(camera(values, "gate"), 365.0)
    assert not np.array_equal(other_camera.streams[0].course.p_value, whole.streams[0].course.p_value, equal_nan=True)


@pytest.mark.parametrize("num", [0, 1, 7])
def test_too_few_days_are_refused_with_their_number(num):
    drift = camera_drift(camera(normal_days(num)), 365.0)
    assert not drift.streams
    assert f"7 days of reference and one more to compare with them, got {num} whole day" in drift.refusal
    assert not camera_drift(camera(normal_days(8)), 365.0).refusal


def test_less_reference_than_a_week_is_refused():
    with pytest.raises(UsageError, match="at least 7"):
        camera_drift(camera(normal_days(30)), 365.0, 3)


def test_it_is_plain_data():
    values = normal_days(34)
    values["velocity"][22:] += 1.5
    data = json.loads(json.dumps(camera_drift(camera(values), 365.0).as_json(), allow_nan=False))
    velocity = data["streams"]["velocity"]
    assert len(data["days"]) == len(velocity["evidence_by_day"]) == len(velocity["p_value_by_day"]) == 34
    assert velocity["evidence_by_day"][6] is None
    (drift,) = velocity["drifts"]
    assert drift["direction"] == "higher"
    assert drift["over"] is None
    assert data["days"].index(drift["since"]) < data["days"].index(drift["noticed"])


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        ([5], "05 h UTC"),
        ([6, 7, 8, 17], "06-08 and 17 h UTC"),
        ([0, 3, 4, 23], "00, 03-04 and 23 h UTC"),
        (range(24), "at all hours"),
    ],
)
def test_hours_in_words(hours, text):
    assert hours_text(hours) == text
