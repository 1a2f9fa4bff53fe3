"""First weights that depend on a seed alone, in whichever thread they are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch

_LOCK = Lock()  # torch draws first weights from a state that all threads share


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What torch draws in the block comes from `seed`; its state is then as before."""
    with _LOCK, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
