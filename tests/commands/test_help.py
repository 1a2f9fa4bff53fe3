"""`--help` of every command: it answers without a library that takes long to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mulde import cli

HEAVY = {"torch", "numpy", "pandas", "scipy", "sklearn", "pyarrow", "av", "cv2", "PIL", "rich"}
HELP_OF_ALL = """
import sys
from typer.main import get_command
from mulde import cli

def show_help(command, words):
    try:
        app.main([*words, "--help"], prog_name="mulde")
    except SystemExit as stop:
        assert not stop.code
    for name, child in getattr(command, "commands", {}).items():
        show_help(child, [*words, name])

app = get_command(cli.app)
show_help(app, [])
print("imported:", *sorted(name for name in sys.modules if "." not in name))
"""


@pytest.fixture(scope="module")
def lines() -> list[str]:
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_help_imports_nothing_heavy(lines):
    commands_and_groups = 3 + sum(map(len, (cli.COMMANDS, cli.CACHE, cli.DATA)))
    assert sum(line.startswith("Usage: mulde") for line in lines) == commands_and_groups
    assert lines[-1].startswith("imported: ")
    assert "typer" in lines[-1]
    assert not HEAVY & set(lines[-1].split())


def test_lists_of_commands_hold_whole_sentences(lines):
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage:")]
