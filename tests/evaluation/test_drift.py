from __future__ import annotations

import json
from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from mulde.errors import UsageError
from mulde.evaluation.drift import (
    MAX_EVIDENCE,
    conformal_p_value,
    day_statistic,
    drift_course,
    hour_differences,
    hourly_gauge,
    mixture_of_powers,
    shiryaev_roberts,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "martingales.json").read_text())["cases"]
p_values = st.floats(0.001, 1.0)


def days_of(rng, num, *, shift=0.0, since=None):
    """Days with a rhythm and a level of their own."""
    values = 3 + np.sin(np.arange(24) / 4) + rng.normal(0, 0.3, (num, 24)) + rng.normal(0, 0.2, (num, 1))
    values[num if since is None else since :] += shift
    return values


def one(num, minus_log):
    return float(mixture_of_powers(np.array([float(num)]), np.array([minus_log]))[0])


@pytest.mark.parametrize("p", [1e-9, 0.01, 0.3, 0.9, 0.999])
def test_a_bet_on_one_p_value_has_a_closed_form(p):
    log = np.log(p)
    assert one(1, -log) == pytest.approx((1 - p + p * log) / (p * log**2), rel=1e-6)


def test_a_bet_is_fair_and_one_half_where_nothing_speaks_for_it():
    total, _ = quad(lambda p: one(1, -np.log(p)), 1e-12, 1, limit=200, points=[1e-6, 1e-3])
    assert total == pytest.approx(1, abs=0.04)  # what lies below 1e-12 is 1 / 27.6
    assert total + 1 / np.log(1e12) == pytest.approx(1, abs=1e-4)
    assert one(1, 0.0) == 0.5


@settings(max_examples=50, deadline=None)
@given(st.lists(p_values, min_size=1, max_size=12))
def test_the_mixture_is_the_integral_over_all_powers(p):
    def bet(power):
        return float(np.prod([power * each ** (power - 1) for each in p]))

    expected, _ = quad(bet, 0, 1, epsabs=0, epsrel=1e-9)
    assert one(len(p), -np.log(p).sum()) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(p_values, min_size=1, max_size=15))
def test_evidence_is_the_sum_over_all_beginnings(p):
    expected = [one(len(p) - k, -sum(np.log(each) for each in p[k:])) for k in range(len(p))]
    assert shiryaev_roberts(np.array(p)) == pytest.approx(expected)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_p_values_martingales_and_evidence_are_those_of_crepes_and_online_cp(case):
    scores, p = np.array(case["scores"]), np.array(case["p_values"])
    own = [conformal_p_value(scores[: n + 1], case["draws"][n]) for n in range(len(scores))]
    assert own == pytest.approx(case["p_values"], abs=1e-12)
    terms = [shiryaev_roberts(p[: n + 1]) for n in range(len(p))]
    assert [each[0] for each in terms] == pytest.approx(case["martingale"], rel=1e-9)
    assert [each.sum() for each in terms] == pytest.approx(case["evidence"], rel=1e-9)


def test_p_values_are_uniform_and_independent_of_earlier_ones_in_every_order_of_the_days():
    days = np.random.default_rng(3).normal(size=(5, 24))
    counts = Counter()
    for order in permutations(range(5)):
        seen = days[list(order)]
        ranks = tuple(round(n * conformal_p_value(day_statistic(seen[:n]), 0.5) - 0.5) for n in (3, 4, 5))
        counts[ranks] += 1
    assert set(counts.values()) == {2}  # each of 3 x 4 x 5 triples as often as any other
    assert len(counts) == 60


def test_ties_are_broken_by_the_draw():
    same = np.zeros(4)
    assert [conformal_p_value(same, draw) for draw in (0.0, 0.25, 1.0)] == [0.0, 0.25, 1.0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9))
def test_the_statistic_treats_days_alike(seed, num):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num, 24))
    values[rng.random((num, 24)) < 0.3] = np.nan
    order = rng.permutation(num)
    assert day_statistic(values[order]) == pytest.approx(day_statistic(values)[order])
    assert day_statistic(5 * values - 2) == pytest.approx(day_statistic(values))


def test_the_statistic_is_the_mean_over_the_hours_that_a_day_has():
    values = np.full((3, 24), np.nan)
    values[:, 3] = [1.0, 2.0, 3.0]
    values[:2, 7] = [10.0, 30.0]
    values[:, 9] = 0.1  # never varies
    root = np.sqrt(1.5)
    assert day_statistic(values) == pytest.approx([(-root - 1) / 3, 1 / 3, root / 2])
    assert day_statistic(np.full((2, 24), np.nan)).tolist() == [0, 0]
    assert day_statistic(np.zeros((0, 24))).shape == (0,)


@pytest.mark.parametrize(("shift", "direction"), [(1.0, "higher"), (-1.0, "lower")])
def test_a_shift_is_noticed_with_its_direction_and_first_day(shift, direction):
    rng = np.random.default_rng(5)
    values = days_of(rng, 60, shift=shift, since=40)
    course = drift_course(values, rng.random(60), 365.0)
    (drift,) = course.drifts
    assert drift.direction == direction
    assert 38 <= drift.first <= 41
    assert 42 <= drift.noticed <= 47
    assert course.current == drift
    assert course.evidence[drift.noticed] >= 365 > np.nanmax(course.evidence[: drift.noticed])
    assert course.is_reference.tolist() == [day < drift.first for day in range(60)]
    assert np.isnan(course.p_value[:7]).all()
    assert np.isfinite(course.p_value[7:]).all()


def test_lower_is_higher_upside_down():
    rng = np.random.default_rng(6)
    values, draws = days_of(rng, 50, shift=0.8, since=30), rng.random(50)
    up, down = drift_course(values, draws, 100.0), drift_course(-values, 1 - draws, 100.0)
    assert down.p_value == pytest.approx(1 - up.p_value, nan_ok=True)
    assert down.evidence == pytest.approx(up.evidence, nan_ok=True)
    assert [drift.direction for drift in (*up.drifts, *down.drifts)] == ["higher", "lower"]


def test_days_before_the_last_do_not_depend_on_it():
    rng = np.random.default_rng(7)
    values, draws = days_of(rng, 45, shift=1.0, since=30), rng.random(45)
    whole = drift_course(values, draws, 365.0)
    for num in (31, 38, 44):
        part = drift_course(values[:num], draws[:num], 365.0)
        assert np.array_equal(part.evidence, whole.evidence[:num], equal_nan=True)


def test_a_drift_is_over_after_a_week_that_shows_nothing():
    rng = np.random.default_rng(8)
    values = days_of(rng, 90)
    values[30:45] += 1.5
    course = drift_course(values, rng.random(90), 365.0)
    (drift,) = course.drifts
    assert drift.first == 30
    assert drift.over is not None
    assert 44 <= drift.over <= 55
    assert course.current is None
    assert not course.is_reference[30:44].any()
    assert course.is_reference[56:].all()


def test_days_that_are_all_the_same_say_nothing():
    rng = np.random.default_rng(9)
    for values in (np.ones((40, 24)), np.full((40, 24), np.nan)):
        course = drift_course(values, rng.random(40), 365.0)
        assert not course.drifts


def test_evidence_stays_a_number():
    values = np.zeros((400, 24)) + np.arange(400)[:, None] ** 2
    course = drift_course(values, np.full(400, 1e-9), 1e11)
    assert np.nanmax(course.evidence) == MAX_EVIDENCE
    assert np.isfinite(course.evidence[7:]).all()


def test_less_reference_than_a_week_is_refused():
    with pytest.raises(UsageError, match=r"at least 7.*got 6"):
        drift_course(np.zeros((20, 24)), np.zeros(20), 365.0, num_reference=6)
    course = drift_course(np.zeros((3, 24)), np.zeros(3), 365.0)
    assert (len(course.p_value), course.drifts) == (3, ())


def test_hours_that_differ():
    rng = np.random.default_rng(10)
    values = rng.normal(size=(30, 24))
    values[20:, 6:9] += 4
    values[:, 23] = np.nan
    differences = hour_differences(values, np.arange(30) < 20, 20)
    assert np.flatnonzero(differences > 2).tolist() == [6, 7, 8]
    assert np.isnan(differences[23])


def test_the_gauge_is_the_sum_of_bets_on_the_mean():
    rng = np.random.default_rng(11)
    values, draws = rng.normal(size=(9, 24)), rng.random((9, 24))
    values[8, 5] = np.nan
    gauge = hourly_gauge(values, draws, np.ones(9, bool), num_reference=7)
    assert np.isnan(gauge[:7]).all()
    assert np.isnan(gauge[8, 5])
    seen, bets = [], (0.4, 0.8, 1.2, 1.6)
    for day, hour in [(day, hour) for day in (7, 8) for hour in range(24) if (day, hour) != (8, 5)]:
        column = values[: day + 1, hour]
        seen.append(((column[:-1] > column[-1]).sum() + draws[day, hour]) / (day + 1))
        sums = [
            sum(np.prod([1 + bet * (0.45 - p) for p in side[k:]]) for k in range(len(side)))
            for side in (seen, [1 - p for p in seen])
            for bet in bets
        ]
        assert gauge[day, hour] == pytest.approx(np.mean(sums))


def test_the_gauge_sees_a_change_within_hours_and_keeps_to_the_reference():
    rng = np.random.default_rng(12)
    values = days_of(rng, 12)
    values[10:] += 2
    gauge = hourly_gauge(values, rng.random((12, 24)), np.arange(12) < 10, num_reference=7)
    assert gauge[10, 23] > 100 * np.nanmax(gauge[9])
