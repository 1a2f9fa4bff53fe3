"""run.json: what is written, what an older version wrote, what another program adds."""

from __future__ import annotations

import json
import sys

import pytest

from mulde import __version__
from mulde.errors import UsageError
from mulde.pipeline.run_folder import AlarmRecord, RunFolder, RunRecord, check_single_run, read_record, seed_folders


def test_a_record_is_written_and_read_whole(tmp_path):
    run = RunFolder(tmp_path, ["score", "a.mp4"])
    run.note(kind="score", sources=["/v/a.mp4"], video_sha256={"a": "1"})
    with run.stage("extract"):
        pass
    record = read_record(tmp_path)
    assert (record.mulde, record.kind, record.command) == (__version__, "score", ["score", "a.mp4"])
    assert (record.sources, record.video_sha256, list(record.wall_time_s)) == (["/v/a.mp4"], {"a": "1"}, ["extract"])
    assert record.as_json() == json.loads((tmp_path / "run.json").read_text())


def test_facts_that_no_command_noted_are_not_in_the_file(tmp_path):
    RunFolder(tmp_path).note(seed=0)
    written = json.loads((tmp_path / "run.json").read_text())
    assert set(written) == {"mulde", "command", "started", "versions", "wall_time_s", "seed"}


def test_the_command_is_the_one_that_is_handed_in(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["a notebook", "--secret"])
    assert RunFolder(tmp_path).record.command == []


def test_facts_of_an_earlier_record_stay_until_they_are_noted_again(tmp_path):
    earlier = RunRecord(mulde="0.1.0", command=["score"], seed=3, num_events=7)
    run = RunFolder(tmp_path, ["score", "--add"], earlier)
    run.note(num_events=8)
    record = read_record(tmp_path)
    assert (record.mulde, record.command, record.seed, record.num_events) == (__version__, ["score", "--add"], 3, 8)
    assert earlier.num_events == 7


def test_the_record_of_an_older_version_is_read_and_its_own_facts_are_kept(tmp_path):
    old = {"mulde": "0.1.0", "alarm": {"levels": {"centred": {"99% of normal": 2.5}}}, "of_then": {"x": 1}}
    (tmp_path / "run.json").write_text(json.dumps(old))
    record = read_record(tmp_path)
    assert (record.alarm_level, record.kind, record.model) == (2.5, "", None)
    assert isinstance(record.alarm, AlarmRecord)
    assert (record.alarm.merge_gap_s, record.alarm.normal) == (AlarmRecord.model_fields["merge_gap_s"].default, None)
    RunFolder(tmp_path, (), record).note(seed=1)
    assert json.loads((tmp_path / "run.json").read_text())["of_then"] == {"x": 1}


def test_a_run_without_an_alarm_level_has_none():
    assert RunRecord().alarm_level is None


def test_the_command_line_is_on_record_as_it_was_typed(monkeypatch, tmp_path):
    from mulde.commands.options import open_session

    monkeypatch.setattr(sys, "argv", ["mulde", "score", "a.mp4"])
    assert open_session(tmp_path, "cpu", True).command == ("score", "a.mp4")


def test_the_runs_of_several_seeds_are_in_order_and_refused_where_one_is_expected(tmp_path):
    for name in ("seed-10", "seed-2", "seed-0"):
        (tmp_path / name).mkdir()
    (tmp_path / "seed-notes.txt").touch()
    assert [folder.name for folder in seed_folders(tmp_path)] == ["seed-0", "seed-2", "seed-10"]
    with pytest.raises(UsageError, match="holds several runs: expected one of them, got seed-0, seed-2, seed-10"):
        check_single_run(tmp_path)


def test_a_folder_with_scores_or_without_seeds_is_a_single_run(tmp_path):
    check_single_run(tmp_path)
    (tmp_path / "scores").mkdir()
    (tmp_path / "seed-1").mkdir()
    check_single_run(tmp_path)
