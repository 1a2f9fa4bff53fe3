"""The stack on which this thread's signal handlers run, kept as it was while a library is at work."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """stack_t of sigaltstack(2), as Linux has it on all its machines but MIPS."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Undo what a library does to the stack of this thread's signal handlers (sigaltstack).

    OpenVINO gives the thread that loads it such a stack and frees it with its last network, on whatever thread that
    happens. Python's handlers run there: the next Ctrl-C or SIGTERM would be a segmentation fault.
    """
    before = _signal_stack()
    try:
        yield
    finally:
        if before is not None:
            ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)


def signal_stack_address() -> int | None:
    """Where the stack of this thread's signal handlers lies; None where they have none of their own."""
    stack = _signal_stack()
    return stack.sp if stack is not None else None


def _signal_stack() -> _Stack | None:
    if sys.platform != "linux":
        return None
    stack = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack
