"""Many videos through the extraction: threads of this process, worker processes, or many machines.

One bad video never stops the others. Workers share only the store: what one has finished is there for all, and a worker
that dies loses at most the part of a video that it was working on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.devices import one_core_per_call
from mulde.errors import Failure, MuldeError
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.video import StoredVideo, look_up
from mulde.pipeline.extraction.worker import THIS_MACHINE, Attempt, RemoteWorker, Worker, WorkerConfig, died
from mulde.pipeline.model.world import World
from mulde.progress import Reporter
from mulde.store.store import FeatureStore

_VIDEOS_AT_ONCE = 2
"""Videos in progress in one process: the next one uses the threads that the last windows of a video leave idle."""
_MAX_TRIES = 2
_POLL_S = 0.5


@dataclass
class Extraction:
    """What a run of `extract` did."""

    done: list[StoredVideo] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    computed: int = 0
    reused: int = 0


def extract(
    videos: Sequence[Video],
    plan: ExtractionPlan,
    store: FeatureStore,
    reporter: Reporter,
    workers_config: WorkerConfig = THIS_MACHINE,
) -> Extraction:
    """Features of every video, computed if the store lacks them. One bad video never stops the others.

    Raises UsageError for settings that fit no video and MuldeError when the disk is full; finished videos are kept.
    """
    store.require_folder()
    attempts: dict[int, Attempt] = {}
    with reporter.bar("extract", len(videos), "videos") as advance:
        for i, attempt in _run(videos, plan, store, reporter, workers_config):
            for text in attempt.warnings:
                reporter.warn(text)
            if attempt.stops_all and attempt.error is not None:
                raise attempt.error
            if attempt.error is not None:
                reporter.warn(f"{videos[i].name}: {attempt.error}")
            attempts[i] = attempt
            advance(1)
    result = Extraction()
    for i, video in enumerate(videos):
        _collect(video, attempts[i], plan, store, result)
    for stored in result.done:
        if stored.missing_text:
            reporter.warn(f"{stored.video.name}: {stored.missing_text}")
    return result


def _collect(video: Video, attempt: Attempt, plan: ExtractionPlan, store: FeatureStore, result: Extraction) -> None:
    try:
        if attempt.extracted is None:
            raise attempt.error or MuldeError("it has no features and no error")
        result.done.append(look_up(video, attempt.extracted, plan, store))
    except MuldeError as error:
        result.failures.append(Failure(video.name, str(error)))
    else:
        result.computed += attempt.extracted.computed
        result.reused += not attempt.extracted.computed


def _run(
    videos: Sequence[Video], plan: ExtractionPlan, store: FeatureStore, reporter: Reporter, workers_config: WorkerConfig
) -> Iterator[tuple[int, Attempt]]:
    """The number of each video and its attempt, in the order in which they finish."""
    if workers_config.engine == "ray":
        from mulde.pipeline.extraction.ray_runner import run_on_ray

        return run_on_ray(videos, plan, store, reporter, workers_config)
    num_workers = min(workers_config.workers or _num_gpus(plan.device), len(videos))
    if num_workers < 2:
        return _in_this_process(videos, plan, store, reporter)
    return _in_processes(videos, plan, store, reporter, num_workers)


def _in_this_process(
    videos: Sequence[Video], plan: ExtractionPlan, store: FeatureStore, reporter: Reporter
) -> Iterator[tuple[int, Attempt]]:
    worker = Worker(plan, store, reporter)
    with one_core_per_call(), ThreadPoolExecutor(_VIDEOS_AT_ONCE, "video") as drivers:
        running = {drivers.submit(worker.attempt, video): i for i, video in enumerate(videos)}
        try:
            while running:
                done = wait(running, return_when=FIRST_COMPLETED).done
                for future in sorted(done, key=running.__getitem__):  # of several errors always the first video's
                    yield running.pop(future), future.result()
        finally:
            drivers.shutdown(wait=False, cancel_futures=True)
            worker.close()


def _in_processes(
    videos: Sequence[Video], plan: ExtractionPlan, store: FeatureStore, reporter: Reporter, num_workers: int
) -> Iterator[tuple[int, Attempt]]:
    """Each slot has a process of its own, so that a process that dies affects only its video."""
    devices = worker_devices(plan.device, num_workers)
    threads = plan.threads if plan.device != "cpu" else max(plan.threads // num_workers, 1)
    slots = [_Slot((plan.settings, device, threads, store.root, plan.world)) for device in devices]
    waiting, tries = deque(enumerate(videos)), Counter[int]()
    running: dict[Future[Attempt], tuple[_Slot, int]] = {}
    idle = list(slots)
    with reporter.bar("  all workers", None, "frames") as advance:
        try:
            while waiting or running:
                while idle and waiting:
                    i, video = waiting.popleft()
                    tries[i] += 1
                    slot = idle.pop()
                    running[slot.submit(video)] = (slot, i)
                finished = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED).done
                advance(sum(slot.new_frames() for slot in slots))
                for future in finished:
                    slot, i = running.pop(future)
                    idle.append(slot)
                    try:
                        yield i, future.result()
                    except BrokenProcessPool:
                        slot.replace()
                        if tries[i] < _MAX_TRIES:
                            waiting.append((i, videos[i]))
                        else:
                            yield i, Attempt(error=died(videos[i], tries[i]))
        finally:
            for slot in slots:
                slot.close()


def _num_gpus(device: str) -> int:
    """The number of devices that share the work: one, except for `cuda` without a number."""
    import torch

    return torch.cuda.device_count() if device == "cuda" else 1


def worker_devices(device: str, num_workers: int) -> list[str]:
    """The device of each worker: CUDA devices in turn, unless a single one is named."""
    num_gpus = _num_gpus(device)
    return [f"cuda:{i % num_gpus}" if num_gpus > 1 else device for i in range(num_workers)]


class _Slot:
    """A worker process, and the number of frames that it has done."""

    def __init__(self, setup: tuple[Settings, str, int, Path, World | None]) -> None:
        self._setup, self._context = setup, multiprocessing.get_context("spawn")
        self._frames, self._seen = self._context.Value("q", 0), 0
        self._executor = self._start()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self._context, initializer=_set_up, initargs=(*self._setup, self._frames))

    def submit(self, video: Video) -> Future[Attempt]:
        try:
            return self._executor.submit(_attempt_here, video)
        except BrokenProcessPool:  # it died while it was idle
            self.replace()
            return self._executor.submit(_attempt_here, video)

    def new_frames(self) -> int:
        """The number of frames done since the last call."""
        before, self._seen = self._seen, int(self._frames.value)
        return self._seen - before

    def replace(self) -> None:
        self._executor.shutdown(wait=False)
        self._executor = self._start()

    def close(self) -> None:
        for process in list((self._executor._processes or {}).values()):
            process.terminate()  # its video resumes from the last part in another run
        self._executor.shutdown(cancel_futures=True)


_here: RemoteWorker | MuldeError | None = None
"""The worker of this process, or why there can be none."""


def _set_up(settings: Settings, device: str, threads: int, store: Path, world: World | None, frames: Any) -> None:
    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def count(amount: int) -> None:
        with frames.get_lock():
            frames.value += amount

    try:
        _here = RemoteWorker(settings, device, threads, store, count, world)
    except MuldeError as error:  # as for an extractor that only the parent has registered
        _here = error


def _end_with_parent() -> None:
    """End with the parent: one that was killed ends no workers, which would wait for its next video for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _attempt_here(video: Video) -> Attempt:
    assert _here is not None
    return Attempt(error=_here, stops_all=True) if isinstance(_here, MuldeError) else _here.attempt(video)
