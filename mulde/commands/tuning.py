"""The command that lets normal footage choose the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.ending import finish
from mulde.commands.options import (
    STORE,
    Address,
    Config,
    Detector,
    Device,
    Engine,
    Quiet,
    Seed,
    Set,
    Store,
    Strict,
    Trust,
    Workers,
    open_session,
    path,
    read_settings,
)


def tune(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Normal footage: a folder of videos, a video, or a data set as NAME:ROOT, of which only the training "
            "split is opened.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=path,
            help="Folder to write: tuned.toml, candidates.csv, tuning.html, and the clips with inserted anomalies.",
        ),
    ] = Path("runs/tune"),
    hours: Annotated[
        float | None,
        typer.Option(
            min=0, help="Stop after about this many hours, with what was compared by then.", show_default=False
        ),
    ] = None,
    objects: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Footage of objects that do not belong into SOURCE, such as vehicles: they are cut out and inserted "
            "as well. Of a data set only the training split is opened. Repeatable.",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="Do not insert anomalies of this kind, because it is none here: fast, slow, standing, reversed, "
            "zigzag, falling, wrong place, large, small, patch, cyclist, runner, cart, slow cyclist, slow cart or bag. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    set_: Set = None,
    detector: Detector = None,
    trust_weights: Trust = False,
    store: Store = STORE,
    device: Device = "auto",
    seed: Seed = 0,
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Choose settings from normal footage alone.

    Inserts anomalies of many kinds into held-out stretches, and compares streams, densities and fusion by what they
    find. No label is read. Run the same command to continue where it stopped.

    Streams are chosen among those of features.extractors, or, where that is not given, among all per box that need no
    weights.
    """
    from mulde.pipeline.tuning.candidates import with_all_streams
    from mulde.pipeline.tuning.tune import run_tune

    settings = with_all_streams(read_settings(config, set_, detector, command="train"), config, set_ or [])
    session = open_session(store, device, quiet, workers, engine, address, strict=strict)
    finish(
        run_tune(source, settings, out, seed, session, hours=hours, objects=objects or (), without=without or ()),
        session.reporter,
    )
