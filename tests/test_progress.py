"""Progress where nobody watches a bar, and text that is only text where somebody does.

Relatives looked for: markup, emoji codes, control and direction characters in what is said, in titles and states of
bars, in cells and captions of tables, in JSON; bars in bars, from several threads, without a total, that never move.
"""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.table import Table

from mulde import progress
from mulde.console import PlainConsole, print_json
from mulde.progress import Reporter

NAMES = ["[/]", "x[", "y]", "movie [x264]", "[red]a", ":smile:", "[link=http://x]a[/link]", "\\[a]"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def no_ticking(monkeypatch):
    monkeypatch.setattr(Reporter, "_keep_ticking", lambda self, closed: None)


def test_a_log_gets_a_line_every_30_s(capsys):
    clock = Clock()
    reporter = Reporter(clock=clock)
    with reporter.bar("extract", 40, "videos") as videos:
        for i in range(12):
            with reporter.bar(f"  {i}", 100, "frames") as frames:
                for _ in range(10):
                    clock.now += 1
                    frames(10)
            videos(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "extract: 2 of 40 videos, 300 frames, 10 frames/s, about 6 min left",
        "extract: 5 of 40 videos, 600 frames, 10 frames/s, about 6 min left",
        "extract: 8 of 40 videos, 900 frames, 10 frames/s, about 5 min left",
        "extract: 11 of 40 videos, 1,200 frames, 10 frames/s, about 5 min left",
        "extract: 120 s",
    ]


def test_a_short_stage_says_only_that_it_is_done(capsys):
    clock = Clock()
    with Reporter(clock=clock).bar("score", 3, "videos") as advance:
        for _ in range(3):
            clock.now += 9
            advance(1)
    assert capsys.readouterr().err == "score: 27 s\n"


def test_a_stage_that_never_moves_is_said_to_be_alive(capsys):
    clock = Clock()
    reporter = Reporter(clock=clock)
    with reporter.bar("evaluate", None, "videos"):
        for _ in range(3):
            clock.now += 50
            reporter.tick()
    assert capsys.readouterr().err.splitlines() == [
        "evaluate: 0 videos, 50 s so far",
        "evaluate: 0 videos, 100 s so far",
        "evaluate: 0 videos, 150 s so far".replace("150 s", "2 min"),
        "evaluate: 150 s",
    ]


def test_who_waits_for_work_writes_no_line_without_any(capsys):
    clock = Clock()
    reporter = Reporter(clock=clock)
    with reporter.bar("watch", None, "files", waits=True) as advance:
        for done in (0, 0, 1, 0, 0):
            clock.now += 3600
            advance(done)
    assert capsys.readouterr().err.splitlines() == ["watch: 1 files, 9.26e-05 files/s, 3 h so far", "watch: 18000 s"]


def test_steps_of_a_training_are_told_with_its_loss(capsys):
    clock = Clock()
    reporter = Reporter(clock=clock)
    with reporter.bar("train velocity", 4, "folds"), reporter.bar("  velocity-0", 0, "steps") as advance:
        clock.now += 60
        advance(500, total=1000, status="loss 0.5")
    assert capsys.readouterr().err.splitlines()[0] == (
        "train velocity: 0 of 4 folds, 500 steps, 8.33 steps/s, about 7 min left"
    )


@pytest.mark.parametrize("quiet", [True, False])
def test_who_asks_for_quiet_gets_it(capsys, quiet):
    clock = Clock()
    with Reporter(quiet=quiet, clock=clock).bar("score", 3, "videos") as advance:
        clock.now += 100
        advance(1)
    assert bool(capsys.readouterr().err) != quiet


def test_bars_of_several_threads_are_one_display(capsys):
    reporter = Reporter()

    def work(number: int) -> None:
        with reporter.bar(f"  {number}", 10, "steps") as advance:
            for _ in range(10):
                advance(1)

    with reporter.bar("train", 8, "folds"), ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(32)))
    assert capsys.readouterr().err == "train: 0 s\n"
    assert not reporter._open


def test_a_long_step_is_told_without_being_asked(monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    reporter = Reporter()
    with reporter.bar("evaluate", None, "videos"):
        reporter._all_closed.wait(1.0)
    assert "evaluate: 0 videos, 0 s so far" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("terminal", [True, False])
def test_no_name_is_markup(name, terminal, monkeypatch):
    reporter = Reporter()
    reporter.console = console = PlainConsole(width=80)
    console.file = io.StringIO()
    console._force_terminal = terminal
    with reporter.bar(name, 2, "videos") as advance:
        advance(1, status=name)
        reporter.say(name)
        reporter.warn(name)
        table = Table(name, title=name, caption=name)
        table.add_row(name)
        console.print(table)
        reporter._bars.refresh()
    text = console.file.getvalue()
    assert text.count(name) >= 6


@pytest.mark.parametrize("bad", ["\x1b[2J", "\x9b31m", "\r", "\n", "\u202e", "\x07"])
def test_no_name_steers_the_terminal(bad):
    console = PlainConsole(width=80)
    console.file = io.StringIO()
    table = Table("name")
    table.add_row(f"a{bad}b")
    console.print(f"a{bad}b")
    console.print(table)
    assert f"a{bad}b" not in console.file.getvalue()


def test_json_keeps_the_true_names(capsys):
    names = [*NAMES, "a\x1b[31m\n", "\x9b31m", "\u202etxt", "שלום", "caf\\xe9", "\udce9"]
    print_json([{"video": name} for name in names])
    text = capsys.readouterr().out
    assert [row["video"] for row in json.loads(text)] == names
    assert not set(text) & set("\x1b\x9b\u202e\udce9")
    assert "שלום" in text
