"""Options that several commands share, and what their values become."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mulde.errors import UsageError
from mulde.names import user_path

if TYPE_CHECKING:
    from mulde.config import Settings
    from mulde.pipeline.extraction.session import Session
    from mulde.progress import Reporter


def path(text: str | Path) -> Path:
    """What every option and argument that is a path goes through; named as `--help` shows it."""
    try:
        return user_path(text)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None


_SOURCE = "A video, a folder of frames, a folder of videos, or NAME:ROOT for a data set (ucsd-ped2:/data/UCSDped2)."
Sources = Annotated[list[str], typer.Argument(metavar="SOURCE...", help=_SOURCE, show_default=False)]
Config = Annotated[
    Path | None, typer.Option("--config", parser=path, help="TOML file with settings (see `mulde settings`).")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, as density.preset=paper. Repeatable."),
]
Detector = Annotated[
    str | None,
    typer.Option(
        help="Ultralytics weights (.pt, .onnx, OpenVINO folder; see --trust-weights) or an official name; finds "
        "objects with it and moving regions besides. Without it: moving regions alone."
    ),
]


def _trust_weights(wanted: bool) -> None:
    from mulde.pipeline.model.weights import trust_code

    if wanted:
        trust_code()


Trust = Annotated[
    bool,
    typer.Option(
        "--trust-weights",
        callback=_trust_weights,
        envvar="MULDE_TRUST_WEIGHTS",
        help="Load weights in formats that can run code: .torchscript, .engine. Only from makers whom you trust.",
    ),
]
Store = Annotated[
    Path, typer.Option(parser=path, help="Folder where features are kept and found again.", envvar="MULDE_STORE")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ..., or auto.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the split, the noise and the networks.")]
Preset = Annotated[
    str | None, typer.Option(help="Sizes of mulde: fast (minutes on 2 cores) or paper. [default: density.preset]")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="End with an error where something beside the videos would be left out.")
]
Workers = Annotated[
    int,
    typer.Option(
        min=0,
        help="Processes that extract videos side by side; 0: one, or one for each GPU, or as many as the Ray cluster "
        "holds. Each keeps all its cores busy: more than one help where there are many cores or short videos.",
    ),
]
Engine = Annotated[str, typer.Option(help="local: this machine. ray: the machines of a Ray cluster.")]
Address = Annotated[
    str | None, typer.Option(help="Address of the Ray cluster, as 10.0.0.1:6379 or auto.", show_default=False)
]

FalseAlarms = Annotated[
    float | None,
    typer.Option(
        min=0.0001,
        help="Alarm level: so many false alarms per hour of normal video, set on held-out normal video and refused "
        "where that is too short. [default: 1, or as few as it supports]",
        show_default=False,
    ),
]
Compat = Annotated[
    str | None,
    typer.Option(metavar="HABIT", help="Besides, figures by a paper's habit (as minmax); they are not comparable."),
]

STORE = Path("mulde-features")

Json = Annotated[bool, typer.Option("--json", help="As JSON, for pandas.read_json.")]


def quoted(text: str) -> str:
    """A string as a TOML value."""
    import json

    return json.dumps(text, ensure_ascii=False)


def read_settings(
    config: Path | None,
    changes: list[str] | None,
    detector: str | None,
    preset: str | None = None,
    command: str | None = None,
) -> Settings:
    """command: of which a change must be a setting; None: any will do."""
    from mulde.settings_file import load_settings

    overrides = [f"density.preset={quoted(preset)}"] if preset is not None else []
    if detector is not None:
        overrides += ['regions.finders=["yolo", "motion"]', f"regions.yolo.weights={quoted(detector)}"]
    settings = load_settings(config, [*overrides, *(changes or [])])
    if command is not None:
        from mulde.pipeline.model.setting_uses import check_used

        check_used(command, changes or (), settings)
    return settings


def scoring_changes(set_: list[str] | None, detector: str | None, false_alarms_per_hour: float | None) -> list[str]:
    """What options change of a model's settings."""
    weights = [f"regions.yolo.weights={quoted(detector)}"] if detector else []
    return [*(set_ or []), *weights, *alarm_changes(false_alarms_per_hour)]


def alarm_changes(false_alarms_per_hour: float | None) -> list[str]:
    return [] if false_alarms_per_hour is None else [f"alarms.false_alarms_per_hour={false_alarms_per_hour}"]


def reporter_of(quiet: bool) -> Reporter:
    from mulde.progress import Reporter

    return Reporter(quiet=quiet)


def open_session(
    store: Path,
    device: str,
    quiet: bool,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    *,
    strict: bool = False,
) -> Session:
    from mulde.pipeline.extraction.engine import WorkerConfig
    from mulde.pipeline.extraction.session import Session

    return Session.open(store, device, reporter_of(quiet), WorkerConfig.of(engine, workers, address), strict=strict)
