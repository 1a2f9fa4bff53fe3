"""The command line: typed commands, each of which calls one pipeline function. No logic.

Exit codes: 0 all done, 1 nothing done, 2 usage, 3 some videos failed (they are named), 130 stopped by Ctrl-C, 143 by
SIGTERM, 129 by the end of the terminal, 141 nobody read what was written.
Heavy imports happen inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.main import get_command

from mulde.errors import UsageError
from mulde.names import printable, user_path
from mulde.process import run as run_command

if TYPE_CHECKING:
    from mulde.config import Settings
    from mulde.pipeline.extraction.session import Session
    from mulde.pipeline.outcome import Outcome
    from mulde.progress import Reporter

EXIT_NOTHING_DONE, EXIT_PARTLY_DONE = 1, 3

app = typer.Typer(
    help="Learn what is normal in video and say when something is not.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # boxes around the help would double the time it takes to answer
    pretty_exceptions_enable=False,
)

cache = typer.Typer(
    help="Look after the store of features.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)
app.add_typer(cache, name="cache")
data = typer.Typer(help="Look after data sets.", no_args_is_help=True, rich_markup_mode=None, add_completion=False)
app.add_typer(data, name="data")


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

_STORE = Path("mulde-features")

Json = Annotated[bool, typer.Option("--json", help="As JSON, for pandas.read_json.")]
OfDataset = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only videos of this data set.", show_default=False)
]
OfExtractor = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only these: frames, regions, or an extractor.", show_default=False)
]


@app.command()
def extract(
    sources: Sources,
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    trust_weights: Trust = False,
    store: Store = _STORE,
    device: Device = "auto",
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Decode videos, find objects, compute their features and keep them in the store."""
    from mulde.pipeline.stages import run_extract

    settings = _settings(config, set_, detector, command="extract")
    place = _session(store, device, quiet, workers, engine, address, strict=strict)
    _finish(run_extract(sources, settings, place), place.reporter)


@app.command()
def train(
    sources: Sources,
    out: Annotated[
        Path, typer.Option(parser=path, help="Run folder to write: model.safetensors, settings, record.")
    ] = Path("runs/model"),
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    preset: Preset = None,
    leave_out: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="CSV with video,start_frame,end_frame (0-based, half-open) of moments not to learn from, as audit.csv "
            "of an earlier training, its column leave_out filled in.",
            show_default=False,
        ),
    ] = None,
    trust_weights: Trust = False,
    store: Store = _STORE,
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

    settings = _settings(config, set_, detector, preset, command="train")
    place = _session(store, device, quiet, workers, engine, address, strict=strict)
    _finish(run_train(sources, settings, out, seed, place, leave_out=leave_out), place.reporter)


@app.command()
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
    exemptions: Annotated[
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
    store: Store = _STORE,
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

    place = _session(store, device, quiet, workers, engine, address, strict=strict)
    changes = _scoring_changes(set_, detector, false_alarms_per_hour)
    options = ScoreOptions(exemptions=exemptions, overlay=overlay, heat_maps=heat_maps)
    _finish(run_score(sources, model, changes, out, place, options, add=add), place.reporter)


@app.command()
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
    from mulde.pipeline.stages import run_evaluate

    reporter = _reporter(quiet)
    _finish(run_evaluate(run, labels, reporter, bootstrap=bootstrap, compat=compat, events=events), reporter)


@app.command()
def overlay(
    run: Annotated[Path, typer.Argument(parser=path, help="Run folder of `mulde score` or `mulde run`.")],
    video: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="This video alone. Repeatable.", show_default=False)
    ] = None,
    clips: Annotated[
        bool, typer.Option("--clips", help="Only the events, each as a short video and as a contact sheet.")
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="With --clips: of so many events, the clearest.")] = 200,
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME:ROOT", help="Data set whose labels are drawn as well.", show_default=False),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Draw what was found into copies of the videos: boxes, scores, tracks, reasons and the running curve."""
    from mulde.pipeline.review.overlay import run_overlay

    reporter = _reporter(quiet)
    _finish(run_overlay(run, reporter, only=video or (), clips=clips, labels=labels, most=most), reporter)


@app.command()
def report(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN_OR_SCORES", parser=path, help="Run folder, or a folder with score tables alone."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(parser=path, help="The file to write. [default: RUN_OR_SCORES/report.html]", show_default=False),
    ] = None,
    embed_clips: Annotated[
        bool, typer.Option("--embed-clips", help="Put the clips of events into the file, not links to them.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML file to review the events from: ranked, with pictures, reasons, curves and a threshold slider."""
    from mulde.pipeline.review.report import run_report

    _echo(run_report(run, out, _reporter(quiet), embed_clips=embed_clips))


@app.command()
def feedback(
    run: Annotated[Path, typer.Argument(parser=path, help="Run folder whose events were reviewed.")],
    marks: Annotated[
        Path | None,
        typer.Argument(parser=path, metavar="[MARKS.csv]", help="Marks exported from the report.", show_default=False),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Apply it. Without: say, also in the report, what would change.")
    ] = False,
    who: Annotated[
        str | None, typer.Option(help="Whose word it is. [default: the user's name]", show_default=False)
    ] = None,
    why: Annotated[str, typer.Option(help="Why, where the marks do not say.")] = "",
    undo: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Undo this exemption. Repeatable.", show_default=False)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Let events marked as normal, and those alike, raise no alarm; this can be undone, and nothing is trained."""
    from mulde.pipeline.review.feedback import run_feedback

    run_feedback(run, marks, _reporter(quiet), apply=apply, who=who, why=why, undo=undo or ())


@app.command("watch-folder")
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
    exemptions: Annotated[
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
    store: Store = _STORE,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Score video files as they arrive in a folder, each once; go on where it was stopped."""
    from mulde.pipeline.monitoring.watch import WatchOptions, run_watch

    place = _session(store, device, quiet)
    changes = _scoring_changes(set_, detector, false_alarms_per_hour)
    patience = WatchOptions(every_s=every_s, settle_s=settle_s, tries=tries, once=once)
    _finish(run_watch(folder, model, out, place, patience, changes=changes, exemptions=exemptions), place.reporter)


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Benchmark, as ucsd-ped2; its settings are pinned.")],
    root: Annotated[Path, typer.Option(parser=path, help="Folder of the data set.")],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="Folder to write: seed-<n>/, reproduction.json and .md. [default: runs/reproduce-NAME]",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        bool, typer.Option("--frames", help="The config with one row per frame, where the benchmark has one.")
    ] = False,
    config: Annotated[Path | None, typer.Option(parser=path, help="Settings in the place of the pinned ones.")] = None,
    set_: Set = None,
    detector: Annotated[str | None, typer.Option(help="Where the detector's weights lie.")] = None,
    pose: Annotated[str | None, typer.Option(help="Where the pose network's weights lie.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Where the weights of `backbone` lie.")] = None,
    seed: Annotated[
        list[int] | None, typer.Option(min=0, help="Seed; repeatable. [default: those of the config, 0 to 4]")
    ] = None,
    compat: Compat = None,
    trust_weights: Trust = False,
    store: Store = _STORE,
    device: Device = "auto",
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Run a benchmark with pinned settings and several seeds, beside published figures; leaves a record to diff.

    A seed that is finished is not trained anew: the same command goes on where it was stopped.
    """
    from mulde.pipeline.experiments.reproduce import run_reproduce

    place = _session(store, device, quiet, workers, engine, address)
    weights = {"detector": detector, "pose": pose, "backbone": backbone}
    outcome = run_reproduce(
        name,
        root,
        out,
        place,
        frames=frames,
        config=config,
        weights=weights,
        changes=set_ or (),
        seeds=seed or (),
        compat=compat,
    )
    _finish(outcome, place.reporter)


@app.command()
def ablate(
    run: Annotated[
        Path, typer.Argument(parser=path, help="Run folder with scores, or one that holds seed-<n> folders.")
    ],
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME:ROOT", help="Data set with the labels; default: the one that was scored."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Show what each stream adds: all, each alone, each left out. Nothing is trained."""
    from mulde.pipeline.evaluation.ablation import print_ablation, run_ablate

    print_ablation(run_ablate(run, labels, _reporter(quiet)))


@app.command()
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
    store: Store = _STORE,
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
    changes += [f"run.source={_quoted(source)}"] if source else []
    changes += [f"run.out={_quoted(str(out))}"] if out else []
    changes += [f"run.seeds={seed}"] if seed else []
    changes += _alarms(false_alarms_per_hour)
    settings = _settings(config, changes, detector, preset, command="run")
    place = _session(store, device, quiet, workers, engine, address, strict=strict)
    _finish(run_all(settings, place), place.reporter)


@app.command()
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

    place = _session(out / "features", device, quiet)
    _finish(run_demo(out, seed, place), place.reporter)


@app.command()
def toy(
    out: Annotated[
        Path, typer.Option(parser=path, help="Folder for the figures, pictures and TensorBoard events.")
    ] = Path("toy"),
    seed: Seed = 0,
    device: Device = "auto",
    preset: Annotated[str, typer.Option(help="Sizes of the network and the training: fast or paper.")] = "fast",
    quiet: Quiet = False,
) -> None:
    """Train on four Gaussians, whose exact answers are known, and show learnt beside exact."""
    from mulde.pipeline.experiments.toy import print_comparison, run_toy

    print_comparison(run_toy(out, seed=seed, device=device, preset=preset, reporter=_reporter(quiet)))


@app.command()
def export(
    model: Annotated[Path, typer.Argument(parser=path, help="Bundle written by `mulde train` or `mulde run`.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="As ONNX: rows of features in, anomaly_score and readings out.")
    ] = False,
    out: Annotated[Path, typer.Option(parser=path, help="Folder to write: a file per stream, and export.json.")] = Path(
        "export"
    ),
    stream: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="This stream alone. Repeatable. [default: all]")
    ] = None,
) -> None:
    """Write the densities of a model for other programs, with what is needed to fuse them."""
    from mulde.pipeline.model.export import export as write_export

    formats = [name for name, wanted in {"onnx": onnx}.items() if wanted]
    for written in write_export(model, out, formats, stream or ()):
        _echo(written)


@app.command("export-detector")
def export_detector(
    weights: Annotated[str, typer.Argument(help="Detector or pose weights (.pt), or an official name.")],
    format_: Annotated[str, typer.Option("--format", help="openvino, onnx or engine (TensorRT).")] = "openvino",
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit numbers, calibrated on pictures of --data: about 3 times as fast.")
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="16-bit numbers.")] = False,
    image_size: Annotated[int, typer.Option(min=32, help="Pixels of the longer side inside the network.")] = 640,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 1,
    data: Annotated[
        str | None,
        typer.Option(
            help="For --int8: Ultralytics data set YAML, as coco8.yaml, which is downloaded.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, help="Where to put it. [default: beside the weights]")
    ] = None,
    device: Device = "auto",
) -> None:
    """Make a faster copy of a detector for this kind of machine; use it with --detector."""
    from mulde.pipeline.extraction.export_detector import export_detector as make

    _echo(
        make(weights, format_, out, int8=int8, half=half, image_size=image_size, batch=batch, data=data, device=device)
    )


@app.command()
def settings(config: Config = None, set_: Set = None, detector: Detector = None) -> None:
    """Print every setting with its meaning, bounds and value, as a TOML file for --config."""
    from mulde.config import dump_toml

    for line in dump_toml(_settings(config, set_, detector)).splitlines():
        _echo(line)


@app.command()
def models(
    kind: Annotated[
        str | None, typer.Option(help="Only these: detector, pose, image, video, clip or flow.", show_default=False)
    ] = None,
    json_: Json = False,
) -> None:
    """List the networks that the settings can name: numbers per row, download, licence, what is here already."""
    from mulde.commands.console.cache import print_models
    from mulde.extractors.zoo import list_models, remarks

    print_models(list_models(kind), remarks(kind), json_=json_)


@cache.command("ls")
def cache_ls(
    store: Store = _STORE,
    dataset: OfDataset = None,
    extractor: OfExtractor = None,
    by: Annotated[
        str | None,
        typer.Option(help="One row per dataset, extractor, video or file. [default: data set, extractor, settings]"),
    ] = None,
    json_: Json = False,
) -> None:
    """List what lies in the store: data sets, features, settings, rows, size, age."""
    from mulde.commands.console.cache import print_rows
    from mulde.store.maintenance import list_cache

    print_rows(list_cache(store, dataset, extractor, by), json_=json_)


@cache.command("verify")
def cache_verify(
    store: Store = _STORE,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove damaged files; the next run makes them again.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Compare the checksum of every stored file. Exit code 1 when any is damaged."""
    from mulde.store.maintenance import verify

    found = verify(store, _reporter(quiet), delete=delete)
    removed = f", {found.num_removed} removed" if delete else ""
    typer.echo(f"{found.num_checked} files checked, {len(found.damaged)} damaged{removed}")
    if found.damaged:
        raise typer.Exit(EXIT_NOTHING_DONE)


@cache.command("prune")
def cache_prune(
    store: Store = _STORE,
    dataset: OfDataset = None,
    extractor: OfExtractor = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Made longer ago than this, as 30d, 12h.")
    ] = None,
    unused_for: Annotated[
        str | None, typer.Option(metavar="AGE", help="Of videos that no run used for this long, as 30d.")
    ] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Whose checksum differs.")] = False,
    leftovers: Annotated[
        bool, typer.Option("--leftovers", help="Unfinished parts of videos that nobody works on.")
    ] = False,
    missing_videos: Annotated[
        bool, typer.Option("--missing-videos", help="Of videos that are at none of their known paths any more.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it the files are only listed.")] = False,
    quiet: Quiet = False,
) -> None:
    """Remove stored files to which everything that is given applies."""
    from mulde.commands.console.cache import print_pruning
    from mulde.store.maintenance import Criteria, parse_age, prune

    ages = parse_age(older_than, "--older-than"), parse_age(unused_for, "--unused-for")
    criteria = Criteria(dataset, extractor, *ages, damaged, leftovers, missing_videos)
    print_pruning(prune(store, criteria, _reporter(quiet), yes=yes))


@cache.command("export")
def cache_export(
    sources: Sources,
    extractor: Annotated[str, typer.Option(help="Features to export, as velocity, clip or imported-NAME.")],
    out: Annotated[
        Path, typer.Option(parser=path, help="File to write: .parquet, or .npy with .index.parquet beside it.")
    ],
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    store: Store = _STORE,
    quiet: Quiet = False,
) -> None:
    """Write stored features of all videos into one file. Nothing is computed."""
    from mulde.pipeline.extraction.export_features import run_export

    reporter = _reporter(quiet)
    settings = _settings(config, set_, detector, command="cache export")
    _finish(run_export(sources, settings, extractor, out, store, reporter), reporter)


@cache.command("import")
def cache_import(
    sources: Sources,
    name: Annotated[str, typer.Option(help="Name of the features, for features.imported.")],
    from_: Annotated[Path, typer.Option("--from", parser=path, help="Folder with <video>.npy or <video>.npz.")],
    config: Config = None,
    set_: Set = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what was imported under this name.")] = False,
    store: Store = _STORE,
    quiet: Quiet = False,
) -> None:
    """Bring features made elsewhere into the store, each checked against its video."""
    from mulde.pipeline.extraction.import_features import run_import

    reporter = _reporter(quiet)
    settings = _settings(config, set_, None, command="cache import")
    _finish(run_import(sources, settings, name, from_, store, reporter, replace=replace), reporter)


@data.command("list")
def data_list(json_: Json = False) -> None:
    """List the supported data sets: address, size, licence, citation, how to obtain them."""
    from mulde.commands.console.data import print_data_sets

    print_data_sets(json_=json_)


@data.command("get")
def data_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Data set, as `mulde data list` names it.")],
    out: Annotated[Path, typer.Option(parser=path, help="Folder to download and unpack into.")],
    quiet: Quiet = False,
) -> None:
    """Download a data set where its files lie open; else say what to do."""
    from mulde.commands.console.data import print_sentences
    from mulde.datasets.download import get_data

    print_sentences(get_data(name, out, _reporter(quiet)))


@data.command("check")
def data_check(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="NAME:ROOT, or a folder with train/ and test/.")],
    json_: Json = False,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Open every video and label and list what is wrong. Exit code 1 when there are faults; notes are none."""
    from mulde.commands.console.data import print_report
    from mulde.pipeline.data_check.check import check_data

    report = check_data(source, _reporter(quiet), strict=strict)
    print_report(report, json_=json_)
    if report.faults:
        raise typer.Exit(EXIT_NOTHING_DONE)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from mulde import __version__

        typer.echo(__version__)
        raise typer.Exit


def _quoted(text: str) -> str:
    """A string as a TOML value."""
    import json

    return json.dumps(text, ensure_ascii=False)


def _settings(
    config: Path | None,
    changes: list[str] | None,
    detector: str | None,
    preset: str | None = None,
    command: str | None = None,
) -> Settings:
    """command: of which a change must be a setting; None: any will do."""
    from mulde.config import load_settings

    overrides = [f"density.preset={_quoted(preset)}"] if preset is not None else []
    if detector is not None:
        overrides += ['regions.finders=["yolo", "motion"]', f"regions.yolo.weights={_quoted(detector)}"]
    settings = load_settings(config, [*overrides, *(changes or [])])
    if command is not None:
        from mulde.pipeline.model.setting_uses import check_used

        check_used(command, changes or (), settings)
    return settings


def _scoring_changes(set_: list[str] | None, detector: str | None, false_alarms_per_hour: float | None) -> list[str]:
    """What options change of a model's settings."""
    weights = [f"regions.yolo.weights={_quoted(detector)}"] if detector else []
    return [*(set_ or []), *weights, *_alarms(false_alarms_per_hour)]


def _alarms(false_alarms_per_hour: float | None) -> list[str]:
    return [] if false_alarms_per_hour is None else [f"alarms.false_alarms_per_hour={false_alarms_per_hour}"]


def _reporter(quiet: bool) -> Reporter:
    from mulde.progress import Reporter

    return Reporter(quiet=quiet)


def _session(
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

    return Session.open(store, device, _reporter(quiet), WorkerConfig.of(engine, workers, address), strict=strict)


def _finish(outcome: Outcome, reporter: Reporter) -> None:
    """Print the figures and what failed, and end with the right exit code."""
    from mulde.commands.console.evaluation import print_evaluations, print_failures

    print_evaluations(outcome.evaluations)
    if outcome.failures:
        print_failures(outcome.failures, reporter)
    if outcome.folder is not None:
        typer.echo(outcome.folder)
    if outcome.failures:
        raise typer.Exit(EXIT_PARTLY_DONE if outcome.done else EXIT_NOTHING_DONE)


def _echo(text: object) -> None:
    typer.echo(printable(text))


def main() -> None:
    """Run the command line; whatever goes wrong ends in one sentence and its exit code."""
    sys.exit(run_command(get_command(app)))


if __name__ == "__main__":
    main()
