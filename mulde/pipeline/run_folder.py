"""The run folder: settings, versions, seed, digests, wall time per stage, model, scores, figures.

settings.toml  run.json
training:   model.safetensors  normal_moments.parquet  audit.csv .png  tensorboard/<extractor>-<fold>/
            (checkpoints/<extractor>-<fold>.safetensors while it trains)
scoring:    scores/<video>.csv .parquet  regions/<video>.parquet  events.csv .parquet .json  event_rows.parquet
            (.event_parts/ while a folder is watched: events that the tables do not hold yet)
            figures/<video>.png  thumbnails/<video>/<peak frame>.jpg  normal/<moment>.jpg
live:       scores/<camera>/<hour of UTC>.csv .parquet (.score_parts/<camera>/<hour>.jsonl while the hour lasts)
            clips/<camera>/<alert>.mp4
on request: overlays/<video>.mp4  clips/<video>/<peak frame>.mp4 .png  timeline.png  heat_maps/<video>.npy
pixel_maps/<video>.npy
live:       alerts.sqlite  drift/<camera>.png drift/drift.json
review:     report.html  exemptions.json
evaluation: metrics.json  truth.json  evaluation/evaluation.html *.png  events_found.csv .parquet
            (of scores made elsewhere, also scores/<video>.csv .parquet and run.json)
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mulde import __version__
from mulde.config import AlarmSettings, Settings
from mulde.errors import MuldeError, UsageError
from mulde.evaluation.protocol import Evaluation
from mulde.evaluation.smoothing import SmoothingMode
from mulde.files import write_json, write_text
from mulde.settings_file import dump_toml
from mulde.typed import Count, FileModel, FilePath, Number, Positive, SourcePath, read_typed, validated

_LIBRARIES = (
    "torch", "torchvision", "numpy", "scikit-learn", "opencv-python", "decord", "av", "ultralytics", "open_clip_torch",
    "timm", "transformers", "openvino", "onnxruntime",
)  # fmt: skip


MODEL, RECORD, SETTINGS, REGIONS, TRUTH, METRICS, REPORT = (
    "model.safetensors", "run.json", "settings.toml", "regions", "truth.json", "metrics.json", "report.html",
)  # fmt: skip
LEDGER, ALERTS = "watched.sqlite", "alerts.sqlite"
THUMBNAILS, NORMAL, OVERLAYS, CLIPS, HEAT_MAPS = "thumbnails", "normal", "overlays", "clips", "heat_maps"
PIXEL_MAPS = "pixel_maps"
"""Pictures of events, of the reference samples that they name, and what is drawn on request."""


class NormalLevels(FileModel):
    """How many events normal video has at levels, falling."""

    levels: list[Number]
    num_events: list[Count]
    hours: Annotated[float, Field(gt=0, le=1e9)]

    @model_validator(mode="after")
    def _agree(self) -> NormalLevels:
        if len(self.levels) != len(self.num_events):
            raise ValueError(f"a number of events for each of {len(self.levels)} levels")
        return self


class AlarmRecord(FileModel):
    """The alarm level of a run, as `AlarmRule.as_record` gives it."""

    false_alarms_per_hour: Positive = 0.0
    merge_gap_s: Positive = AlarmSettings().merge_gap_s
    min_length_s: Positive = AlarmSettings().min_length_s
    levels: dict[SmoothingMode, dict[str, Number]]
    smoothing: Literal["centred", "causal"] = "centred"
    statement: str = ""
    normal: NormalLevels | None = None

    @model_validator(mode="after")
    def _has_level(self) -> AlarmRecord:
        if not self.levels.get(self.smoothing):
            raise ValueError(f"a level of {self.smoothing} scores")
        return self

    @property
    def level(self) -> float:
        """Of the scores that events were found in; older versions gave it other names."""
        return next(iter(self.levels[self.smoothing].values()))


class RunRecord(FileModel):
    """run.json. A fact that no command has noted has its default here and is absent from the file; facts that only
    other versions know are kept."""

    mulde: str = ""
    kind: str = ""
    command: list[str] = Field([])
    started: str = ""
    versions: dict[str, str] = Field({})
    wall_time_s: dict[str, Positive] = Field({})
    sources: list[SourcePath] = Field([])
    device: str = ""
    seed: int = 0
    seeds: list[int] = Field([])
    model: FilePath | None = None
    model_sha256: str | None = None
    left_out: dict[str, Any] = Field({})
    made_from: dict[str, Any] = Field({})
    training: dict[str, Any] = Field({})
    tuning: dict[str, Any] = Field({})
    video_sha256: dict[str, str] = Field({})
    missing_frames: dict[str, Any] = Field({})
    frames_without_rows: dict[str, Count] = Field({})
    not_as_learnt: dict[str, list[str]] = Field({})
    num_events: Count = 0
    alarm: AlarmRecord | None = None
    scores_from: dict[str, Any] = Field({})

    @property
    def alarm_level(self) -> float | None:
        """The level that events were found by; None where the run had none."""
        return None if self.alarm is None else self.alarm.level

    def with_facts(self, facts: Mapping[str, Any]) -> RunRecord:
        """The record with these facts added or replaced, by the names of fields."""
        return self.model_copy(update=dict(facts))

    def as_json(self) -> dict[str, Any]:
        """What run.json holds: the facts that were noted."""
        return self.model_dump(exclude_unset=True)


class RunFolder:
    """Where one run keeps what it made; `run.json` is rewritten whole after every stage.

    command: the command line that works here, without the name of the program. before: an earlier record whose facts
    stay until they are noted again.
    """

    def __init__(self, root: Path, command: Sequence[str] = (), before: RunRecord | None = None) -> None:
        self.root = root
        self.record = (before or RunRecord()).with_facts(
            {
                "mulde": __version__,
                "command": list(command),
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "versions": versions(),
                "wall_time_s": {},
            }
        )

    @property
    def model(self) -> Path:
        return self.root / MODEL

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
        """Add facts, by the names of the fields of `RunRecord`, and write run.json."""
        self.record = self.record.with_facts(facts)
        write_json(self.root / RECORD, self.record.as_json())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; its wall time lands in run.json when it ends well."""
        start = time.perf_counter()
        yield
        self.note(wall_time_s={**self.record.wall_time_s, name: round(time.perf_counter() - start, 3)})


def read_record(root: Path) -> RunRecord:
    """The run.json of a run folder. Raises MuldeError when there is none or it is damaged."""
    path = root / RECORD
    if not path.exists():
        raise MuldeError(
            f"{root} is not a run folder (it has no {RECORD})", expected="the --out of mulde score or mulde run"
        )
    return read_typed(path, RunRecord, max_bytes=2**28, hint="mulde score")


_Span = Annotated[list[Count], Field(min_length=2, max_length=2)]


def read_truth(root: Path) -> dict[str, list[tuple[int, int]]]:
    """Labelled frames that an evaluation left: video -> half-open ranges; empty without one. So nothing but an
    evaluation opens labels."""
    path = root / TRUTH
    if not path.is_file():
        return {}
    truth = read_typed(path, dict[str, list[_Span]], max_bytes=2**28, hint="mulde evaluate")
    return {name: [(start, end) for start, end in spans] for name, spans in truth.items()}


def check_metrics(metrics: Mapping[str, Any], path: Path) -> tuple[Evaluation, list[str]]:
    """The evaluation, and its remarks, that metrics.json holds. Raises MuldeError for anything else."""
    rest = {name: value for name, value in metrics.items() if name != "remarks"}
    evaluation = validated(rest, Evaluation, str(path), hint="mulde evaluate")
    if not evaluation.rows:
        raise MuldeError(f"{path}: rows", expected="one for each smoothing", got="none", hint="mulde evaluate")
    return evaluation, validated(metrics.get("remarks", []), list[str], f"{path}: remarks", hint="mulde evaluate")


def versions() -> dict[str, str]:
    installed = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def seed_folders(root: Path) -> list[Path]:
    """The runs `seed-<n>` in a folder of several, by seed."""

    def by_seed(folder: Path) -> tuple[int, str]:
        digits = folder.name.removeprefix("seed-")
        return (int(digits) if digits.isdigit() else 0), folder.name

    return sorted(root.glob("seed-*/"), key=by_seed)


def check_single_run(root: Path) -> None:
    """Raises UsageError for a folder that holds the runs of several seeds."""
    if not (root / "scores").is_dir() and (folders := seed_folders(root)):
        names = ", ".join(folder.name for folder in folders)
        raise UsageError(f"{root} holds several runs", expected="one of them", got=names)
