"""What `mulde ablate` and `mulde toy` print on standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from mulde.console import output
from mulde.evaluation.formatting import number, percent
from mulde.evaluation.metrics import mean_and_std
from mulde.evaluation.protocol import TableCell
from mulde.pipeline.evaluation.ablation import AGREEMENT, Ablation
from mulde.pipeline.experiments.digits import ANOMALOUS, DigitComparison
from mulde.pipeline.experiments.embedded import EmbeddedComparison
from mulde.pipeline.experiments.toy_comparison import Comparison, Promise

_WIDTH = 110


def print_ablation(ablation: Ablation) -> None:
    """AUCs by choice of streams, and how alike the streams are; the mean of the runs where there are several."""
    console = output(_WIDTH)
    num_runs = len(ablation.correlations)
    smoothings = list(dict.fromkeys(line["smoothing"] for line in ablation.lines if "smoothing" in line))
    table = Table(title=f"mean of {num_runs} runs" if num_runs > 1 else None)
    table.add_column("streams", no_wrap=True)
    for kind in ("micro", "macro") if smoothings else ():
        for smoothing in smoothings:
            table.add_column(f"{kind} AUC % {smoothing}", justify="right")
    table.add_column("rank corr. with all", justify="right")
    for streams, score in dict.fromkeys((line["streams"], line.get("score")) for line in ablation.lines):
        rows = [line for line in ablation.lines if (line["streams"], line.get("score")) == (streams, score)]
        cells = [
            percent(_mean([line[f"{kind}_auc"] for line in rows if line["smoothing"] == smoothing]))
            for kind in ("micro", "macro")
            for smoothing in smoothings
        ]
        title = str(streams) if streams != "none" else f"null: {score}"
        table.add_row(title, *cells, number(_mean([line[AGREEMENT] for line in rows])))
    if smoothings:
        table.caption = "Choosing streams by these figures means choosing them on test labels."
    console.print(table)
    console.print(_correlation_table(list(ablation.correlations.values())))


def _correlation_table(runs: Sequence[Mapping[str, Mapping[str, float | None]]]) -> Table:
    table = Table(title="rank correlation of the streams")
    table.add_column("")
    for name in runs[0]:
        table.add_column(name, justify="right")
    for a in runs[0]:
        table.add_row(a, *(number(_mean([run[a][b] for run in runs])) for b in runs[0]))
    return table


def _mean(values: Sequence[TableCell]) -> float | None:
    return mean_and_std(value for value in values if isinstance(value, float | int))[0]


def print_comparison(comparison: Comparison) -> None:
    """The toy set, learnt beside exact: both tables, and whether the expectations are met."""
    console = output(_WIDTH)
    console.print(_level_table(comparison))
    console.print(_aggregate_table(comparison))
    _print_promises(console, comparison.promises)


def print_embedded(comparison: EmbeddedComparison) -> None:
    """The mixture among many columns: learnt beside exact per level, all scores, and whether the expectation is met."""
    console = output(_WIDTH)
    levels = Table(title="learnt against exact, per noise level")
    for name in (
        "sigma",
        "AUC inside",
        "exact",
        "outside",
        "exact",
        "both",
        "exact",
        "correlation",
        "DSM loss",
        "exact",
    ):
        levels.add_column(name, justify="right")
    for level in comparison.levels:
        levels.add_row(*(f"{value:.4f}" for value in asdict(level).values()))
    levels.caption = "correlation on normal rows; DSM loss on held-out rows, of both under the same noise"
    console.print(levels)
    scores = Table(title="AUC of anomalies inside and outside the subspace")
    for name in ("score", "inside", "outside", "both"):
        scores.add_column(name, justify="left" if name == "score" else "right")
    for row in comparison.scores:
        values = asdict(row)
        scores.add_row(values.pop("score"), *(f"{value:.4f}" for value in values.values()))
    console.print(scores)
    _print_promises(console, comparison.promises)


def print_digits(comparison: DigitComparison) -> None:
    """The toy of DMAD: the AUC of each score, and whether the expectations are met."""
    console = output(_WIDTH)
    table = Table(title=f"AUC in percent on {comparison.data}")
    for name in ("network", "score", "all", *map(str, ANOMALOUS)):
        table.add_column(name, justify="left" if name in ("network", "score") else "right")
    for row in comparison.rows:
        values = asdict(row)
        table.add_row(values.pop("network"), values.pop("score"), *map(percent, values.values()))
    numbers = comparison.num_images
    table.caption = (
        f"learnt from {numbers['train']:,} normal digits; {numbers['normal']:,} normal and {numbers['anomalous']:,} "
        "anomalous ones to test with, together and digit by digit"
    )
    console.print(table)
    _print_promises(console, comparison.promises)


def _print_promises(console: Console, promises: Sequence[Promise]) -> None:
    console.print(f"{'All' if all(p.kept for p in promises) else 'Not all'} expectations are met:")
    for promise in promises:
        verdict = "met" if promise.kept else "NOT MET"
        console.print(f"  {verdict}: {promise.promise} ({promise.found})", soft_wrap=True)


def _level_table(comparison: Comparison) -> Table:
    table = Table(title="learnt against exact, per noise level")
    columns = ("sigma", "AUC energy", "exact", "AUC score norm", "exact", "correlation", "DSM loss", "exact", "lowest")
    for name in columns:
        table.add_column(name, justify="right")
    for row in comparison.levels:
        values = asdict(row)
        sigma = values.pop("sigma")
        table.add_row(f"{sigma:.4f}", *(f"{value:.4f}" for value in values.values()))
    table.caption = (
        "DSM loss on held-out points: learnt and exact energy under the same noise, and the lowest possible loss"
    )
    return table


def _aggregate_table(comparison: Comparison) -> Table:
    table = Table(title="AUC of the aggregates")
    for name in ("aggregate", "energy", "exact", "score norm", "exact"):
        table.add_column(name, justify="left" if name == "aggregate" else "right")
    for row in comparison.aggregates:
        values = asdict(row)
        table.add_row(values.pop("aggregate"), *(f"{value:.4f}" for value in values.values()))
    return table
