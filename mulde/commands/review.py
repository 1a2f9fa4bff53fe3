"""Commands for who reviews events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.ending import echo, finish
from mulde.commands.options import (
    Quiet,
    path,
    reporter_of,
)


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

    reporter = reporter_of(quiet)
    finish(run_overlay(run, reporter, only=video or (), clips=clips, labels=labels, most=most), reporter)


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

    echo(run_report(run, out, reporter_of(quiet), embed_clips=embed_clips))


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
    from mulde.commands.console.review import print_feedback
    from mulde.pipeline.review.feedback import run_feedback

    reporter = reporter_of(quiet)
    outcome = run_feedback(run, marks, reporter, apply=apply, who=who, why=why, undo=undo or ())
    print_feedback(outcome, run, reporter)
