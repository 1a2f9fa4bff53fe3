from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.pipeline.live.utc import HOUR_MS, hour_name, hour_start_ms, second_name

HOUR = int(datetime(2026, 11, 28, 13, tzinfo=UTC).timestamp()) * 1000


@pytest.fixture
def in_berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_names_are_of_utc_and_sort_by_time(in_berlin):
    assert (hour_name(HOUR + 59_999), second_name(HOUR + 59_999)) == ("20261128T13", "20261128T130059Z")
    clock_change = int(datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()) * 1000
    names = [second_name(clock_change + n * HOUR_MS) for n in range(3)]
    assert names == sorted(set(names))


@settings(deadline=None)
@given(st.integers(0, 2**42))
def test_an_hour_is_found_by_its_name(utc_ms):
    assert hour_start_ms(hour_name(utc_ms)) == utc_ms // HOUR_MS * HOUR_MS


@pytest.mark.parametrize("name", ["", "20261128", "20261128T24", "20261128T1", "20261328T13", "20261128T13 ", "x"])
def test_other_names_are_no_hours(name):
    assert hour_start_ms(name) is None
