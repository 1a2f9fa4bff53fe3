"""Drift of cameras, and the matrix of models by cameras, on the terminal."""

from __future__ import annotations

from rich.table import Table

from mulde.commands.ending import echo
from mulde.console import output, print_json
from mulde.evaluation.formatting import UNDEFINED
from mulde.pipeline.live.drift import PROMISE, CameraDrift
from mulde.pipeline.live.drift_report import DriftReport
from mulde.pipeline.transfer.matrix import OWN, Cell, TransferMatrix

_WIDTH = 110


def print_drift(report: DriftReport, *, json_: bool) -> None:
    """A table of the streams of each camera, and what to do; or one JSON array."""
    if json_:
        print_json([drift.as_json() for drift in report.tested])
        return
    for drift in report.tested:
        _print_camera(drift)
    if report.tested:
        days = report.tested[0].days_between
        echo(f"{PROMISE.format(days=days)} Of the gauge, which goes by the hour, nothing is promised.")
        echo(f"pictures: {report.folder}")


def _print_camera(drift: CameraDrift) -> None:
    names = drift.days.names
    table = Table(
        title=f"{drift.camera}: {len(names)} days, {names[0]} to {names[-1]}, "
        f"the first {drift.num_reference} as reference",
        pad_edge=False,
    )
    for column in ("stream", "evidence", "threshold", "gauge", "drift"):
        table.add_column(column, justify="left" if column in ("stream", "drift") else "right", overflow="fold")
    for stream in drift.streams:
        text = drift.text(stream).removeprefix(f"{stream.stream}: ")
        over = [each for each in stream.course.drifts if each.over is not None]
        if not text and over:
            last = over[-1]
            text = f"over: from {names[last.first]} to {names[last.over or 0]}"
        table.add_row(
            stream.stream,
            _figure(stream.evidence),
            _figure(drift.threshold),
            UNDEFINED if stream.last_gauge is None else _figure(stream.last_gauge),
            text,
        )
    output(_WIDTH).print(table)
    for text in drift.days.left_out:
        echo(f"left out: {text}")
    if drift.drifting:
        echo(
            f"What to do: look at {drift.camera}. Did somebody move or dirty it, did the place change? Record the "
            "present with mulde collect; mulde transfer says whether the model still fits, mulde train makes another."
        )


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}" if value < 1e7 else f"{value:.0e}"


def print_transfer(matrix: TransferMatrix, *, json_: bool) -> None:
    """A row for each model on each footage, and below it what is to be known of it; or one JSON array."""
    if json_:
        print_json([cell.as_json() for cell in matrix.cells])
        return
    table = Table(pad_edge=False)
    columns = ("model", "on", "", "false alarms/h (promised)", "time", "mean p", "KS by stream")
    for column in columns:
        is_figure = column in columns[3:6]
        table.add_column(column, justify="right" if is_figure else "left", no_wrap=not column, overflow="fold")
    for cell in matrix.cells:
        table.add_row(*_cells(cell))
    output(_WIDTH).print(table)
    notes: dict[str, list[str]] = {}
    for cell in matrix.cells:
        for note in (cell.failure, *cell.notes):
            if note and note != OWN:
                notes.setdefault(note, []).append(f"{cell.model} on {cell.footage}")
    for note, cells in notes.items():
        echo(f"{', '.join(cells)}: {note}")
    echo(
        f"held out: {OWN}. time: the share that lies in alarms, as one that never ends counts once. KS: 0 where scores "
        "are as in held-out normal video of the model, 1 where none is."
    )


def _cells(cell: Cell) -> list[str]:
    if cell.alarms_per_hour is None or cell.promised_per_hour is None:
        return [cell.model, cell.footage, "no score", *[UNDEFINED] * 4]
    interval = "" if cell.mean_p_interval is None else f" ({cell.mean_p_interval[0]:.2f}-{cell.mean_p_interval[1]:.2f})"
    verdict = "within" if cell.is_within else "beyond"
    return [
        cell.model,
        cell.footage,
        f"{verdict}, held out" if cell.is_held_out else verdict,
        f"{cell.alarms_per_hour:.3g} ({cell.promised_per_hour[0]:.3g}-{cell.promised_per_hour[1]:.3g})",
        UNDEFINED if cell.alarm_share is None else f"{100 * cell.alarm_share:.1f} %",
        UNDEFINED if cell.mean_p is None else f"{cell.mean_p:.2f}{interval}",
        ", ".join(f"{name} {value:.2f}" for name, value in cell.ks.items()),
    ]
