"""What files hold is read within bounds; a CSV holds no formula.

Relatives looked for: each sign that a spreadsheet starts a formula with (and the full-width ones of its East Asian
versions), headings as well as cells, cells that begin with an apostrophe already; pipes, devices, folders, links to
them; JSON and CSV that are cut, deep, huge, in other encodings or with numbers that no number holds.
"""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pandas as pd
import pytest

from mulde.errors import LabelError, MuldeError
from mulde.files import cell_text, csv_cell, read_bytes, read_csv, read_json, read_text, write_arrays, write_csv

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20a"]
PLAIN = ["", "a", "01/clip", "a=b", "'", "'a", "''", "caf\u00e9", "1.5", "a,b", 'a"b', "#x", " a"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe_which_the_reader_takes_off(text):
    assert csv_cell(text) == "'" + text
    for start in (text, "'" + text, "''" + text):
        assert csv_cell(start) == "'" + start
        assert cell_text(csv_cell(start)) == start


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_stands_as_it_is(text):
    assert csv_cell(text) == cell_text(text) == text


def test_a_table_with_formulas_is_read_as_it_was_written(tmp_path):
    names = [*FORMULAS, *PLAIN[1:-1], "'=x"]
    frame = pd.DataFrame({"=video": names, "score": np.linspace(-1, 1, len(names)), "-frame": -np.arange(len(names))})
    write_csv(frame, tmp_path / "t.csv", float_format="%.3f")
    read = read_csv(tmp_path / "t.csv")
    assert read.columns == ("=video", "score", "-frame")
    assert [row["=video"] for _, row in read.rows] == names
    assert [float(row["score"]) for _, row in read.rows] == [round(value, 3) for value in frame["score"]]
    assert read.rows[0][1]["score"] == "-1.000"  # a number keeps its sign
    with (tmp_path / "t.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert not any(cell[:1] in set("=+-@\t\r\n") for cell in [*header, *(row[0] for row in rows)])


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_csv(pd.DataFrame({"a": [1, Bad()]}), tmp_path / "t.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data",
    [
        b"video,start\r\nx,1\r\n",
        b"\xef\xbb\xbfvideo,start\nx,1",
        "video,start\nx,1\n".encode("utf-16"),
        b"video;start\nx;1\n",
        b"video\tstart\nx\t1\n",
        b"\nvideo, start\n\nx, 1\n,\n",
    ],
)
def test_a_table_is_read_in_any_form_that_programs_write(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    assert [row for _, row in read_csv(tmp_path / "t.csv").rows] == [{"video": "x", "start": "1"}]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"video,start\nx,1\x00\n", "a NUL at character 15"),
        (b"video\n\xe9\n", "expected UTF-8, got invalid continuation byte at byte 6"),
        (b"video\n" + b"x" * 131_073, "line 2: not CSV"),
        (b'video\n"x', "not CSV"),
        (b"video,start,start\nx,1,2\n", "two columns 'start'"),
        (b"video,start\nx,1,2\n", "line 2: expected 2 cells, got 3"),
        (b"," * 9_000_000, "too large to read: expected at most 8,388,608 cells"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, data, sentence):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(LabelError, match=sentence):
        read_csv(tmp_path / "t.csv", error=LabelError)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b"[NaN]", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[1e999]", "1e999 is too large for a number"),
        (b"[" + b"9" * 5000 + b"]", "a number of 5,000 digits"),
        (b"[" * 100_000, "nested too deep"),
        (b"[" * 65 + b"]" * 65, "nested too deep: expected at most 64 levels"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b"\xff\xfe\x00", "is not text"),
        (b"\xe9", "is not text"),
        (b"[" + b"0," * 9_000_000 + b"0]", "too large to read"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else value,
)
def test_what_is_no_json_is_refused(tmp_path, data, sentence):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(LabelError, match=sentence):
        read_json(tmp_path / "x.json", max_bytes=2**26, error=LabelError)


def test_json_is_read_as_it_is(tmp_path):
    value = {"a": [1, -2.5, None, True, {"\u00e9": "\U0001f600"}], "b": 10**20}
    (tmp_path / "x.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "x.json") == value
    (tmp_path / "x.json").write_text("[NaN, 1e999]")
    assert str(read_json(tmp_path / "x.json", allow_nan=True)) == "[nan, inf]"


def test_only_files_are_read_and_nothing_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name, kind in {"pipe": "a pipe", "zero": "a device", "folder": "a folder"}.items():
        with pytest.raises(MuldeError, match=f"{name} cannot be read: expected a file, got {kind}"):
            read_bytes(tmp_path / name)
    with pytest.raises(MuldeError, match=r"cannot be read \(No such file"):
        read_text(tmp_path / "none")
    with pytest.raises(MuldeError, match="cannot be read"):
        read_text(tmp_path / "a\0b")


def test_a_large_file_is_not_read(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(MuldeError, match="too large to read: expected at most 1,000 bytes"):
        read_bytes(tmp_path / "large", max_bytes=1000)


def test_arrays_come_back_however_they_lie_in_memory(tmp_path):
    from safetensors.numpy import load_file

    plain = np.arange(24, dtype=np.float32).reshape(4, 6)
    arrays = {"transposed": plain.T, "strided": plain[::2, 1::3], "none": plain[:0], "one": np.array(7)}
    write_arrays(tmp_path / "a.safetensors", arrays, {"of": "these"})
    found = load_file(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape
