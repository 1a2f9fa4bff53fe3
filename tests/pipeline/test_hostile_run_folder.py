"""A run folder that a stranger sends: whatever its files hold, each command ends well or with one sentence.

Relatives looked for: every JSON and Parquet file that a command reads from a run folder, the ledger of a watched one;
null, numbers, text, lists and tables in the place of each other at any depth, NaN, infinities, numbers of 5,000 digits,
deep nesting, missing and doubled entries, names that lead out of the folder, cut and flipped bytes, pipes, devices and
folders in the place of files, tables that unpack to far more than they are.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulde.errors import MuldeError
from mulde.media import write_video
from mulde.parquet import read_parquet
from mulde.pipeline.evaluation.ablation import run_ablate
from mulde.pipeline.evaluation.run import run_evaluate
from mulde.pipeline.events.suppression import preview, suppressions_of
from mulde.pipeline.events.tables import read_event_rows, read_events
from mulde.pipeline.experiments.record import _read_metrics, _read_run
from mulde.pipeline.model.normal_index import NORMAL_INDEX_FILE, NormalIndex
from mulde.pipeline.monitoring.ledger import Ledger, Stamp
from mulde.pipeline.review.feedback import run_feedback
from mulde.pipeline.review.overlay import run_overlay
from mulde.pipeline.review.report import run_report
from mulde.pipeline.run_folder import LEDGER, read_record, read_truth
from mulde.pipeline.scoring.frames import read_scores, write_scores
from mulde.pipeline.scoring.regions import read_regions
from mulde.progress import Reporter
from mulde.records import ScoredVideo, ScoreTrack
from mulde.settings_file import load_settings
from tests.conftest import moving_square
from tests.test_cli import run_main

QUIET = Reporter(quiet=True)
CASES_OF_JSON, CASES_OF_TABLES = 125, 80
VALUES = (
    "null", "true", "7", "-1", "1.5", '"x"', '""', "[]", "{}", "[[]]", "NaN", "-Infinity", "1e999", "1e300", "9" * 5000,
    str(2**63), str(-(2**70)), "[" * 200 + "]" * 200, '"../../../etc/passwd"', '"/etc/passwd"', '"a\\u0000b"',
    '"\\ud800"', '"' + "x" * 5000 + '"', '{"a": null}', "[1, 2, 3]", '["x"]', "0",
)  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A run folder with events, an evaluation and suppressions, without what takes long to copy."""
    root = tmp_path_factory.mktemp("sound")
    for i in range(2):
        write_video(root / "footage" / "train" / f"normal{i}.mp4", iter(moving_square(60, seed=i)), Fraction(25))
    slow, fast = moving_square(60, seed=7), moving_square(40, seed=7, speed_px=9)
    write_video(root / "footage" / "test" / "odd.mp4", iter(np.concatenate([slow, fast])), Fraction(25))
    (root / "footage" / "labels.csv").write_text("video,start_frame,end_frame\nodd,60,100\n")
    quick = ["--set", "density.method=mixture", "--set", 'features.extractors=["velocity"]', "--device", "cpu", "-q"]
    rate = ["--set", "alarms.false_alarms_per_hour=1000", "--set", "fusion.folds=2"]
    run_main("run", root / "footage", "--out", root / "run", "--store", root / "store", *quick, *rate)
    first = read_events(root / "run")[0]
    cells = [first.event_id, first.video, first.start_frame, first.end_frame, "normal", "", ""]
    marks = "event_id,video,start_frame,end_frame,mark,why,marked_at\n" + ",".join(map(str, cells)) + "\n"
    (root / "marks.csv").write_text(marks)
    run_feedback(root / "run", root / "marks.csv", QUIET, apply=True, who="a", why="", undo=())
    for heavy in ("tensorboard", "evaluation", "figures"):
        shutil.rmtree(root / "run" / heavy, ignore_errors=True)
    return root / "run"


def readers(run: Path) -> Iterator[Callable[[], object]]:
    yield lambda: read_record(run)
    yield lambda: read_truth(run)
    yield lambda: read_scores(run / "scores")
    yield lambda: read_regions(run / "regions")
    yield lambda: read_events(run)
    yield lambda: read_event_rows(run)
    yield lambda: suppressions_of(run)
    yield lambda: NormalIndex.read(run / NORMAL_INDEX_FILE)
    yield lambda: preview(run)
    yield lambda: _read_run(run)
    yield lambda: _read_metrics(run)
    yield lambda: load_settings(run / "settings.toml")


def commands(run: Path) -> Iterator[Callable[[], object]]:
    yield lambda: run_report(run, None, QUIET, embed_clips=False)
    yield lambda: run_feedback(run, None, QUIET, apply=False, who="a", why="", undo=())
    yield lambda: run_feedback(run, None, QUIET, apply=False, who="a", why="", undo=("1",))
    yield lambda: run_ablate(run, None, QUIET)
    yield lambda: run_evaluate(run, None, QUIET, bootstrap=0, events=True)
    yield lambda: run_overlay(run, QUIET, only=(), clips=True, labels=None, max_clips=1)


def sentences(calls: Iterable[Callable[[], object]]) -> list[str]:
    """What the calls refused; anything but a MuldeError comes out."""
    said = []
    for call in calls:
        try:
            call()
        except MuldeError as error:
            said.append(str(error))
    return said


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of plain data."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


def changed_json(text: str, rng: random.Random) -> bytes:
    """JSON with one value replaced, removed or doubled, or its bytes cut or flipped."""
    data = text.encode()
    kind = rng.random()
    if kind < 0.05:
        return data[: rng.randrange(len(data))]
    if kind < 0.1:
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    value = json.loads(text)
    ways = list(places(value))
    depth = rng.randint(0, max(map(len, ways)))
    *way, last = rng.choice([way for way in ways if len(way) <= depth] or ways) or (None,)
    if last is None:
        return rng.choice(VALUES).encode()
    outer = value
    for key in way:
        outer = outer[key]
    if kind < 0.2:
        del outer[last]
    elif kind < 0.25 and isinstance(outer, list):
        outer.append(outer[last])
    else:
        outer[last] = "@here@"
    return json.dumps(value).replace('"@here@"', rng.choice(VALUES)).encode()


def changed_table(path: Path, rng: random.Random) -> None:
    """A Parquet file with one column replaced or removed, its facts changed, or its bytes cut or flipped."""
    kind, data = rng.random(), path.read_bytes()
    if kind < 0.1:
        path.write_bytes(data[: rng.randrange(len(data))])
        return
    if kind < 0.3:
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(flipped))
        return
    table = pq.read_table(path)
    facts = table.schema.metadata or {}
    at = rng.randrange(table.num_columns)
    name, n = table.column_names[at], len(table)
    if kind < 0.4:
        table = table.drop_columns([name])
    elif kind < 0.5 and b"mulde" in facts:
        changed = changed_json(facts[b"mulde"].decode(), rng)
        table = table.replace_schema_metadata({**facts, b"mulde": changed})
    elif kind < 0.6:
        table = rng.choice([table.slice(0, 0), table.slice(0, 1), pa.concat_tables([table, table]), table.take(
            pa.array(range(n - 1, -1, -1))
        )])  # fmt: skip
    else:
        column = table[name].to_pylist()
        odd = rng.choice([None, float("nan"), float("inf"), -1, 2**62, 1e300, "../x", "", 1.5, [], [1.0], b"x", True])
        where = range(n) if rng.random() < 0.5 else [rng.randrange(n)] if n else []
        for i in where:
            column[i] = odd
        try:
            array = pa.array(column, table.schema.field(name).type) if rng.random() < 0.5 else pa.array(column)
        except (pa.ArrowException, OverflowError, TypeError):
            array = pa.array([odd] * n)
        table = table.set_column(at, name, array).replace_schema_metadata(facts)
    pq.write_table(table, path)


def copied(sound: Path, folder: Path) -> Path:
    """The run folder again; the sources on its record stay where they are."""
    shutil.copytree(sound, folder)
    return folder


JSON_FILES = ("run.json", "events.json", "exemptions.json", "truth.json", "metrics.json")
TABLES = ("scores/odd.parquet", "regions/odd.parquet", "event_rows.parquet", "normal_moments.parquet")


@pytest.mark.parametrize("case", range(CASES_OF_JSON))
def test_changed_json_ends_well_or_with_a_sentence(sound, tmp_path, case):
    run, name = copied(sound, tmp_path / "run"), JSON_FILES[case % len(JSON_FILES)]
    (run / name).write_bytes(changed_json((run / name).read_text(), random.Random(case)))
    check(run, name, case)


@pytest.mark.parametrize("case", range(CASES_OF_TABLES))
def test_a_changed_table_ends_well_or_with_a_sentence(sound, tmp_path, case):
    run, name = copied(sound, tmp_path / "run"), TABLES[case % len(TABLES)]
    changed_table(run / name, random.Random(case))
    check(run, name, case)


def check(run: Path, name: str, case: int) -> None:
    """Every sentence names the file; of the commands, which read again what the readers read, one takes its turn."""
    refused = sentences(readers(run))
    assert all(Path(name).name in sentence for sentence in refused), refused
    slow = case % 40 == 0
    sentences(islice(commands(run), case % 3 if not slow else 0, case % 3 + 1 if not slow else None))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("run.json", "null", "run.json cannot be read (the whole: expected a table of names and values, got None)"),
        ("run.json", '{"sources": 7}', "run.json cannot be read (sources: expected a valid list, got 7)"),
        ("run.json", '{"model": "/"}', "run.json cannot be read (model: expected a path of a file, got '/')"),
        ("run.json", '{"alarm": {"levels": {}}}', "(alarm: expected a level of centred scores"),
        ("run.json", "[" * 100_000, "run.json is nested too deep"),
        ("events.json", '[{"video": "../x"}]', "(0.video: expected a name of a video that stays in its folder"),
        ("events.json", "[NaN]", "events.json is not JSON (NaN is no number)"),
        ("truth.json", '{"odd": [[1]]}', "truth.json cannot be read (odd.0: expected "),
        ("settings.toml", "x = " + "9" * 5000, "settings.toml cannot be read (Exceeds the limit"),
        ("settings.toml", "x = " + "[" * 5000, "settings.toml is nested too deep"),
    ],
    ids=lambda text: text[:20],
)
def test_the_sentence_names_file_and_field(sound, tmp_path, name, text, sentence):
    run = copied(sound, tmp_path / "run")
    (run / name).write_text(text)
    assert any(sentence in said for said in sentences([*readers(run), *islice(commands(run), 1)]))


@pytest.mark.parametrize("name", [*JSON_FILES, *TABLES, "settings.toml"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_waited_for(sound, tmp_path, name, kind):
    run = copied(sound, tmp_path / "run")
    (run / name).unlink()
    match kind:
        case "pipe":
            os.mkfifo(run / name)
        case "device":
            (run / name).symlink_to("/dev/zero")
        case "folder":
            (run / name).mkdir()
    sentences(readers(run))


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("time_s", [0.0, np.nan], "column time_s at row 1: expected a number from"),
        ("frame_index", [5, 4], "expected strictly increasing values"),
        ("frame_index", [0, 2**60], "expected frames of one video"),
        ("video", ["a", "b"], "column video: expected one name, got 2"),
        ("video", ["../a", "../a"], "a name of a video that stays in its folder"),
        ("fused", ["1", "2"], "column fused: expected numbers, got string"),
        ("fused", [1.0, None], "column fused: expected numbers, got 1 empty cells"),
        ("p_value", [0.0, 2.0], "column p_value at row 1: expected a number from 0 to 1, got 2.0"),
    ],
)
def test_a_score_table_is_refused_with_column_and_row(sound, tmp_path, column, values, sentence):
    run = copied(sound, tmp_path / "run")
    table = pq.read_table(run / "scores" / "odd.parquet").slice(0, 2)
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, column, pa.array(values)), run / "scores" / "odd.parquet")
    with pytest.raises(MuldeError, match=rf"odd\.parquet cannot be read \(.*{re.escape(sentence)}"):
        read_scores(run / "scores")


def test_two_tables_of_one_video_are_refused(sound, tmp_path):
    run = copied(sound, tmp_path / "run")
    shutil.copy(run / "scores" / "odd.parquet", run / "scores" / "other.parquet")
    with pytest.raises(MuldeError, match="expected each value once, got odd twice"):
        read_scores(run / "scores")


def test_a_table_that_unpacks_to_more_than_the_limit_is_not_unpacked(tmp_path, monkeypatch):
    """2 million equal numbers take few bytes on disk and 16 MB in memory; the footer says so."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": np.zeros(2_000_000)}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    assert read_parquet(path, {"x": "number"}, facts=False).num_rows == 2_000_000
    with pytest.raises(MuldeError, match=r"at most 10,000,000 bytes unpacked, got 16,"):
        read_parquet(path, {"x": "number"}, facts=False, max_bytes=10_000_000)


def ledger(folder: Path) -> Path:
    with Ledger.open(folder) as one:
        one.claim({"model": "m"}, "")
        one.failed(one.take("a.mp4", Stamp(1, 2)), "bad", for_good=True)
    return folder / LEDGER


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE files SET size = 'x'", "a row of files: expected what a watcher wrote, got path 'a.mp4'"),
        ("UPDATE files SET mtime_ns = 1.5", "a row of files"),
        ("UPDATE files SET video = x'ff'", "a row of files"),
        ("UPDATE files SET state = 'odd'", "state: expected 'waiting'"),
        ("UPDATE facts SET value = x'ff'", "a row of facts"),
        ("UPDATE facts SET value = '['", "model is not JSON"),
        ("PRAGMA user_version = 9", "expected version 1, got 9"),
    ],
)
def test_a_ledger_that_no_watcher_wrote_is_refused(tmp_path, statement, sentence):
    with closing(sqlite3.connect(ledger(tmp_path))) as connection, connection:
        connection.execute(statement)
    with pytest.raises(MuldeError, match=re.escape(sentence)), Ledger.open(tmp_path) as one:
        one.claim({"model": "m"}, "")


def test_a_damaged_ledger_is_an_error_of_mulde_or_of_sqlite(tmp_path):
    """`watch-folder` turns the latter into a sentence."""
    data = ledger(tmp_path).read_bytes()
    for case in range(30):
        rng = random.Random(case)
        broken = bytearray(data[: rng.randrange(len(data))] if case % 3 == 0 else data)
        for _ in range(20 if broken else 0):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        (tmp_path / LEDGER).write_bytes(bytes(broken))
        try:
            with Ledger.open(tmp_path) as one:
                one.claim({"model": "m"}, "")
                one.settled(), one.unfinished(), one.failures(["a.mp4"])
        except (MuldeError, sqlite3.Error):
            pass


def test_scores_and_the_table_of_a_watched_folder_hold_no_formulas_and_keep_the_name(tmp_path):
    """A video called as a formula: its tables, and those of a stream or a folder of that name."""
    name, frames = "=cmd|' C'!A0", np.arange(3)
    track = ScoreTrack(name, frames, frames / 25, -np.ones(3), -np.ones(3), {"velocity": -np.ones(3)})
    write_scores(ScoredVideo(track, 0.0, 0, 25.0), tmp_path / "scores")
    (path,) = (tmp_path / "scores").glob("*.csv")
    first = path.read_text().splitlines()[1]
    assert first.startswith(f"'{name},0,0.0,-1.0")
    assert set(read_scores(tmp_path / "scores")) == {name}
    with Ledger.open(tmp_path) as one:
        one.failed(one.take(f"{name}.mp4", Stamp(1, 2)), "@reason", for_good=True)
        one.export(tmp_path / "watched.csv")
    (row,) = csv.DictReader(io.StringIO((tmp_path / "watched.csv").read_text()))
    assert (row["path"], row["video"], row["reason"]) == (f"'{name}.mp4", f"'{name}", "'@reason")
