"""Progress bars with rate and time left, and lines for a person, on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Advance(Protocol):
    """Moves a bar by `amount`; may also set its `total` and a `status` text."""

    def __call__(self, amount: float, *, total: float | None = None, status: str = "") -> None: ...


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed else "")


class Reporter:
    """Shows how far a stage is: as bars on a terminal, elsewhere as a line for each stage that is done.

    `quiet` shows nothing but what went wrong.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.quiet = quiet
        self._bars: Progress | None = None

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        self.console.print(text, markup=False, style="yellow")

    @contextmanager
    def bar(self, title: str, total: float | None, unit: str) -> Iterator[Advance]:
        """A bar of `total` units (None = unknown); bars may be nested. Yields what moves it forward."""
        outermost = self._bars is None
        bars = self._bars or Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=self.console,
            disable=self.quiet or not self.console.is_terminal,
            transient=True,
        )
        self._bars = bars
        start = time.monotonic()
        task = bars.add_task(title, total=total, unit=unit, status="")

        def advance(amount: float, *, total: float | None = None, status: str = "") -> None:
            bars.update(task, advance=amount, total=total, status=status)

        if outermost:
            bars.start()
        try:
            yield advance
        finally:
            bars.remove_task(task)
            if outermost:
                bars.stop()
                self._bars = None
                if not self.console.is_terminal:
                    self.say(f"{title}: {time.monotonic() - start:.0f} s")
