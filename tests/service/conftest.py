from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.live.small_world import score_file, train, write_live_world

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


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return write_live_world(tmp_path_factory.mktemp("served") / "root")


@pytest.fixture(scope="session")
def model(world):
    """Looks at 10 frames a second."""
    return train(world, 10)


@pytest.fixture(scope="session")
def scored(world, model, tmp_path_factory):
    """A run folder of `mulde score --causal` with several events; not to be changed."""
    return score_file(tmp_path_factory.mktemp("scored"), world / "scene.mkv", model)


@pytest.fixture
def scored_run(scored, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(scored, tmp_path / "scored"))
