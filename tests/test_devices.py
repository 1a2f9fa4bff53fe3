import os

import cv2
import pytest
import torch

from mulde.devices import choose_device, choose_threads, one_core_per_call
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
