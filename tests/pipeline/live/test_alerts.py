from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.errors import MuldeError, RecordError, UsageError
from mulde.evaluation.events import find_events
from mulde.pipeline.live.alerts import (
    Alert,
    AlertMachine,
    Flood,
    FloodChange,
    FloodGuard,
    MachineState,
    Moment,
    alert_id,
    json_schema,
    utc_text,
)

EXAMPLE = """
{"schema": 1, "id": "yard-20261128T135641300Z", "revision": 2, "state": "closed", "kind": "unusual",
 "camera": "yard", "start": "2026-11-28T13:56:41.300Z", "peak": "2026-11-28T13:56:43.800Z",
 "end": "2026-11-28T13:56:49.300Z",
 "camera_clock_offset_s": -0.1, "score": 8.41, "level": 6.10, "p_value": 0.0004, "expected_per_hour": 0.25,
 "stream": "velocity", "reason": "person: moves 3.1 times as fast as usual here, heading left",
 "streams": {"velocity": 5.2, "geometry": 1.9, "descriptor": 1.3}, "object": "person",
 "box_xyxy": [200, 90, 250, 150], "size_hw": [240, 360],
 "video": "yard/20261128T13", "peak_frame": 6827, "picture": "/alerts/yard-20261128T135641300Z.jpg",
 "clip": "/alerts/yard-20261128T135641300Z.mp4",
 "exemption": "", "health": [], "cut_short": false, "model_sha256": "...", "mulde": "0.2.0"}
"""
START_MS = 1_795_874_201_300


# --- the record


def test_the_example_is_an_alert_and_comes_back():
    alert = Alert.from_json(EXAMPLE)
    assert (alert.start, alert.peak - alert.start, alert.end - alert.start) == (START_MS, 2500, 8000)
    assert (alert.score, alert.box_xyxy, alert.streams["geometry"]) == (8.41, (200, 90, 250, 150), 1.9)
    assert json.loads(alert.to_json()) == json.loads(EXAMPLE)
    assert "\n" not in alert.to_json()
    assert Alert.from_json(alert.to_json()) == alert


def test_a_health_alert_needs_no_score():
    alert = Alert(
        id="gate-19700101T000000000Z-camera", revision=1, state="opened", kind="camera", camera="gate",
        start=0, peak=0, end=0, health=("covered",),
    )  # fmt: skip
    data = json.loads(alert.to_json())
    assert (data["score"], data["box_xyxy"], data["stream"], data["health"]) == (None, None, "", ["covered"])
    assert Alert.from_json(alert.to_json()) == alert


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"schema": 1', '"schema": 2', "alert.schema: expected 1, got 2"),
        ("41.300Z", "41.3Z", "alert.start: expected a time such as"),
        ("41.300Z", "61.300Z", "alert.start: expected second must be in 0..59"),
        ('"2026-11-28T13:56:41.300Z"', "1795874201300", "alert.start: expected a time such as"),
        ('"revision": 2', '"revision": "2"', "alert.revision: expected a valid integer, got '2'"),
        ('"revision": 2', '"revision": 1', "expected revision 1 where it is opened"),
        ('"object"', '"objekt"', "alert.objekt: expected no such field"),
        ('"camera": "yard", ', "", "alert.camera: expected a value, got none"),
        ('"yard"', '"ya/rd"', "alert.camera: expected"),
        ('"yard"', '"yard\\n"', "alert.camera: expected"),
        ('"yard"', '"gate"', "expected the id gate-20261128T135641300Z"),
        ('"unusual"', '"drift"', "expected the id yard-20261128T135641300Z-drift"),
        ('"closed"', '"over"', "alert.state: expected 'opened', 'updated' or 'closed'"),
        ("8.41", "NaN", "alert.score: expected"),
        ("8.41", "null", "expected a score that reaches the level"),
        ("8.41", "6.09", "expected a score that reaches the level"),
        ("56:49", "56:42", "expected a peak from its start to its end"),
        ("0.0004", "1.5", "alert.p_value: expected"),
        ("[240, 360]", "[240]", "alert.size_hw"),
        ("}", "", "alert is not JSON"),
    ],
)
def test_what_is_no_alert_is_refused_in_a_sentence(old, new, sentence):
    with pytest.raises(MuldeError, match=re.escape(sentence)):
        Alert.from_json(EXAMPLE.replace(old, new, 1 if old == "41.300Z" else -1))


def test_a_bad_alert_is_refused_when_it_is_made():
    alert = Alert.from_json(EXAMPLE)
    with pytest.raises(ValueError, match="score"):
        Alert(
            id=alert.id, revision=2, state="closed", kind="unusual", camera="yard",
            start=alert.start, peak=alert.peak, end=alert.end, score=float("nan"), level=1.0,
        )  # fmt: skip
    with pytest.raises(ValueError, match="frozen"):
        alert.score = 1.0


def test_the_next_revision_has_what_changed_and_is_checked():
    alert = Alert.from_json(EXAMPLE)
    changed = alert.next_revision("closed", exemption="x7", end=alert.end + 1)
    expected = {**json.loads(EXAMPLE), "revision": 3, "exemption": "x7", "end": "2026-11-28T13:56:49.301Z"}
    assert json.loads(changed.to_json()) == expected
    for wrong in ({"end": alert.start - 1}, {"score": 1.0}, {"p_value": 2.0}, {"scores": 1.0}, {"camera": "gate"}):
        with pytest.raises(ValueError, match="1 validation error for Alert"):
            alert.next_revision("closed", **wrong)


def test_the_schema_describes_the_example():
    schema, example = json_schema(), json.loads(EXAMPLE)
    assert set(schema["properties"]) == set(schema["required"]) == set(example)
    assert schema["additionalProperties"] is False
    names = {int: "integer", float: "number", str: "string", list: "array", dict: "object", bool: "boolean"}
    for name, value in example.items():
        property_ = schema["properties"][name]
        kinds = {kind["type"] for kind in property_.get("anyOf", [property_])}
        assert names[type(value)] in kinds, name
        if "pattern" in property_:
            assert re.search(property_["pattern"], value)
            assert not re.search(property_["pattern"], f"{value}/")
        assert value in property_.get("enum", [value])
    assert schema["properties"]["kind"]["enum"] == ["unusual", "camera", "drift", "flood"]
    assert schema["properties"]["schema"]["const"] == 1


def test_ids_are_the_camera_and_the_time():
    assert alert_id("yard", START_MS) == "yard-20261128T135641300Z"
    assert alert_id("yard", START_MS, "flood") == "yard-20261128T135641300Z-flood"
    assert utc_text(5) == "1970-01-01T00:00:00.005Z"


# --- one camera


def times(number):
    return 1_000_000 + 500 * int(number)


@st.composite
def numbered_scores(draw):
    scores = draw(st.lists(st.floats(0, 10).map(lambda score: round(score, 1)), max_size=60))
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 3, 9]), min_size=len(scores), max_size=len(scores)))
    return np.array(scores, np.float64), np.cumsum(np.array(steps, np.int64))


@settings(max_examples=500, deadline=None)
@given(numbered_scores(), st.integers(0, 4), st.integers(1, 6), st.floats(0, 10), st.sets(st.integers(0, 59)))
def test_closed_events_are_those_of_the_whole_scores(numbered, merge_gap, min_length, level, restarts):
    scores, number = numbered
    rules = {"merge_gap": merge_gap, "min_length": min_length}
    machine, changes = AlertMachine(level=level, **rules), []
    for i, (n, score) in enumerate(zip(number.tolist(), scores.tolist(), strict=True)):
        if i in restarts:
            state = MachineState.from_json(machine.state.to_json())
            assert state == machine.state
            machine = AlertMachine.resume(state, level=level, **rules)
        changes += [(i, change) for change in machine.push(n, times(n), score)]
    changes += [(len(scores), change) for change in machine.end()]
    closed = [change for _, change in changes if change.state == "closed"]
    assert [(change.start.number, change.last_above.number, change.peak.number, change.score) for change in closed] == [
        (number[event.start], number[event.end - 1], number[event.peak], event.score)
        for event in find_events(scores, level, number=number, **rules)
    ]
    for moment in (moment for _, c in changes for moment in (c.start, c.peak, c.last_above)):
        assert moment.utc_ms == times(moment.number)
    _check_order(changes, number, scores, rules, level)


def _check_order(changes, number, scores, rules, level):
    """Opened, updated any number of times, closed, by the rules as they are said; no two events at once."""

    def starts_so_far(end):
        return [number[event.start] for event in find_events(scores[:end], level, number=number[:end], **rules)]

    opened = last = None
    for i, change in changes:
        if change.state == "opened":
            assert opened is None
            opened = change
            assert change.start.number in starts_so_far(i + 1)
            assert change.start.number not in starts_so_far(i)
        else:
            assert opened is not None
            assert change.start == opened.start
            assert change.score >= last[1].score
        if change.state == "updated":
            assert change.score - last[1].score >= 0.1 * (last[1].score - level)
            assert times(number[i]) - times(number[last[0]]) >= 10_000
        if change.state == "closed":
            opened = None
        last = (i, change)
    assert opened is None


def states(machine, scores, *, step_ms=1000, first=0):
    """The picture and state of each change, pictures numbered from `first`."""
    return [
        (number, change.state, change.score)
        for number, score in enumerate(scores, first)
        for change in machine.push(number, number * step_ms, score)
    ]


def test_an_event_opens_at_its_least_length_and_closes_when_the_gap_has_passed():
    machine = AlertMachine(merge_gap=2, min_length=3, level=5.0)
    assert states(machine, [0, 6, 1, 7, 0, 0, 0, 9]) == [(3, "opened", 7), (6, "closed", 7)]
    assert machine.end() == []  # one picture is no event


def test_missing_pictures_are_time_that_passes():
    machine = AlertMachine(merge_gap=2, min_length=1, level=5.0)
    assert [change.state for change in machine.push(1, 100, 6.0)] == ["opened"]
    assert machine.push(4, 400, 7.0) == []
    assert [(c.state, c.start.number, c.last_above) for c in machine.push(8, 800, 8.0)] == [
        ("closed", 1, Moment(4, 400)),
        ("opened", 8, Moment(8, 800)),
    ]


def test_an_update_needs_a_tenth_of_the_way_to_the_level_and_ten_seconds():
    machine = AlertMachine(merge_gap=2, min_length=1, level=5.0)
    scores = [15, 15.5, *[10] * 8, 10, *[10] * 5, 15.9, 16, *[10] * 8, 17.0, 17.6, 10, *[10] * 20]
    assert states(machine, scores) == [(0, "opened", 15), (17, "updated", 16), (27, "updated", 17.6)]
    assert [(change.state, change.score, change.peak.number) for change in machine.end()] == [("closed", 17.6, 27)]


def test_an_update_that_had_to_wait_comes_also_without_a_score_above_the_level():
    machine = AlertMachine(merge_gap=50, min_length=1, level=5.0)
    assert states(machine, [6, 9, *[0] * 12]) == [(0, "opened", 6), (10, "updated", 9)]


def test_a_clock_that_is_set_back_holds_nothing():
    machine = AlertMachine(merge_gap=5, min_length=1, level=5.0)
    assert [c.state for c in machine.push(1, 7_200_000, 6.0)] == ["opened"]
    (updated,) = machine.push(2, 3_600_000, 9.0)
    assert (updated.state, updated.peak, updated.last_above) == ("updated", Moment(2, 7_200_000), Moment(2, 7_200_000))
    assert states(machine, [0] * 6, first=3) == [(8, "closed", 9.0)]


@pytest.mark.parametrize("rules", [(-1, 1, 5.0), (0, 0, 5.0), (0, 1, float("nan")), (0, 1, float("inf"))])
def test_rules_that_are_none_are_refused(rules):
    with pytest.raises(UsageError, match="a gap of 0 or more, a length of 1 or more and a finite level"):
        AlertMachine(*rules)


def test_what_is_no_next_picture_is_refused_and_changes_nothing():
    machine = AlertMachine(0, 1, 5.0)
    machine.push(7, 0, 6.0)
    before = machine.state
    for number, score, sentence in ((7, 1.0, "more than 7, got 7"), (8, float("nan"), "a finite number, got nan")):
        with pytest.raises(RecordError, match=sentence):
            machine.push(number, 0, score)
    assert machine.state == before
    resumed = AlertMachine.resume(before, 0, 1, 5.0)
    with pytest.raises(RecordError, match="more than 7, got 3"):
        resumed.push(3, 0, 1.0)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"number": "7", "stretch": null}', '{"number": 7, "stretch": {}}', '{"number": 7.5}']
)
def test_what_is_no_state_is_refused_in_a_sentence(text):
    with pytest.raises(MuldeError, match="state of an alert machine"):
        MachineState.from_json(text)


# --- floods

MINUTE = 60_000


def covered(guard, minutes):
    """Whether each alert is covered, and what begins or ends with which."""
    changes, flags = [], []
    for minute in minutes:
        changes += [(minute, change.state) for change in guard.raised(minute * MINUTE)]
        flags.append(guard.flood is not None)
    return flags, changes


def test_the_eleventh_alert_of_an_hour_is_a_flood_where_few_are_expected():
    guard = FloodGuard(0.25)
    assert covered(guard, range(10)) == ([False] * 10, [])
    assert guard.raised(10 * MINUTE) == [FloodChange("opened", Flood(10 * MINUTE, 10 * MINUTE, 1))]
    assert covered(guard, [20, 50]) == ([True] * 2, [])
    assert guard.advance(110 * MINUTE - 1) == []
    assert guard.advance(110 * MINUTE) == [FloodChange("closed", Flood(10 * MINUTE, 50 * MINUTE, 3))]
    assert guard.advance(111 * MINUTE) == []
    assert covered(guard, [120]) == ([False], [])


def test_ten_times_the_expected_rate_is_a_flood_where_many_are_expected():
    assert covered(FloodGuard(3.0), range(30)) == ([False] * 30, [])
    flags, changes = covered(FloodGuard(3.0), range(40))
    assert (flags, changes) == ([False] * 30 + [True] * 10, [(30, "opened")])


def test_alerts_that_are_spread_are_none():
    assert not any(covered(FloodGuard(0.25), range(0, 3000, 6))[0])  # exactly ten in any hour


def test_a_calm_hour_may_have_what_is_expected():
    guard = FloodGuard(2.0)
    covered(guard, [i / 2 for i in range(21)])
    assert guard.flood is not None
    assert guard.raised(40 * MINUTE) == guard.raised(60 * MINUTE) == []
    assert guard.advance(70 * MINUTE - 1) == []
    assert guard.advance(70 * MINUTE) == [FloodChange("closed", Flood(10 * MINUTE, 60 * MINUTE, 3))]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 3, 7, 20, 45, 61]), max_size=80),
    st.sampled_from([0.0, 0.25, 1.0, 1.5, 4.0]),
    st.sets(st.integers(0, 79)),
    st.sets(st.integers(0, 79)),
)
def test_floods_are_those_of_counting_each_hour_again(steps, expected, restarts, asks):
    minutes = np.cumsum(np.array(steps, int)).tolist()
    guard, flags = FloodGuard(expected), []
    for i, minute in enumerate(minutes):
        if i in restarts:
            hour = [m * MINUTE for m in minutes[:i] if m > minute - 60]
            guard = FloodGuard(expected, times_ms=hour, flood=guard.flood)
        if i in asks:
            guard.advance(minute * MINUTE - 1)
        guard.raised(minute * MINUTE)
        flags.append(guard.flood is not None)

    slow, flooded = [], False
    for i, minute in enumerate(minutes):
        before = sum(minute - 60 < m <= minute for m in minutes[:i])
        flooded = flooded and before > expected
        flooded = flooded or before + 1 > max(10, 10 * expected)
        slow.append(flooded)
    assert flags == slow
