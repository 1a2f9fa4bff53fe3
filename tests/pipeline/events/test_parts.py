"""Events that are added batch by batch: the tables are those of one go, and old events cost nothing.

Relatives looked for: work that grows with old events when a batch is added and when the tables take it in; memory; a
kill between any two steps; a video that is scored again, with other events or none; streams that no old event has;
tables that are missing, damaged or of an older version; suppressions that are new; names with quotes and formulas.
"""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mulde.events import Event, EventRegion, Reason, ReferenceSample, sorted_events
from mulde.pipeline.events import parts as event_parts
from mulde.pipeline.events import tables as events
from mulde.pipeline.events.parts import PARTS, EventParts
from mulde.pipeline.events.tables import read_event_rows, read_events, write_event_rows, write_events

NAMES = ("events.json", "events.csv", "events.parquet", "event_rows.parquet")


def event(video: str, number: int, stream: str = "velocity") -> Event:
    reason = Reason(
        stream=stream,
        text=f'=moves "oddly",\n{number} times' if number % 3 == 0 else "moves",
        streams={stream: 1.0 + number},
        region=EventRegion(10 * number + 4, (1.0, 2.0, 3.5, 4.25), -1, "person") if number % 2 else None,
        scales=((0.1, 3.0), (0.2, 5.0)),
        groups=(("left", 0.75),),
        facts={"speed_ratio": 3.1},
        nearest=(ReferenceSample(4, "n", 55, 2.2, 1.75),),
    )
    p_value = round(1 / (1 + number + 7 * len(video)), 6)
    return Event(video, 10 * number, 10 * number + 8, 0.4, 0.7, 10 * number + 4, 0.5, 2.5 + number, p_value, reason)


def rows_of(found: Sequence[Event]) -> events.EventRows:
    """Not every event has one."""
    having = [one for one in found if one.reason and one.reason.region]
    return {one.event_id: ("velocity", np.arange(3, dtype=np.float32) + one.peak_frame) for one in having}


def as_they_are(found: Sequence[Event], rows: events.EventRows) -> list[Event]:
    return list(found)


def in_one_go(folder: Path, found: Sequence[Event]) -> Path:
    write_event_rows(rows_of(found), folder)
    write_events(sorted_events(found), folder)
    return folder


def content(folder: Path) -> list[object]:
    """What the tables hold, in the order of the events' ids."""
    table = pd.read_csv(folder / "events.csv", dtype=str, keep_default_na=False).sort_values("event_id")
    parquet = pd.read_parquet(folder / "events.parquet").sort_values("event_id")
    rows = {key: (stream, row.tolist()) for key, (stream, row) in sorted(read_event_rows(folder).items())}
    return [
        sorted(read_events(folder), key=lambda one: one.event_id),
        table[sorted(table.columns)].values.tolist(),
        parquet[sorted(parquet.columns)].astype(str).values.tolist(),
        rows,
    ]


def test_batch_by_batch_gives_the_tables_of_one_go(tmp_path: Path) -> None:
    found: list[Event] = []
    for number in range(6):
        parts = EventParts(tmp_path / "run")
        videos = [f"v{number}", f"w,{number}", f"=w{number}", f"none{number}"]
        batch = [event(video, i) for video in videos[:3] for i in range(number)]
        parts.add(videos, batch, rows_of(batch))
        found += batch
        if number % 2:
            assert parts.gather(as_they_are) == len(found)
            assert parts.gather(as_they_are) is None
    assert content(tmp_path / "run") == content(in_one_go(tmp_path / "whole", found))
    assert not (tmp_path / "run" / PARTS).exists()


def test_a_video_that_is_scored_again_has_its_last_events(tmp_path: Path) -> None:
    parts = EventParts(in_one_go(tmp_path, [event("a", 1), event("a", 2), event("b", 1)]))
    parts.add(["a"], [event("a", 3)], rows_of([event("a", 3)]))
    parts.add(["a", "c"], [event("a", 4), event("c", 1)], {})
    parts.add(["b"], [], {})
    assert parts.gather(as_they_are) == 2
    assert read_events(tmp_path) == sorted_events([event("a", 4), event("c", 1)])
    assert read_event_rows(tmp_path) == {}
    assert parts.gather(as_they_are) is None


def test_a_stream_that_no_old_event_has_gets_a_column(tmp_path: Path) -> None:
    old, new = [event("a", 1)], [event("b", 1, "pose"), event("c", 1)]
    parts = EventParts(in_one_go(tmp_path / "run", old))
    parts.add(["b", "c"], new, rows_of(new))
    parts.gather(as_they_are)
    table = pd.read_csv(tmp_path / "run" / "events.csv").set_index("video")
    assert table["score_pose"].notna().to_dict() == {"a": False, "b": True, "c": False}


def suppressing(found: Sequence[Event], rows: events.EventRows) -> list[Event]:
    return [replace(one, suppression="3") for one in found]


@pytest.mark.parametrize(("for_all", "suppressed"), [(False, ["b"]), (True, ["a", "b"])])
def test_suppressions_are_set_on_what_is_added_and_on_request_on_all(
    tmp_path: Path, for_all: bool, suppressed: list[str]
) -> None:
    parts = EventParts(in_one_go(tmp_path, [event("a", 1)]))
    parts.add(["b"], [event("b", 1)], {})
    assert parts.gather(suppressing, for_all=for_all) == 2
    assert sorted(one.video for one in read_events(tmp_path) if one.suppression) == suppressed


@pytest.mark.parametrize("name", NAMES)
def test_a_table_that_is_not_there_is_made(tmp_path: Path, name: str) -> None:
    old, new = ([event(video, i) for i in range(2)] for video in "ab")
    parts = EventParts(in_one_go(tmp_path, [] if name == "events.json" else old))
    (tmp_path / name).unlink()
    parts.add(["b"], new, rows_of(new))
    assert parts.gather(as_they_are) == (2 if name == "events.json" else 4)
    assert all((tmp_path / name).is_file() for name in NAMES)
    assert len(pd.read_csv(tmp_path / "events.csv")) == len(read_events(tmp_path))


@pytest.mark.parametrize("name", ["events.csv", "events.parquet"])
def test_a_damaged_table_is_made_again_from_events_json(tmp_path: Path, name: str) -> None:
    old, new = ([event(video, i) for i in range(2)] for video in "ab")
    parts = EventParts(in_one_go(tmp_path / "run", old))
    if name == "events.csv":
        (tmp_path / "run" / name).unlink()
    else:
        (tmp_path / "run" / name).write_bytes(b"PAR1 no table PAR1")
    parts.add(["b"], new, rows_of(new))
    parts.gather(as_they_are)
    assert content(tmp_path / "run") == content(in_one_go(tmp_path / "whole", [*old, *new]))


class Killed(BaseException):
    pass


def test_a_kill_at_any_step_is_mended_by_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps: every replacement and every removal of a file."""
    old, first, again = ([event(video, i) for i in range(3)] for video in ("a", "b", "b"))
    new = [*first[:1], event("c", 5)]
    expected = content(in_one_go(tmp_path / "whole", [*old, *new]))
    step = 0
    while True:
        run, left = tmp_path / f"run{step}", step

        def counted(function):
            def call(*args, **options):
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return function(*args, **options)

            return call

        parts = EventParts(in_one_go(run, old))
        with monkeypatch.context() as patch:
            patch.setattr("mulde.files.os.replace", counted(shutil.os.replace))
            patch.setattr(Path, "unlink", counted(Path.unlink))
            patch.setattr(event_parts.shutil, "rmtree", counted(shutil.rmtree))
            try:
                parts.add(["b"], again, rows_of(again))
                parts.add(["b", "c"], new, rows_of(new))
                parts.gather(as_they_are)
                killed = False
            except Killed:
                killed = True
        assert len(read_events(run)) in (3, 5, 6)  # whole at any time
        parts = EventParts(run)
        parts.add(["b", "c"], new, rows_of(new))  # what was not known to be done is scored again
        parts.gather(as_they_are)
        assert content(run) == expected, step
        assert parts.gather(as_they_are) is None
        step += 1
        if not killed:
            break
    assert step > 15


def counting(calls: dict[str, int], name: str, function):
    def call(*args):
        calls[name] += 1
        return function(*args)

    return call


def work_of(folder: Path, num_old: int, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, int], int]:
    """How often events are parsed, checked and put into rows while 8 videos come to `num_old` events, one after
    another, with the tables taking them in each time; and the most memory that it takes, in bytes."""
    parts = EventParts(in_one_go(folder, [event(f"old{i // 50}", i % 50) for i in range(num_old)]))
    calls = {"event_of": 0, "_row": 0, "asdict": 0}
    with monkeypatch.context() as patch:
        for name in calls:
            patch.setattr(events, name, counting(calls, name, getattr(events, name)))
        patch.setattr(event_parts, "event_of", events.event_of)
        patch.setattr(event_parts, "read_events", lambda *_: pytest.fail("old events are read"))
        tracemalloc.start()
        for number in range(8):
            new = [event(f"new{number}", i) for i in range(3)]
            parts.add([f"new{number}"], new, rows_of(new))
            assert parts.gather(as_they_are) == num_old + 3 * (number + 1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(pd.read_csv(folder / "events.csv")) == len(read_events(folder)) == num_old + 24
    return calls, peak


def test_the_work_for_a_batch_does_not_grow_with_old_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_of(tmp_path / "warm", 1, monkeypatch)
    few, least = work_of(tmp_path / "few", 1, monkeypatch)
    many, most = work_of(tmp_path / "many", 1000, monkeypatch)
    assert many == few
    assert max(few.values()) <= 3 * 24
    assert most < least + 2**20
