"""Scores as other programs write them: arrays and tables of any form give the same numbers, or one sentence."""

import os
import re

import numpy as np
import pandas as pd
import pytest

from mulde.errors import MuldeError
from mulde.pipeline.evaluation.score_files import read_score_file

SCORES = np.array([0.5, -1.25, 3e-7, 4.0, 1234.5])
TEXTS = {
    "numbers alone": "0.5\n-1.25\n3e-7\n4\n1234.5\n",
    "Windows, blank lines, no end": "0.5\r\n-1.25\r\n\r\n3e-7\r\n4\r\n1234.5",
    "all in one line": "0.5, -1.25, 3e-7, 4, 1234.5\n",
    "all in one line, blanks": "  0.5 -1.25  3e-7 4.0 1234.5 ",
    "heading": "score\n0.5\n-1.25\n3e-7\n4\n1234.5\n",
    "heading of two words": "anomaly level\n0.5\n-1.25\n3e-7\n4\n1234.5\n",
    "comma behind each": "0.5,\n-1.25,\n3e-7,\n4,\n1234.5,\n",
    "heading as numpy writes it": "# made by us\n# frame score\n0 0.5\n1 -1.25\n2 3e-7\n3 4\n4 1234.5\n",
    "comment alone": "# normality of 1 video\n0.5\n-1.25\n3e-7\n4\n1234.5\n",
    "frames, tabs": "frame\tvalue\n1\t0.5\n2\t-1.25\n3\t3e-7\n4\t4\n5\t1234.5\n",
    "frames, no heading": "0 0.5\n1 -1.25\n2 3e-7\n3 4\n4 1234.5\n",
    "semicolons and decimal commas": "Bild;Score\n7;0,5\n8;-1,25\n9;3e-7\n10;4\n11;1234,5\n",
    "decimal commas alone": "score\n0,5\n-1,25\n3e-7\n4\n1234,5\n",
    "quoted, other columns": '"name","score","label"\n"a, b",0.5,1\n"c",-1.25,0\n"d",3e-7,\n"e",4,1\n"f",1234.5,1\n',
    "index of pandas": ",value\n0,0.5\n1,-1.25\n2,3e-7\n3,4.0\n4,1234.5\n",
    "other script": "кадр;score\n1;0.5\n2;-1.25\n3;3e-7\n4;4\n5;1234.5\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", [".csv", ".TXT"])
def test_text_of_any_form_gives_the_same_scores(tmp_path, text, encoding, ending):
    path = tmp_path / f"scores{ending}"
    path.write_bytes(text.encode(encoding))
    assert read_score_file(path).scores.tolist() == SCORES.tolist()


@pytest.mark.parametrize("shape", [(5,), (5, 1), (1, 5)])
@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int16", "uint8", "bool", ">f8"])
def test_arrays_of_any_number_and_lying_either_way(tmp_path, shape, kind):
    values = np.array([0, 1, 2, 1, 0]).astype(kind)
    np.save(tmp_path / "a.npy", values.reshape(shape))
    found = read_score_file(tmp_path / "a.npy")
    assert found.scores.dtype == np.float64
    assert found.scores.tolist() == values.astype(float).tolist()


def test_parquet_of_another_program(tmp_path):
    pd.DataFrame({"Score": SCORES, "name": list("abcde"), "label": [0, 1, None, 1, 0]}).to_parquet(
        tmp_path / "a.parquet"
    )
    assert read_score_file(tmp_path / "a.parquet").scores.tolist() == SCORES.tolist()
    pd.DataFrame({"frame": np.arange(3, 8), "x": SCORES.astype(np.float32)}).to_parquet(tmp_path / "b.parquet")
    assert read_score_file(tmp_path / "b.parquet").scores.tolist() == SCORES.astype(np.float32).tolist()
    pd.DataFrame({"count": [3, 1, 4, 1, 5], "text": list("abcde")}).to_parquet(tmp_path / "c.parquet")
    assert read_score_file(tmp_path / "c.parquet").scores.tolist() == [3, 1, 4, 1, 5]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_tables_of_ours_give_the_scores_before_smoothing(tmp_path, ending):
    table = pd.DataFrame({"video": "a", "frame_index": range(5), "time_s": np.arange(5) / 25, "score_pose": 1.5,
                          "fused": SCORES, "smoothed": 2.5, "p_value": 0.5})  # fmt: skip
    path = tmp_path / f"other{ending}"
    table.to_parquet(path) if ending == ".parquet" else table.to_csv(path, index=False)
    found = read_score_file(path)
    assert (found.column, found.scores.tolist(), set(found.videos)) == ("fused", SCORES.tolist(), {"a"})
    assert read_score_file(path, "smoothed").scores.tolist() == [2.5] * 5


def test_one_table_over_several_videos_is_taken_apart_by_its_column(tmp_path):
    (tmp_path / "a.csv").write_text("video,frame,score\nb,0,1\nb,1,2\na,0,3\n")
    found = read_score_file(tmp_path / "a.csv").by_video()
    assert {name: scores.tolist() for name, scores in found.items()} == {"b": [1, 2], "a": [3]}
    (tmp_path / "a.csv").write_text("video,score\nb,1\na,2\nb,3\n")
    with pytest.raises(MuldeError, match="rows of b: expected one below the other"):
        read_score_file(tmp_path / "a.csv").by_video()


@pytest.mark.parametrize(
    ("text", "column", "sentence"),
    [
        ("0.5\nnan\n", None, "row 1: expected a number from -1e+30 to 1e+30, got nan"),
        ("0.5\n-inf\n", None, "row 1: expected a number from -1e+30 to 1e+30, got -inf"),
        ("a;score\n1;0.5\n2;\n", None, "column score at row 1: expected a number from -1e+30 to 1e+30, got nan"),
        ("score\n0.5\nhigh\n", None, "column score, row 2: expected a number, got 'high'"),
        ("score\n1.5\n1,234\n", None, "column score, row 2: expected a number, got '1,234'"),
        ("", None, "expected a column score, or one column of numbers, got no column of numbers"),
        ("score\n", None, "expected at least one score, got none"),
        ("0.5 1.5\n0.5 2.5\n", None, "got 1, 2. Try: --column NAME"),
        ("a,b\n0.5,1\n0.5,3\n", None, "got a, b. Try: --column NAME"),
        ("a,b\n0.5,1\n0.5,3\n", "c", "expected a column c, got a, b"),
        ("score\n0.5\n0.5;3\n", None, "column score, row 2: expected a number, got '0.5;3'"),
        ("a;score\n0.5;1;3\n", None, "row 1: expected 2 cells, got 3"),
        ("score;score\n0.5;1\n", None, "columns: expected each name once"),
        ("frame,score\n0,1\n2,1\n", None, "column frame: expected frames in their order, none left out, got 2 below 0"),
        ('score,b\n"0.5,1\n', None, "is not CSV"),
    ],
)
def test_what_cannot_be_used_ends_in_a_sentence(tmp_path, text, column, sentence):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(MuldeError, match=re.escape(sentence)):
        read_score_file(tmp_path / "a.csv", column)


def test_a_column_can_be_named_or_counted(tmp_path):
    (tmp_path / "a.txt").write_text("0.5 1.5\n0.5 2.5\n")
    assert read_score_file(tmp_path / "a.txt", "2").scores.tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            np.array([0.5, None]),
            "pickled objects, which are not opened: expected a .npy array of numbers. Try: where you",
        ),
        (np.zeros((5, 2)), "expected one number per frame, got float64 of shape (5, 2)"),
        (np.float64(3), "expected one number per frame, got float64 of shape ()"),
        (np.array(["a"]), "expected one number per frame, got <U1"),
        (np.array([1j]), "expected one number per frame, got complex128"),
        (np.zeros(0), "expected at least one score, got none"),
        (np.array([1, np.inf]), "at row 1: expected a number from -1e+30 to 1e+30, got inf"),
    ],
)
def test_arrays_that_are_no_scores_end_in_a_sentence(tmp_path, values, sentence):
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(MuldeError, match=re.escape(sentence)):
        read_score_file(tmp_path / "a.npy")


def test_damaged_files_and_other_kinds_end_in_a_sentence(tmp_path):
    for name in ("a.npy", "a.parquet"):
        (tmp_path / name).write_bytes(b"\x93NUMPY\x01\x00 no")
        with pytest.raises(MuldeError, match=re.escape(name)):
            read_score_file(tmp_path / name)
    pd.DataFrame({"score": [0.5, None]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(
        MuldeError, match=r"b\.parquet cannot be read .*column score: expected numbers, got 1 empty cells"
    ):
        read_score_file(tmp_path / "b.parquet")
    with pytest.raises(MuldeError, match=r"one of the endings \.npy .*, got \.pkl"):
        read_score_file(tmp_path / "a.pkl")
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(MuldeError, match=r"scores .*pipe\.npy: expected a file, got something else"):
        read_score_file(tmp_path / "pipe.npy")
    np.save(tmp_path / "c.npy", np.zeros(3))
    with pytest.raises(MuldeError, match="--column x: expected a table with columns, got the array"):
        read_score_file(tmp_path / "c.npy", "x")
