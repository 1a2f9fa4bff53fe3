"""Null scores by their definition, the shortest videos included."""

import numpy as np
import pytest

from mulde.evaluation import null


@pytest.mark.parametrize(
    ("num_frames", "ramp", "triangle"),
    [(0, [], []), (1, [0], [0]), (2, [0, 1], [0, 0]), (5, [0, 0.25, 0.5, 0.75, 1], [0, 0.5, 1, 0.5, 0])],
)
def test_ramp_and_triangle(num_frames, ramp, triangle):
    assert null.ramp(num_frames).tolist() == ramp
    assert null.triangle(num_frames).tolist() == triangle


@pytest.mark.parametrize("num_frames", [0, 1, 7])
def test_constant_and_random_have_one_score_per_frame(num_frames):
    assert null.constant(num_frames).tolist() == [0.0] * num_frames
    assert null.random(num_frames, np.random.default_rng(0)).shape == (num_frames,)


def test_random_follows_its_seed():
    one, same, other = (null.random(9, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
