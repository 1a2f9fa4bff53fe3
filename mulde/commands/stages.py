"""The stages from videos to figures: each alone, all in one go, on files as they arrive, on the synthetic world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.ending import finish
from mulde.commands.options import (
    STORE,
    Address,
    Compat,
    Config,
    Detector,
    Device,
    Engine,
    FalseAlarms,
    Preset,
    Quiet,
    Seed,
    Set,
    Sources,
    Store,
    Strict,
    Trust,
    Workers,
    alarm_changes,
    open_session,
    path,
    quoted,
    read_settings,
    reporter_of,
    scoring_changes,
)


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
    """Decode videos, find objects, compute their features and keep them in the store."""
    from mulde.pipeline.stages import run_extract

    settings = read_settings(config, set_, detector, command="extract")
    place = open_session(store, device, quiet, workers, engine, address, strict=strict)
    finish(run_extract(sources, settings, place), place.reporter)


def train(
    sources: Sources,
    out: Annotated[
        Path, typer.Option(parser=path, help="Run folder to write: model.safetensors, settings, record.")
    ] = Path("runs/model"),
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    preset: Preset = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="CSV with video,start_frame,end_frame (0-based, half-open) of moments not to learn from, as audit.csv "
            "of an earlier training, its column leave_out filled in.",
            show_default=False,
        ),
    ] = None,
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
    """Learn from normal videos (the training split of a data set) what is normal; list what looks least so."""
    from mulde.pipeline.stages import run_train

    settings = read_settings(config, set_, detector, preset, command="train")
    place = open_session(store, device, quiet, workers, engine, address, strict=strict)
    finish(run_train(sources, settings, out, seed, place, leave_out=exclude), place.reporter)


def score(
    sources: Sources,
    model: Annotated[Path, typer.Option(parser=path, help="Bundle written by `mulde train` or `mulde run`.")],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="Run folder to write: scores/, figures/, record. [default: a new one, runs/score-N]",
            show_default=False,
        ),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add the videos to the run in --out, made with the same model and settings.")
    ] = False,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Where the model's detector weights lie; they must be the same weights. [default: where this user "
            "trained with them, or MULDE_WEIGHTS]",
            show_default=False,
        ),
    ] = None,
    false_alarms_per_hour: FalseAlarms = None,
    suppressions: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="exemptions.json of `mulde feedback`: events that they cover are marked.",
            show_default=False,
        ),
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Besides, videos with boxes, scores and reasons.")] = False,
    heat_maps: Annotated[
        bool, typer.Option("--heat-maps", help="Besides, heat maps of every frame as arrays: heat_maps/<video>.npy.")
    ] = False,
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
    """Give every frame of the videos (the test split of a data set) an anomaly score and a p-value; list the events,
    each with a reason. The last line printed is the run folder."""
    from mulde.pipeline.predictor import ScoreOptions
    from mulde.pipeline.stages import run_score

    place = open_session(store, device, quiet, workers, engine, address, strict=strict)
    changes = scoring_changes(set_, detector, false_alarms_per_hour)
    options = ScoreOptions(exemptions=suppressions, overlay=overlay, heat_maps=heat_maps)
    finish(run_score(sources, model, changes, out, place, options, add=add), place.reporter)


def evaluate(
    run: Annotated[Path, typer.Argument(parser=path, help="Run folder of `mulde score` or `mulde run`.")],
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME:ROOT", help="Data set with the labels; default: the one that was scored."),
    ] = None,
    compat: Compat = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, max=100_000, help="Resamples of the videos for 95 % intervals; 0: no intervals.")
    ] = 1000,
    events: Annotated[
        bool,
        typer.Option("--events", help="Besides, each annotated anomaly and the event that found it: events_found.csv."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Compare scores with ground truth, beside null scores that never look at the video; writes a page with curves."""
    from mulde.commands.console.evaluation import print_events_found
    from mulde.pipeline.stages import run_evaluate

    reporter = reporter_of(quiet)
    outcome = run_evaluate(run, labels, reporter, bootstrap=bootstrap, compat=compat, events=events)
    if outcome.events_found is not None:
        print_events_found(outcome.events_found)
    finish(outcome, reporter)


def watch_folder(
    folder: Annotated[Path, typer.Argument(metavar="DIR", parser=path, help="Folder that new video files arrive in.")],
    model: Annotated[Path, typer.Option(parser=path, help="Bundle written by `mulde train` or `mulde run`.")],
    out: Annotated[
        Path, typer.Option(parser=path, help="Run folder to write; the same one goes on where it was stopped.")
    ] = Path("runs/watch"),
    detector: Annotated[
        str | None,
        typer.Option(
            help="Where the model's detector weights lie; they must be the same weights. [default: where this user "
            "trained with them, or MULDE_WEIGHTS]",
            show_default=False,
        ),
    ] = None,
    false_alarms_per_hour: FalseAlarms = None,
    suppressions: Annotated[
        Path | None, typer.Option(parser=path, help="exemptions.json of `mulde feedback`.", show_default=False)
    ] = None,
    every_s: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks at the folder.")] = 5.0,
    settle_s: Annotated[
        float, typer.Option(min=0, help="A file is complete when its size has not changed for so many seconds.")
    ] = 10.0,
    tries: Annotated[int, typer.Option(min=1, help="How often a file that fails is tried.")] = 3,
    once: Annotated[bool, typer.Option("--once", help="End when all files that are there now are done.")] = False,
    set_: Set = None,
    trust_weights: Trust = False,
    store: Store = STORE,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Score video files as they arrive in a folder, each once; go on where it was stopped."""
    from mulde.pipeline.monitoring.watch import WatchOptions, run_watch

    place = open_session(store, device, quiet)
    changes = scoring_changes(set_, detector, false_alarms_per_hour)
    patience = WatchOptions(every_s=every_s, settle_s=settle_s, tries=tries, once=once)
    finish(run_watch(folder, model, out, place, patience, changes=changes, exemptions=suppressions), place.reporter)


def run(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="NAME:ROOT, or a folder with train/ and test/.")
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
        list[int] | None, typer.Option(min=0, help="Seed; give it several times for mean and spread.")
    ] = None,
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Extract, train, score and evaluate in one go, from flags or from a TOML with a [run] table."""
    from mulde.pipeline.stages import run_all

    changes = list(set_ or [])
    changes += [f"run.source={quoted(source)}"] if source else []
    changes += [f"run.out={quoted(str(out))}"] if out else []
    changes += [f"run.seeds={seed}"] if seed else []
    changes += alarm_changes(false_alarms_per_hour)
    settings = read_settings(config, changes, detector, preset, command="run")
    place = open_session(store, device, quiet, workers, engine, address, strict=strict)
    finish(run_all(settings, place), place.reporter)


def demo(
    out: Annotated[
        Path, typer.Option(parser=path, help="Folder for the synthetic footage, its features and the run.")
    ] = Path("demo"),
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write a small synthetic world to disk and run everything on it. Needs no download."""
    from mulde.pipeline.experiments.demo import run_demo

    place = open_session(out / "features", device, quiet)
    finish(run_demo(out, seed, place), place.reporter)
