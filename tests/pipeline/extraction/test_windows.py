"""Windows against slices of the whole stream; work that runs ahead keeps its order and its errors."""

from __future__ import annotations

import itertools
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulde.pipeline.extraction.windows import ordered_map, prefetch, windows
from mulde.records import Frames, Window

context = st.integers(0, 7)
cores = st.integers(1, 6)
gaps = st.lists(st.integers(1, 3), max_size=24)  # steps of the frame numbers: some frames could not be decoded


def stream_of(steps: list[int]) -> Frames:
    """A stream whose pictures, numbers and times all tell frames apart."""
    index = np.cumsum(steps, dtype=np.int64) - 1
    images = np.repeat(np.arange(len(index), dtype=np.uint8).reshape(-1, 1, 1, 1), 3, axis=3)
    return Frames(images, index, index / 25)


def cut(frames: Frames, low: int, high: int) -> Frames:
    return Frames(frames.images[low:high], frames.frame_index[low:high], frames.time_s[low:high])


def batches_of(frames: Frames, sizes: list[int]) -> Iterator[Frames]:
    """The stream in batches of these sizes, over and over; none is empty."""
    low = 0
    for size in itertools.cycle(sizes):
        if low >= len(frames):
            return
        yield cut(frames, low, low + size)
        low += size


def obvious(frames: Frames, before: int, after: int, core: int, first: int = 0) -> list[Window]:
    """The definition, from the whole stream at once."""
    expected = []
    for start in range(first, len(frames), core):
        stop = min(start + core, len(frames))
        low = max(start - before, 0)
        expected.append(Window(cut(frames, low, stop + after), start - low, stop - low))
    return expected


def assert_same(got: list[Window], expected: list[Window]) -> None:
    assert [(w.first, w.last) for w in got] == [(w.first, w.last) for w in expected]
    for one, other in zip(got, expected, strict=True):
        for name in ("images", "frame_index", "time_s"):
            assert np.array_equal(getattr(one.frames, name), getattr(other.frames, name))


@given(gaps, st.lists(st.integers(1, 9), min_size=1, max_size=5), context, context, cores)
def test_any_cut_of_the_stream_gives_the_windows_of_the_definition(steps, sizes, before, after, core):
    frames = stream_of(steps)
    got = list(windows(batches_of(frames, sizes), before, after, core))
    assert_same(got, obvious(frames, before, after, core))


@given(gaps, st.lists(st.integers(1, 9), min_size=1, max_size=5), context, context, cores, st.integers(0, 8))
def test_from_a_later_window_on_they_are_those_of_a_whole_run(steps, sizes, before, after, core, skipped):
    frames, first = stream_of(steps), min(skipped * core, len(steps))
    rest = cut(frames, max(first - before, 0), len(frames))
    got = list(windows(batches_of(rest, sizes), before, after, core, first))
    assert_same(got, obvious(frames, before, after, core, first))
    assert_same(got, list(windows(batches_of(frames, [1]), before, after, core))[-(-first // core) :])


def test_no_frame_gives_no_window():
    assert list(windows(iter([]), 3, 3, 4)) == []
    assert list(windows(iter([cut(stream_of([1] * 3), 0, 0)]), 3, 3, 4)) == []


def test_a_window_comes_as_soon_as_its_context_is_there():
    taken = []

    def batches() -> Iterator[Frames]:
        for batch in batches_of(stream_of([1] * 24), [4]):
            taken.append(int(batch.frame_index[-1]))
            yield batch

    coming = windows(batches(), 2, 4, 4)
    seen = [(int(window.core_index[-1]), taken[-1]) for window in coming]
    assert seen == [(3, 7), (7, 11), (11, 15), (15, 19), (19, 23), (23, 23)]


def test_memory_holds_one_window_and_one_batch_however_long_the_stream():
    side, core, before, after = 64, 8, 4, 4

    def batches(count: int) -> Iterator[Frames]:
        for i in range(count):
            index = np.arange(i * core, (i + 1) * core)
            yield Frames(np.zeros((core, side, side, 3), np.uint8), index, index / 25)

    def peak_bytes(count: int) -> int:
        tracemalloc.start()
        for _ in windows(batches(count), before, after, core):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(200) < 1.05 * peak_bytes(20)
    a_frame = side * side * 3
    assert peak_bytes(20) < 1.1 * a_frame * (2 * (before + core + after) + 2 * core)


@pytest.fixture
def one():
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def several():
    with ThreadPoolExecutor(4) as executor:
        yield executor


def test_ahead_gives_all_in_order_and_makes_one_while_the_caller_works(one):
    made = []

    def items() -> Iterator[int]:
        for i in range(5):
            made.append(i)
            yield i

    taken = []
    for item in prefetch(items(), one):
        taken.append(item)
        one.submit(int).result()  # behind the item that is made ahead
        assert made == list(range(min(item + 2, 5)))
    assert taken == list(range(5))


def test_an_error_of_what_runs_ahead_comes_where_the_caller_stood(one):
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the cable was pulled")

    coming = prefetch(items(), one)
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(OSError, match="the cable was pulled"):
        next(coming)
    with pytest.raises(StopIteration):
        next(coming)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_results_come_in_order_whatever_takes_longest_and_never_too_many_at_a_time(several, most):
    lock, flying, largest, started = threading.Lock(), 0, 0, 0
    first = threading.Barrier(min(most, 4), timeout=300)

    def work(i: int) -> int:
        nonlocal flying, largest
        with lock:
            flying += 1
            largest = max(largest, flying)
        if i < first.parties:  # these are at work together, however busy the machine is
            first.wait()
        time.sleep(0.004 * (3 - i % 4))
        with lock:
            flying -= 1
        return i * i

    def items() -> Iterator[int]:
        nonlocal started
        for i in range(20):
            started = i + 1
            yield i

    results = []
    for result in ordered_map(work, items(), several, most):
        results.append(result)
        assert started - len(results) < most
    assert results == [i * i for i in range(20)]
    assert largest == min(most, 4)


def test_after_a_failure_nothing_new_is_started(several):
    done = []

    def work(i: int) -> int:
        if i == 3:
            raise ValueError(f"item {i}")
        time.sleep(0.01)
        done.append(i)
        return i

    results = ordered_map(work, itertools.count(), several, 5)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(results)
    several.shutdown()
    assert set(done) <= set(range(8))  # what was under way beside it, and no more


def test_an_error_of_the_items_comes_to_the_caller_and_what_waits_is_dropped(one):
    hold, done = threading.Event(), []

    def work(i: int) -> int:
        hold.wait(5)
        done.append(i)
        return i

    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("no more of it")

    with pytest.raises(OSError, match="no more of it"):
        list(ordered_map(work, items(), one, 8))
    hold.set()
    one.shutdown()
    assert done == [0]


def test_a_caller_that_leaves_half_way_drops_what_waits(one):
    hold, done = threading.Event(), []

    def work(i: int) -> int:
        if i:
            hold.wait(5)
        done.append(i)
        return i

    coming = ordered_map(work, range(10), one, 4)
    assert next(coming) == 0
    coming.close()
    hold.set()
    one.shutdown()
    assert done in ([0], [0, 1])
