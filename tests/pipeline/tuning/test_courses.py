"""Courses keep what they plan: speeds, sizes, places and angles, exactly, on boxes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mulde.pipeline.tuning.courses import CONTROL_KIND, KINDS, Course
from mulde.pipeline.tuning.scene import Scene, Track

HEIGHT, WALK, LENGTH = 40.0, 2.0, 100
PLANS = {kind.name: kind.plan for kind in KINDS}


def walker(y: float = 120.0, length: int = LENGTH, speed: float = WALK) -> Track:
    x = 10 + speed * np.arange(length)
    return Track("v", 0, np.stack([x, np.full(length, y)], 1), np.tile([16.0, HEIGHT], (length, 1)))


def scene(**changes: object) -> Scene:
    """People who walk to the right along one line, 40 pixels tall, two pixels a frame."""
    been = np.zeros((15, 20), np.bool_)
    been[8] = True
    plain = Scene((240, 320), 10.0, (walker(),) * 6, been, 16, WALK / HEIGHT, 1.2 * WALK / HEIGHT, 0.0, 0.0, HEIGHT)
    return replace(plain, **changes)


def planned(name: str, num_frames: int = 60, seed: int = 0, of: Scene | None = None) -> Course:
    course = PLANS[name](of or scene(), num_frames, np.random.default_rng(seed))
    assert course is not None
    return course


def steps(course: Course) -> np.ndarray:
    return np.hypot(*np.diff(course.foot, axis=0).T)


def test_the_control_is_the_track_itself_and_no_anomaly():
    course = CONTROL_KIND.plan(scene(), 60, np.random.default_rng(0))
    np.testing.assert_allclose(steps(course), WALK)
    np.testing.assert_allclose(course.box_xyxy[:, 3] - course.box_xyxy[:, 1], HEIGHT)
    assert course.present.all()
    assert not course.anomalous.any()


@pytest.mark.parametrize("seed", range(5))
def test_fast_is_faster_than_anyone_and_slow_slower(seed):
    assert steps(planned("fast", seed=seed)).min() >= 1.3 * 1.2 * WALK
    slow = steps(planned("slow", seed=seed))
    assert slow.min() >= 0.2 * WALK
    assert slow.max() <= 0.35 * WALK


def test_standing_does_not_move_and_reversed_goes_back():
    assert steps(planned("standing")).max() == 0
    np.testing.assert_allclose(np.diff(planned("reversed").foot[:, 0]), -WALK)


def test_reversed_is_no_anomaly_where_people_go_both_ways():
    back = replace(walker(), foot=walker().foot[::-1].copy())
    both = scene(tracks=(walker(), back))
    assert PLANS["reversed"](both, 60, np.random.default_rng(0)) is None
    unfit = next(kind.unfit for kind in KINDS if kind.name == "reversed")
    assert unfit(both) == "normal objects go both ways along every path"
    assert unfit(scene(tracks=(walker(), walker()))) == ""


def test_standing_is_left_out_where_people_stand():
    reasons = {kind.name: kind.unfit(scene(still=0.3)) for kind in KINDS}
    assert reasons["standing"] == "normal objects stand for 30 % of the time"
    assert not reasons["fast"]


def test_zigzag_sways_half_a_height_to_both_sides_of_the_path():
    aside = planned("zigzag").foot[:, 1] - 120
    assert aside.max() == pytest.approx(HEIGHT / 2, abs=4)
    assert aside.min() == pytest.approx(-HEIGHT / 2, abs=4)


def test_falling_turns_to_the_ground_stays_there_and_its_box_with_it():
    course = planned("falling")
    start = int(np.argmax(course.anomalous))
    assert 0 < start < 40
    assert not course.angle[:start].any()
    assert abs(course.angle[-1]) == pytest.approx(np.pi / 2)
    assert steps(course)[start:].max() == 0
    x0, y0, x1, y1 = course.box_xyxy[-1]
    assert (x1 - x0, y1 - y0) == pytest.approx((HEIGHT, 16.0))


def test_large_and_small_are_of_no_usual_size():
    assert 1.8 <= planned("large").size[0, 1] / HEIGHT <= 2.4
    assert 0.35 <= planned("small").size[0, 1] / HEIGHT <= 0.5


def test_a_wrong_place_is_one_where_no_foot_was():
    of = scene()
    course = planned("wrong place", of=of)
    assert of.is_free(course.foot[course.present]).mean() >= 0.9
    assert (np.abs(course.foot[:, 1] - 8.5 * 16) > 16).all()
    assert PLANS["wrong place"](replace(of, been=np.ones_like(of.been)), 60, np.random.default_rng(0)) is None


def test_an_insertion_follows_what_was_held_out_with_it_and_is_not_in_the_picture():
    tracks = tuple(replace(walker(), video=video, first=first) for video in "abcd" for first in (0, 50))
    of = scene(tracks=tracks)
    a, b = (SimpleNamespace(name=name, first=0, last=100) for name in "ab")
    assert {track.video for track in of.beside(a, [a, b]).followed} == {"b"}
    early = SimpleNamespace(name="a", first=0, last=50)  # of one video alone, its own half
    assert [(track.video, track.first) for track in of.beside(early, [early]).followed] == [("a", 0)]
    nobody = SimpleNamespace(name="e", first=0, last=100)
    assert of.beside(nobody, [nobody]).followed == ()  # then all of them
    only = scene(tracks=(walker(y=50), walker(y=200)), followed=(walker(y=200),))
    assert {planned("slow", seed=seed, of=only).foot[0, 1] for seed in range(5)} == {200}


@pytest.mark.parametrize("kind", [*KINDS, CONTROL_KIND], ids=lambda kind: kind.name)
def test_a_seed_gives_the_same_course(kind):
    one, two = (kind.plan(scene(), 50, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.box_xyxy, two.box_xyxy)
