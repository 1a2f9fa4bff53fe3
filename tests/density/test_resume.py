"""A training that is killed outright goes on from its checkpoint, and ends with the same model to the last bit."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from mulde.density.checkpoint import Checkpoint

SCRIPT = """
import os, signal, sys
from pathlib import Path
import numpy as np
import safetensors.numpy
from mulde.density import trainer
from mulde.density.estimator import MuldeDensity

trainer.SAVE_EVERY_S = 0.0
die_at, checkpoint, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
rows = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)

def progress(look):
    if look.step >= die_at > 0:
        os.kill(os.getpid(), signal.SIGKILL)

density = MuldeDensity(hidden=(32, 32), steps=120, eval_every=20, ema=0.9, num_scales=4, components=2)
density.fit(rows, heldout=rows[:90] + 0.1, progress=progress, checkpoint=Path(checkpoint) if checkpoint else None)
safetensors.numpy.save_file(density.state()[0], out)
"""


def learn(die_at, checkpoint, out):
    return subprocess.run([sys.executable, "-c", SCRIPT, str(die_at), str(checkpoint), str(out)], timeout=120)


def test_killed_and_resumed_is_as_undisturbed(tmp_path):
    checkpoint, undisturbed, resumed = tmp_path / "c.safetensors", tmp_path / "a.st", tmp_path / "b.st"
    assert learn(0, "", undisturbed).returncode == 0
    assert learn(70, checkpoint, resumed).returncode == -signal.SIGKILL
    assert checkpoint.exists()
    assert not resumed.exists()
    assert learn(0, checkpoint, resumed).returncode == 0
    a, b = safetensors.numpy.load_file(undisturbed), safetensors.numpy.load_file(resumed)
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)


@pytest.mark.parametrize("part", ["settings", "rows", "heldout"])
def test_the_fingerprint_sees_what_decides_the_course(part):
    from mulde.density.checkpoint import fingerprint

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
