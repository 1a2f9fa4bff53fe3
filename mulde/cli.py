"""The command line: one table of the commands, each a typed function of `mulde.commands`. No logic.

Exit codes: 0 all done, 1 nothing done, 2 usage, 3 some videos failed (they are named), 130 stopped by Ctrl-C, 143 by
SIGTERM, 129 by the end of the terminal, 141 nobody read what was written.
Heavy imports happen inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer
from typer.main import get_command

from mulde.commands import cache, data, drift, evaluation, live, models, research, review, stages, tuning
from mulde.process import run as run_command

Table = Mapping[str, Callable[..., None]]

COMMANDS: Table = {
    "extract": stages.extract,
    "train": stages.train,
    "score": stages.score,
    "evaluate": evaluation.evaluate,
    "compare": evaluation.compare,
    "overlay": review.overlay,
    "report": review.report,
    "feedback": review.feedback,
    "watch-folder": stages.watch_folder,
    "watch": live.watch,
    "serve": live.serve,
    "alerts": live.alerts,
    "collect": live.collect,
    "drift": drift.drift,
    "transfer": drift.transfer,
    "tune": tuning.tune,
    "reproduce": research.reproduce,
    "ablate": research.ablate,
    "run": stages.run,
    "demo": stages.demo,
    "toy": research.toy,
    "export": models.export,
    "export-detector": models.export_detector,
    "settings": models.settings,
    "models": models.models,
}
CACHE: Table = {
    "ls": cache.ls,
    "verify": cache.verify,
    "prune": cache.prune,
    "export": cache.export,
    "import": cache.import_,
}
DATA: Table = {"list": data.list_, "get": data.get, "check": data.check}
OLD_OPTIONS = {"leave-out": "exclude", "exemptions": "suppressions"}
"""Deprecated names of options, still accepted, and what they are called now."""


def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        from mulde import __version__

        typer.echo(__version__)
        raise typer.Exit


def _present_name(option: str) -> str:
    """What an option is called now; a deprecated name is reported."""
    if option not in OLD_OPTIONS:
        return option
    typer.echo(f"--{option} is deprecated. Use --{OLD_OPTIONS[option]}.", err=True)
    return OLD_OPTIONS[option]


def new_app(commands: Table, help_: str) -> typer.Typer:
    """An app, or a group of one, with a command for each line of the table, in its order."""
    new = typer.Typer(
        help=help_,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # boxes around the help would double the time it takes to answer
        pretty_exceptions_enable=False,
        context_settings={"token_normalize_func": _present_name},
    )
    for name, command in commands.items():
        new.command(name)(command)
    return new


app = new_app(COMMANDS, "Learn what is normal in video and detect what is not.")
app.callback(invoke_without_command=True)(_version)
app.add_typer(new_app(CACHE, "Manage the feature store."), name="cache")
app.add_typer(new_app(DATA, "Manage data sets."), name="data")


def main() -> None:
    """Run the command line; whatever goes wrong ends in one sentence and its exit code."""
    sys.exit(run_command(get_command(app)))


if __name__ == "__main__":
    main()
