"""Which annotated anomalies the events of a run found: by hand, and as the event figures count them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mulde.commands.console.evaluation import print_events_found, summary
from mulde.errors import UsageError
from mulde.evaluation.alarms import EventRules, operating_point
from mulde.evaluation.conformal import NormalVideo, Threshold
from mulde.evaluation.metrics import LabelledScores
from mulde.events import Event, Reason
from mulde.pipeline.evaluation.events_found import events_found, write_tables
from mulde.pipeline.run_folder import AlarmRecord
from mulde.pipeline.scoring.threshold import AlarmRule, find_alarms
from mulde.records import LabelTrack, ScoredVideo, ScoreTrack

RATE = 10.0
ALARM = AlarmRecord(false_alarms_per_hour=60.0, levels={"centred": {"alarm": 1.0}})


def scored(video: str, scores: np.ndarray, frames: np.ndarray | None = None, rate: float = RATE) -> ScoredVideo:
    frames = np.arange(len(scores)) if frames is None else frames
    return ScoredVideo(ScoreTrack(video, frames, frames / rate, scores, scores), 0.0, 0, rate)


def event(video: str, start: int, end: int, p_value: float, **more: object) -> Event:
    reason = Reason("velocity", f"reason of {start}")
    return Event(video, start, end, start / RATE, (end - 1) / RATE, start, start / RATE, 5.0, p_value, reason, **more)


def labels(video: str, length: int, *ranges: tuple[int, int]) -> LabelTrack:
    flags = np.zeros(length, bool)
    for start, end in ranges:
        flags[start:end] = True
    return LabelTrack(video, flags)


@pytest.fixture
def found():
    """Clip a: an anomaly that two alarms and a suppressed event overlap, one that only a suppressed event overlaps, a
    short one. Clip b: missed, with false alarms beside it. Clip c is normal, with a suppressed event. Clip d has no
    labels."""
    truth = {
        "a": labels("a", 100, (20, 40), (60, 70), (90, 95)),
        "b": labels("b", 100, (50, 60)),
        "c": labels("c", 100),
    }
    videos = {name: scored(name, np.zeros(100)) for name in "abcd"}
    events = [
        event("a", 15, 21, 0.5), event("a", 39, 45, 0.1), event("a", 65, 66, 0.2, suppression="x1"),
        event("a", 92, 99, 0.3), event("b", 60, 70, 0.4), event("b", 40, 50, 0.4),
        event("c", 0, 9, 0.1, suppression="x2"), event("d", 0, 9, 0.1),
        event("a", 25, 27, 0.05, suppression="x3"),
    ]  # fmt: skip
    return events_found(videos, truth, ALARM, events)


def test_the_table_by_hand(found):
    rows = found.table.to_dict(orient="records")
    facts = [(row["video"], row["start_frame"], row["end_frame"], row["found"], row["event_id"]) for row in rows]
    assert facts == [
        ("a", 20, 40, True, "a@39"), ("a", 60, 70, False, "a@65"), ("a", 90, 95, True, "a@92"),
        ("b", 50, 60, False, ""),
    ]  # fmt: skip
    assert [row["length_s"] for row in rows] == [2.0, 1.0, 0.5, 1.0]
    assert (rows[0]["start_s"], rows[0]["end_s"]) == (2.0, 3.9)
    np.testing.assert_allclose([row["delay_s"] for row in rows], [0, np.nan, 0.2, np.nan], atol=1e-12)
    assert (rows[0]["p_value"], rows[0]["stream"], rows[0]["reason"]) == (0.1, "velocity", "reason of 39")
    assert [row["exemption"] for row in rows] == ["", "x1", "", ""]
    assert np.isnan(rows[3]["p_value"])


def test_the_counts_by_hand(found):
    assert (found.num_long_found, found.num_long) == (1, 3)
    assert (found.num_clips_found, found.num_clips) == (0, 2)
    assert (found.num_false, found.num_alarms, found.num_suppressed) == (2, 5, 3)
    assert found.normal_hours == pytest.approx((300 - 45) / RATE / 3600)
    assert found.share_flagged == pytest.approx((5 + 5 + 4 + 10 + 10) / 255)


def test_the_summary_says_rates_and_where_the_level_comes_from(found):
    text = ". ".join(summary(found))
    for part in (
        "1 of 3 annotated anomalies of at least 1 s are found",
        "all of them in 0 of 2 clips that have any",
        "2 of 5 alarms are false: 282.4 per hour, 4.71 per minute of the 0.425 minutes labelled normal",
        "13.3 % of which lie inside alarms; the true rate may be up to 14.8 per minute (95 % confidence",
        "set for 60 false alarms per hour (1 per minute) on held-out normal video, without labels",
        "3 suppressed events count neither as found nor as a false alarm",
    ):
        assert part in text
    assert "suppressed" not in ". ".join(summary(replace(found, num_suppressed=0)))
    assert "no rate" in ". ".join(summary(replace(found, normal_hours=0.0)))


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_the_event_figures(seed):
    """On random scores, random labels and random rules: the recall, delays and false alarms of `operating_point`."""
    rng = np.random.default_rng(seed)
    rules = EventRules(merge_gap_s=rng.choice([0.0, 0.3, 1.0]), min_length_s=rng.choice([0.0, 0.2]))
    videos, truth = {}, {}
    for i in range(4):
        scores = np.convolve(rng.normal(size=rng.integers(30, 200)), np.ones(5) / 5, "same")
        videos[f"v{i}"] = scored(f"v{i}", scores)
        truth[f"v{i}"] = LabelTrack(f"v{i}", np.repeat(rng.random(len(scores) // 6 + 1) < 0.2, 6)[: len(scores)])
    level = float(rng.uniform(0.1, 0.7))
    alarm = Threshold(level, 60.0, 60.0, 60.0, 0, 1.0, 1.0, 1)
    events = find_alarms(videos, AlarmRule(rules, alarm, alarm, (NormalVideo(rng.normal(size=50), RATE),)))
    found = events_found(videos, truth, ALARM, events)
    evaluated = [LabelledScores(name, one.track.smoothed, truth[name].anomalous) for name, one in videos.items()]
    point = operating_point("alarm", level, evaluated, dict.fromkeys(videos, RATE), rules)
    assert (len(found.table), int(found.table["found"].sum())) == (point.num_true_events, point.num_found)
    assert (found.num_alarms, found.num_false) == (point.num_alarms, point.num_false_alarms)
    assert found.normal_hours == pytest.approx(point.normal_hours)
    assert found.share_flagged * sum((~t.anomalous).sum() for t in truth.values()) == pytest.approx(
        point.num_normal_frames_flagged
    )
    if point.num_found:
        assert found.table["delay_s"].mean() == pytest.approx(point.delay_s_mean)
        assert found.table["delay_s"].median() == pytest.approx(point.delay_s_median)


def test_frames_that_were_not_decoded_count_by_their_numbers():
    frames = np.r_[0:20, 40:60]
    truth = {"a": labels("a", 40, (10, 25))}  # frames 10 to 19 and 40 to 44
    found = events_found({"a": scored("a", np.zeros(40), frames)}, truth, ALARM, [event("a", 41, 43, 0.1)])
    (row,) = found.table.to_dict(orient="records")
    assert (row["start_frame"], row["end_frame"], row["found"]) == (10, 45, True)
    assert row["delay_s"] == pytest.approx(3.1)


def test_without_anomalies_or_events_the_table_is_empty():
    found = events_found({"a": scored("a", np.zeros(5))}, {"a": labels("a", 5)}, ALARM, [])
    assert (len(found.table), found.num_clips, found.num_false) == (0, 0, 0)
    assert "0 of 0 annotated anomalies" in summary(found)[0]


def test_a_run_without_a_level_is_refused():
    with pytest.raises(UsageError, match="expected a run with an alarm level"):
        events_found({}, {}, None, [])


def test_both_files_hold_the_table(found, tmp_path):
    write_tables(found, tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "events_found.parquet"), found.table)
    read = pd.read_csv(tmp_path / "events_found.csv", keep_default_na=False, na_values={"delay_s": "", "p_value": ""})
    pd.testing.assert_frame_equal(read, found.table, check_dtype=False)


def test_what_is_printed_fits_the_page(found, capsys):
    print_events_found(found)
    printed = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 110
    text = " ".join(printed.split())
    for part in ("suppressed x1", "reason of 39", "0.20", *summary(found)):
        assert part in text


def test_no_false_alarm_in_a_minute_leaves_room_for_three(found):
    """The rule of three: exp(-3) is 5 %."""
    text = summary(replace(found, num_false=0, normal_hours=1 / 60))[1]
    assert "0 per minute of the 1 minutes" in text
    assert "up to 3 per minute" in text
