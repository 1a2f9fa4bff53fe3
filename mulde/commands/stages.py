"""The stages from videos to figures: each alone, all in one go, on files as they arrive, on the synthetic world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.ending import finish
from mulde.commands.options import (
    STORE,
    Address,
    Causal,
    Config,
    Detector,
    Device,
    Engine,
    FalseAlarms,
    ModelDetector,
    ModelFile,
    Preset,
    Quiet,
    Seed,
    Set,
    Sources,
    Store,
    Strict,
    Suppressions,
    Trust,
    Workers,
    alarm_changes,
    open_session,
    path,
    quoted,
    read_settings,
    scoring_changes,
)
from mulde.errors import UsageError


def extract(
    sources: Sources,
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    trust_weights: Trust = False,
    store: Store = STORE,
    device: Device = "auto",
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Decode videos, find objects and store their features."""
    from mulde.pipeline.stages import run_extract

    settings = read_settings(config, set_, detector, command="extract")
    session = open_session(store, device, quiet, workers, engine, address, strict=strict)
    finish(run_extract(sources, settings, session), session.reporter)


def train(
    sources: Sources,
    out: Annotated[
        Path, typer.Option(parser=path, help="Run folder to write: model.safetensors, settings and run record.")
    ] = Path("runs/model"),
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    preset: Preset = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="CSV with columns video, start_frame, end_frame (0-based, end exclusive) of frames to exclude from "
            "training, e.g. the audit.csv of an earlier training with its column leave_out filled in.",
            show_default=False,
        ),
    ] = None,
    per_camera: Annotated[
        bool,
        typer.Option(
            "--per-camera",
            help="Train a model for each folder in SOURCE, as mulde collect writes them, in OUT/CAMERA/.",
        ),
    ] = False,
    trust_weights: Trust = False,
    store: Store = STORE,
    device: Device = "auto",
    seed: Seed = 0,
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on normal videos.

    Of a data set, the training split is used. Also lists the training moments that look least normal.
    """
    from mulde.pipeline.stages import run_train, run_train_per_camera

    if per_camera and len(sources) != 1:
        raise UsageError("--per-camera", expected="one folder, with a folder for each camera", got=f"{len(sources)}")
    if per_camera and exclude:
        raise UsageError(
            "--exclude has no effect with --per-camera", hint="train that camera alone, with its --exclude"
        )
    settings = read_settings(config, set_, detector, preset, command="train")
    session = open_session(store, device, quiet, workers, engine, address, strict=strict)
    if per_camera:
        finish(run_train_per_camera(sources[0], settings, out, seed, session), session.reporter)
    else:
        finish(run_train(sources, settings, out, seed, session, exclude=exclude), session.reporter)


def score(
    sources: Sources,
    model: ModelFile,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="Run folder to write: scores/, figures/, run record. [default: a new folder, runs/score-N]",
            show_default=False,
        ),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add the videos to the run in --out, which used the same model and settings.")
    ] = False,
    detector: ModelDetector = None,
    false_alarms_per_hour: FalseAlarms = None,
    causal: Causal = False,
    suppressions: Suppressions = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write videos with boxes, scores and reasons.")
    ] = False,
    heat_maps: Annotated[
        bool, typer.Option("--heat-maps", help="Also write heat maps of every frame as arrays, heat_maps/<video>.npy.")
    ] = False,
    pixel_maps: Annotated[
        bool | None,
        typer.Option(
            "--pixel-maps/--no-pixel-maps",
            help="Also write the maps of the stream prediction as arrays, pixel_maps/<video>.npy. Overlays show them, "
            "and mulde evaluate makes pixel figures of them where the data set has masks. [default: of single images]",
            show_default=False,
        ),
    ] = None,
    set_: Set = None,
    trust_weights: Trust = False,
    store: Store = STORE,
    device: Device = "auto",
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Score videos and list events with reasons.

    Every frame gets an anomaly score and a p-value. Of a data set, the test split is scored. The last line of the
    output is the run folder.
    """
    from mulde.pipeline.predictor.scorer import ScoreOptions
    from mulde.pipeline.stages import run_score

    session = open_session(store, device, quiet, workers, engine, address, strict=strict)
    changes = scoring_changes(set_, detector, false_alarms_per_hour, causal)
    options = ScoreOptions(suppressions=suppressions, overlay=overlay, heat_maps=heat_maps, pixel_maps=pixel_maps)
    finish(run_score(sources, model, changes, out, session, options, add=add), session.reporter)


def watch_folder(
    folder: Annotated[Path, typer.Argument(metavar="DIR", parser=path, help="Folder in which new video files arrive.")],
    model: ModelFile,
    out: Annotated[
        Path, typer.Option(parser=path, help="Run folder to write. Use the same folder to continue.")
    ] = Path("runs/watch"),
    detector: ModelDetector = None,
    false_alarms_per_hour: FalseAlarms = None,
    causal: Causal = False,
    suppressions: Suppressions = None,
    every_s: Annotated[float, typer.Option(min=0.05, help="Seconds between two checks of the folder.")] = 5.0,
    settle_s: Annotated[
        float, typer.Option(min=0, help="Seconds without a change of size after which a file counts as complete.")
    ] = 10.0,
    tries: Annotated[int, typer.Option(min=1, help="Maximum number of attempts per file.")] = 3,
    once: Annotated[
        bool, typer.Option("--once", help="Stop when all files that are in the folder now are done.")
    ] = False,
    set_: Set = None,
    trust_weights: Trust = False,
    store: Store = STORE,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Score video files as they arrive in a folder.

    Every file is scored once. Run the same command again to continue where it stopped.
    """
    from mulde.pipeline.monitoring.watch import run_watch
    from mulde.pipeline.monitoring.watcher import WatchOptions

    session = open_session(store, device, quiet)
    changes = scoring_changes(set_, detector, false_alarms_per_hour, causal)
    options = WatchOptions(every_s=every_s, settle_s=settle_s, tries=tries, once=once)
    finish(
        run_watch(folder, model, out, session, options, changes=changes, suppressions=suppressions), session.reporter
    )


def run(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="A data set as NAME:ROOT, or a folder with train/ and test/.")
    ] = None,
    out: Annotated[Path | None, typer.Option(parser=path, help="Run folder to write. [default: runs/<name>]")] = None,
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    preset: Preset = None,
    false_alarms_per_hour: FalseAlarms = None,
    trust_weights: Trust = False,
    store: Store = STORE,
    device: Device = "auto",
    seed: Annotated[
        list[int] | None, typer.Option(min=0, help="Random seed. Repeat it for the mean and spread over several seeds.")
    ] = None,
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Extract, train, score and evaluate in one go.

    Takes options, or a TOML file with a [run] table.
    """
    from mulde.pipeline.stages import run_all

    changes = list(set_ or [])
    changes += [f"run.source={quoted(source)}"] if source else []
    changes += [f"run.out={quoted(str(out))}"] if out else []
    changes += [f"run.seeds={seed}"] if seed else []
    changes += alarm_changes(false_alarms_per_hour)
    settings = read_settings(config, changes, detector, preset, command="run")
    session = open_session(store, device, quiet, workers, engine, address, strict=strict)
    finish(run_all(settings, session), session.reporter)


def demo(
    out: Annotated[
        Path, typer.Option(parser=path, help="Folder for the synthetic videos, their features and the run.")
    ] = Path("demo"),
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Run every stage on a small synthetic data set.

    The data set is written to disk first. Needs no download.
    """
    from mulde.pipeline.experiments.demo import run_demo

    session = open_session(out / "features", device, quiet)
    finish(run_demo(out, seed, session), session.reporter)
