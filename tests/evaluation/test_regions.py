"""Region figures against brute force over tiny cases (loops, sets of pixels, fractions) and against closed cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from mulde.errors import LabelError
from mulde.evaluation.regions import (
    MAX_CURVE_POINTS,
    RegionCurves,
    RegionFigures,
    RegionPool,
    gather_evidence,
)
from mulde.evaluation.truth_regions import regions_from_masks
from mulde.records import RegionScores, TruthRegions

Box = tuple[int, int, int, int]


@dataclass
class Tiny:
    """One tiny video in plain Python: boxes (frame, box, score), truth (frame, box, track), masks: rows of 0 and 1."""

    num_frames: int
    boxes: list[tuple[int, Box, float]] = field(default_factory=list)
    truth: list[tuple[int, Box, int]] | None = None
    masks: list[list[list[int]]] | None = None
    size_hw: tuple[int, int] = (8, 10)


World = dict[str, Tiny]


def scored(video: str, tiny: Tiny) -> RegionScores:
    rows = sorted(tiny.boxes, key=lambda row: row[0])
    return RegionScores(
        video,
        tiny.size_hw,
        np.array([box for _, box, _ in rows], np.float32).reshape(-1, 4),
        np.array([frame for frame, _, _ in rows], np.int64),
        np.array([score for _, _, score in rows], np.float64),
        np.full(len(rows), -1, np.int64),
    )


def annotated(video: str, truth: list[tuple[int, Box, int]]) -> TruthRegions:
    rows = sorted(truth, key=lambda row: row[0])
    return TruthRegions(
        video,
        np.array([box for _, box, _ in rows], np.float32).reshape(-1, 4),
        np.array([frame for frame, _, _ in rows], np.int64),
        np.array([track for _, _, track in rows], np.int64),
    )


def evidence_of(world: World, sizes: dict[str, tuple[int, int]] | None = None) -> tuple:
    def masks(video: str):
        rows = world[video].masks
        return None if rows is None else (np.array(mask, np.bool_) for mask in rows)

    return gather_evidence(
        {video: scored(video, tiny) for video, tiny in world.items()},
        {video: tiny.num_frames for video, tiny in world.items()},
        {video: annotated(video, tiny.truth) for video, tiny in world.items() if tiny.truth is not None},
        masks,
        sizes,
    )


def figures_of(world: World) -> RegionFigures:
    return RegionPool(evidence_of(world)).figures()


# ------------------------------------------------------------------------------------------------------ brute force


def iou(a: Box, b: Box) -> Fraction:
    pixels_a = {(x, y) for x in range(a[0], a[2]) for y in range(a[1], a[3])}
    pixels_b = {(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])}
    return Fraction(len(pixels_a & pixels_b), len(pixels_a | pixels_b))


def slow_region_points(world: World, level: float) -> tuple[Fraction, Fraction, Fraction]:
    """False regions per frame, share of regions and share of tracks found when boxes from `level` up are flagged."""
    false, frames, found_regions, regions, tracks = 0, 0, 0, 0, {}
    for video, tiny in world.items():
        if tiny.truth is None:
            continue
        frames += tiny.num_frames
        flagged = [(frame, box) for frame, box, score in tiny.boxes if score >= level]
        for frame, box in flagged:
            false += not any(f == frame and iou(box, true) >= Fraction(1, 10) for f, true, _ in tiny.truth)
        for frame, true, track in tiny.truth:
            found = any(f == frame and iou(box, true) >= Fraction(1, 10) for f, box in flagged)
            regions, found_regions = regions + 1, found_regions + found
            tracks.setdefault((video, track), []).append(found)
    found_tracks = sum(Fraction(sum(found), len(found)) >= Fraction(1, 10) for found in tracks.values())
    return Fraction(false, frames), Fraction(found_regions, regions), Fraction(found_tracks, len(tracks))


def slow_pixel_point(world: World, level: float) -> tuple[Fraction, Fraction]:
    hits, anomalous, alarms, normal = 0, 0, 0, 0
    for tiny in world.values():
        for frame, mask in enumerate(tiny.masks or []):
            height, width = len(mask), len(mask[0])
            down, across = Fraction(height, tiny.size_hw[0]), Fraction(width, tiny.size_hw[1])
            flagged = [box for f, box, score in tiny.boxes if f == frame and score >= level]
            true = {(x, y) for y in range(height) for x in range(width) if mask[y][x]}
            half = Fraction(1, 2)
            covered = {
                (x, y)
                for x, y in true
                for x0, y0, x1, y1 in flagged
                if x0 * across <= x + half < x1 * across and y0 * down <= y + half < y1 * down
            }
            if true:
                anomalous, hits = anomalous + 1, hits + (Fraction(len(covered), len(true)) >= Fraction(2, 5))
            else:
                normal, alarms = normal + 1, alarms + bool(flagged)
    return Fraction(alarms, normal), Fraction(hits, anomalous)


def levels_of(world: World) -> list[float]:
    return sorted({score for tiny in world.values() for _, _, score in tiny.boxes}, reverse=True)


def up_to_one(points: list[tuple[Fraction, Fraction]]) -> list[tuple[Fraction, Fraction]]:
    kept = [(Fraction(0), Fraction(0)), *(point for point in points if point[0] <= 1)]
    return [*kept, (Fraction(1), kept[-1][1])]


def slow_area(points: list[tuple[Fraction, Fraction]]) -> Fraction:
    kept = up_to_one(points)
    return sum(((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(kept)), Fraction(0))


def slow_eer(points: list[tuple[Fraction, Fraction]]) -> Fraction:
    kept = up_to_one(points)
    for (x0, y0), (x1, y1) in pairwise(kept):
        before, after = x0 + y0 - 1, x1 + y1 - 1
        if before <= 0 <= after and after > before:
            return x0 + (x1 - x0) * -before / (after - before)
    raise AssertionError("a curve from (0, 0) to (1, y) must cross 1 - TPR = FPR")


def random_world(rng: np.random.Generator, *, tracks: bool) -> World:
    def box(size_hw: tuple[int, int]) -> Box:
        (x0, x1), (y0, y1) = (sorted(rng.choice(side + 1, 2, replace=False).tolist()) for side in size_hw[::-1])
        return x0, y0, x1, y1

    world = {}
    for number in range(rng.integers(1, 4)):
        num_frames, size_hw = int(rng.integers(1, 7)), (8, 10)
        truth = [
            (int(rng.integers(num_frames)), box(size_hw), int(rng.integers(2))) for _ in range(rng.integers(0, 30))
        ]
        # A box here and there is a true one, so that found and false come about equally often.
        near = [frame_box[:2] for frame_box in truth[:4] if rng.random() < 0.5]
        far = [(int(rng.integers(num_frames)), box(size_hw)) for _ in range(rng.integers(0, 12))]
        boxes = [(frame, b, float(rng.integers(-2, 5))) for frame, b in near + far]
        mask_hw = [(8, 10), (16, 20), (4, 5), (6, 15)][rng.integers(4)]
        masks = [(rng.random(mask_hw) < rng.choice([0.0, 0.02, 0.5])).astype(int).tolist() for _ in range(num_frames)]
        world[f"v{number}"] = Tiny(
            num_frames,
            boxes,
            truth if tracks and (rng.random() < 0.8 or number == 0) else None,
            masks if rng.random() < 0.7 else None,
            size_hw,
        )
    return world


@pytest.mark.parametrize("seed", range(40))
def test_figures_equal_brute_force(seed):
    rng = np.random.default_rng(seed)
    for _ in range(8):
        world = random_world(rng, tracks=True)
        figures = figures_of(world)
        levels = levels_of(world)
        regions = [row for tiny in world.values() for row in tiny.truth or []]
        assert figures.regions_from == "tracks"
        assert figures.num_true_regions == len(regions)
        assert figures.num_region_frames == sum(t.num_frames for t in world.values() if t.truth is not None)
        if regions:
            points = [slow_region_points(world, level) for level in levels]
            assert figures.rbdc == pytest.approx(float(slow_area([(x, y) for x, y, _ in points])), abs=1e-9)
            assert figures.tbdc == pytest.approx(float(slow_area([(x, z) for x, _, z in points])), abs=1e-9)
        else:
            assert figures.rbdc is None
            assert figures.tbdc is None
        kinds = [any(map(any, mask)) for tiny in world.values() for mask in tiny.masks or []]
        assert figures.num_pixel_frames == len(kinds)
        if len(set(kinds)) == 2:
            roc = [slow_pixel_point(world, level) for level in levels]
            assert figures.pixel_auc == pytest.approx(float(slow_area(roc)), abs=1e-9)
            assert figures.pixel_eer == pytest.approx(float(slow_eer(roc)), abs=1e-9)
        else:
            assert figures.pixel_auc is None
            assert figures.pixel_eer is None


@pytest.mark.parametrize("seed", range(20))
def test_resampled_figures_equal_those_of_repeated_videos(seed):
    rng = np.random.default_rng(seed)
    world = random_world(rng, tracks=True)
    evidence = evidence_of(world)
    copies = rng.integers(0, 3, len(evidence))
    repeated = [one for one, times in zip(evidence, copies, strict=True) for _ in range(times)]
    expected, got = RegionPool(repeated).figures(), RegionPool(evidence).figures(copies)
    for name, value in vars(expected).items():
        if name != "regions_from":
            assert getattr(got, name) == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("seed", range(20))
def test_only_the_order_of_the_scores_counts_and_not_that_of_the_boxes(seed):
    rng = np.random.default_rng(100 + seed)
    world = random_world(rng, tracks=seed % 2 == 0)
    expected = figures_of(world)

    def changed(change: Callable[[Tiny], Tiny]) -> RegionFigures:
        return figures_of({video: change(tiny) for video, tiny in world.items()})

    assert changed(lambda t: replace(t, boxes=[(f, b, np.exp(3 * s) - 7000) for f, b, s in t.boxes])) == expected
    assert changed(lambda t: replace(t, boxes=[t.boxes[i] for i in rng.permutation(len(t.boxes))])) == expected
    reordered = {video: world[video] for video in reversed(world)}
    assert figures_of(reordered) == expected
    assert [one.video for one in evidence_of(reordered)] == sorted(world)


# ----------------------------------------------------------------------------------------------------- closed cases

OBJECT: Box = (2, 2, 6, 6)
ELSEWHERE: Box = (7, 0, 10, 2)
EMPTY_MASK = np.zeros((8, 10), int).tolist()


def mask_of(box: Box) -> list[list[int]]:
    mask = np.zeros((8, 10), int)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask.tolist()


def one_object(boxes: list[tuple[int, Box, float]]) -> World:
    """Ten frames, an object in the last five."""
    truth = [(frame, OBJECT, 0) for frame in range(5, 10)]
    masks = [mask_of(OBJECT) if frame >= 5 else EMPTY_MASK for frame in range(10)]
    return {"v": Tiny(10, boxes, truth, masks)}


def test_a_perfect_detector_gets_everything():
    figures = figures_of(one_object([(f, OBJECT if f >= 5 else ELSEWHERE, float(f >= 5)) for f in range(10)]))
    assert (figures.rbdc, figures.tbdc, figures.pixel_auc, figures.pixel_eer) == (1.0, 1.0, 1.0, 0.0)
    assert (figures.num_true_regions, figures.num_true_tracks, figures.num_region_frames) == (5, 1, 10)


def test_no_boxes_at_all_get_nothing():
    figures = figures_of(one_object([]))
    assert (figures.rbdc, figures.tbdc, figures.pixel_auc, figures.pixel_eer) == (0.0, 0.0, 0.0, 1.0)


def test_frames_that_are_never_found_earn_nothing_even_where_no_normal_frame_is_flagged():
    figures = figures_of(one_object([(f, OBJECT, 1.0) for f in (5, 6)]))  # 2 of 5 frames, no false positive
    assert (figures.rbdc, figures.pixel_auc) == pytest.approx((0.4, 0.4))
    assert figures.pixel_eer == pytest.approx(0.6)  # 1 - TPR stays 0.6, so FPR has to reach it


def test_flagging_every_frame_whole_is_chance_by_pixels_and_found_by_regions_only_where_the_object_is_large():
    whole = [(f, (0, 0, 10, 8), 1.0) for f in range(10)]
    figures = figures_of(one_object(whole))  # IoU 16 / 80 = 0.2: found; five false regions in ten frames, all at once
    assert (figures.pixel_auc, figures.pixel_eer) == pytest.approx((0.5, 0.5))
    assert figures.rbdc == pytest.approx(0.5 * 0.5 + 0.5)
    small = {"v": Tiny(2, [(f, (0, 0, 10, 8), 1.0) for f in range(2)], [(1, (0, 0, 2, 3), 0)])}
    assert figures_of(small).rbdc == 0.0  # IoU 6 / 80


@pytest.mark.parametrize(("width", "found"), [(10, True), (11, False)])
def test_an_iou_of_exactly_a_tenth_is_enough(width, found):
    world = {"v": Tiny(1, [(0, (0, 0, width, 1), 1.0)], [(0, (0, 0, 1, 1), 0)], size_hw=(8, 20))}
    assert figures_of(world).rbdc == float(found)


@pytest.mark.parametrize(("num_regions", "tbdc"), [(10, 1.0), (11, 0.0), (30, 0.0)])
def test_a_track_needs_a_tenth_of_its_regions_rounded_up(num_regions, tbdc):
    truth = [(frame, OBJECT, 3) for frame in range(num_regions)]
    assert figures_of({"v": Tiny(40, [(0, OBJECT, 1.0)], truth)}).tbdc == tbdc


@pytest.mark.parametrize(("rows", "found"), [(2, True), (1, False)])
def test_exactly_forty_percent_of_the_pixels_is_enough(rows, found):
    world = {"v": Tiny(2, [(1, (0, 0, 10, rows), 1.0)], masks=[EMPTY_MASK, mask_of((0, 0, 3, 5))])}
    assert figures_of(world).pixel_auc == float(found)


def test_a_frame_is_found_by_boxes_together_that_alone_do_not_suffice():
    halves = [(1, (2, 2, 3, 6), 2.0), (1, (5, 2, 6, 6), 1.0), (0, ELSEWHERE, 1.5)]  # a quarter of the object each
    world = {"v": Tiny(2, halves, masks=[EMPTY_MASK, mask_of(OBJECT)])}
    assert figures_of(world).pixel_auc == 0.0  # both are needed, and by then the normal frame is flagged
    twice = [(1, (2, 2, 3, 6), 2.0), (1, (2, 2, 3, 6), 2.0)]
    assert figures_of({"v": replace(world["v"], boxes=twice)}).pixel_auc == 0.0  # the same pixels do not count twice


def test_a_second_box_on_a_found_region_is_no_false_positive():
    boxes = [(5, OBJECT, 2.0), (5, (2, 2, 6, 5), 2.0)] * 30 + [(f, OBJECT, 1.0) for f in range(6, 10)]
    assert figures_of(one_object(boxes)).rbdc == 1.0


def test_boxes_with_one_score_are_flagged_together():
    tied = one_object([(5, OBJECT, 1.0), *((0, ELSEWHERE, 1.0) for _ in range(4))])
    assert figures_of(tied).rbdc == pytest.approx(0.2 * (0.4 / 2 + 0.6))  # a straight line to (0.4, 0.2), then level


def test_what_is_reached_beyond_one_false_region_per_frame_earns_nothing():
    many = [(0, ELSEWHERE, 1.0)] * 11
    assert figures_of(one_object([*many, *((f, OBJECT, 0.5) for f in range(5, 10))])).rbdc == 0.0
    assert figures_of(one_object([*many, *((f, OBJECT, 1.0) for f in range(5, 10))])).rbdc == 0.0  # a jump across 1
    before = [(5, OBJECT, 2.0), *many, *((f, OBJECT, 1.0) for f in range(6, 10))]
    assert figures_of(one_object(before)).rbdc == pytest.approx(0.2)  # level from the last point up to 1


def test_nothing_known_is_none_and_not_zero():
    figures = figures_of({"v": Tiny(3, [(0, OBJECT, 1.0)])})
    assert figures == RegionFigures("none", None, None, 0, 0, 0, None, None, 0)
    normal_only = figures_of({"v": Tiny(2, [(0, OBJECT, 1.0)], [], [EMPTY_MASK, EMPTY_MASK])})
    assert normal_only == RegionFigures("tracks", None, None, 0, 0, 2, None, None, 2)
    assert RegionPool([]).figures() == RegionFigures("none", None, None, 0, 0, 0, None, None, 0)


def test_a_video_without_annotation_is_left_out_of_the_frames_counted():
    world = one_object([(f, OBJECT, 1.0) for f in range(5, 10)])
    world["unknown"] = Tiny(1000, [(f, ELSEWHERE, 9.0) for f in range(1000)])
    figures = figures_of(world)
    assert (figures.rbdc, figures.num_region_frames, figures.num_pixel_frames) == (1.0, 10, 10)


# ------------------------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize("seed", range(5))
def test_boxes_masks_and_truth_of_another_size_give_the_same_figures(seed):
    rng = np.random.default_rng(200 + seed)
    world = {v: replace(t, masks=None) for v, t in random_world(rng, tracks=True).items()}
    for tiny in world.values():
        tiny.masks = [
            (rng.random((8, 10)) < rng.choice([0.0, 0.3])).astype(int).tolist() for _ in range(tiny.num_frames)
        ]
    expected = figures_of(world)
    shrunk = {  # as if the videos had been extracted at a half of the height and a quarter of the width
        video: replace(
            tiny,
            size_hw=(8, 10),
            truth=tiny.truth and [(f, (4 * a, 2 * b, 4 * c, 2 * d), t) for f, (a, b, c, d), t in tiny.truth],
            masks=[np.kron(mask, np.ones((2, 4), int)).tolist() for mask in tiny.masks or []],
        )
        for video, tiny in world.items()
    }
    got = RegionPool(evidence_of(shrunk, dict.fromkeys(world, (16, 40)))).figures()
    assert got == expected


# ------------------------------------------------------------------------------------------------ truth out of masks


def test_parts_of_masks_become_boxes_and_tracks():
    frames = np.zeros((6, 12, 20), np.bool_)
    frames[0, 2:5, 1:4] = True
    frames[1, 2:5, 3:6] = True  # one column shared: the same track
    frames[1, 8:10, 12:16] = True  # shares nothing: a new one
    frames[2, 2:5, 5:8] = True
    frames[2, 6:8, 0:2] = True  # a third, though the last part before it was on the first
    frames[4, 2:5, 5:8] = True  # where the first was, but after a gap: a new one
    frames[5, 2, 5] = frames[5, 3, 4] = True  # touching by a corner: one part
    truth = regions_from_masks("v", iter(frames))
    assert truth.frame_index.tolist() == [0, 1, 1, 2, 2, 4, 5]
    assert truth.track_id.tolist() == [0, 0, 1, 0, 2, 3, 3]
    assert truth.box_xyxy.tolist() == [
        [1, 2, 4, 5],
        [3, 2, 6, 5],
        [12, 8, 16, 10],
        [5, 2, 8, 5],
        [0, 6, 2, 8],
        [5, 2, 8, 5],
        [4, 2, 6, 4],
    ]
    assert len(regions_from_masks("v", iter(np.zeros((4, 3, 3), np.bool_)))) == 0


def test_a_part_inside_the_box_of_another_keeps_its_own_track():
    frames = np.zeros((2, 8, 8), np.bool_)
    frames[:, 0, :] = frames[:, :, 0] = True  # an angle whose box is the whole frame
    frames[:, 2:8, 2:8] = True  # more than half of that
    assert regions_from_masks("v", frames).track_id.tolist() == [0, 1, 0, 1]


def test_a_part_follows_the_part_that_it_shares_most_with_and_both_halves_of_a_cut_one_stay_on_its_track():
    frames = np.zeros((3, 4, 20), np.bool_)
    frames[0, :, 0:3] = frames[0, :, 6:12] = True
    frames[1, :, 2:12] = True  # one column of the first, six of the second
    frames[2, :, 2:5] = frames[2, :, 8:12] = True
    assert regions_from_masks("v", frames).track_id.tolist() == [0, 1, 1, 1, 1]


def test_masks_are_the_truth_where_there_are_no_tracks():
    world = one_object([(f, OBJECT if f >= 5 else ELSEWHERE, float(f >= 5)) for f in range(10)])
    world["v"].truth = None
    world["w"] = Tiny(3)  # no mask: not counted
    figures = figures_of(world)
    assert (figures.regions_from, figures.rbdc, figures.tbdc) == ("masks", 1.0, 1.0)
    assert (figures.num_true_regions, figures.num_true_tracks, figures.num_region_frames) == (5, 1, 10)


@pytest.mark.parametrize("seed", range(10))
def test_figures_from_masks_equal_those_of_the_regions_made_from_them(seed):
    world = random_world(np.random.default_rng(300 + seed), tracks=False)
    world["v0"].masks = world["v0"].masks or [mask_of(OBJECT)] * world["v0"].num_frames
    got = figures_of(world)
    sizes = {}
    for video, tiny in world.items():
        if tiny.masks is not None:
            made = regions_from_masks(video, np.array(tiny.masks, np.bool_))
            boxes = [tuple(box) for box in made.box_xyxy.astype(int).tolist()]
            tiny.truth = list(zip(made.frame_index.tolist(), boxes, made.track_id.tolist(), strict=True))
            sizes[video] = (len(tiny.masks[0]), len(tiny.masks[0][0]))
    assert got == replace(RegionPool(evidence_of(world, sizes)).figures(), regions_from="masks")


# ----------------------------------------------------------------------------------------------------------- curves


def area(x: np.ndarray, y: np.ndarray) -> float:
    return sum((x[i + 1] - x[i]) * (y[i] + y[i + 1]) / 2 for i in range(len(x) - 1))


def test_curves_have_the_areas_of_the_figures_and_stay_short():
    rng = np.random.default_rng(7)
    boxes = [(int(f), OBJECT if rng.random() < 0.7 else ELSEWHERE, rng.normal()) for f in rng.integers(0, 6000, 9000)]
    truth = [(f, OBJECT, f // 50) for f in range(0, 6000, 2)]
    world = {"v": Tiny(6000, boxes, truth, [mask_of(OBJECT) if f % 2 else EMPTY_MASK for f in range(6000)])}
    evidence = evidence_of(world)
    pool = RegionPool(evidence)
    figures, curves = pool.figures(), pool.curves()
    for x, y, figure in (
        (curves.pixel_fpr, curves.pixel_tpr, figures.pixel_auc),
        (curves.false_regions_per_frame, curves.rbdc, figures.rbdc),
        (curves.false_regions_per_frame, curves.tbdc, figures.tbdc),
    ):
        assert 100 < len(x) <= MAX_CURVE_POINTS
        assert (x[0], y[0], x[-1]) == (0.0, 0.0, 1.0)
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
        assert area(x, y) == pytest.approx(figure, abs=1e-3)


def test_curves_of_nothing_are_empty():
    curves = RegionPool(evidence_of({"v": Tiny(3, [(0, OBJECT, 1.0)])})).curves()
    assert isinstance(curves, RegionCurves)
    assert all(values.shape == (0,) for values in vars(curves).values())


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        ([EMPTY_MASK] * 9, r"expected one for each of 10 frames, got 9"),
        (
            [EMPTY_MASK] * 11,
            r"one of \(8, 10\) \(height, width\) for each of 10 frames, got one of \(8, 10\) for frame 10",
        ),
        ([EMPTY_MASK] * 9 + [[[1]]], r"got one of \(1, 1\) for frame 9"),
    ],
)
def test_masks_must_fit_the_video(masks, sentence):
    with pytest.raises(LabelError, match="masks of v: .*" + sentence):
        evidence_of({"v": Tiny(10, masks=masks)})


def test_truth_and_boxes_must_fit_the_video():
    with pytest.raises(LabelError, match=r"true regions of v: expected frames 0 to 9, as the video has, got frame 10"):
        evidence_of({"v": Tiny(10, [], [(10, OBJECT, 0)])})
    with pytest.raises(LabelError, match=r"scored boxes of v: expected frames 0 to 9, .* got frame 12"):
        evidence_of({"v": Tiny(10, [(12, OBJECT, 0.0)], [])})
    with pytest.raises(LabelError, match=r"scored boxes of v: expected boxes of 2 frames, .* got no entry"):
        gather_evidence({}, {"v": 2}, {}, lambda video: None)
