"""What the commands print: figures on standard output, failures on standard error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from mulde.evaluation.protocol import Evaluation, Figures
from mulde.pipeline.extract import Failure
from mulde.pipeline.progress import Reporter

_UNDEFINED = "-"


def print_evaluations(evaluations: Mapping[int, Evaluation]) -> None:
    """A table per seed and, for several seeds, the mean and spread of the AUCs."""
    console = Console(width=None if Console().is_terminal else 110)
    for seed, evaluation in evaluations.items():
        console.print(_table(evaluation, f"seed {seed}" if len(evaluations) > 1 else ""))
        for remark in evaluation.remarks():
            console.print(f"note: {remark}", markup=False)
    if len(evaluations) > 1:
        console.print(_mean_table(list(evaluations.values())))


def _table(evaluation: Evaluation, title: str) -> Table:
    first = evaluation.rows[0].result
    table = Table(title=title or None)
    macro = f"macro AUC % ({first.num_macro_videos} of {evaluation.num_videos} videos)"
    precision = f"AP % (chance {_percent(first.average_precision_chance)})"
    for name in ("smoothing", "score", "micro AUC %", macro, precision, "EER %"):
        table.add_column(name, justify="left" if name in ("smoothing", "score") else "right")
    for row in evaluation.rows:
        for name, figures in {"mulde": row.result, **row.nulls}.items():
            table.add_row(row.smoothing if name == "mulde" else "", name, *_cells(figures))
        table.add_section()
    table.caption = (
        f"{evaluation.num_videos} videos, {evaluation.num_frames} frames, "
        f"{evaluation.num_anomalous_frames} labelled anomalous"
    )
    return table


def _cells(figures: Figures) -> list[str]:
    return [
        _percent(value)
        for value in (figures.micro_auc, figures.macro_auc, figures.average_precision, figures.equal_error_rate)
    ]


def _mean_table(evaluations: Sequence[Evaluation]) -> Table:
    table = Table(title=f"mean of {len(evaluations)} seeds (standard deviation)")
    for name in ("smoothing", "micro AUC %", "macro AUC %"):
        table.add_column(name, justify="left" if name == "smoothing" else "right")
    for i, row in enumerate(evaluations[0].rows):
        cells = []
        for figure in ("micro_auc", "macro_auc"):
            values = [getattr(e.rows[i].result, figure) for e in evaluations]
            defined = None not in values
            cells.append(f"{100 * np.mean(values):.2f} ({100 * np.std(values, ddof=1):.2f})" if defined else _UNDEFINED)
        table.add_row(row.smoothing, *cells)
    return table


def _percent(value: float | None) -> str:
    return _UNDEFINED if value is None else f"{100 * value:.2f}"


def print_failures(failures: Sequence[Failure], reporter: Reporter) -> None:
    """Name every video that failed and why, at the end where it is seen."""
    reporter.warn(f"{len(failures)} {'video' if len(failures) == 1 else 'videos'} failed:")
    for failure in failures:
        reporter.warn(f"  {failure.video}: {failure.reason}")
