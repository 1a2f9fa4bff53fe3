"""What `mulde compare` prints: the tables of its page."""

from __future__ import annotations

from rich.table import Table

from mulde.console import output
from mulde.evaluation.comparison import RunComparison
from mulde.report.comparison_page import comparison_tables
from mulde.report.evaluation_tables import Table as PageTable

_WIDTH = 110


def print_comparison(comparison: RunComparison) -> None:
    """Figures by smoothing and run, and the differences to the first run."""
    console = output(_WIDTH)
    for table in comparison_tables(comparison):
        console.print(_printed(table))
        for note in table.notes:
            console.print(f"note: {note}")


def _printed(table: PageTable) -> Table:
    printed = Table(title=table.caption)
    for i, column in enumerate(["smoothing", *table.columns]):
        printed.add_column(column, justify="left" if i < 2 else "right", overflow="fold")
    for group in table.groups:
        for i, row in enumerate(group.rows):
            printed.add_row("" if i else group.name, *row.cells, style="dim" if row.muted else None)
        printed.add_section()
    return printed
