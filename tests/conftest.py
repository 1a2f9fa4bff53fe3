"""What all tests share: where the real footage and weights lie, and footage that the tests make."""

from __future__ import annotations

import os
import signal
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mulde.extractors.signals import signal_stack_address
from tests.browser import chromium  # noqa: F401

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def pytest_configure() -> None:
    """A shell that starts the tests in the background has Ctrl-C ignored, by all that the tests start as well."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def same_thread():
    """Libraries have made this thread a real-time one, which starves every test behind it, and have left it a stack for
    signal handlers that they then freed, so that the next signal was the end."""
    before = signal_stack_address()
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) in (os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE)
    assert signal_stack_address() == before


@pytest.fixture(autouse=True)
def own_record_of_weights(monkeypatch, tmp_path_factory):
    """No test reads or writes the record of weights of whoever runs it."""
    monkeypatch.setenv("MULDE_CONFIG", str(tmp_path_factory.mktemp("config")))
    monkeypatch.delenv("MULDE_WEIGHTS", raising=False)
    monkeypatch.delenv("MULDE_TRUST_WEIGHTS", raising=False)


@pytest.fixture(scope="session")
def ped2_clips() -> Path:
    """The folder with the 28 clips of UCSD Ped2."""
    folder = SHARED / "ped2"
    if not folder.is_dir():
        pytest.skip("needs the clips of UCSD Ped2 in ../shared/ped2")
    return folder


@pytest.fixture(scope="session")
def weights() -> Path:
    """The folder with real detector and backbone weights."""
    folder = SHARED / "weights"
    if not folder.is_dir():
        pytest.skip("needs the weights in ../shared/weights")
    return folder


def moving_square(num_frames: int = 20, *, speed_px: int = 2, size: int = 20, seed: int = 0) -> np.ndarray:
    """(T, 96, 128, 3) uint8: a bright textured square that walks to the right over a textured ground."""
    rng = np.random.default_rng(seed)
    ground = np.repeat(rng.integers(60, 100, (96, 128, 1)).astype(np.uint8), 3, axis=2)
    square = np.repeat(rng.integers(150, 250, (size, size, 1)).astype(np.uint8), 3, axis=2)
    frames = np.repeat(ground[None], num_frames, axis=0)
    for t in range(num_frames):
        x = 10 + (t * speed_px) % (128 - size - 10)
        frames[t, 40 : 40 + size, x : x + size] = square
    return frames


@pytest.fixture
def square_clip(tmp_path: Path) -> Path:
    """An mp4 of the moving square, 20 frames at 25 per second."""
    from mulde.media import write_video

    path = tmp_path / "square.mp4"
    write_video(path, iter(moving_square()), Fraction(25))
    return path


@pytest.fixture
def mulde(monkeypatch, capsys, tmp_path):
    """Runs the command line in an empty folder; returns its exit code, standard output and standard error."""
    from mulde import cli

    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mulde", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, " ".join(err.split())

    return run
