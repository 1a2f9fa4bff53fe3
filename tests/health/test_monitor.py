"""States with hysteresis, against a slow model of the rules."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.health import HealthMonitor, HealthReference, thumbnail
from mulde.health.monitor import FrozenState, PictureState

from .scenes import covered, noisy, place, reference_of, shifted

PLACE = place()
REFERENCE = reference_of(PLACE)
KINDS = st.sampled_from([None, None, "moved", "moved", "covered", "blurred"])


def by_rules(checks):
    """State and start behind each check, from all checks before it."""
    state, since, changed_at = None, 0, 0
    for n in range(len(checks)):
        last = range(max(0, n - 14), n + 1)
        count = Counter(checks[i] for i in last if checks[i] is not None)
        if state is None:
            if sum(count.values()) >= 12:
                state, since, changed_at = count.most_common(1)[0][0], next(i for i in last if checks[i]), n
        elif n - changed_at >= 30 and not any(checks[n - 29 : n + 1]):
            state, since = None, 0
        elif count and count.most_common(1)[0][1] >= 12 and count.most_common(1)[0][0] != state:
            state = count.most_common(1)[0][0]
            since = next(i for i in last if checks[i] == state)
        yield state, since


@settings(deadline=None)
@given(st.lists(st.tuples(KINDS, st.integers(1, 40)), max_size=12))
def test_a_state_follows_the_rules(stretches):
    checks = [kind for kind, count in stretches for _ in range(count)]
    state = PictureState()
    for n, (wrong, expected) in enumerate(zip(checks, by_rules(checks), strict=True)):
        state = state.after(1000 * n, wrong)
        assert (state.kind, state.since_ms) == (expected[0], 1000 * expected[1])


@settings(deadline=None)
@given(st.lists(KINDS, min_size=1, max_size=80))
def test_a_state_changes_only_by_enough_checks(checks):
    state, changes = PictureState(), []
    for n, wrong in enumerate(checks):
        before, state = state, state.after(1000 * n, wrong)
        if before.kind != state.kind:
            changes.append(n)
            if state.kind is None:
                assert not any(checks[n - 29 : n + 1])
            else:
                assert sum(check is not None for check in checks[max(0, n - 14) : n + 1]) >= 12
    assert len(changes) <= 1 + len(checks) // 12


@pytest.mark.parametrize(("num_wrong", "kind"), [(11, None), (12, "moved")])
def test_twelve_of_fifteen(num_wrong, kind):
    state = PictureState()
    for n in range(15):
        state = state.after(1000 * n, "moved" if n >= 15 - num_wrong else None)
    assert state.kind == kind


def test_what_was_before_a_pause_does_not_count():
    state = PictureState()
    for n in range(11):
        state = state.after(1000 * n, "moved")
    state = state.after(200_000, "moved")
    assert state.kind is None
    assert len(state.checks) == 1


def test_a_state_outlives_a_pause():
    state = PictureState()
    for n in range(12):
        state = state.after(1000 * n, "moved")
    assert state.after(10_000_000, None).kind == "moved"


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=8))
def test_frozen_is_half_a_minute_of_the_same_picture(stretches):
    same = [is_same for is_same, count in stretches for _ in range(count)]
    state, is_frozen, right = FrozenState(), False, 0
    for n, is_same in enumerate(same):
        state = state.after(1000 * n, is_same)
        first = n
        while first > 0 and same[first]:
            first -= 1
        right = 0 if is_same else right + 1
        if n - first >= 30:
            is_frozen, right = True, 0
        elif right >= 30:
            is_frozen = False
        assert state.is_frozen == is_frozen


def watched(monitor, images, start_ms=0):
    return [monitor.take(thumbnail(image), start_ms + 1000 * n) for n, image in enumerate(images)]


def test_the_same_picture_for_half_a_minute_is_frozen():
    still = noisy(PLACE, 1)
    seen = watched(HealthMonitor(REFERENCE), [noisy(PLACE, 0)] + [still] * 40)
    kinds = [[condition.kind for condition in conditions] for conditions in seen]
    assert kinds[30] == []
    assert kinds[31] == ["frozen"]
    assert seen[35][0].since_ms == 1000


def test_a_camera_whose_footage_stands_still_is_never_frozen():
    reference = HealthReference(REFERENCE.regimes, still_share=0.5)
    assert not any(watched(HealthMonitor(reference), [noisy(PLACE, 1)] * 60))


def test_a_sway_of_two_pixels_is_no_move():
    rng = np.random.default_rng(0)
    images = [noisy(shifted(PLACE, *rng.uniform(-1.4, 1.4, 2)), n) for n in range(60)]
    assert not any(watched(HealthMonitor(REFERENCE), images))


def test_a_moved_camera_is_told_and_forgotten_once():
    monitor = HealthMonitor(REFERENCE)
    images = [noisy(PLACE, n) for n in range(20)]
    images += [noisy(shifted(PLACE, 30, 20), n) for n in range(20)]
    images += [noisy(PLACE, n) for n in range(40)]
    seen = watched(monitor, images)
    moved = [n for n, conditions in enumerate(seen) if conditions]
    assert moved == list(range(31, 69))
    assert {(c.kind, c.since_ms) for n in moved for c in seen[n]} == {("moved", 20_000)}
    assert seen[35][0].text == "the picture has moved by 36 px of 360"


def test_somebody_who_walks_close_by_covers_nothing():
    monitor = HealthMonitor(REFERENCE)
    images = [noisy(covered(PLACE, 0, 0, 1, 0.5) if n % 20 < 10 else PLACE, n) for n in range(120)]
    assert not any(watched(monitor, images))


def test_two_things_can_be_wrong():
    image = noisy(covered(PLACE, 0, 0, 1, 0.6), 1)
    kinds = [condition.kind for condition in watched(HealthMonitor(REFERENCE), [image] * 40)[-1]]
    assert kinds == ["covered", "frozen"]


def test_checks_are_due_once_a_second_and_after_the_clock_was_set_back():
    monitor = HealthMonitor(None)
    assert monitor.is_due(5000)
    monitor.take(thumbnail(PLACE), 5000)
    assert [monitor.is_due(ms) for ms in (5000, 5999, 6000, 4000)] == [False, False, True, True]
