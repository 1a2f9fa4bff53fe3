"""A small world with a model that trains in seconds, watched on a clock that stands still."""

from __future__ import annotations

import threading
from fractions import Fraction
from functools import partial
from pathlib import Path

import pandas as pd
from typer.testing import CliRunner

import mulde
from mulde.cli import app
from mulde.media import write_video
from mulde.media.file_stream import FileAsStream
from mulde.media.stream import StreamOpener
from mulde.pipeline.live.camera import Clocks
from mulde.pipeline.live.engine import LiveEngine
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.live.watched import CameraSpec
from mulde.pipeline.model.loading import load_model
from mulde.pipeline.predictor.predictor import Predictor
from mulde.progress import Reporter
from tests.api_world import QUICK, frames_of, write_small_world

HOUR_S = 1_795_874_400  # 2026-11-28T14:00:00Z
HOUR = "20261128T14"
CHANGES = ("fusion.smoothing=causal", "alarms.false_alarms_per_hour=1200", "alarms.merge_gap_s=0.2")
"""Many alerts in a short video."""


class Listener(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def say(self, text: str) -> None:
        self.lines.append(text)


def write_live_world(root: Path) -> Path:
    """The small world, with `scene.mkv` beside it: 8 s in which something happens again and again."""
    write_small_world(root / "world")
    clips = [[image for image, _ in frames_of(root / f"world/test/test0{n}.mp4")] for n in (2, 1)]
    images = [*clips[0], *clips[1], *clips[0], *clips[1][::-1]]
    write_video(root / "scene.mkv", iter(images), Fraction(25), crf=0)
    return root


def train(root: Path, fps: float) -> Path:
    """A model of the world that looks at `fps` frames a second, 0 for all."""
    path = root / f"model{fps:g}.safetensors"
    settings = {**QUICK, "video.analysis_fps": fps, "fusion.smoothing_s": 0.2}
    mulde.train(root / "world/train", settings=settings, store=root / "store").save(path)
    return path


def predictor(model: Path, *changes: str) -> Predictor:
    return Predictor.open(load_model(model, "cpu"), model, [*CHANGES, *changes], "cpu", Reporter(quiet=True))


def still_clocks(utc_s: float = HOUR_S + 60.0) -> Clocks:
    """Time stands; what is played has a time of its own."""
    return Clocks(lambda: 1000.0, lambda: utc_s, lambda event, seconds: event.wait(0.01), lambda a, b: a)


def player(path: Path, *, loop: bool = False) -> StreamOpener:
    """A file as a camera, as fast as it is scored."""
    return FileAsStream(path, 0, loop, clock=lambda: 1000.0).open


def watch(root: Path, specs: list[CameraSpec], clocks: Clocks, reporter: Reporter | None = None) -> None:
    """Watch cameras until they are over."""
    root.mkdir(exist_ok=True)
    with AlertLedger.open(root) as ledger:
        engine = LiveEngine(root, ledger, reporter or Reporter(quiet=True), threads=1, clocks=clocks)
        for spec in specs:
            engine.add(spec)
        engine.run(threading.Event())


def played(path: Path, using: Predictor, name: str = "yard", **fields: object) -> CameraSpec:
    return CameraSpec(name, partial(player, path)(), using, "model", "", lossless=True, **fields)


def score_file(root: Path, path: Path, model: Path, *changes: str) -> Path:
    """The run folder of `mulde score --causal`."""
    out = root / "file"
    words = ["score", path, "--model", model, "--causal", "--store", root / "store", "--out", out, "--device", "cpu"]
    for change in (*CHANGES[1:], *changes):
        words += ["--set", change]
    result = CliRunner().invoke(app, [*map(str, words), "-q"])
    assert result.exit_code == 0, result.output
    return out


def events(run: Path) -> pd.DataFrame:
    """The events of a run folder in order of time."""
    return pd.read_csv(run / "events.csv").sort_values(["video", "start_s"]).reset_index(drop=True)
