"""Scores against labels: those of a run, those of another program, and runs side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mulde.commands.ending import finish
from mulde.commands.options import Compat, Quiet, RunLabels, new_reporter, path
from mulde.errors import UsageError

Bootstrap = Annotated[
    int,
    typer.Option(min=0, max=100_000, help="Number of resamples of the videos for 95 % intervals; 0 for no intervals."),
]


Scores = Annotated[
    Path | None,
    typer.Option(
        parser=path,
        help="Instead of RUN, scores that another program gave the frames of the test videos: a folder with a file per "
        "video (.npy, .csv, .txt, .parquet), or one file over all videos in order. Needs --labels.",
        show_default=False,
    ),
]
Skipped = Annotated[
    str | None,
    typer.Option(
        metavar="N[,M]",
        help="With --scores: the first N (and the last M) frames of each video have no score. They repeat the nearest "
        "score; figures without these frames are given as well.",
        show_default=False,
    ),
]
Column = Annotated[
    str | None,
    typer.Option(
        help="With --scores: column of the scores in tables. [default: score, or the only column of numbers]",
        show_default=False,
    ),
]


def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", parser=path, help="Run folder written by `mulde score` or `mulde run`."),
    ] = None,
    scores: Scores = None,
    labels: RunLabels = None,
    skipped_frames: Skipped = None,
    lower_is_anomalous: Annotated[
        bool, typer.Option("--lower-is-anomalous", help="With --scores: lower scores are more anomalous, e.g. a PSNR.")
    ] = False,
    column: Column = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="With --scores: folder to write. [default: <scores>-evaluation, beside the scores]",
            show_default=False,
        ),
    ] = None,
    compat: Compat = None,
    bootstrap: Bootstrap = 1000,
    events: Annotated[
        bool,
        typer.Option(
            "--events", help="Also list each annotated anomaly and the event that found it, in events_found.csv."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Compare scores with ground truth and with null scores.

    Null scores never look at the video. Also writes a page with curves.
    """
    from mulde.commands.console.evaluation import print_events_found
    from mulde.pipeline.evaluation.foreign_scores import ForeignScores
    from mulde.pipeline.evaluation.run import run_evaluate, run_evaluate_scores

    _check_choice(run, scores, labels, events=events)
    reporter = new_reporter(quiet)
    if scores is not None:
        foreign = ForeignScores(scores, column, _skipped(skipped_frames), lower_is_anomalous)
        outcome = run_evaluate_scores(
            foreign, str(labels), out, reporter, sys.argv[1:], bootstrap=bootstrap, compat=compat
        )
        finish(outcome, reporter)
        return
    only = {"skipped-frames": skipped_frames, "lower-is-anomalous": lower_is_anomalous, "column": column, "out": out}
    for option, value in only.items():
        if value:
            raise UsageError(f"--{option}", expected="--scores, which it belongs to", got="RUN alone")
    outcome = run_evaluate(Path(str(run)), labels, reporter, bootstrap=bootstrap, compat=compat, events=events)
    if outcome.events_found is not None:
        print_events_found(outcome.events_found)
    finish(outcome, reporter)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            parser=path,
            help="Evaluated run folders, folders of seed-<n> run folders, or outputs of `mulde evaluate --scores`.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(parser=path, help="Folder to write: comparison.csv and comparison.html.")] = Path(
        "runs/compare"
    ),
    bootstrap: Bootstrap = 1000,
    quiet: Quiet = False,
) -> None:
    """Compare runs on the same videos and labels.

    Differences to the first run have intervals over videos. Uses stored scores and the labels that evaluate left.
    """
    from mulde.commands.console.comparison import print_comparison
    from mulde.pipeline.evaluation.compare import run_compare

    print_comparison(run_compare(runs, out, new_reporter(quiet), bootstrap=bootstrap))


def _check_choice(run: Path | None, scores: Path | None, labels: str | None, *, events: bool) -> None:
    """Raises UsageError unless there is either RUN or --scores with what it needs."""
    if (run is None) == (scores is None):
        got = "neither" if run is None else "both"
        raise UsageError("mulde evaluate", expected="either RUN, or --scores with --labels", got=got)
    if scores is not None and labels is None:
        raise UsageError("--scores", expected="--labels NAME:ROOT with the test videos and their labels", got="none")
    if scores is not None and events:
        raise UsageError("--events", expected="a run with events", got="--scores, which have none")


def _skipped(text: str | None) -> tuple[int, int]:
    """The frames without a score at the start and at the end of each video, from N or N,M."""
    counts = [part.strip() for part in (text or "0").split(",")]
    is_whole = all(part.isascii() and part.isdigit() and len(part) < 8 for part in counts)
    if not is_whole or len(counts) > 2:
        raise UsageError("--skipped-frames", expected="N or N,M in frames, e.g. 4 or 8,7", got=repr(text))
    return int(counts[0]), int(counts[1]) if len(counts) == 2 else 0
