from __future__ import annotations

import pytest

from .served_runs import client_of, watched_run


@pytest.fixture
def run(tmp_path):
    """A run of two live cameras, yard and gate."""
    with watched_run(tmp_path / "watch") as run:
        yield run


@pytest.fixture
def client(run):
    with client_of(run.source) as client:
        yield client
