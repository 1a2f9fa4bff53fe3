"""Options as a person types them: names of earlier versions mean the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from mulde.pipeline import stages
from mulde.pipeline.monitoring import watch
from mulde.pipeline.outcome import Outcome


@pytest.mark.parametrize("option", ["--exclude", "--leave-out"])
def test_training_takes_exclusions_by_both_names(mulde, monkeypatch, option):
    given = {}
    monkeypatch.setattr(stages, "run_train", lambda *args, **options: given.update(options) or Outcome())
    code, _, err = mulde("train", "videos", option, "a.csv", "-q")
    assert (code, given["exclude"]) == (0, Path("a.csv"))
    assert err == ("--leave-out is deprecated. Use --exclude." if option == "--leave-out" else "")


@pytest.mark.parametrize("option", ["--suppressions", "--exemptions"])
def test_scoring_takes_suppressions_by_both_names(mulde, monkeypatch, option):
    given = []
    monkeypatch.setattr(stages, "run_score", lambda *args, **options: given.append(args[-1].suppressions) or Outcome())
    monkeypatch.setattr(watch, "run_watch", lambda *args, **options: given.append(options["suppressions"]) or Outcome())
    assert mulde("score", "video.mp4", "--model", "m", option, "a.json")[0] == 0
    assert mulde("watch-folder", "folder", "--model", "m", option, "b.json")[0] == 0
    assert given == [Path("a.json"), Path("b.json")]


@pytest.mark.parametrize(("command", "old", "new"), [
    ("train", "leave-out", "exclude"), ("score", "exemptions", "suppressions"),
    ("watch-folder", "exemptions", "suppressions"),
])  # fmt: skip
def test_help_shows_the_new_name_alone(mulde, command, old, new):
    shown = mulde(command, "--help")[1]
    assert f"--{new}" in shown
    assert f"--{old}" not in shown
