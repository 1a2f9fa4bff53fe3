from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mulde.cli import app

from .cameras import write_camera

SETTINGS = ("density.method=mixture", "fusion.folds=2", "fusion.smoothing_s=0.2", "reasons.normal_moments=20")


def run(*words: object):
    """What a command printed, its exit code and what it said."""
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="session")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """normal/yard, normal/gate, where people are tall and run, and models of both, trained by one command."""
    root = tmp_path_factory.mktemp("transfer")
    write_camera(root / "normal/yard", 1)
    write_camera(root / "normal/gate", 1, speed=4, size=1.8)
    changes = [word for setting in SETTINGS for word in ("--set", setting)]
    where = ("--out", root / "runs", "--store", root / "store", "--device", "cpu", "-q")
    result = run("train", root / "normal", "--per-camera", *where, *changes)
    assert result.exit_code == 0, result.output
    return root
