"""What `mulde compare` prints: the tables of its page."""

from __future__ import annotations

from rich.table import Table

from mulde.console import output
from mulde.evaluation.comparison import RunComparison
from mulde.report.comparison_page import comparison_tables
from mulde.report.evaluation_tables import Table as PageTable

_WIDTH = 110
_MIN_NAME = len("null: constant")


def print_comparison(comparison: RunComparison) -> None:
    """Figures by smoothing and run, and the differences to the first run."""
    console = output(_WIDTH)
    for table in comparison_tables(comparison):
        console.print(_printed(table))
        for note in table.notes:
            console.print(f"note: {note}")


def _printed(table: PageTable) -> Table:
    printed = Table(title=table.caption, pad_edge=False)
    for i, column in enumerate(table.columns):
        printed.add_column(column, justify="right" if i else "left", overflow="fold", min_width=0 if i else _MIN_NAME)
    for group in table.groups:
        printed.add_row(group.name, style="bold")
        for row in group.rows:
            printed.add_row(*row.cells, style="dim" if row.muted else None)
        printed.add_section()
    return printed
