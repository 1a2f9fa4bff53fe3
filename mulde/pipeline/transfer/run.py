"""`mulde transfer`: the matrix as CSV, JSON and a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mulde.errors import UsageError
from mulde.files import write_csv, write_json
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.outcome import Outcome
from mulde.pipeline.transfer.matrix import MAX_ALARM_SHARE, Cell, TransferMatrix, transfer_matrix
from mulde.report.transfer_plot import HeatCell, plot_transfer


def run_transfer(
    models: Sequence[Path], footage: Sequence[str], changes: Sequence[str], out: Path, session: Session
) -> tuple[TransferMatrix, Outcome]:
    """Score every footage with every model, as `transfer_matrix`, and write `transfer.csv`, `.json` and `.png`.

    Raises UsageError without models, and for a place that cannot be written to.
    """
    if not models:
        raise UsageError("mulde transfer", expected="models, as runs/*/model.safetensors", got="none")
    if out.is_file():
        raise UsageError(f"--out {out}", expected="a folder, or nothing yet", got="a file")
    matrix = transfer_matrix(models, footage, changes, session)
    write_json(out / "transfer.json", [cell.as_json() for cell in matrix.cells])
    write_csv(pd.DataFrame([_row(cell) for cell in matrix.cells]), out / "transfer.csv")
    plot_transfer(
        matrix.models,
        matrix.footage,
        [[_heat(matrix.cell(model, footage)) for footage in matrix.footage] for model in matrix.models],
        out / "transfer.png",
    )
    done = sum(not cell.failure for cell in matrix.cells)
    return matrix, Outcome(done, list(matrix.failures), folder=out)


def _row(cell: Cell) -> dict[str, object]:
    low, high = cell.promised_per_hour or (None, None)
    p_low, p_high = cell.mean_p_interval or (None, None)
    return {
        "model": cell.model,
        "footage": cell.footage,
        "held_out": cell.is_held_out,
        "hours": cell.hours,
        "videos": cell.num_videos,
        "own_videos": cell.num_own,
        "alarms": cell.num_alarms,
        "alarms_per_hour": cell.alarms_per_hour,
        "expected_per_hour": cell.expected_per_hour,
        "alarm_share": cell.alarm_share,
        "promised_low_per_hour": low,
        "promised_high_per_hour": high,
        "within": cell.is_within,
        "mean_p": cell.mean_p,
        "mean_p_low": p_low,
        "mean_p_high": p_high,
        **{f"ks_{name}": value for name, value in cell.ks.items()},
        "failure": cell.failure,
        "notes": "; ".join(cell.notes),
    }


def _heat(cell: Cell) -> HeatCell:
    if cell.alarms_per_hour is None or cell.promised_per_hour is None:
        return HeatCell(None, "no score")
    # In the middle at what is promised at most, brightest at 16 times as many, or where alarms stand.
    ratio = cell.alarms_per_hour / max(cell.promised_per_hour[1], 1e-9)
    stands = cell.alarm_share is not None and cell.alarm_share > MAX_ALARM_SHARE
    strength = 1.0 if stands else float(np.clip(0.5 + np.log2(max(ratio, 1e-9)) / 8, 0, 1))
    stood = f"\n{100 * cell.alarm_share:.0f} % of the time" if stands and cell.alarm_share is not None else ""
    p = "" if cell.mean_p is None else f"\np {cell.mean_p:.2f}"
    held_out = "\nheld out" if cell.is_held_out else ""
    return HeatCell(strength, f"{cell.alarms_per_hour:.3g} / h{stood}{p}{held_out}")
