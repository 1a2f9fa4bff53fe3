"""The outcome of a command, and how failures of single videos are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mulde.errors import Failure, MuldeError
from mulde.evaluation.protocol import Evaluation
from mulde.progress import Reporter


class Failed(Protocol):
    """Takes the error of one video; `lost`: the video has no result at all."""

    def __call__(self, video: str, error: MuldeError, *, lost: bool) -> None: ...


@dataclass
class Outcome:
    """The outcome of a command: how many videos are done, which failed, the evaluations by seed, the run folder."""

    done: int = 0
    failures: list[Failure] = field(default_factory=list)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    folder: Path | None = None

    def add(self, done: int, failures: Sequence[Failure]) -> None:
        """Add the outcome of some of the videos."""
        self.done += done
        self.failures += failures

    def failing(self, reporter: Reporter) -> Failed:
        """A function that reports and counts errors of videos after their extraction, each lost video once."""
        lost_names: set[str] = set()

        def failed(video: str, error: MuldeError, *, lost: bool) -> None:
            failure = Failure(video, str(error))
            reporter.warn(f"{video}: {error}")
            if failure not in self.failures:
                self.failures.append(failure)
            if lost and video not in lost_names:
                lost_names.add(video)
                self.done -= 1

        return failed
