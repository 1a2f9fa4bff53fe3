"""The device that networks run on, the number of threads, and the cores that each call uses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from mulde.errors import UsageError, first_line

T = TypeVar("T")


def choose_device(wanted: str = "auto") -> str:
    """The name of a torch device; `auto` takes a CUDA device where there is one.

    Raises UsageError for a device that this machine does not have.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {wanted!r} cannot be used ({first_line(error)})", hint="use cpu or auto") from None
    return wanted


def choose_threads(device: str, wanted: int = 0) -> int:
    """How many windows to work on at the same time; 0: one per core, or two where a GPU does the work.

    OMP_NUM_THREADS, where it is set, is the number of cores to use.
    """
    if wanted:
        return wanted
    if device != "cpu":
        return 2
    cores = os.environ.get("OMP_NUM_THREADS", "")
    return int(cores) if cores.isdigit() and int(cores) else len(os.sched_getaffinity(0))


@contextmanager
def one_core_per_call() -> Iterator[None]:
    """Torch and OpenCV work with one core per call, so that several callers do not wait for each other."""
    import cv2
    import torch

    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)


def fit_each(fit: Callable[[int], T], count: int, device: str, name: str, stop: Callable[[], None]) -> list[T]:
    """What `fit` makes of each number below `count`: on a CPU with several cores at the same time, else one after the
    other. stop: called when one of them fails, also by Ctrl-C, so that the others end."""
    callers = choose_threads(device) if device == "cpu" else 1
    if min(callers, count) == 1:
        return [fit(number) for number in range(count)]
    with pool_of_fits(min(callers, count), name) as pool:
        try:
            return list(pool.map(fit, range(count)))
        except BaseException:
            stop()
            raise


@contextmanager
def pool_of_fits(callers: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads that fit densities, with one core per thread: else those of BLAS and OpenMP, which start one
    per core for each caller, spend most of the time waiting for each other."""
    from threadpoolctl import threadpool_limits

    def one_core() -> None:
        threadpool_limits(limits=1, user_api="openmp")  # a setting of each thread; that of BLAS is one for all

    blas = threadpool_limits(limits=1, user_api="blas")
    with one_core_per_call(), blas, ThreadPoolExecutor(callers, name, initializer=one_core) as pool:
        yield pool
