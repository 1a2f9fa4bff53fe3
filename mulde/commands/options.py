"""Options that several commands share, and what their values become."""

from __future__ import annotations

import sys
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


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="A video, a folder of frames, a folder of videos, or a data set as NAME:ROOT, e.g. "
        "ucsd-ped2:/data/UCSDped2.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", parser=path, help="TOML file with settings (see `mulde settings`).")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, e.g. density.preset=paper. Repeatable."),
]
Detector = Annotated[
    str | None,
    typer.Option(
        help="Ultralytics detector: weights (.pt, .onnx or an OpenVINO folder; see --trust-weights) or an official "
        "model name. It finds objects in addition to moving regions. Without it, only moving regions are used."
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
        help="Allow weights in formats that can run code (.torchscript, .engine). Use only weights that you trust.",
    ),
]
STORE = Path("mulde-features")
Store = Annotated[
    Path, typer.Option(parser=path, help="Folder where features are stored and reused.", envvar="MULDE_STORE")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed for the split, the noise and the networks.")]
Preset = Annotated[
    str | None, typer.Option(help="Size of MULDE: fast (minutes on 2 cores) or paper. [default: density.preset]")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, only results and warnings.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Fail if files that may matter would be left out of the sources.")
]
Workers = Annotated[
    int,
    typer.Option(
        min=0,
        help="Number of processes that extract videos in parallel. 0: one, one per GPU, or the capacity of the Ray "
        "cluster. A process already uses all its cores, so more than one helps only with many cores or short videos.",
    ),
]
Engine = Annotated[str, typer.Option(help="local (this machine) or ray (a Ray cluster).")]
Address = Annotated[
    str | None, typer.Option(help="Address of the Ray cluster, e.g. 10.0.0.1:6379, or auto.", show_default=False)
]

ModelFile = Annotated[Path, typer.Option(parser=path, help="Model written by `mulde train` or `mulde run`.")]
ModelDetector = Annotated[
    str | None,
    typer.Option(
        help="Path to the detector weights that the model was trained with. [default: where you last used them, or "
        "a folder of MULDE_WEIGHTS]",
        show_default=False,
    ),
]
Suppressions = Annotated[
    Path | None,
    typer.Option(
        parser=path,
        help="exemptions.json of `mulde feedback`. Events that it covers raise no alarm.",
        show_default=False,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(metavar="NAME:ROOT", help="Data set with the labels. [default: the data set that was scored]"),
]
RunLabels = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:ROOT|FILE.csv",
        help="Data set with the labels, or, of a run, a CSV of video,start_s,end_s or video,start_frame,end_frame. "
        "[default: the data set that was scored]",
        show_default=False,
    ),
]
FalseAlarms = Annotated[
    float | None,
    typer.Option(
        min=0.0001,
        help="Target number of false alarms per hour of normal video. It sets the threshold, on held-out normal video, "
        "and is refused if that is too short. [default: 1, or the lowest number that it supports]",
        show_default=False,
    ),
]
Causal = Annotated[
    bool,
    typer.Option(
        "--causal",
        help="Scores, threshold, events and reasons from what had been seen until then, as a live camera gives them.",
    ),
]
Compat = Annotated[
    str | None,
    typer.Option(
        metavar="VARIANT",
        help="Also compute figures by a paper's protocol variant, e.g. minmax. They are not comparable.",
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON that pandas.read_json takes.")]


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
    """The settings that the options give. command: refuse changes that it has no use for; None accepts all."""
    from mulde.settings_file import load_settings

    own = [f"density.preset={quoted(preset)}"] if preset is not None else []
    own += changes or []
    overrides = []
    if detector is not None:
        overrides += ['regions.finders=["yolo", "motion"]', f"regions.yolo.weights={quoted(detector)}"]
    settings = load_settings(config, [*overrides, *own])
    if command is not None:
        from mulde.pipeline.model.setting_uses import check_used

        check_used(command, own, settings)
    return settings


def scoring_changes(
    set_: list[str] | None, detector: str | None, false_alarms_per_hour: float | None, causal: bool
) -> list[str]:
    """The changes to a model's settings that the options of a scoring command ask for."""
    weights = [f"regions.yolo.weights={quoted(detector)}"] if detector else []
    smoothing = ["fusion.smoothing=causal"] if causal else []
    return [*(set_ or []), *weights, *alarm_changes(false_alarms_per_hour), *smoothing]


def alarm_changes(false_alarms_per_hour: float | None) -> list[str]:
    return [] if false_alarms_per_hour is None else [f"alarms.false_alarms_per_hour={false_alarms_per_hour}"]


def new_reporter(quiet: bool) -> Reporter:
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
    from mulde.pipeline.extraction.session import Session
    from mulde.pipeline.extraction.worker import WorkerConfig

    workers_config = WorkerConfig.from_options(engine, workers, address)
    return Session.open(store, device, new_reporter(quiet), workers_config, strict=strict, command=sys.argv[1:])
