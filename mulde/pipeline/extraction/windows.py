"""A stream of frames cut into windows, and work that runs ahead of the one who waits for it."""

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

    Every core frame has `before` frames of context in front of it and `after` behind it, as far as the video reaches.
    `batches` start at the context of the first window, so at frame max(first - before, 0) of the video. What a window
    holds depends on the video and on its place alone. Memory holds one window and one batch.
    """
    held: Frames | None = None
    at = min(first, before)  # where the next core begins in what is held
    for batch in chain(batches, [None]):
        if batch is not None:
            held = _join(held, batch) if held is not None and len(held) else batch
        while held is not None and at < len(held):
            stop = min(at + core, len(held))
            is_full = stop - at == core and stop + after <= len(held)
            if batch is not None and not is_full:
                break
            yield Window(_cut(held, 0, min(stop + after, len(held))), at, stop)
            drop = max(stop - before, 0)
            held, at = _cut(held, drop, len(held)), stop - drop


def prefetch(items: Iterator[T], executor: Executor) -> Iterator[T]:
    """The items, each one made by `executor` while the caller works on the one before. Errors come where it stood."""
    end = object()
    coming: Future[object] = executor.submit(next, items, end)
    while (item := coming.result()) is not end:
        coming = executor.submit(next, items, end)
        yield item  # type: ignore[misc]


def ordered_map(work: Callable[[T], R], items: Iterable[T], executor: Executor, most: int) -> Iterator[R]:
    """work(item) of each item, in order, at most `most` of them at a time in `executor` or waiting to be taken."""
    running: deque[Future[R]] = deque()
    try:
        for item in items:
            running.append(executor.submit(work, item))
            if len(running) >= most:
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
