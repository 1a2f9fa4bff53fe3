"""A training that is killed outright goes on from its checkpoint, and ends with the same model to the last bit."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mulde.checkpoint import Checkpoint
from mulde.density import trainer
from mulde.density.estimator import MuldeDensity
from mulde.density.rows import TrainingProgress
from tests.processes import CONTEXT

ROWS = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)


def learn(checkpoint: Path | None, progress: Callable[[TrainingProgress], None] | None = None) -> dict[str, np.ndarray]:
    density = MuldeDensity(hidden=(32, 32), steps=120, eval_every=20, num_scales=4, components=2)
    density.fit(ROWS, heldout=ROWS[:90] + 0.1, progress=progress, checkpoint=checkpoint)
    return density.state()[0]


def die(checkpoint: Path) -> None:
    """A training that saves at every look and ends at step 70."""
    trainer.SAVE_EVERY_S = 0.0
    learn(checkpoint, lambda at: os.kill(os.getpid(), signal.SIGKILL) if at.step >= 70 else None)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_killed_and_resumed_is_as_undisturbed(tmp_path):
    process = CONTEXT.Process(target=die, args=(tmp_path / "c.safetensors",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    seen: list[int] = []
    resumed = learn(tmp_path / "c.safetensors", lambda at: seen.append(at.step))
    assert min(seen) > 20
    undisturbed = learn(None)
    assert resumed.keys() == undisturbed.keys()
    for name, array in undisturbed.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)


@pytest.mark.parametrize("part", ["settings", "rows", "heldout"])
def test_the_fingerprint_sees_what_decides_the_course(part):
    from mulde.checkpoint import fingerprint

    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    base = fingerprint({"lr": 1}, rows, None)
    assert base == fingerprint({"lr": 1}, rows.copy(), None)
    others = {
        "settings": fingerprint({"lr": 2}, rows, None),
        "rows": fingerprint({"lr": 1}, rows + 1e-6 * rows.max(), None),
        "heldout": fingerprint({"lr": 1}, rows, rows),
    }
    assert others[part] != base
    assert fingerprint({"lr": 1}, rows.reshape(3, 4), None) != base


@pytest.mark.parametrize("header", ["", "[]", "7", "null", "[" * 100_000, "{}", '{"fingerprint": "x", "facts": 7}'])
def test_a_checkpoint_with_any_header_is_not_used(header, tmp_path):
    path = tmp_path / "c.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(1, np.float32)}, path, {"mulde.checkpoint": header})
    assert Checkpoint(path, "x").load() is None
