"""Commands that compare the method with papers, with parts of itself and with exact values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.ending import finish
from mulde.commands.options import (
    STORE,
    Address,
    Compat,
    Device,
    Engine,
    Labels,
    Quiet,
    Seed,
    Set,
    Store,
    Trust,
    Workers,
    new_reporter,
    open_session,
    path,
)


def reproduce(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Benchmark with pinned settings, e.g. ucsd-ped2.")],
    root: Annotated[Path, typer.Option(parser=path, help="Folder of the data set.")],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="Folder to write: seed-<n>/, reproduction.json, reproduction.md. [default: runs/reproduce-NAME]",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        bool, typer.Option("--frames", help="Use the config with one row per frame, if the benchmark has one.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(parser=path, help="Settings to use instead of the pinned ones.")
    ] = None,
    set_: Set = None,
    detector: Annotated[str | None, typer.Option(help="Path to the detector weights.")] = None,
    pose: Annotated[str | None, typer.Option(help="Path to the weights of the pose network.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Path to the weights of the extractor `backbone`.")] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Random seed. Repeatable. [default: the seeds of the config, 0 to 4]"),
    ] = None,
    compat: Compat = None,
    trust_weights: Trust = False,
    store: Store = STORE,
    device: Device = "auto",
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Run a benchmark with pinned settings and several seeds.

    Writes a record of the results next to published figures. Finished seeds are not trained again: run the same command
    to continue where it stopped.
    """
    from mulde.pipeline.experiments.reproduce import run_reproduce

    session = open_session(store, device, quiet, workers, engine, address)
    weights = {"detector": detector, "pose": pose, "backbone": backbone}
    outcome = run_reproduce(
        name,
        root,
        out,
        session,
        frames=frames,
        config=config,
        weights=weights,
        changes=set_ or (),
        seeds=seed or (),
        compat=compat,
    )
    finish(outcome, session.reporter)


def ablate(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", parser=path, help="Run folder with scores, or a folder of seed-<n> run folders."),
    ],
    labels: Labels = None,
    quiet: Quiet = False,
) -> None:
    """Compare all streams, each stream alone, and all but one.

    Uses the stored scores; nothing is trained.
    """
    from mulde.commands.console.research import print_ablation
    from mulde.pipeline.evaluation.ablation import run_ablate

    print_ablation(run_ablate(run, labels, new_reporter(quiet)))


def toy(
    columns: Annotated[
        int | None,
        typer.Option(
            help="Train on a mixture of rank 8 in this many columns instead, beside baselines. [default: 2 columns]",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(help="With --columns: number of rows to learn from. [default: 4000]", show_default=False),
    ] = None,
    dmad: Annotated[
        bool,
        typer.Option(
            "--dmad",
            help="Reconstruct digits instead: 1 3 5 7 9 are normal, 0 2 4 6 8 are anomalies. Compares a memory alone, "
            "one with a skip, and one whose prototypes are bent.",
        ),
    ] = False,
    digits: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=path,
            help="With --dmad: the folder with the four IDX files of MNIST, packed (.gz) or not. [default: the small "
            "digits of scikit-learn]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="Folder for figures, pictures and TensorBoard events. [default: toy, toy-COLUMNS or toy-dmad]",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    preset: Annotated[
        str | None,
        typer.Option(
            help="Size of MULDE and of its training: fast or paper. Not with --dmad. [default: fast]",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train on data whose exact density is known, or on digits.

    Compares learnt with exact values, on four Gaussians in a plane. With --columns, on a mixture in that many columns:
    anomalies lie inside and outside the subspace of the data, and baselines are fitted on the same rows. With --dmad,
    shows on digits what the deformation of DMAD is for.
    """
    from mulde.commands.console.research import print_comparison, print_digits, print_embedded
    from mulde.errors import UsageError
    from mulde.pipeline.experiments.embedded import DEFAULT_ROWS, run_embedded
    from mulde.pipeline.experiments.toy import run_toy

    reporter = new_reporter(quiet)
    if dmad:
        from mulde.pipeline.experiments.digits import run_digits

        for option, value in (("--columns", columns), ("--rows", rows), ("--preset", preset)):
            if value is not None:
                raise UsageError(f"{option} has no effect with --dmad", hint=f"leave {option} or --dmad out")
        print_digits(run_digits(out or Path("toy-dmad"), folder=digits, seed=seed, device=device, reporter=reporter))
        return
    if digits is not None:
        raise UsageError("--digits", expected="--dmad beside it", got="--digits alone", hint="add --dmad")
    preset = preset or "fast"
    if columns is None:
        if rows is not None:
            raise UsageError("--rows", expected="--columns beside it", got="--rows alone", hint="--columns 64")
        print_comparison(run_toy(out or Path("toy"), seed=seed, device=device, preset=preset, reporter=reporter))
        return
    print_embedded(
        run_embedded(
            out or Path(f"toy-{columns}"),
            columns=columns,
            rows=DEFAULT_ROWS if rows is None else rows,
            seed=seed,
            device=device,
            preset=preset,
            reporter=reporter,
        )
    )
