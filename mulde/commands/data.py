"""`mulde data`: manage data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.options import (
    Json,
    Quiet,
    Strict,
    new_reporter,
    path,
)
from mulde.process import EXIT_NOTHING_DONE


def list_(json_: Json = False) -> None:
    """List the supported data sets.

    Shows address, size, licence, citation and how to get them.
    """
    from mulde.commands.console.data import print_data_sets

    print_data_sets(json_=json_)


def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the data set in `mulde data list`.")],
    out: Annotated[Path, typer.Option(parser=path, help="Folder to download and unpack into.")],
    quiet: Quiet = False,
) -> None:
    """Download a data set if its files are public.

    Otherwise, explains how to get it.
    """
    from mulde.commands.console.data import print_sentences
    from mulde.datasets.download import get_data

    print_sentences(get_data(name, out, new_reporter(quiet)))


def check(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A data set as NAME:ROOT, or a folder with train/ and test/.")
    ],
    json_: Json = False,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Open every video and label of a data set and list faults.

    Exits with code 1 if there are faults. Notes do not affect the exit code.
    """
    from mulde.commands.console.data import print_report
    from mulde.pipeline.data_check.check import check_data

    report = check_data(source, new_reporter(quiet), strict=strict)
    print_report(report, json_=json_)
    if report.faults:
        raise typer.Exit(EXIT_NOTHING_DONE)
