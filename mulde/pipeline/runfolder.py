"""The run folder: settings, versions, seed, digests, wall time per stage, model, scores, figures.

settings.toml  run.json
training:   model.safetensors  normal_moments.parquet  audit.csv .png  tensorboard/<extractor>-<fold>/
            (checkpoints/<extractor>-<fold>.safetensors while it trains)
scoring:    scores/<video>.csv .parquet  regions/<video>.parquet  events.csv .parquet .json  event_rows.parquet
            figures/<video>.png  thumbnails/<video>/<peak frame>.jpg  normal/<moment>.jpg
on request: overlays/<video>.mp4  clips/<video>/<peak frame>.mp4 .png  timeline.png  heat_maps/<video>.npy
review:     report.html  exemptions.json
evaluation: metrics.json  truth.json  evaluation/evaluation.html *.png  events_found.csv .parquet
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from mulde import __version__
from mulde.config import Settings, dump_toml
from mulde.errors import MuldeError
from mulde.files import write_json, write_text

_LIBRARIES = (
    "torch", "torchvision", "numpy", "scikit-learn", "opencv-python", "decord", "av", "ultralytics", "open_clip_torch",
    "openvino",
)  # fmt: skip


RECORD, SETTINGS, REGIONS, TRUTH, REPORT = "run.json", "settings.toml", "regions", "truth.json", "report.html"
THUMBNAILS, NORMAL, OVERLAYS, CLIPS, HEAT_MAPS = "thumbnails", "normal", "overlays", "clips", "heat_maps"
"""Pictures of events, of the normal moments that they name, and what is drawn on request."""


class RunFolder:
    """Where one run keeps what it made; `run.json` is rewritten whole after every stage."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.record: dict[str, Any] = {
            "mulde": __version__,
            "command": sys.argv[1:],
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "versions": versions(),
            "wall_time_s": {},
        }

    @property
    def model(self) -> Path:
        return self.root / "model.safetensors"

    @property
    def scores(self) -> Path:
        return self.root / "scores"

    @property
    def regions(self) -> Path:
        return self.root / REGIONS

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    def write_settings(self, settings: Settings) -> None:
        write_text(self.root / SETTINGS, dump_toml(settings))

    def note(self, **facts: Any) -> None:
        """Add facts to run.json and write it."""
        self.record |= facts
        write_json(self.root / RECORD, self.record)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; its wall time lands in run.json when it ends well."""
        start = time.perf_counter()
        yield
        times: Mapping[str, float] = self.record["wall_time_s"]
        self.note(wall_time_s={**times, name: round(time.perf_counter() - start, 3)})


def read_record(root: Path) -> dict[str, Any]:
    """The run.json of a run folder. Raises MuldeError when there is none or it is damaged."""
    path = root / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MuldeError(
            f"{root} is not a run folder ({path.name}: {error})", expected="the --out of mulde score or mulde run"
        ) from None
    return dict(record)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
