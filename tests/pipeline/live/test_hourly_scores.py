from __future__ import annotations

import errno
import os
import threading
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulde.errors import MuldeError, RecordError, cannot
from mulde.pipeline.live import hour_parts, hourly_scores
from mulde.pipeline.live.hour_parts import read_hour
from mulde.pipeline.live.hourly_scores import FramePlace, HourlyScores, LiveScore
from mulde.pipeline.live.utc import HOUR_MS
from mulde.pipeline.scoring.frames import read_scores
from mulde.progress import Reporter
from tests.pipeline.live import children
from tests.processes import CONTEXT

HOUR = int(datetime(2026, 11, 28, 13, tzinfo=UTC).timestamp()) * 1000
VIDEO = "yard/20261128T13"


class Heard(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say


class Clock:
    now_ms = HOUR

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reporter() -> Heard:
    return Heard()


def collecting(root, reporter, clock, **options) -> HourlyScores:
    scores = HourlyScores(root, reporter, clock, **options)
    scores.set_camera("yard", 2.0, 1.5)
    scores.set_camera("gate", 2.0, 1.5)
    return scores


def score(utc_ms: int, value: float = 1.0, **changes) -> LiveScore:
    facts = {"streams": {"motion": value / 3, "velocity": value / 7}, "p_value": 0.25, "has_rows": value > 0}
    return LiveScore(**{"utc_ms": utc_ms, "fused": value, "smoothed": value / 2, **facts, **changes})


def parts(root) -> list[str]:
    return sorted(str(path.relative_to(root / ".score_parts")) for path in (root / ".score_parts").rglob("*.jsonl"))


def test_an_hour_that_is_over_is_a_table_like_every_other(tmp_path, reporter, clock):
    scores = collecting(tmp_path, reporter, clock)
    added = [score(HOUR + 500 * n + 3, float(n % 7)) for n in range(50)]
    places = [scores.add("yard", one) for one in added]
    scores.add("gate", score(HOUR))
    scores.flush()
    assert not (tmp_path / "scores").exists()
    assert parts(tmp_path) == ["gate/20261128T13.jsonl", "yard/20261128T13.jsonl"]
    clock.now_ms = HOUR + HOUR_MS + 60_000
    scores.flush()
    assert parts(tmp_path) == []
    tables = read_scores(tmp_path / "scores")
    assert sorted(tables) == ["gate/20261128T13", VIDEO]
    scored = tables[VIDEO]
    assert (scored.rate, scored.sigma_frames, scored.frames_without_rows) == (2.0, 1.5, 8)
    assert [
        FramePlace(VIDEO, n, s) for n, s in zip(scored.track.frame_index, scored.track.time_s, strict=True)
    ] == places
    assert places[3] == FramePlace(VIDEO, 3, 1.503)
    np.testing.assert_array_equal(scored.track.fused, [one.fused for one in added])
    np.testing.assert_array_equal(scored.track.smoothed, [one.smoothed for one in added])
    np.testing.assert_array_equal(scored.track.p_value, [0.25] * 50)
    for stream in ("motion", "velocity"):
        np.testing.assert_array_equal(scored.track.streams[stream], [one.streams[stream] for one in added])
    for suffix, read in ((".parquet", pd.read_parquet), (".csv", pd.read_csv)):
        frame = read(tmp_path / "scores" / f"{VIDEO}{suffix}")
        assert list(frame.columns) == [
            "video", "frame_index", "time_s", "score_motion", "score_velocity", "fused", "smoothed", "p_value",
            "utc_ms",
        ]  # fmt: skip
        assert list(frame["utc_ms"]) == [one.utc_ms for one in added]
    assert list(read_hour(tmp_path, VIDEO).utc_ms) == [one.utc_ms for one in added]


def test_an_hour_keeps_its_objects_and_its_model(tmp_path, reporter, clock):
    scores = collecting(tmp_path, reporter, clock)
    scores.set_camera("yard", 2.0, 1.5, "abc")
    for n in range(3):
        scores.add("yard", score(HOUR + 500 * n, num_objects=n))
    scores.flush()
    hour = read_hour(tmp_path, VIDEO)
    assert (hour.num_objects.tolist(), hour.model_sha256) == ([0, 1, 2], "abc")
    clock.now_ms = HOUR + HOUR_MS + 60_000
    scores.flush()
    assert list(pd.read_parquet(tmp_path / f"scores/{VIDEO}.parquet")["num_objects"]) == [0, 1, 2]
    hour = read_hour(tmp_path, VIDEO)
    assert (hour.num_objects.tolist(), hour.model_sha256) == ([0, 1, 2], "abc")
    scores.set_camera("yard", 2.0, 1.5, "def")
    scores.add("yard", score(HOUR + 5000, num_objects=7))
    scores.flush()
    hour = read_hour(tmp_path, VIDEO)
    assert (hour.num_objects.tolist(), hour.model_sha256) == ([0, 1, 2, 7], "def")
    scores.add("yard", score(HOUR + 6000))
    scores.flush()
    assert read_hour(tmp_path, VIDEO).num_objects is None  # not known of all


def test_an_hour_can_be_read_while_it_lasts(tmp_path, reporter, clock):
    scores = collecting(tmp_path, reporter, clock)
    assert read_hour(tmp_path, VIDEO) is None
    scores.add("yard", score(HOUR, 5.0))
    assert read_hour(tmp_path, VIDEO) is None  # not on disk yet
    scores.flush()
    scores.add("yard", score(HOUR + 500, 6.0))
    scores.flush()
    hour = read_hour(tmp_path, VIDEO)
    assert list(hour.scored.track.fused) == [5.0, 6.0]
    assert list(hour.utc_ms) == [HOUR, HOUR + 500]


def test_late_rows_of_an_hour_wait_for_a_minute_and_come_in_after_it_too(tmp_path, reporter, clock):
    scores = collecting(tmp_path, reporter, clock)
    scores.add("yard", score(HOUR, 1.0))
    scores.add("yard", score(HOUR + HOUR_MS, 2.0))
    clock.now_ms = HOUR + HOUR_MS + 59_999
    scores.flush()
    assert len(parts(tmp_path)) == 2
    scores.add("yard", score(HOUR + 1000, 3.0))
    clock.now_ms += 1
    scores.flush()
    assert parts(tmp_path) == ["yard/20261128T14.jsonl"]
    scores.add("yard", score(HOUR + 2000, 4.0))
    scores.flush()
    assert list(read_scores(tmp_path / "scores")[VIDEO].track.fused) == [1.0, 3.0, 4.0]


def test_a_place_that_is_taken_gives_the_next_and_no_clock_turns_rows_over(tmp_path, reporter, clock):
    scores = collecting(tmp_path, reporter, clock)
    moments = [HOUR + 100, HOUR + 200, HOUR + 1000, HOUR + 900, HOUR + 2600, HOUR - HOUR_MS, HOUR + 2700]
    places = [scores.add("yard", score(moment)) for moment in moments]
    assert [(place.frame_index, place.time_s) for place in places if place.video == VIDEO] == [
        (0, 0.1), (1, 0.5), (2, 1.0), (3, 1.5), (5, 2.6), (6, 3.0),
    ]  # fmt: skip
    assert places[5] == FramePlace("yard/20261128T12", 0, 0.0)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.lists(st.one_of(st.integers(0, 2 * HOUR_MS), st.just("flush"), st.just("kill"), st.just("stop")), max_size=30)
)
def test_whatever_happens_rows_on_disk_stay_with_the_places_that_were_told(tmp_path_factory, steps):
    """Against a list of what was added; a kill loses what no flush wrote."""
    root, clock = tmp_path_factory.mktemp("run"), Clock()
    clock.now_ms = HOUR + HOUR_MS + 60_000
    scores, written, waiting = collecting(root, Heard(), clock), {}, {}
    for step in steps:
        if step == "flush" or step == "stop":
            scores.flush() if step == "flush" else scores._finish()
            written, waiting = written | waiting, {}
        if step in ("kill", "stop"):
            scores, waiting = collecting(root, Heard(), clock), {}
            scores._gather(clock.now_ms)
        if isinstance(step, int):
            place = scores.add("yard", score(HOUR + step, step / 1000))
            assert (place.video, place.frame_index) not in written | waiting
            waiting[place.video, place.frame_index] = (place.time_s, HOUR + step, step / 1000)
    scores._finish()
    written |= waiting
    found = {}
    for name in {video for video, _ in written}:
        hour, track = read_hour(root, name), read_scores(root / "scores")[name].track
        assert (np.diff(track.time_s) > 0).all()
        rows = zip(track.frame_index, track.time_s, hour.utc_ms, track.fused, strict=True)
        found |= {(name, number): row for number, *row in rows}
    assert {place: tuple(row) for place, row in found.items()} == written


def test_a_kill_between_the_table_and_its_part_doubles_nothing(tmp_path, reporter, clock, monkeypatch):
    scores = collecting(tmp_path, reporter, clock)
    for n in range(5):
        scores.add("yard", score(HOUR + 500 * n, float(n)))
    scores.flush()
    part = tmp_path / ".score_parts" / "yard" / "20261128T13.jsonl"
    content = part.read_bytes()
    scores._gather(None)
    part.write_bytes(content)
    assert list(read_hour(tmp_path, VIDEO).scored.track.fused) == [0, 1, 2, 3, 4]
    again = collecting(tmp_path, reporter, clock)
    assert again.add("yard", score(HOUR, 9.0)).frame_index == 5
    again.flush()
    again._gather(None)
    assert list(read_scores(tmp_path / "scores")[VIDEO].track.fused) == [0, 1, 2, 3, 4, 9]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_a_kill_cut_costs_that_row_alone(tmp_path, reporter, clock, cut):
    scores = collecting(tmp_path, reporter, clock)
    for n in range(3):
        scores.add("yard", score(HOUR + 500 * n, float(n)))
    scores.flush()
    part = tmp_path / ".score_parts" / "yard" / "20261128T13.jsonl"
    os.truncate(part, part.stat().st_size - cut)
    assert list(read_hour(tmp_path, VIDEO).scored.track.fused) == [0, 1] + ([2] if cut == 1 else [])
    again = collecting(tmp_path, reporter, clock)
    again.add("yard", score(HOUR + 1000, 7.0))
    again.flush()
    assert list(read_hour(tmp_path, VIDEO).scored.track.fused) == [0, 1] + ([2] if cut == 1 else []) + [7]


def test_a_killed_process_loses_only_what_was_not_flushed(tmp_path, reporter, clock):
    ready, child_end = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=children.collect_scores, args=(tmp_path, HOUR, child_end))
    child.start()
    assert ready.poll(120)
    child.kill()
    child.join()
    assert len(read_hour(tmp_path, VIDEO).scored.track) == 20
    clock.now_ms = HOUR + HOUR_MS
    scores = collecting(tmp_path, reporter, clock)
    scores.open()
    assert parts(tmp_path) == []
    assert len(read_scores(tmp_path / "scores")[VIDEO].track) == 20
    scores.add("yard", score(HOUR + HOUR_MS))
    assert scores.stop(60)
    assert sorted(read_scores(tmp_path / "scores")) == [VIDEO, "yard/20261128T14"]
    assert reporter.lines == []


def test_a_model_that_changes_within_the_hour_leaves_what_both_have(tmp_path, reporter, clock):
    scores = collecting(tmp_path, reporter, clock)
    scores.add("yard", score(HOUR, 1.0))
    scores.flush()
    scores._gather(None)
    scores.set_camera("yard", 2.0, 4.0)
    scores.add("yard", score(HOUR + 500, 2.0, streams={"velocity": 0.5, "pose": 0.1}))
    scores.add("yard", score(HOUR + 1000, 3.0, streams={"velocity": 0.5, "place": 0.1}, p_value=None))
    scores.flush()
    hour = read_hour(tmp_path, VIDEO)
    assert set(hour.scored.track.streams) == {"velocity"}
    assert (hour.scored.track.p_value, hour.scored.sigma_frames) == (None, 4.0)
    scores._gather(None)
    scores.add("yard", score(HOUR + 1500, 4.0))
    scores.set_camera("yard", 2.0, 5.0)
    scores.flush()
    assert read_hour(tmp_path, VIDEO).scored.sigma_frames == 5.0
    assert list(read_hour(tmp_path, VIDEO).scored.track.fused) == [1, 2, 3, 4]


def test_a_disk_that_takes_nothing_is_said_once_and_rows_wait_up_to_a_bound(tmp_path, reporter, clock, monkeypatch):
    scores = collecting(tmp_path, reporter, clock, max_pending=10)

    def full(path, facts, rows):
        raise cannot("written", path, OSError(errno.ENOSPC, "full"))

    with monkeypatch.context() as broken:
        broken.setattr(hourly_scores, "append_rows", full)
        for n in range(8):
            scores.add("yard", score(HOUR + 500 * n, float(n)))
            scores.flush()
        assert (len(reporter.lines), scores.num_lost) == (1, 0)
        assert "Scores of yard/20261128T13 wait in memory: " in reporter.lines[0]
        assert "No space left on device" in reporter.lines[0]
        for n in range(8):
            scores.add("gate", score(HOUR + HOUR_MS + 500 * n, float(n)))
            scores.flush()
        assert scores.num_lost == 6
        assert sum(len(hour.pending) for hour in scores._hours.values()) == 10
        assert len(reporter.lines) == 3
        assert "The oldest scores in memory are lost" in reporter.lines[2]
    scores.flush()
    assert list(read_hour(tmp_path, VIDEO).scored.track.fused) == [6, 7]
    assert list(read_hour(tmp_path, "gate/20261128T14").scored.track.fused) == [*range(8)]


def test_rows_that_come_while_the_disk_fails_are_the_newer_ones(tmp_path, reporter, clock, monkeypatch):
    scores = collecting(tmp_path, reporter, clock, max_pending=2)
    scores.add("yard", score(HOUR, 1.0))
    scores.add("yard", score(HOUR + 500, 2.0))

    def full(path, facts, rows):
        scores.add("yard", score(HOUR + 1000, 3.0))  # the thread that scores does not wait
        raise cannot("written", path, OSError(errno.ENOSPC, "full"))

    with monkeypatch.context() as broken:
        broken.setattr(hourly_scores, "append_rows", full)
        scores.flush()
    scores.flush()
    assert list(read_hour(tmp_path, VIDEO).scored.track.fused) == [2.0, 3.0]


def test_a_write_that_fails_half_way_leaves_nothing_of_it(tmp_path, reporter, clock, monkeypatch):
    scores = collecting(tmp_path, reporter, clock)
    scores.add("yard", score(HOUR, 1.0))
    scores.flush()
    part = tmp_path / ".score_parts" / "yard" / "20261128T13.jsonl"
    before = part.read_bytes()
    scores.add("yard", score(HOUR + 500, 2.0))
    with monkeypatch.context() as broken:
        broken.setattr(hour_parts.os, "fsync", lambda number: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        scores.flush()
    assert part.read_bytes() == before
    scores.flush()
    assert list(read_hour(tmp_path, VIDEO).scored.track.fused) == [1, 2]


def test_a_damaged_table_is_said_and_its_rows_stay_in_their_part(tmp_path, reporter, clock):
    table = tmp_path / "scores" / f"{VIDEO}.parquet"
    table.parent.mkdir(parents=True)
    table.write_bytes(b"no table")
    scores = collecting(tmp_path, reporter, clock)
    assert scores.add("yard", score(HOUR, 1.0)).frame_index == 0
    scores.flush()
    scores._gather(None)
    scores._gather(None)
    assert parts(tmp_path) == ["yard/20261128T13.jsonl"]
    (line,) = reporter.lines
    assert "Scores stay in " in line
    assert "20261128T13.parquet cannot be read" in line
    assert table.read_bytes() == b"no table"
    with pytest.raises(MuldeError, match="cannot be read"):
        read_hour(tmp_path, VIDEO)


def test_a_part_of_another_hour_is_left_where_it_is(tmp_path, reporter, clock):
    scores = collecting(tmp_path, reporter, clock)
    scores.add("yard", score(HOUR, 1.0))
    scores.flush()
    part = tmp_path / ".score_parts" / "yard" / "20261128T13.jsonl"
    part.rename(part.with_name("20261128T12.jsonl"))
    scores._gather(None)
    assert parts(tmp_path) == ["yard/20261128T12.jsonl"]
    assert "expected the hour that it is of, got another one" in reporter.lines[0]


def test_the_thread_writes_by_itself_and_outlives_errors(tmp_path, reporter, clock, monkeypatch):
    scores = collecting(tmp_path, reporter, clock, flush_s=0.001)
    tried, real, flushed = threading.Event(), scores.flush, threading.Event()

    def flush():
        if not tried.is_set():
            tried.set()
            raise ZeroDivisionError("unforeseen")
        real()
        if read_hour(tmp_path, VIDEO) is not None:
            flushed.set()

    monkeypatch.setattr(scores, "flush", flush)
    scores.add("yard", score(HOUR, 1.0))
    scores.open()
    assert flushed.wait(60)
    assert scores.stop(60)
    assert "the scores: unexpected ZeroDivisionError" in reporter.lines[0]


def test_stopping_ends_in_time_though_the_disk_hangs(tmp_path, reporter, clock, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(hourly_scores, "append_rows", lambda *_: gate.wait(60))
    scores = collecting(tmp_path, reporter, clock)
    scores.open()
    scores.add("yard", score(HOUR, 1.0))
    assert not scores.stop(0.01)
    assert reporter.lines == ["The disk did not take all scores within 0.01 s"]
    gate.set()
    assert scores.stop(60)


@pytest.mark.parametrize(
    "changes", [{"fused": np.nan}, {"smoothed": np.inf}, {"streams": {"motion": np.nan}}, {"p_value": 1.5}]
)
def test_a_score_that_is_none_is_refused(changes):
    with pytest.raises(
        RecordError, match=f"LiveScore.{'motion' if 'streams' in changes else next(iter(changes))}: expec"
    ):
        score(HOUR, **changes)
