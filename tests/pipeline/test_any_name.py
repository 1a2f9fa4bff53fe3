"""Videos of any name that a file system takes, through every stage; one that fails leaves the others alone.

Relatives looked for: names of full length, not UTF-8, with line breaks, control characters, markup, signs of URLs,
shells and formulas, in other directions; folders with such names; the same name as bytes and written out. A failure of
one video in scoring, in its reasons, in its pictures, in its overlay; a disk that takes no more in each.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mulde.errors import FileError
from mulde.media import write_video
from mulde.names import output_path, valid_text
from mulde.pipeline.events import drawing, explain
from mulde.pipeline.predictor import predictor, scorer
from mulde.pipeline.review import overlay as overlays
from tests.conftest import moving_square
from tests.test_cli import run_main

NAMES = [
    "plain", "x" * 251, "caf\udce9", "[/]", "movie [x264]", "שלום", "\u202egpj", "a\nb", "\x1b[31m", "-%41:#?\"'",
    "=cmd|x",
]  # fmt: skip
QUICK = ["--set", "density.options={steps=20, hidden=[8]}", "--set", "fusion.folds=1", "--device", "cpu", "-q"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Below it: a small model with its store, and a run of a folder with a video of every name."""
    root = tmp_path_factory.mktemp("world")
    write_video(root / "train" / "n1.mp4", iter(moving_square(24, seed=1)), Fraction(10))
    write_video(root / "train" / "n2.mp4", iter(moving_square(24, seed=2)), Fraction(10))
    odd = np.concatenate([moving_square(12, seed=3), moving_square(12, seed=3, speed_px=11)])
    write_video(root / "odd.mp4", iter(odd), Fraction(10))
    store = ["--store", root / "store"]
    extractors = ["--set", "features.extractors=['geometry']"]
    run_main("train", root / "train", "--out", root / "m", *store, *extractors, *QUICK)
    for name in NAMES:
        path = root / "in" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(root / "odd.mp4", path)
    run_main("score", root / "in", "--model", root / "m" / "model.safetensors", "--out", root / "run", *store, "-q")
    return root


def test_every_stage_takes_every_name(world):
    run, names = world / "run", [valid_text(name) for name in NAMES]
    for name in names:
        table = pd.read_parquet(output_path(run / "scores", name, ".parquet"))
        assert set(table.video) == {name}
        assert len(table) == 24
        assert output_path(run / "figures", name, ".png").is_file()
        assert output_path(run / "regions", name, ".parquet").is_file()
    assert set(json.loads((run / "run.json").read_text(encoding="utf-8"))["video_sha256"]) == set(names)
    events = json.loads((run / "events.json").read_text(encoding="utf-8"))
    assert {event["video"] for event in events} == set(names)
    for event in events:
        assert (output_path(run / "thumbnails", event["video"]) / f"{event['peak_frame']:06d}.jpg").is_file()
    assert not [path for path in run.rglob(".*") if path.is_file()]


def test_the_report_names_all_and_links_to_them(mulde, world):
    code, out, err = mulde("report", world / "run")
    assert (code, out.strip()) == (0, str(world / "run" / "report.html"))
    assert f"{len(NAMES)} videos" in err
    page = (world / "run" / "report.html").read_text(encoding="utf-8")
    assert not set(page) & set("\x1b\u202e")


def test_a_video_is_drawn_by_its_name_or_as_that_is_shown(mulde, world):
    for name in ("caf\udce9", r"caf\xe9", r"a\x0ab", "[/]"):
        code, _, err = mulde("overlay", world / "run", "--video", name)
        assert code == 0, err
    drawn = {
        path.relative_to(world / "run" / "overlays").as_posix() for path in (world / "run").rglob("overlays/**/*.mp4")
    }
    assert drawn == {r"caf\xe9.mp4", "a\nb.mp4", "[/].mp4"}


def test_the_store_lists_every_name_and_knows_where_it_is(mulde, world):
    code, out, _ = mulde("cache", "ls", "--store", world / "store", "--by", "video", "--json")
    assert code == 0
    assert any(r"caf\xe9" in row["video"] and "a\nb" in row["video"] for row in json.loads(out))
    code, out, _ = mulde("cache", "ls", "--store", world / "store", "--by", "video")
    assert "movie [x264]" in out.replace("\n", "")
    assert "\x1b" not in out
    code, out, _ = mulde("cache", "prune", "--store", world / "store", "--missing-videos")
    assert "nothing to remove" in out


@pytest.fixture
def two(world, tmp_path):
    """A command that scores two videos, and the folder that it writes."""
    for name in ("a", "b"):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(world / "odd.mp4", tmp_path / "in" / f"{name}.mp4")
    model = world / "m" / "model.safetensors"
    return ["score", "in", "--model", model, "--out", "run", "--store", world / "store", "-q"]


def failing(monkeypatch, module, name, error, *, of="a"):
    """Let a function of a module raise `error` for one video."""
    true = getattr(module, name)

    def fails(*args, **kwargs):
        if re.search(rf"\b{of}(\.mp4)?'", repr(args)):
            raise error
        return true(*args, **kwargs)

    monkeypatch.setattr(module, name, fails)


@pytest.mark.parametrize(
    ("module", "function", "scores", "error"),
    [
        (predictor, "score_video", ["b"], ZeroDivisionError("odd")),
        (scorer, "write_regions", ["b"], OSError(errno.EIO, os.strerror(errno.EIO))),
        (explain, "explain_video", ["a", "b"], ZeroDivisionError("odd")),
        (scorer, "write_pictures", ["a", "b"], RuntimeError("odd")),
    ],
)
def test_one_video_fails_alone(mulde, two, tmp_path, monkeypatch, module, function, scores, error):
    failing(monkeypatch, module, function, error)
    code, _, err = mulde(*two)
    assert code == 3
    assert "1 video failed" in err
    assert "a: " in err
    assert str(error).removeprefix("[Errno 5] ") in err
    assert sorted(path.stem for path in (tmp_path / "run" / "scores").glob("*.parquet")) == scores
    assert len(json.loads((tmp_path / "run" / "events.json").read_text())) == len(scores)
    assert (tmp_path / "run" / "figures" / "b.png").is_file()


def test_the_last_video_that_fails_leaves_nothing_done(mulde, two, monkeypatch):
    failing(monkeypatch, predictor, "score_video", ZeroDivisionError("odd"), of="[ab]")
    code, _, err = mulde(*two)
    assert code == 1
    assert "2 videos failed" in err


@pytest.mark.parametrize(("function", "number"), [("write_scores", errno.ENOSPC), ("plot_scores", errno.EROFS)])
def test_a_full_disk_ends_all_in_one_sentence(mulde, two, monkeypatch, function, number):
    error = FileError(f"run/x cannot be written: {os.strerror(number)}")
    error.errno = number
    monkeypatch.setattr(scorer, function, lambda *args, **kwargs: (_ for _ in ()).throw(error))
    code, _, err = mulde(*two)
    assert (code, err) == (1, f"error: run/x cannot be written: {os.strerror(number)}")


def test_one_overlay_fails_alone(mulde, world, monkeypatch):
    failing(monkeypatch, overlays, "draw_copy", ZeroDivisionError("odd"), of="plain")
    code, _, err = mulde("overlay", world / "run", "--video", "plain", "--video", "=cmd|x", "-q")
    assert code == 3
    assert "plain: plain: unexpected ZeroDivisionError: odd" in err


def test_a_picture_that_cannot_be_written_is_said(mulde, world, monkeypatch):
    def full(path, image):
        raise FileError(f"{path} cannot be written: no space")

    monkeypatch.setattr(drawing, "write_sheet", lambda path, *_: full(path, None))
    code, _, err = mulde("overlay", world / "run", "--clips", "--video", "plain", "-q")
    assert code == 1
    assert "000" in err
    assert "cannot be written" in err


@pytest.mark.parametrize("command", ["report", "score"])
def test_an_output_that_is_something_else_is_said(mulde, two, world, tmp_path, command):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    if command == "report":
        code, _, err = mulde("report", world / "run", "--out", "folder", "-q")
        assert (code, err) == (1, "error: folder cannot be written: expected the name of a file, got a folder")
        return
    code, _, err = mulde(*two[:4], "--out", "file", *two[6:])
    assert code in (1, 2)
    assert "file" in err
    code, _, err = mulde(*two[:6], "--store", "file", "-q")
    assert code in (1, 2)
    assert "store" in err
    assert "file" in err
    assert "unexpected" not in err
