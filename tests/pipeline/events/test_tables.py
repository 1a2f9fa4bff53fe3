"""Events of a run as files."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mulde.errors import MuldeError, RecordError
from mulde.events import Event, EventRegion, Reason, ReferenceSample
from mulde.pipeline.events.tables import (
    events_table,
    picture_path,
    read_event_rows,
    read_events,
    write_event_rows,
    write_events,
)

BARE = Event("b", 3, 9, 0.3, 0.8, 8, 0.8, 2.5, 0.25)
REASON = Reason(
    stream="velocity",
    text="moves 3.1 times as fast as usual here, heading left",
    streams={"velocity": 4.0, "geometry": 1.5},
    region=EventRegion(7, (1.0, 2.0, 3.5, 4.0), 12, "person"),
    scales=((0.1, 3.0), (0.2, 5.0)),
    groups=(("left", 0.75), ("right", 0.25)),
    facts={"speed_ratio": 3.1},
    nearest=(ReferenceSample(4, "n", 55, 2.2, 1.75),),
)
FULL = Event("a/x", 0, 20, 0.0, 0.76, 6, 0.24, 5.5, 0.01, REASON, suppression="7")


def test_what_was_written_is_read_again(tmp_path):
    write_events([FULL, BARE], tmp_path)
    assert read_events(tmp_path) == [FULL, BARE]
    assert read_events(tmp_path / "elsewhere") == []


def test_no_cell_of_the_csv_is_a_formula_and_the_other_forms_keep_the_name(tmp_path):
    name = "=cmd|' /C calc'!A0"
    odd = replace(FULL, video=name, reason=replace(REASON, text="-1 times as fast"))
    write_events([odd], tmp_path)
    (row,) = csv.DictReader(io.StringIO((tmp_path / "events.csv").read_text()))
    assert (row["event_id"], row["video"], row["reason"]) == (f"'{name}@6", f"'{name}", "'-1 times as fast")
    assert pd.read_parquet(tmp_path / "events.parquet")["video"].tolist() == [name]
    assert read_events(tmp_path) == [odd]


def test_the_tables_have_a_row_per_event(tmp_path):
    write_events([FULL, BARE], tmp_path)
    table = events_table([FULL, BARE])
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "events.parquet"), table)
    read = pd.read_csv(tmp_path / "events.csv", keep_default_na=False, na_values={"x0": "", "score_velocity": ""})
    assert read.columns.tolist() == table.columns.tolist()
    first, second = table.to_dict(orient="records")
    assert first["event_id"] == "a/x@6"
    assert [first[k] for k in ("stream", "object", "track_id", "region_frame", "x1")] == [
        "velocity",
        "person",
        12,
        7,
        3.5,
    ]
    assert (first["score_velocity"], first["score_geometry"], first["exemption"]) == (4.0, 1.5, "7")
    assert (second["stream"], second["reason"], second["track_id"]) == ("", "", -1)
    assert math.isnan(second["x0"])


def test_none_is_an_ordinary_value(tmp_path):
    write_events([], tmp_path)
    assert read_events(tmp_path) == []
    assert len(pd.read_parquet(tmp_path / "events.parquet")) == len(pd.read_csv(tmp_path / "events.csv")) == 0


def test_rows_of_events_are_read_as_they_were_written(tmp_path):
    rows = {"a@1": ("velocity", np.array([1.5, 2], np.float32)), "b/c@2": ("pose", np.zeros(3, np.float32))}
    write_event_rows(rows, tmp_path)
    read = read_event_rows(tmp_path)
    assert [(k, stream, values.tolist()) for k, (stream, values) in read.items()] == [
        ("a@1", "velocity", [1.5, 2.0]),
        ("b/c@2", "pose", [0.0, 0.0, 0.0]),
    ]
    assert read_event_rows(tmp_path / "elsewhere") == {}
    (tmp_path / "event_rows.parquet").write_text("no table")
    with pytest.raises(MuldeError, match=r"event_rows\.parquet cannot be read"):
        read_event_rows(tmp_path)


def test_damage_is_named(tmp_path):
    (tmp_path / "events.json").write_text('[{"video": "a"}]')
    with pytest.raises(MuldeError, match=r"events\.json cannot be read"):
        read_events(tmp_path)


def test_a_peak_outside_the_event_is_refused():
    with pytest.raises(RecordError, match="its peak in frames 3 to 9, got frame 9"):
        replace(BARE, peak_frame=9)


def test_pictures_lie_beside_those_of_their_video(tmp_path):
    assert picture_path(tmp_path, FULL, ".jpg") == tmp_path / "a" / "x" / "000006.jpg"
