"""`mulde feedback` on a small run folder written by hand."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulde.digests import file_digest
from mulde.events import Event, Reason
from mulde.files import csv_cell, write_json
from mulde.pipeline.events.suppression import preview, suppressions_of
from mulde.pipeline.events.tables import read_events, write_event_rows, write_events
from mulde.pipeline.review import feedback
from mulde.pipeline.review.feedback import COLUMNS, read_event_labels
from mulde.pipeline.scoring.frames import write_scores
from mulde.records import ScoredVideo, ScoreTrack

STREAMS = ("velocity", "geometry")
LABELLED_AT = "2026-11-23T03:00:05.125Z"
WAY = {"cam/1@13": 9.0, "cam/1@33": 8.5, "cam/1@53": 4.0, "cam/2@13": 9.5}  # the nearest moment is at 0
EVENTS = [
    Event("cam/1", 10, 18, 0.4, 0.68, 13, 0.52, 5.1, 0.01, Reason("velocity", "runs", {"velocity": 5.1})),
    Event("cam/1", 30, 38, 1.2, 1.48, 33, 1.32, 5.0, 0.02, Reason("velocity", "runs", {"velocity": 5.0})),
    Event("cam/1", 50, 58, 2.0, 2.28, 53, 2.12, 4.9, 1 / 30, Reason("velocity", "walks", {"velocity": 4.9})),
    Event("cam/2", 10, 18, 0.4, 0.68, 13, 0.52, 0.1 + 0.2, 1 / 3, Reason("geometry", "tall", {"geometry": 0.3})),
]


def write_normal_index(path: Path) -> None:
    """Two moments of each of two videos, at 0 and -1."""
    at = [[0.0], [-1.0], [0.0], [-1.0]]
    zeros = np.zeros(4, np.int64)
    columns = {
        "moment": np.arange(4),
        "video": ["n1", "n1", "n2", "n2"],
        "frame_index": np.arange(4),
        "time_s": np.arange(4) / 25,
        **{name: np.full(4, np.nan, np.float32) for name in ("x0", "y0", "x1", "y1")},
        **{name: zeros for name in ("track_id", "height", "width")},
        "jpeg": pa.array([None] * 4, pa.binary()),
        **{f"values_{name}": pa.array(at, pa.list_(pa.float32())) for name in STREAMS},
    }
    facts = json.dumps({"schema": 1, "dims": dict.fromkeys(STREAMS, 1)})
    pq.write_table(pa.table(columns).replace_schema_metadata({"mulde": facts}), path)


@pytest.fixture
def run(tmp_path) -> Path:
    """Two videos of 100 frames at 25 per second, four events, and a model with reference samples beside it."""
    root, model = tmp_path / "run", tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    write_normal_index(model / "normal_moments.parquet")
    write_json(
        root / "run.json",
        {
            "model": str(model / "model.safetensors"),
            "model_sha256": file_digest(model / "model.safetensors"),
            "num_events": 4,
        },
    )
    write_events(EVENTS, root)
    rows = {e.event_id: (e.reason.stream, np.array([WAY[e.event_id]], np.float32)) for e in EVENTS if e.reason}
    write_event_rows(rows, root)
    for name in ("cam/1", "cam/2"):
        frames = np.arange(100)
        track = ScoreTrack(name, frames, frames / 25, np.zeros(100), np.zeros(100))
        write_scores(ScoredVideo(track, 1.0, 0, 25.0), root / "scores")
    return root


def labels(run: Path, *rows: dict[str, object], of: dict[str, str] | None = None) -> Path:
    """LABELS.csv: rows as they are, or those of event ids with their label."""
    events = {event.event_id: event for event in EVENTS}
    written = [
        {
            "event_id": number,
            **{name: getattr(events[number], name) for name in COLUMNS[1:4]},
            "mark": label,
            "why": "staff",
            "marked_at": LABELLED_AT,
        }
        for number, label in (of or {}).items()
    ]
    path = run.parent / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows([*written, *rows])
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def suppressed(run: Path) -> dict[str, str]:
    return {event.event_id: event.suppression for event in read_events(run) if event.suppression}


RUNNER = {"cam/1@13": "normal"}


def test_a_proposal_says_what_would_change_and_leaves_the_events(mulde, run):
    before, written_ns = files(run), (run / "events.json").stat().st_mtime_ns
    code, out, err = mulde("feedback", run, labels(run, of={**RUNNER, "cam/1@53": "reviewed"}), "--who", "jo")
    assert code == 0, err
    assert "alarms: 4 -> 2 (1800 -> 900 per hour of the 0.00222 h scored). To apply this: mulde feedback" in out
    assert "2 events" in out
    shown = preview(run)
    assert (shown.num_before, shown.num_after, shown.covers) == (4, 2, {"1": ("cam/1@13", "cam/1@33")})
    (one,) = suppressions_of(run)
    assert (one.id, one.event_id, one.stream, one.who, one.why) == ("1", "cam/1@13", "velocity", "jo", "staff")
    assert (one.when, one.applied, one.undone) == ("2026-11-23T03:00:05+00:00", None, None)
    after = files(run)
    after.pop("exemptions.json")
    assert (after, (run / "events.json").stat().st_mtime_ns) == (before, written_ns)


def test_the_labelled_event_and_similar_ones_are_suppressed(mulde, run):
    before = files(run)
    code, out, err = mulde("feedback", run, labels(run, of=RUNNER), "--apply", "--who", "jo")
    assert (code, "alarms: 4 -> 2" in out) == (0, True), err
    # 8.5 lies within 4.5 of 9, 4.0 does not, and 9.5 belongs to another stream.
    assert suppressed(run) == {"cam/1@13": "1", "cam/1@33": "1"}
    after = files(run)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"events.csv", "events.json", "events.parquet", "exemptions.json"}
    table = pq.read_table(run / "events.parquet").to_pylist()
    assert [row["exemption"] for row in table] == ["1", "1", "", ""]


def test_a_proposal_is_applied_as_the_labels_are_at_once(mulde, run, monkeypatch):
    monkeypatch.setattr(feedback, "utc_text", lambda _: "2026-11-23T04:00:00+00:00")
    path = labels(run, of=RUNNER)
    mulde("feedback", run, path, "--who", "jo")
    assert mulde("feedback", run, "--apply")[0] == 0
    in_two = files(run)
    mulde("feedback", run, path, "--who", "jo", "--apply")
    assert files(run) == in_two
    (run / "exemptions.json").unlink()
    mulde("feedback", run, path, "--who", "jo", "--apply")
    assert files(run) == in_two


def test_who_and_why_may_come_when_it_is_applied(mulde, run):
    row = {"event_id": "cam/2@13", "video": "cam/2", "start_frame": 10, "end_frame": 18, "mark": "normal"}
    mulde("feedback", run, labels(run, row), "--who", "jo")
    mulde("feedback", run, "--apply", "--who", "al", "--why", "a ladder")
    (one,) = suppressions_of(run)
    assert (one.who, one.why) == ("al", "a ladder")
    assert one.applied is not None
    assert one.when <= one.applied


def test_undoing_gives_the_alarm_back_and_keeps_the_record(mulde, run):
    before = files(run)
    mulde("feedback", run, labels(run, of={**RUNNER, "cam/2@13": "normal"}), "--apply", "--who", "jo")
    code, out, err = mulde("feedback", run, "--undo", 1, "--who", "al", "--why", "a thief")
    assert (code, "alarms: 1 -> 3" in out) == (0, True), err
    assert suppressed(run) == {"cam/2@13": "2"}
    assert mulde("feedback", run, "--undo", 2)[0] == 0
    kept = suppressions_of(run)
    assert [one.undone is None for one in kept] == [False, False]
    assert kept[0].undone is not None
    assert (kept[0].who, kept[0].undone.who, kept[0].undone.why) == ("jo", "al", "a thief")
    after = files(run)
    after.pop("exemptions.json")
    assert after == before
    record = files(run)
    code, _, err = mulde("feedback", run, "--undo", 1)
    assert (code, "suppression 1 was undone already" in err, files(run)) == (0, True, record)
    mulde("feedback", run, labels(run, of=RUNNER), "--apply")
    assert suppressed(run) == {"cam/1@13": "3", "cam/1@33": "3"}, "a number is not used again"


def test_undoing_a_proposal_drops_it(mulde, run):
    mulde("feedback", run, labels(run, of=RUNNER))
    mulde("feedback", run, "--undo", 1)
    assert (suppressions_of(run), suppressed(run)) == ([], {})


def test_labelling_again_what_is_suppressed_changes_nothing(mulde, run):
    mulde("feedback", run, labels(run, of=RUNNER), "--apply")
    before = files(run)
    for again in (RUNNER, {"cam/1@33": "normal"}):
        for flags in ((), ("--apply",)):
            code, _, err = mulde("feedback", run, labels(run, of=again), *flags)
            assert (code, "1 event is already suppressed, by 1" in err) == (0, True), err
            assert "no event is newly labelled as normal" in err
            assert files(run) == before


def test_the_order_of_labels_does_not_matter_nor_do_doubled_rows(mulde, run):
    chosen = dict.fromkeys(("cam/1@13", "cam/1@53", "cam/2@13"), "normal")
    texts = set()
    for order in (chosen, dict(reversed(chosen.items()))):
        path = labels(run, of=order)
        mulde("feedback", run, path, "--who", "jo")
        texts.add((run / "exemptions.json").read_bytes())
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines, *lines[1:]]))
        mulde("feedback", run, path, "--who", "jo")
        texts.add((run / "exemptions.json").read_bytes())
    assert len(texts) == 1
    assert [one.id for one in suppressions_of(run)] == ["1", "2", "3"]


def test_new_labels_take_the_place_of_a_proposal(mulde, run):
    mulde("feedback", run, labels(run, of=RUNNER))
    mulde("feedback", run, labels(run, of={"cam/2@13": "normal"}))
    assert [one.event_id for one in suppressions_of(run)] == ["cam/2@13"]
    code, _, err = mulde("feedback", run, labels(run, of={"cam/2@13": "reviewed"}))
    assert (code, "nothing to change" in err, suppressions_of(run)) == (0, True, []), err


def test_a_listing(mulde, run):
    assert mulde("feedback", run)[1] == "no suppressions\n"
    mulde("feedback", run, labels(run, of=RUNNER), "--apply", "--who", "[red]jo")
    mulde("feedback", run, "--undo", 1, "--who", "al")
    mulde("feedback", run, labels(run, of={"cam/1@53": "normal", "cam/2@13": "normal"}), "--who", "jo")
    before = files(run)
    code, out, _ = mulde("feedback", run)
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "cam/" in line]
    assert [(number, state[:8], event, covers, who, why) for number, state, event, covers, who, _, why in rows] == [
        ("1", "undone b", "cam/1@13", "2 events", "[red]jo", "staff"),
        ("2", "proposed", "cam/1@53", "1 event", "jo", "staff"),
        ("3", "proposed", "cam/2@13", "1 event", "jo", "staff"),
    ]
    assert files(run) == before


def test_the_report_is_written_again_where_there_is_one(mulde, run, monkeypatch):
    seen = []

    def run_report(folder, out, reporter, *, embed_clips):
        seen.append((folder, out, embed_clips, [one.proposed for one in suppressions_of(folder)], suppressed(folder)))

    monkeypatch.setitem(sys.modules, "mulde.pipeline.review.report", SimpleNamespace(run_report=run_report))
    mulde("feedback", run, labels(run, of=RUNNER))
    assert seen == []
    (run / "report.html").write_text("a page")
    mulde("feedback", run, labels(run, of=RUNNER))
    mulde("feedback", run, "--apply")
    mulde("feedback", run, "--undo", 1)
    both = {"cam/1@13": "1", "cam/1@33": "1"}
    expected = [([True], {}), ([False], both), ([False], {})]
    assert seen == [(run, None, False, *one) for one in expected]


@pytest.mark.parametrize("gone", ["model/normal_moments.parquet", "run/event_rows.parquet"])
def test_without_reference_samples_or_rows_only_the_labelled_event_is_suppressed(mulde, run, gone):
    (run.parent / gone).unlink()
    code, _, err = mulde("feedback", run, labels(run, of=RUNNER), "--apply")
    assert (code, suppressed(run)) == (0, {"cam/1@13": "1"})
    assert "suppression 1 covers only cam/1@13: it was labelled in a run without reference samples or" in err


def test_the_model_of_a_whole_run_lies_in_its_folder(mulde, run):
    for file in (run.parent / "model").iterdir():
        file.rename(run / file.name)
    write_json(run / "run.json", {"seeds": [0]})
    mulde("feedback", run, labels(run, of=RUNNER), "--apply")
    assert suppressed(run) == {"cam/1@13": "1", "cam/1@33": "1"}
    (run / "model.safetensors").write_bytes(b"trained again")
    mulde("feedback", run, labels(run, of={"cam/2@13": "normal"}), "--apply")
    assert suppressed(run) == {"cam/1@13": "1", "cam/2@13": "2"}
    assert "suppression 1 covers only cam/1@13: it was labelled in a run of another model" in mulde("feedback", run)[2]


def test_who_gave_the_feedback(mulde, run, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "the user")
    mulde("feedback", run, labels(run, of=RUNNER))
    assert suppressions_of(run)[0].who == "the user"

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nobody)
    before = files(run)
    code, _, err = mulde("feedback", run, labels(run, of=RUNNER), "--apply")
    assert (code, "--who" in err, files(run)) == (2, True, before), err


def row(**changes: object) -> dict[str, object]:
    own = {"event_id": "cam/1@13", "video": "cam/1", "start_frame": 10, "end_frame": 18, "mark": "normal"}
    return {**own, "marked_at": LABELLED_AT, **changes}


BAD_ROWS = {
    "unknown events": ([row(event_id=f"x@{i}") for i in range(5)], "events of this run, got x@0, x@1, x@2 and 2 more"),
    "another run": ([row(end_frame=19)], "another run: expected cam/1, frames 10 to 18, got cam/1, frames 10 to 19"),
    "another video": ([row(video="cam/2")], "got cam/2, frames 10 to 18"),
    "no such mark": ([row(mark="odd")], "labels.csv, line 2: expected mark normal or reviewed, got 'odd'"),
    "no mark": ([row(mark="")], "got ''"),
    "no number": ([row(), row(start_frame="1.5")], "line 3: expected frame numbers"),
    "no time": ([row(marked_at="yesterday")], "ISO 8601 time, got Invalid isoformat string: 'yesterday'"),
    "no time in UTC": ([row(marked_at="0001-01-01T00:00:00+14:00")], "ISO 8601 time, got date value out of range"),
    "both": ([row(), row(mark="reviewed")], "one label of cam/1@13, got normal and reviewed"),
    "a bad one among good ones": ([row(), row(event_id="y@1")], "got y@1"),
}


@pytest.mark.parametrize(("rows", "problem"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_labels_that_do_not_fit_are_refused_whole(mulde, run, rows, problem):
    before = files(run)
    code, _, err = mulde("feedback", run, labels(run, *rows), "--apply")
    assert (code, problem in err) == (2, True), err
    assert files(run) == before


def row_of(**changes: object) -> bytes:
    cells = {"why": "", **row(**changes)}
    return (",".join(COLUMNS) + "\n" + ",".join(str(cells[name]) for name in COLUMNS) + "\n").encode()


BAD_FILES = {
    "empty": (b"", "got an empty file"),
    "other columns": (b"video,mark\na,normal\n", "expected the columns event_id, video, start_frame"),
    "no text": (b"\xff\xfe\x00", "is not text"),
    "huge numbers": (row_of(end_frame="9" * 5000), "expected frame numbers"),
    "a cell that never ends": (row_of(why="x" * 140_000), "not CSV"),
    "a picture": (bytes(range(256)), "labels.csv"),
}


@pytest.mark.parametrize(("content", "problem"), BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_are_no_labels_are_refused(mulde, run, content, problem):
    path = run.parent / "labels.csv"
    path.write_bytes(content)
    before = files(run)
    code, _, err = mulde("feedback", run, path, "--apply")
    assert (code, problem in err, files(run)) == (2, True, before), err


def test_labels_of_a_video_whose_name_is_a_formula_are_read(tmp_path):
    name = "=cmd|' /C calc'!A0"
    (label,) = read_event_labels(
        labels(tmp_path / "run", row(event_id=csv_cell(f"{name}@13"), video=csv_cell(name), why="'+1"))
    )
    assert (label.event_id, label.video, label.why) == (f"{name}@13", name, "+1")


def test_labels_that_went_through_a_spreadsheet_are_read(mulde, run):
    path = labels(run, of=RUNNER)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(LABELLED_AT.encode(), b"") + b"\r\n")
    assert mulde("feedback", run, path, "--apply")[0] == 0
    assert set(suppressed(run)) == {"cam/1@13", "cam/1@33"}


@pytest.mark.parametrize("written", ["2026-11-23T04:30:00+01:00", "2026-11-23T03:30:00", "2026-11-22T22:30:00.9-05:00"])
def test_times_are_kept_in_utc(tmp_path, written):
    (label,) = read_event_labels(labels(tmp_path / "run", row(marked_at=written)))
    assert label.labelled_at == "2026-11-23T03:30:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--apply"], "--apply: expected the exported labels, or a proposal that was made from them, got neither"),
        (["--undo", "7"], "--undo: expected the id of a suppression; this run has none, got 7"),
        (["--undo", "1", "--apply"], "neither labels nor --apply with it"),
        (["none.csv"], "No such file"),
    ],
)
def test_what_cannot_be_done_is_refused(mulde, run, arguments, problem):
    before = files(run)
    code, _, err = mulde("feedback", run, *arguments)
    assert (code, problem in err, files(run)) == (2, True, before), err


def test_one_unknown_id_undoes_nothing(mulde, run):
    mulde("feedback", run, labels(run, of=RUNNER), "--apply")
    before = files(run)
    code, _, err = mulde("feedback", run, "--undo", 1, "--undo", 2)
    assert (code, "expected one of 1, got 2" in err, files(run)) == (2, True, before), err


def test_a_folder_that_is_no_run_is_named(mulde, run):
    (run / "events.json").unlink()
    code, _, err = mulde("feedback", run)
    assert (code, "a run folder with events.json" in err) == (1, True), err
    code, _, err = mulde("feedback", run.parent)
    assert (code, "is not a run folder" in err) == (1, True), err
