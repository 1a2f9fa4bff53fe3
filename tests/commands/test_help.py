"""`--help` of every command: it answers without a library that takes long to import."""

from __future__ import annotations

import subprocess
import sys

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


def test_help_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL], capture_output=True, text=True, check=True)
    *shown, imported = done.stdout.splitlines()
    commands_and_groups = 3 + sum(map(len, (cli.COMMANDS, cli.CACHE, cli.DATA)))
    assert sum(line.startswith("Usage: mulde") for line in shown) == commands_and_groups
    assert "typer" in imported
    assert not HEAVY & set(imported.split())
