"""`mulde cache`: manage the feature store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.ending import finish
from mulde.commands.options import (
    STORE,
    Config,
    Detector,
    Json,
    Quiet,
    Set,
    Sources,
    Store,
    new_reporter,
    path,
    read_settings,
)
from mulde.process import EXIT_NOTHING_DONE

DatasetFilter = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only videos of this data set.", show_default=False)
]
ExtractorFilter = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Only frames, regions, or the features of this extractor.", show_default=False),
]


def ls(
    store: Store = STORE,
    dataset: DatasetFilter = None,
    extractor: ExtractorFilter = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Show one row per dataset, extractor, video or file. [default: data set, extractor, settings]"
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """List what is stored.

    Shows data sets, features, settings, rows, size and age.
    """
    from mulde.commands.console.cache import print_rows
    from mulde.store.maintenance import list_cache

    print_rows(list_cache(store, dataset, extractor, by), json_=json_)


def verify(
    store: Store = STORE,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove damaged files. The next run computes them again.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Verify the checksum of every stored file.

    Exits with code 1 if any file is damaged.
    """
    from mulde.store import maintenance

    checked = maintenance.verify(store, new_reporter(quiet), delete=delete)
    removed = f", {checked.num_removed} removed" if delete else ""
    typer.echo(f"{checked.num_checked} files checked, {len(checked.damaged)} damaged{removed}")
    if checked.damaged:
        raise typer.Exit(EXIT_NOTHING_DONE)


def prune(
    store: Store = STORE,
    dataset: DatasetFilter = None,
    extractor: ExtractorFilter = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Files stored longer ago than this, e.g. 30d or 12h.")
    ] = None,
    unused_for: Annotated[
        str | None, typer.Option(metavar="AGE", help="Files of videos that no run has used for this long, e.g. 30d.")
    ] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Files with a wrong checksum.")] = False,
    leftovers: Annotated[
        bool, typer.Option("--leftovers", help="Unfinished parts of videos that no process works on.")
    ] = False,
    missing_videos: Annotated[
        bool, typer.Option("--missing-videos", help="Files of videos that are no longer at any known path.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove the files. Without this option they are only listed.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Remove the stored files that match all given options."""
    from mulde.commands.console.cache import print_pruning
    from mulde.store import maintenance
    from mulde.store.maintenance import Criteria, parse_age

    ages = parse_age(older_than, "--older-than"), parse_age(unused_for, "--unused-for")
    criteria = Criteria(dataset, extractor, *ages, damaged, leftovers, missing_videos)
    print_pruning(maintenance.prune(store, criteria, new_reporter(quiet), yes=yes))


def export(
    sources: Sources,
    extractor: Annotated[str, typer.Option(help="Features to export, e.g. velocity, clip or imported-NAME.")],
    out: Annotated[
        Path, typer.Option(parser=path, help="File to write: .parquet, or .npy with an .index.parquet next to it.")
    ],
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    store: Store = STORE,
    quiet: Quiet = False,
) -> None:
    """Write the stored features of all videos to one file.

    Nothing is computed.
    """
    from mulde.pipeline.extraction.export_features import run_export

    reporter = new_reporter(quiet)
    settings = read_settings(config, set_, detector, command="cache export")
    finish(run_export(sources, settings, extractor, out, store, reporter), reporter)


def import_(
    sources: Sources,
    name: Annotated[
        str,
        typer.Option(help="Name of the features or boxes, for the setting features.imported or regions.imported."),
    ],
    from_: Annotated[
        Path | None, typer.Option("--from", parser=path, help="Folder with <video>.npy or <video>.npz files.")
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="Folder with <video>.txt (MOTChallenge), .json (COCO) or .parquet files of boxes, or the file of a "
            "single video.",
        ),
    ] = None,
    first_frame: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1,
            help="Number of the first frame in files of boxes: 0, or 1 as MOTChallenge counts.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    set_: Set = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what was imported under this name.")] = False,
    store: Store = STORE,
    quiet: Quiet = False,
) -> None:
    """Import features or boxes made elsewhere into the store.

    Features come from --from, boxes and tracks from --boxes. Each file is checked against its video.
    """
    from mulde.errors import UsageError
    from mulde.pipeline.extraction.import_boxes import run_import_boxes
    from mulde.pipeline.extraction.import_features import run_import

    reporter = new_reporter(quiet)
    settings = read_settings(config, set_, None, command="cache import")
    if (boxes is None) == (from_ is None):
        got = "neither" if boxes is None else "both"
        raise UsageError("mulde cache import", expected="--from with features or --boxes with boxes", got=got)
    if boxes is not None:
        imported = run_import_boxes(sources, settings, name, boxes, first_frame, store, reporter, replace=replace)
        finish(imported, reporter)
    elif first_frame is not None:
        raise UsageError("--first-frame has no effect", expected="--boxes beside it")
    elif from_ is not None:
        finish(run_import(sources, settings, name, from_, store, reporter, replace=replace), reporter)
