from __future__ import annotations

from pathlib import Path

import pytest

from .small_world import train, write_live_world


@pytest.fixture(scope="session")
def live_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_live_world(tmp_path_factory.mktemp("live") / "root")


@pytest.fixture(scope="session")
def model(live_world: Path) -> Path:
    """Looks at every frame."""
    return train(live_world, 0)


@pytest.fixture(scope="session")
def model10(live_world: Path) -> Path:
    """Looks at 10 frames a second."""
    return train(live_world, 10)
