"""`mulde data`: look after data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.options import (
    Json,
    Quiet,
    Strict,
    path,
    reporter_of,
)
from mulde.process import EXIT_NOTHING_DONE


def list_(json_: Json = False) -> None:
    """List the supported data sets: address, size, licence, citation, how to obtain them."""
    from mulde.commands.console.data import print_data_sets

    print_data_sets(json_=json_)


def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Data set, as `mulde data list` names it.")],
    out: Annotated[Path, typer.Option(parser=path, help="Folder to download and unpack into.")],
    quiet: Quiet = False,
) -> None:
    """Download a data set where its files lie open; else say what to do."""
    from mulde.commands.console.data import print_sentences
    from mulde.datasets.download import get_data

    print_sentences(get_data(name, out, reporter_of(quiet)))


def check(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="NAME:ROOT, or a folder with train/ and test/.")],
    json_: Json = False,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Open every video and label and list what is wrong. Exit code 1 when there are faults; notes are none."""
    from mulde.commands.console.data import print_report
    from mulde.pipeline.data_check.check import check_data

    report = check_data(source, reporter_of(quiet), strict=strict)
    print_report(report, json_=json_)
    if report.faults:
        raise typer.Exit(EXIT_NOTHING_DONE)
