"""One worker of the extraction, in this process, in one of its own or on another machine: what all of them share."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.devices import one_core_per_call
from mulde.errors import MuldeError, UsageError, cannot, sentence
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.video import Extracted, extract_video
from mulde.pipeline.model.world import World
from mulde.progress import Advance, Reporter
from mulde.store.store import FeatureStore


@dataclass(frozen=True)
class WorkerConfig:
    """Who works: `workers` processes of this machine (0: this one, or one per GPU), or that many actors of the Ray
    cluster at `address` (0: all that it has room for)."""

    engine: Literal["local", "ray"] = "local"
    workers: int = 0
    address: str | None = None

    @classmethod
    def from_options(cls, engine: str, workers: int, address: str | None) -> WorkerConfig:
        """As the command line names it. Raises UsageError for another engine, or an address without Ray."""
        if engine not in ("local", "ray"):
            raise UsageError(f"engine {engine!r}", expected="local or ray")
        if address is not None and engine != "ray":
            raise UsageError("an address of a Ray cluster", expected="--engine ray beside it", got=f"--engine {engine}")
        return cls("ray" if engine == "ray" else "local", workers, address)


THIS_MACHINE = WorkerConfig()


@dataclass(frozen=True)
class Attempt:
    """The outcome of one video: what was extracted, or the `error` for the user; and the warnings on the way.

    stops_all: the error would be that of every other video too.
    """

    extracted: Extracted | None = None
    error: MuldeError | None = None
    stops_all: bool = False
    warnings: tuple[str, ...] = ()


class Worker:
    """A plan with its threads, for one video after the other or for several at a time."""

    def __init__(self, plan: ExtractionPlan, store: FeatureStore, reporter: Reporter) -> None:
        self.plan, self.store, self.reporter = plan, store, reporter
        self._pool, self._closing = ThreadPoolExecutor(plan.threads, "window"), threading.Event()

    def attempt(self, video: Video) -> Attempt:
        """Extract one video; whatever a decoder or a model raises becomes the attempt's error."""
        try:
            return Attempt(extract_video(video, self.plan, self.store, self._pool, self.reporter, self._closing.is_set))
        except UsageError as error:  # settings that fit no video
            return Attempt(error=error, stops_all=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return Attempt(error=_disk_full(self.store), stops_all=True)
            if _is_of_store(error, self.store):
                return Attempt(error=cannot("written", f"feature store {self.store.root}", error))  # it can be read
            return Attempt(error=sentence(error, video.path))
        except Exception as error:
            return Attempt(error=sentence(error, video.path))

    def close(self) -> None:
        """Cancel the windows that wait; those in progress are finished."""
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)


class _Remote(Reporter):
    """Of a worker in another process: warnings return with the attempt, frames are counted."""

    def __init__(self, count: Callable[[int], None]) -> None:
        super().__init__(quiet=True)
        self._count, self.warnings = count, list[str]()

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @contextmanager
    def bar(self, title: str, total: float | None, unit: str, *, waits: bool = False) -> Iterator[Advance]:
        def advance(amount: float, *, total: float | None = None, status: str = "") -> None:
            self._count(int(amount))

        yield advance


class RemoteWorker:
    """A worker in a process of its own, built there from its settings."""

    def __init__(
        self,
        settings: Settings,
        device: str,
        threads: int,
        store: Path,
        count: Callable[[int], None],
        world: World | None = None,
    ) -> None:
        self._reporter = _Remote(count)
        self._worker = Worker(ExtractionPlan(settings, device, threads, world), FeatureStore(store), self._reporter)

    def attempt(self, video: Video) -> Attempt:
        self._reporter.warnings.clear()
        with one_core_per_call():
            attempt = self._worker.attempt(video)
        return dataclasses.replace(attempt, warnings=tuple(self._reporter.warnings))


def died(video: Video, tries: int) -> MuldeError:
    return MuldeError(
        f"{video.path}: the worker process died {tries} times on it",
        hint="fewer --workers where memory is short, or the video through a repair tool where its decoder crashes",
    )


def _is_of_store(error: OSError, store: FeatureStore) -> bool:
    """Whether it is the store that cannot be written; Arrow names no file when it cannot."""
    if error.filename is None:
        return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return Path(os.fsdecode(error.filename)).is_relative_to(store.root) and error.errno != errno.EIO


def _disk_full(store: FeatureStore) -> MuldeError:
    return MuldeError(
        f"the disk of the feature store {store.root} is full",
        hint="free some space, or --store on another disk, and the same command again: finished videos are kept",
    )
