"""Progress bars with rate and time left, and lines for a person, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

Advance = Callable[[float], None]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed else "")


class Reporter:
    """Shows how far a stage is. `quiet` shows nothing but notes of things that went wrong."""

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
            console=self.console,
            disable=self.quiet,
            transient=True,
        )
        self._bars = bars
        task = bars.add_task(title, total=total, unit=unit)
        if outermost:
            bars.start()
        try:
            yield lambda amount: bars.advance(task, amount)
        finally:
            bars.remove_task(task)
            if outermost:
                bars.stop()
                self._bars = None
