"""Paths that people give, the files of a video of any name, text that can be shown.

Relatives looked for: names that are too long alone, with their suffix, as a folder or as a whole tree; emoji at the
cut; bytes that are not UTF-8; hidden names; names that look like one that was cut; a folder with the suffix of an
output; names that leave the folder. Paths: homes, homes of others, variables, nothing, NUL, a file of that very name.
"""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

from mulde.errors import MuldeError, UsageError
from mulde.files import write_json, write_text
from mulde.names import output_path, printable, user_path, valid_text

MESSY = [
    "a", "cam/a", "x" * 247, "x" * 248, "x" * 250, "x" * 255, "😀" * 63, "é" * 127, "caf\udce9", ".hidden", "...",
    "a~0123abcd", "x.parquet/y", "x.parquet", "[/]", "a\nb", "-rf", " lead", "%41", "%2541", "a:b", "\"'", "a\\b",
    "/".join(["d" * 240] * 12), "/".join(["d" * 240] * 12 + ["e"]), "שלום", "\u202etxt", "a\x1b[31m",
    "x" * 260 + "1", "x" * 260 + "2",
]  # fmt: skip


def test_each_name_gets_a_file_of_its_own_inside_the_folder(tmp_path):
    paths = {name: output_path(tmp_path / "scores", name, ".parquet") for name in MESSY}
    for name, path in paths.items():
        write_text(path, valid_text(name))
    assert [path.read_text(encoding="utf-8") for path in paths.values()] == [valid_text(name) for name in MESSY]
    assert all(path.resolve().is_relative_to(tmp_path / "scores") for path in paths.values())
    assert not [path for path in tmp_path.rglob(".*")]  # what is hidden is not read


@pytest.mark.parametrize("name", ["a", "cam/b.c", "x" * 247, "שלום", "a b", "[x264] [/]", "a\nb", "-rf"])
def test_a_name_that_fits_stays_as_it_is(name):
    assert output_path(Path("r"), name, ".csv") == Path(f"r/{name}.csv")


@pytest.mark.parametrize("name", ["", "..", "../x", "a/../../x", "/etc/x", "a//b", "a/", "a/./b", "a\0b"])
def test_a_name_that_would_leave_the_folder_is_refused(name):
    with pytest.raises(MuldeError, match="one that stays in its folder"):
        output_path(Path("r"), name, ".csv")


def test_bytes_that_are_not_utf8_are_written_out():
    assert output_path(Path("r"), "caf\udce9", ".csv") == Path("r/caf\\xe9.csv")


def test_a_home_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/x") == tmp_path / "x"
    assert user_path("~") == tmp_path
    assert user_path("~root/x") == Path("/root/x")
    assert user_path("a/~/x") == Path("a/~/x")
    assert user_path(".") == user_path("./") == Path()
    assert user_path(Path("trailing/")) == Path("trailing")


def test_what_lies_there_under_the_name_is_meant(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHERE", "x")
    for name in ("~", "$WHERE"):
        Path(name).mkdir()
        assert user_path(f"{name}/y") == Path(f"{name}/y")


@pytest.mark.parametrize("name", ["caf\udce9", "d\udcff/caf\udce9 é.mp4"])
def test_a_name_that_is_not_utf8_is_kept_as_text_and_found_again(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    write_json(tmp_path / "run.json", {"é": str(path)})
    kept = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["é"]
    assert kept == str(path).replace("\udce9", "\\xe9").replace("\udcff", "\\xff")
    assert user_path(kept) == user_path(path) == path
    os.rename(path, tmp_path / "gone")
    assert user_path(kept) == Path(kept)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "got nothing"),
        ("a\0b", "expected the name of a file"),
        ("~nobody-of-that-name/x", "no such user"),
        ("$HOME/x", r"variables are not expanded, got \$HOME"),
        ("/a/${HOME}", r"got \$\{HOME\}"),
    ],
)
def test_what_is_no_path_is_said(text, says):
    with pytest.raises(UsageError, match=says):
        user_path(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31m", r"a\x1b[31m"),
        ("a\nb\tc\r\x07\x7f\x9b", r"a\x0ab\x09c\x0d\x07\x7f\x9b"),
        ("caf\udce9 \ud800", r"caf\xe9 \ud800"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("a\u2028b", r"a\u2028b"),
        ("שלום 👨\u200d👩\u200d👧 é [/]", "שלום 👨\u200d👩\u200d👧 é [/]"),
    ],
)
def test_nothing_steers_a_terminal(text, shown):
    assert printable(text) == shown


def test_no_character_reaches_a_terminal_that_could_steer_it():
    for i in range(0x20000):
        char = printable(chr(i))
        assert not {unicodedata.category(c) for c in char} & {"Cc", "Cs", "Zl", "Zp"}, hex(i)
        assert not {unicodedata.bidirectional(c) for c in char} & {"RLO", "LRO", "RLE", "LRE", "RLI", "LRI", "FSI"}
