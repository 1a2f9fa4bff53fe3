"""What `mulde cache` and `mulde models` print on standard output: tables for a person, JSON for a program."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from rich.table import Table

from mulde.console import output, print_json
from mulde.extractors.known_networks import KnownNetwork
from mulde.extractors.zoo import as_json
from mulde.store.maintenance import CacheRow, Pruning, settings_in_short, summarise

_TITLES = {"dataset": "data set", "extractor": "extractor", "settings": "settings", "video": "video", "path": "file"}
_WIDTH = 160
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def print_rows(rows: Sequence[CacheRow], *, json_: bool = False) -> None:
    """What is stored; columns without any value are left out of the table."""
    if json_:
        print_json([_row_as_json(row) for row in rows])
        return
    console = output(_WIDTH)
    if not rows:
        console.print("the store is empty")
        return
    shown = [name for name in _TITLES if any(getattr(row, name) for row in rows)]
    table = Table(*(_TITLES[name] for name in shown))
    for name in ("videos", "files", "rows", "MB", "age"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = (row.num_videos, row.num_files, row.num_rows)
        table.add_row(
            *(getattr(row, name) for name in shown),
            *("" if n is None else f"{n:,}" for n in numbers),
            _megabytes(row.size_bytes),
            _ages(row.newest_s, row.oldest_s),
        )
    table.caption = f"{sum(row.num_files for row in rows)} files, {_megabytes(sum(r.size_bytes for r in rows))} MB"
    console.print(table)


def print_pruning(pruning: Pruning) -> None:
    """What was removed, or would be, and the space that this frees."""
    console = output(_WIDTH)
    if pruning.files and not pruning.removed:
        print_rows(summarise(pruning.files, settings_in_short(pruning.files)))
    if pruning.in_use:
        console.print(f"{len(pruning.in_use)} files are kept because their videos are in use")
    total = f"{len(pruning.files)} files, {_megabytes(pruning.size_bytes)} MB"
    if not pruning.files:
        console.print("nothing to remove")
    else:
        console.print(
            f"removed {total}" if pruning.removed else f"{total} would be removed. To remove them, add --yes."
        )


def print_models(models: Sequence[KnownNetwork], remarks: Sequence[str], *, json_: bool = False) -> None:
    """A table for each kind of network: its name in the settings, its size, and whether it is here."""
    if json_:
        print_json(as_json(models))
        return
    console = output(_WIDTH)
    for kind, group in groupby(models, lambda model: model.kind):
        table = Table("setting", title=kind, title_justify="left")
        table.add_column("numbers", justify="right")
        table.add_column("MB", justify="right")
        table.add_column("licence of the weights")
        table.add_column("here")
        for model in group:
            size = "?" if model.download_mb is None else f"{model.download_mb:,.0f}"
            here = "yes" if model.present else ""
            table.add_row(model.setting, str(model.numbers_per_row or ""), size, model.licence, here)
        console.print(table)
    for remark in remarks:
        console.print(remark, soft_wrap=True)


def _row_as_json(row: CacheRow) -> dict[str, Any]:
    data = asdict(row)
    times = {name: datetime.fromtimestamp(data.pop(f"{name}_s"), UTC).isoformat() for name in ("oldest", "newest")}
    return {**data, **times}


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f}"


def _ages(newest_s: float, oldest_s: float) -> str:
    newest, oldest = _age(newest_s), _age(oldest_s)
    return newest if newest == oldest else f"{newest} to {oldest}"


def _age(moment_s: float) -> str:
    passed = time.time() - moment_s
    return next((f"{passed / size:.0f} {unit}" for unit, size in _UNITS if passed >= size), "now")
