"""Commands for reviewing events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.ending import echo, finish
from mulde.commands.options import (
    Quiet,
    new_reporter,
    path,
)


def overlay(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", parser=path, help="Run folder written by `mulde score` or `mulde run`.")
    ],
    video: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Draw only this video. Repeatable.", show_default=False)
    ] = None,
    clips: Annotated[
        bool, typer.Option("--clips", help="Draw only the events, each as a short video and a contact sheet.")
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="With --clips: maximum number of events, the clearest first.")] = 200,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:ROOT",
            help="Data set with labels to draw. [default: the data set that was scored]",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Draw boxes, scores and reasons into copies of the videos.

    Tracks and the score curve are drawn as well.
    """
    from mulde.pipeline.review.overlay import run_overlay

    reporter = new_reporter(quiet)
    finish(run_overlay(run, reporter, only=video or (), clips=clips, labels=labels, max_clips=most), reporter)


def report(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN_OR_SCORES", parser=path, help="Run folder, or a folder of score tables."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(parser=path, help="HTML file to write. [default: RUN_OR_SCORES/report.html]", show_default=False),
    ] = None,
    embed_clips: Annotated[
        bool, typer.Option("--embed-clips", help="Embed the clips of events in the file instead of linking to them.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write an HTML file for reviewing the events.

    It ranks them and shows pictures, reasons, curves and a threshold slider.
    """
    from mulde.pipeline.review.report import run_report

    echo(run_report(run, out, new_reporter(quiet), embed_clips=embed_clips))


def feedback(
    run: Annotated[Path, typer.Argument(metavar="RUN", parser=path, help="Run folder whose events were reviewed.")],
    labels: Annotated[
        Path | None,
        typer.Argument(
            parser=path,
            metavar="LABELS.csv",
            help="Labels exported from the report (event_labels.csv).",
            show_default=False,
        ),
    ] = None,
    apply: Annotated[
        bool,
        typer.Option(
            "--apply", help="Apply the feedback. Without this option, show what would change, here and in the report."
        ),
    ] = False,
    who: Annotated[
        str | None, typer.Option(help="Name of the reviewer. [default: your user name]", show_default=False)
    ] = None,
    why: Annotated[str, typer.Option(help="Reason, where the labels give none.")] = "",
    undo: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Undo the suppression with this id. Repeatable.", show_default=False),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Suppress events labelled as normal, and similar events.

    Suppressed events raise no alarm. This can be undone, and no model is trained. Without labels and options, lists the
    suppressions of the run.
    """
    from mulde.commands.console.review import print_feedback
    from mulde.pipeline.review.feedback import run_feedback

    reporter = new_reporter(quiet)
    outcome = run_feedback(run, labels, reporter, apply=apply, who=who, why=why, undo=undo or ())
    print_feedback(outcome, run, reporter)
