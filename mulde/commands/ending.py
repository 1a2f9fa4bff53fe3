"""How a command ends: what it prints of its outcome, and its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mulde.names import printable
from mulde.process import EXIT_NOTHING_DONE, EXIT_PARTLY_DONE

if TYPE_CHECKING:
    from mulde.pipeline.outcome import Outcome
    from mulde.progress import Reporter


def finish(outcome: Outcome, reporter: Reporter) -> None:
    """Print the figures and what failed, and end with the right exit code."""
    from mulde.commands.console.evaluation import print_evaluations, print_failures

    print_evaluations(outcome.evaluations)
    if outcome.failures:
        print_failures(outcome.failures, reporter)
    if outcome.folder is not None:
        typer.echo(outcome.folder)
    if outcome.failures:
        raise typer.Exit(EXIT_PARTLY_DONE if outcome.done else EXIT_NOTHING_DONE)


def echo(text: object) -> None:
    typer.echo(printable(text))
