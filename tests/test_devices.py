import os
import subprocess
import sys

import cv2
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from mulde.devices import choose_device, choose_threads, one_core_per_call, pool_of_fits
from mulde.errors import UsageError


def test_a_device_is_one_of_this_machine():
    assert choose_device("cpu") == "cpu"
    assert choose_device() == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UsageError, match=r"device 'toaster' cannot be used \(.+\)\. Try: use cpu or auto"):
        choose_device("toaster")


@pytest.mark.parametrize(
    ("device", "wanted", "environment", "threads"),
    [
        ("cpu", 3, "1", 3),
        ("cuda:1", 5, None, 5),
        ("cuda", 0, "1", 2),
        ("cpu", 0, "4", 4),
        ("cpu", 0, None, len(os.sched_getaffinity(0))),
        ("cpu", 0, "0", len(os.sched_getaffinity(0))),
        ("cpu", 0, "4,2", len(os.sched_getaffinity(0))),
    ],
)
def test_threads_are_those_wanted_or_one_per_core(monkeypatch, device, wanted, environment, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    assert choose_threads(device, wanted) == threads


def test_one_core_per_call_ends_with_the_block():
    before = torch.get_num_threads(), cv2.getNumThreads()
    with one_core_per_call():
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before


def test_fits_side_by_side_have_one_core_each_and_the_libraries_get_theirs_back():
    """Also OpenMP, whose number of threads is a setting of each thread, and BLAS, whose is one of the process."""

    def cores(_: int = 0) -> list[tuple[str, int]]:
        return [(library["filepath"], library["num_threads"]) for library in threadpool_info()]

    with threadpool_limits(limits=2):
        before = cores()
        with pool_of_fits(2, "fit") as pool:
            inside = list(pool.map(cores, range(4)))
        assert cores() == before
    assert before
    assert {number for found in inside for _, number in found} == {1}


def test_the_detector_leaves_the_number_of_cores_alone(monkeypatch):
    """Its package sets OMP_NUM_THREADS to 1 when it is imported."""
    code = (
        "import os; from mulde.devices import choose_threads; from mulde.extractors.yolo import import_ultralytics\n"
        "before = choose_threads('cpu'); import_ultralytics()\n"
        "print(before == choose_threads('cpu'), os.environ.get('OMP_NUM_THREADS'))"
    )
    for given, expected in ((None, "True None"), ("3", "True 3")):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if given is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", given)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
