"""Progress bars with rate and time left, and lines for a person, on standard error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mulde.console import PlainConsole
from mulde.names import printable

EVERY_S = 30.0
"""Between two lines of progress where nobody watches a bar."""


class Advance(Protocol):
    """Moves a bar by `amount`; may also set its `total` and a `status` text."""

    def __call__(self, amount: float, *, total: float | None = None, status: str = "") -> None: ...


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed else "")


@dataclass
class _Bar:
    """The state of a bar; `start_s` on the clock of the reporter."""

    title: str
    total: float | None
    unit: str
    start_s: float
    waits: bool = False
    done: float = 0
    status: str = ""

    @property
    def share(self) -> float:
        return min(self.done / self.total, 1.0) if self.total else 0.0


class Reporter:
    """Shows the progress of stages: as bars on a terminal, elsewhere as a line every 30 s and one per finished stage.

    `quiet` shows warnings only. Safe for several threads.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = PlainConsole(stderr=True, soft_wrap=True)
        self.quiet, self._clock = quiet, clock
        self._lock = threading.RLock()
        self._open: list[_Bar] = []  # the first is what is done; those behind it are steps of that
        self._steps: dict[str, float] = {}  # by unit, of all bars behind the first
        self._said_s = 0.0
        self._stand: tuple[float, ...] = (0.0,)  # at the last line
        self._bars: Progress | None = None
        self._all_closed = threading.Event()

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text)

    def warn(self, text: str) -> None:
        self.console.print(text, style="yellow")

    @contextmanager
    def bar(self, title: str, total: float | None, unit: str, *, waits: bool = False) -> Iterator[Advance]:
        """A bar of `total` units (None: unknown); bars may be nested. Yields a function that advances it.

        waits: for work that may never come, so no line is written while nothing is done.
        """
        bar = _Bar(title.strip(), total, unit, self._clock(), waits)
        task = self._begin(bar, title)

        def advance(amount: float, *, total: float | None = None, status: str = "") -> None:
            with self._lock:
                bar.done, bar.total, bar.status = bar.done + amount, total or bar.total, status or bar.status
                if self._open and bar is not self._open[0]:
                    self._steps[unit] = self._steps.get(unit, 0) + amount
                if self._bars is not None:
                    self._bars.update(task, advance=amount, total=total, status=printable(status))
            self.tick()

        try:
            yield advance
        finally:
            self._end(bar, task)

    def tick(self) -> None:
        """Write a line of progress if one is due."""
        with self._lock:
            now = self._clock()
            if not self._open or self.quiet or self.console.is_terminal or now - self._said_s < EVERY_S:
                return
            first = self._open[0]
            stand = (first.done, *self._steps.values())
            if not first.waits or stand != self._stand:
                self._said_s, self._stand = now, stand
                self.say(_line(self._open, self._steps, now))

    def _begin(self, bar: _Bar, title: str) -> TaskID:
        with self._lock:
            bars = self._bars
            if bars is None:
                bars = self._bars = self._new_bars()
                self._said_s, self._steps = bar.start_s, {}
                bars.start()
                self._all_closed = threading.Event()
                if not self.quiet and not self.console.is_terminal:
                    threading.Thread(target=self._keep_ticking, args=(self._all_closed,), daemon=True).start()
            self._open.append(bar)
            return bars.add_task(printable(title), total=bar.total, unit=bar.unit, status="")

    def _end(self, bar: _Bar, task: TaskID) -> None:
        with self._lock:
            first = bar is self._open[0]
            self._open.remove(bar)
            if self._bars is not None:
                self._bars.remove_task(task)
                if not self._open:
                    self._bars.stop()
                    self._bars = None
                    self._all_closed.set()
            if first and not self.console.is_terminal:
                self.say(f"{bar.title}: {self._clock() - bar.start_s:.0f} s")

    def _keep_ticking(self, all_closed: threading.Event) -> None:
        """Write lines of progress during long steps too."""
        while not all_closed.wait(EVERY_S / 10):
            self.tick()

    def _new_bars(self) -> Progress:
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=self.console,
            disable=self.quiet or not self.console.is_terminal,
            transient=True,
        )


def _line(bars: list[_Bar], steps: dict[str, float], now: float) -> str:
    """`extract: 12 of 40 videos, 3,200 frames, 41 frames/s, about 12 min left`."""
    first = bars[0]
    passed_s = now - first.start_s
    parts = [
        f"{first.done:,.0f} of {first.total:,.0f} {first.unit}" if first.total else f"{first.done:,.0f} {first.unit}"
    ]
    parts += [f"{count:,.0f} {unit}" for unit, count in steps.items()]
    unit, count = max(steps.items(), key=lambda step: step[1]) if steps else (first.unit, first.done)
    if count:
        parts.append(f"{count / passed_s:,.3g} {unit}/s")
    share = first.share + sum(bar.share for bar in bars[1:]) / first.total if first.total else 0.0
    if 0 < share < 1:
        parts.append(f"about {_in_words(passed_s * (1 - share) / share)} left")
    else:
        parts.append(f"{_in_words(passed_s)} so far")
    return f"{first.title}: " + ", ".join([*parts, *([first.status] if first.status else [])])


def _in_words(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
