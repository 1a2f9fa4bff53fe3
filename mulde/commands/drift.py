"""Whether cameras are still what their models learnt, and which model suits which camera."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.ending import finish
from mulde.commands.options import (
    STORE,
    Device,
    FalseAlarms,
    Json,
    Quiet,
    Store,
    Strict,
    Trust,
    Workers,
    alarm_changes,
    new_reporter,
    open_session,
    path,
)


def drift(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="[RUN]",
            parser=path,
            help="Run folder of `mulde watch`, or of `mulde score` on recordings of `mulde collect`.",
        ),
    ] = Path("runs/watch"),
    days: Annotated[
        float, typer.Option(min=1, help="Target number of days between two false notices, per camera.")
    ] = 365.0,
    reference_days: Annotated[
        int, typer.Option(help="Days that are only compared with, at the beginning: a week or more.")
    ] = 7,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="Folder for a picture of each camera and drift.json. [default: RUN/drift]",
            show_default=False,
        ),
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say whether cameras have changed, day by day.

    Tests every stream of scores and the number of objects, on whole days (UTC), and says which has changed, since when,
    in which direction and at which hours. Nothing is trained again.
    """
    from mulde.commands.console.drift import print_drift
    from mulde.pipeline.live.drift_report import run_drift
    from mulde.pipeline.outcome import Outcome

    reporter = new_reporter(quiet)
    report = run_drift(run, days, reference_days, reporter, out=out)
    print_drift(report, json_=json_)
    finish(Outcome(len(report.tested), list(report.failures)), reporter)


def transfer(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Models written by `mulde train` (.safetensors).", show_default=False),
    ],
    on: Annotated[
        list[str],
        typer.Option(
            "--on",
            metavar="SOURCE...",
            help="Normal footage, as one folder per camera; all that follows belongs to it, as in --on normal/*.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(parser=path, help="Folder to write: transfer.csv, transfer.json, transfer.png.")
    ] = Path("runs/transfer"),
    false_alarms_per_hour: FalseAlarms = None,
    json_: Json = False,
    trust_weights: Trust = False,
    store: Store = STORE,
    device: Device = "auto",
    workers: Workers = 0,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Say which model suits which camera.

    Each model scores the normal footage of each camera: false alarms per hour at the model's own level, mean p-value,
    and how far each stream is from what the model learnt. Footage that a model was trained on is recognised by its
    content and scored by what has not seen it. Run the same command again to continue where it stopped.
    """
    from mulde.commands.console.drift import print_transfer
    from mulde.pipeline.transfer.run import run_transfer

    session = open_session(store, device, quiet, workers, strict=strict)
    # A shell puts several names in the place of --on normal/*; all but the first look like further models.
    files = [word for word in models if word.endswith(".safetensors")]
    footage = [*on, *(word for word in models if not word.endswith(".safetensors"))]
    matrix, outcome = run_transfer(
        [path(word) for word in files], footage, alarm_changes(false_alarms_per_hour), out, session
    )
    print_transfer(matrix, json_=json_)
    finish(outcome, session.reporter)
