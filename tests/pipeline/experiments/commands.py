"""A command, run in this process, so that a test can replace parts of it."""

from __future__ import annotations

import sys

import pytest

from mulde import cli


def command(patch: pytest.MonkeyPatch, *args: object) -> object:
    """The exit code of `mulde ARGS`, in this process."""
    patch.setattr(sys, "argv", ["mulde", *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0
