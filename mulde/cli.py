"""The command line: typed commands, each of which calls one pipeline function. No logic.

Exit codes: 0 all done, 1 nothing done, 2 usage, 3 some videos failed (they are named), 130 stopped by Ctrl-C.
Heavy imports happen inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mulde.errors import MuldeError

if TYPE_CHECKING:
    from mulde.config import Settings
    from mulde.pipeline.progress import Reporter
    from mulde.pipeline.run import Outcome, Workplace

EXIT_NOTHING_DONE, EXIT_PARTLY_DONE, EXIT_STOPPED = 1, 3, 130

app = typer.Typer(
    help="Learn what is normal in video and say when something is not.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # boxes around the help would double the time it takes to answer
    pretty_exceptions_enable=False,
)

_SOURCE = "A video, a folder of frames, a folder of videos, or NAME:ROOT for a data set (ucsd-ped2:/data/UCSDped2)."
Sources = Annotated[list[str], typer.Argument(metavar="SOURCE...", help=_SOURCE, show_default=False)]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file with settings (see `mulde settings`).")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, as density.preset=paper. Repeatable."),
]
Detector = Annotated[
    str | None,
    typer.Option(
        help="Ultralytics weights (.pt, .onnx, OpenVINO folder, .engine) or an official name; finds objects with it "
        "and moving regions besides. Without it: moving regions alone."
    ),
]
Store = Annotated[Path, typer.Option(help="Folder where features are kept and found again.", envvar="MULDE_STORE")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ..., or auto.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the split, the noise and the networks.")]
Preset = Annotated[
    str | None, typer.Option(help="Sizes of mulde: fast (minutes on 2 cores) or paper. [default: density.preset]")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]

_STORE = Path("mulde-features")


@app.command()
def extract(
    sources: Sources,
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    store: Store = _STORE,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Decode videos, find objects, compute their features and keep them in the store."""
    from mulde.pipeline.run import run_extract

    settings, place = _settings(config, set_, detector), _workplace(store, device, quiet)
    _finish(run_extract(sources, settings, place), place.reporter)


@app.command()
def train(
    sources: Sources,
    out: Annotated[Path, typer.Option(help="Run folder to write: model.safetensors, settings, record.")] = Path(
        "runs/model"
    ),
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    preset: Preset = None,
    store: Store = _STORE,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Learn from normal videos (the training split of a data set) what is normal."""
    from mulde.pipeline.run import run_train

    settings, place = _settings(config, set_, detector, preset), _workplace(store, device, quiet)
    _finish(run_train(sources, settings, out, seed, place), place.reporter)


@app.command()
def score(
    sources: Sources,
    model: Annotated[Path, typer.Option(help="Bundle written by `mulde train` or `mulde run`.")],
    out: Annotated[Path, typer.Option(help="Run folder to write: scores/, figures/, record.")] = Path("runs/scores"),
    detector: Annotated[
        str | None, typer.Option(help="Where the model's detector weights lie now; they must be the same weights.")
    ] = None,
    set_: Set = None,
    store: Store = _STORE,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Give every frame of the videos (the test split of a data set) an anomaly score."""
    from mulde.config import load_settings
    from mulde.pipeline.bundle import load_bundle
    from mulde.pipeline.run import run_score

    place = _workplace(store, device, quiet)
    changes = [*(set_ or []), *([f"regions.yolo.weights={_quoted(detector)}"] if detector else [])]
    settings = load_settings(overrides=changes, base=load_bundle(model).settings) if changes else None
    _finish(run_score(sources, model, settings, out, place), place.reporter)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder of `mulde score` or `mulde run`.")],
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME:ROOT", help="Data set with the labels; default: the one that was scored."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compare scores with ground truth, beside null scores that never look at the video."""
    from mulde.pipeline.run import run_evaluate

    reporter = _reporter(quiet)
    _finish(run_evaluate(run, labels, reporter), reporter)


@app.command()
def run(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="NAME:ROOT, or a folder with train/ and test/.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to write. [default: runs/<name>]")] = None,
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    preset: Preset = None,
    store: Store = _STORE,
    device: Device = "auto",
    seed: Annotated[
        list[int] | None, typer.Option(min=0, help="Seed; give it several times for mean and spread.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Extract, train, score and evaluate in one go, from flags or from a TOML with a [run] table."""
    from mulde.pipeline.run import run_all

    changes = list(set_ or [])
    changes += [f"run.source={_quoted(source)}"] if source else []
    changes += [f"run.out={_quoted(str(out))}"] if out else []
    changes += [f"run.seeds={seed}"] if seed else []
    settings, place = _settings(config, changes, detector, preset), _workplace(store, device, quiet)
    _finish(run_all(settings, place), place.reporter)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the synthetic footage, its features and the run.")] = Path(
        "demo"
    ),
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write a small synthetic world to disk and run everything on it. Needs no download."""
    from mulde.pipeline.demo import run_demo

    place = _workplace(out / "features", device, quiet)
    _finish(run_demo(out, seed, place), place.reporter)


@app.command()
def toy(
    out: Annotated[Path, typer.Option(help="Folder for the figures, pictures and TensorBoard events.")] = Path("toy"),
    seed: Seed = 0,
    device: Device = "auto",
    preset: Annotated[str, typer.Option(help="Sizes of the network and the training: fast or paper.")] = "fast",
    quiet: Quiet = False,
) -> None:
    """Train on four Gaussians, whose exact answers are known, and show learnt beside exact."""
    from mulde.pipeline.toy import print_comparison, run_toy

    print_comparison(run_toy(out, seed=seed, device=device, preset=preset, reporter=_reporter(quiet)))


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Bundle written by `mulde train` or `mulde run`.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="As ONNX: rows of features in, anomaly_score and readings out.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder to write: a file per stream, and export.json.")] = Path("export"),
    stream: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="This stream alone. Repeatable. [default: all]")
    ] = None,
) -> None:
    """Write the densities of a model for other programs, with what is needed to fuse them."""
    from mulde.pipeline.export import export as write_export

    formats = [name for name, wanted in {"onnx": onnx}.items() if wanted]
    for path in write_export(model, out, formats, stream or ()):
        typer.echo(path)


@app.command()
def settings(config: Config = None, set_: Set = None, detector: Detector = None) -> None:
    """Print every setting with its meaning, bounds and value, as a TOML file for --config."""
    from mulde.config import dump_toml

    typer.echo(dump_toml(_settings(config, set_, detector)), nl=False)


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
    config: Path | None, changes: list[str] | None, detector: str | None, preset: str | None = None
) -> Settings:
    from mulde.config import load_settings

    overrides = [f"density.preset={_quoted(preset)}"] if preset is not None else []
    if detector is not None:
        overrides += ['regions.finders=["yolo", "motion"]', f"regions.yolo.weights={_quoted(detector)}"]
    return load_settings(config, [*overrides, *(changes or [])])


def _reporter(quiet: bool) -> Reporter:
    from mulde.pipeline.progress import Reporter

    return Reporter(quiet=quiet)


def _workplace(store: Path, device: str, quiet: bool) -> Workplace:
    from mulde.pipeline.run import Workplace

    return Workplace.open(store, device, _reporter(quiet))


def _finish(outcome: Outcome, reporter: Reporter) -> None:
    """Print the figures and what failed, and end with the right exit code."""
    from mulde.pipeline.tables import print_evaluations, print_failures

    print_evaluations(outcome.evaluations)
    if outcome.failures:
        print_failures(outcome.failures, reporter)
        raise typer.Exit(EXIT_PARTLY_DONE if outcome.done else EXIT_NOTHING_DONE)


def main() -> None:
    """Run the command line; every expected failure ends in one sentence and its exit code."""
    try:
        code = app(standalone_mode=False)
        if code == EXIT_STOPPED:  # what typer makes of Ctrl-C
            _say("stopped; finished videos are kept, the same command goes on from there", code)
    except MuldeError as error:
        code = _say(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        code = _say(f"{error.filename or 'a file'} cannot be written: {error.strerror}", EXIT_NOTHING_DONE)
    except Exception as error:  # click's usage errors know how to show themselves and their exit code
        if not (hasattr(error, "show") and hasattr(error, "exit_code")):
            raise
        error.show()
        code = error.exit_code
    sys.exit(code)


def _say(text: str, code: int) -> int:
    typer.secho(f"error: {text}", err=True, fg=typer.colors.RED)
    return code


if __name__ == "__main__":
    main()
