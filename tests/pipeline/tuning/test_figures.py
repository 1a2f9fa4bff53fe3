"""Every kind of figure in a picture: where it is planned to be, nowhere else, and blended at its edge."""

from __future__ import annotations

import numpy as np
import pytest

from mulde.pipeline.tuning.courses import CONTROL_KIND, KINDS, Course
from mulde.pipeline.tuning.figures import CutOut, insert, new_figure
from tests.pipeline.tuning.test_courses import HEIGHT, scene

FRAME = np.full((240, 320, 3), 90, np.uint8)


def object_of_footage() -> CutOut:
    """A bright rectangle of 12 by 40 pixels with a dark upper half, in a crop with a margin of 4."""
    crop = np.full((48, 20, 3), 90, np.uint8)
    crop[4:24, 4:16], crop[24:44, 4:16] = 20, 220
    cover = np.zeros((48, 20), np.float32)
    cover[4:44, 4:16] = 1
    return CutOut((crop,) * 3, (cover,) * 3, ((10.0, 44.0),) * 3, HEIGHT, 1)


def drawn(kind: str, seed: int = 0, *, coloured: bool = False) -> tuple[Course, int, np.ndarray, int]:
    """A course, a time at which its figure is well inside the frame, the frame with it, and the pixels seen."""
    rng = np.random.default_rng(seed)
    of = next(one for one in (*KINDS, CONTROL_KIND) if one.name == kind)
    course = of.plan(scene(), 60, rng)
    box = course.box_xyxy
    inside = (box[:, 0] > 60) & (box[:, 2] < 260) & (box[:, 1] > 5) & (box[:, 3] < 235) & course.present
    if not inside.any():
        return drawn(kind, seed + 1, coloured=coloured)
    time = int(np.flatnonzero(inside)[-1])
    figure = new_figure(of.figure, HEIGHT, [object_of_footage()], rng, coloured=coloured)
    return course, time, *insert(FRAME, figure, course, time, rng)


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_a_figure_is_where_it_is_planned_and_nowhere_else(kind):
    course, time, frame, seen = drawn(kind)
    changed = np.abs(frame.astype(int) - FRAME).max(axis=2) > 3
    assert changed.sum() >= 0.6 * seen > 20
    reach = (
        60 if kind in ("cyclist", "slow cyclist", "cart", "slow cart", "bag", "runner") else 5
    )  # wider than a person's box
    x0, y0, x1, y1 = course.box_xyxy[time]
    y, x = np.nonzero(changed)
    assert x0 - reach <= x.min() <= x.max() <= x1 + reach
    assert y0 - reach <= y.min() <= y.max() <= y1 + reach
    assert frame.shape == FRAME.shape
    assert frame.dtype == np.uint8


def test_an_object_is_pasted_as_it_was_upright_and_turned():
    course, time, frame, _ = drawn("control")
    x, y = np.rint(course.foot[time]).astype(int)
    assert frame[y - 35, x].tolist() == [20] * 3
    assert frame[y - 5, x].tolist() == [220] * 3
    course, time, frame, _ = drawn("falling")
    assert abs(course.angle[time]) == pytest.approx(np.pi / 2)
    x, y = np.rint(course.foot[time]).astype(int)
    ahead = int(np.sign(course.angle[time]))
    assert frame[y - 1, x + 35 * ahead].tolist() == [20] * 3  # its head lies ahead
    assert frame[y - 1, x + 5 * ahead].tolist() == [220] * 3


def test_an_object_that_goes_the_other_way_is_mirrored():
    cut = object_of_footage()
    cut.crops[0][4:44, 4:10] = 150  # a mark on its left
    one = CutOut(cut.crops[:1], cut.covers[:1], cut.foot[:1], HEIGHT, 1)
    other = CutOut(cut.crops[:1], cut.covers[:1], cut.foot[:1], HEIGHT, -1)
    course = CONTROL_KIND.plan(scene(), 60, np.random.default_rng(0))
    x, y = np.rint(course.foot[30]).astype(int)
    rows = [insert(FRAME, figure, course, 30, np.random.default_rng(0))[0][y - 5, :, 0] for figure in (one, other)]
    assert rows[0][x - 4] == rows[1][x + 4] == 150
    assert rows[0][x + 4] == rows[1][x - 4] == 220


@pytest.mark.parametrize("kind", ["cyclist", "patch", "bag"])
def test_figures_are_grey_where_the_footage_is(kind):
    _, _, grey, _ = drawn(kind)
    assert np.ptp(grey.astype(int), axis=2).max() <= 1
    _, _, colour, _ = drawn(kind, coloured=True)
    assert np.ptp(colour.astype(int), axis=2).max() > 20
