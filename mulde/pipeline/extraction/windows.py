"""A stream of frames cut into windows, and work that runs ahead of its consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import chain
from typing import TypeVar

import numpy as np

from mulde.records import Frames, Window

T = TypeVar("T")
R = TypeVar("R")


def windows(batches: Iterable[Frames], before: int, after: int, core: int, first: int = 0) -> Iterator[Window]:
    """Windows whose cores, put together, are the stream from its frame number `first` on, `core` frames each.

    Every core frame has `before` frames of context before it and `after` after it, where the video has them. `batches`
    start at the context of the first window, which is frame max(first - before, 0) of the video. The content of a
    window depends only on the video and on its position. Memory holds one window and one batch.
    """
    buffer: Frames | None = None
    at = min(first, before)  # where the next core begins in the buffer
    for batch in chain(batches, [None]):
        if batch is not None:
            buffer = _join(buffer, batch) if buffer is not None and len(buffer) else batch
        while buffer is not None and at < len(buffer):
            stop = min(at + core, len(buffer))
            is_full = stop - at == core and stop + after <= len(buffer)
            if batch is not None and not is_full:
                break
            yield Window(_cut(buffer, 0, min(stop + after, len(buffer))), at, stop)
            drop = max(stop - before, 0)
            buffer, at = _cut(buffer, drop, len(buffer)), stop - drop


def prefetch(items: Iterator[T], executor: Executor) -> Iterator[T]:
    """The items, each made by `executor` while the caller works on the previous one. An error is raised in place of the
    item that failed."""
    end = object()
    future: Future[object] = executor.submit(next, items, end)
    while (item := future.result()) is not end:
        future = executor.submit(next, items, end)
        yield item  # type: ignore[misc]


def ordered_map(work: Callable[[T], R], items: Iterable[T], executor: Executor, max_running: int) -> Iterator[R]:
    """work(item) of each item, in order, with at most `max_running` in `executor` or waiting to be taken."""
    running: deque[Future[R]] = deque()
    try:
        for item in items:
            running.append(executor.submit(work, item))
            if len(running) >= max_running:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()


def _join(a: Frames, b: Frames) -> Frames:
    return Frames(
        np.concatenate([a.images, b.images]),
        np.concatenate([a.frame_index, b.frame_index]),
        np.concatenate([a.time_s, b.time_s]),
    )


def _cut(frames: Frames, low: int, high: int) -> Frames:
    return Frames(frames.images[low:high], frames.frame_index[low:high], frames.time_s[low:high])
