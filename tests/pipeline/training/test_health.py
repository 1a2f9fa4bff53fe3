"""Which pictures of the training videos make the reference of camera health."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.pipeline.training.exclusions import Exclusions
from mulde.pipeline.training.health import HealthSampler
from tests.health.scenes import noisy, place


def video(name, num_frames, rate=10):
    return SimpleNamespace(video=SimpleNamespace(name=name), frame_index=np.arange(num_frames), rate=Fraction(rate))


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), max_size=6), st.integers(1, 60))
def test_pictures_are_spread_over_all_frames_with_one_a_second_later(lengths, most):
    videos = [video(str(n), length) for n, length in enumerate(lengths)]
    sampler = HealthSampler(videos, most, Exclusions())
    wanted = [sampler.wanted(place) for place in range(len(videos))]
    firsts = [sorted(pairs) for pairs in sampler._next]
    assert sum(map(len, firsts)) == min(most, sum(lengths))
    for length, frames, pairs in zip(lengths, wanted, sampler._next, strict=True):
        assert frames == sorted(set(frames))
        assert all(0 <= frame < length for frame in frames)
        assert abs(len(pairs) - most * length / max(sum(lengths), most)) <= 1
        assert all(later == (frame + 10 if frame + 10 < length else frame) for frame, later in pairs.items())


def test_what_is_left_out_of_the_training_is_in_none():
    exclusions = Exclusions({"a": ((0, 50),)})
    sampler = HealthSampler([video("a", 100), video("b", 100)], 60, exclusions)
    assert min(sampler.wanted(0)) >= 50
    assert min(sampler.wanted(1)) < 10


@pytest.mark.parametrize(("is_still", "share"), [(True, 1.0), (False, 0.0)])
def test_the_reference_knows_whether_footage_stands_still(is_still, share):
    sampler = HealthSampler([video("a", 400), video("b", 400)], 20, Exclusions())
    for at in (0, 1):
        for frame in sampler.wanted(at):
            sampler.take(at, frame, noisy(place(), 0 if is_still else frame))
        sampler.take(at, 1, np.zeros((240, 360, 3), np.uint8))  # nobody asked for it
    reference = sampler.reference()
    assert reference.still_share == share
    assert reference.regimes["colour"].has_view


def test_without_pictures_there_is_no_reference():
    assert HealthSampler([], 10, Exclusions()).reference() is None
    assert HealthSampler([video("a", 100)], 10, Exclusions()).reference() is None
