"""Reasons of events, on rows, densities and normal_index made by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from mulde.config import Settings
from mulde.density.standardise import Standardiser
from mulde.errors import StoreError
from mulde.evaluation.smoothing import smooth
from mulde.events import Event
from mulde.extractors.class_names import COCO
from mulde.pipeline.events.attribution import group_shares, way
from mulde.pipeline.events.explain import chosen_rows, explain, stream_shares
from mulde.pipeline.model.bundle import Bundle, Stream
from mulde.pipeline.model.calibration import Calibration, Surprise, combine
from mulde.pipeline.model.normal_index import NormalIndex
from mulde.pipeline.model.training_record import TrainingRecord
from mulde.records import FeatureTable, Regions, ScoredVideo, ScoreTrack
from mulde.settings_file import load_settings

SIGMA = 3.0
SIZE_HW = (240, 320)
EXACT = Surprise(np.array([0.0, 1e6]), np.array([0.0, 0.5e12]), 1.0)
"""Surprise sqrt(1e6 score): rising, which is all that is asked of it."""


class Bowl:
    """A density whose score is half the squared distance to `mean` in units of `scale`; it counts the rows."""

    noise_levels = np.array([0.1, 1.0])

    def __init__(self, mean: np.ndarray, scale: float = 1.0) -> None:
        self.standardiser_ = Standardiser(np.asarray(mean, np.float64), np.full(len(mean), scale))
        self.num_scored = 0

    def _z(self, values: np.ndarray) -> np.ndarray:
        return (values - self.standardiser_.mean) / self.standardiser_.scale

    def anomaly_score(self, values: np.ndarray) -> np.ndarray:
        self.num_scored += len(values)
        return 0.5 * np.square(self._z(values)).sum(axis=1)

    def gradient(self, values: np.ndarray) -> np.ndarray:
        return self._z(values)

    def level_excess(self, values: np.ndarray) -> np.ndarray:
        return np.abs(self._z(values)).max(axis=1, keepdims=True) * np.array([1.0, 2.0])


def stream_of(*means: list[float], **options: object) -> Stream:
    bowls = tuple(Bowl(np.array(mean)) for mean in means)
    return Stream(bowls, Calibration(0.0, 1e9), len(means[0]), 0.0, EXACT, **options)


def bundle_of(streams: dict[str, Stream], *overrides: str) -> Bundle:
    return Bundle(streams, load_settings(overrides=overrides), {}, TrainingRecord(), classes=dict(enumerate(COCO)))


def scored_of(streams: dict[str, np.ndarray], how: str = "sum", sigma: float = SIGMA) -> ScoredVideo:
    n = len(next(iter(streams.values())))
    fused = combine(streams, how)
    track = ScoreTrack("v", np.arange(n), np.arange(n) / 25, fused, smooth(fused, sigma, "centred"), streams)
    return ScoredVideo(track, sigma, 0, 25.0)


def event_at(scored: ScoredVideo, start: int, end: int) -> Event:
    peak = start + int(np.argmax(scored.track.smoothed[start:end]))
    return Event("v", start, end, start / 25, (end - 1) / 25, peak, peak / 25, float(scored.track.smoothed[peak]), 0.01)


def boxes_at(frames: list[int], *, x0: float = 100, width: float = 20, height: float = 40) -> np.ndarray:
    return np.array([[x0, 60, x0 + width, 60 + height]] * len(frames), np.float32)


def table_of(values: np.ndarray, frames: list[int], **options: object) -> FeatureTable:
    options.setdefault("box_xyxy", boxes_at(frames))
    return FeatureTable(np.asarray(values, np.float32), np.array(frames), **options)


def stored_of(found: dict[str, FeatureTable], regions: Regions | None = None) -> SimpleNamespace:
    """What is asked of a stored video."""
    passports = {} if regions is None else {"regions": "regions"}
    kept = {"features": found.__getitem__, "regions": lambda: regions}
    return SimpleNamespace(passports=passports, size_hw=SIZE_HW, **kept)


def moments_of(rows: dict[str, np.ndarray], box_xyxy: np.ndarray, size_hw: tuple[int, int] = SIZE_HW) -> NormalIndex:
    n = len(box_xyxy)
    every = {name: (np.arange(n), np.asarray(values, np.float32)) for name, values in rows.items()}
    video = tuple(f"normal{i % 3}" for i in range(n))
    size = np.tile(size_hw, (n, 1))
    none = np.full(n, -1)
    return NormalIndex(video, np.arange(n), np.arange(n) / 25, np.asarray(box_xyxy, np.float32), none, size, every, [])


def explain_one(
    name: str,
    row: list[float],
    usual: np.ndarray | None = None,
    *,
    boxed: bool = True,
    settings: tuple[str, ...] = (),
    stream: Stream | None = None,
    box_xyxy: np.ndarray | None = None,
) -> object:
    """The reason of a video with one stream whose only odd row is `row`; usual (n, D): the normal rows, all of which
    stood where the object does."""
    frames = list(range(20))
    mean = list(np.mean(usual, axis=0)) if usual is not None else [0.0] * len(row)
    stream = stream or stream_of(mean)
    values = np.tile(np.array(mean, np.float32), (20, 1))
    values[10] = row
    table = table_of(values, frames) if boxed else table_of(values, frames, box_xyxy=None)
    if box_xyxy is not None:
        table = replace(table, box_xyxy=box_xyxy)
    normal_index = None
    if usual is not None:
        place = boxes_at(list(range(len(usual)))) if boxed else np.full((len(usual), 4), np.nan)
        normal_index = moments_of({name: usual}, place)
    scored = scored_of({name: stream.score_rows(table.values)})
    bundle = bundle_of({name: stream}, f'features.imported=["{name}"]' if name == "own" else "run.out=x", *settings)
    (event,) = explain(
        [event_at(scored, 5, 15)], {"v": scored}, {"v": stored_of({name: table})}, bundle, normal_index
    ).events
    return event.reason


@pytest.mark.parametrize("how", ["sum", "max"])
@pytest.mark.parametrize("sigma", [0.0, 0.4, 5.0])
def test_the_shares_of_the_streams_add_up_to_the_score(how, sigma):
    rng = np.random.default_rng(0)
    scored = scored_of({name: rng.exponential(size=200) for name in "abc"}, how, sigma)
    shares = stream_shares(scored, how)
    np.testing.assert_allclose(sum(shares.values()), scored.track.smoothed, rtol=0, atol=1e-9)
    if how == "max" and sigma == 0:  # the highest stream has all of it
        assert (np.sort(np.stack(list(shares.values())), axis=0)[:2] == 0).all()


def test_the_stream_with_the_largest_share_drives_an_event_and_p_values_are_told():
    frames = list(range(30))
    streams = {"velocity": stream_of([1.0]), "geometry": stream_of([-3.0, -2.0])}
    found = {"velocity": table_of(np.full((30, 1), 1.5), frames), "geometry": table_of([[-3.0, -2.0]] * 30, frames)}
    found["geometry"].values[20:24] = [-1.0, -2.0]
    scored = scored_of({name: streams[name].score_rows(found[name].values) for name in streams})
    first, second = event_at(scored, 0, 10), event_at(scored, 15, 28)
    explained = explain([second, first], {"v": scored}, {"v": stored_of(found)}, bundle_of(streams), None)
    assert [event.reason.stream for event in explained.events] == ["geometry", "velocity"]
    for event, plain in zip(explained.events, (second, first), strict=True):
        assert replace(event, reason=None) == plain
        assert sum(event.reason.streams.values()) == pytest.approx(event.score, abs=1e-9)
        for name in streams:
            share = smooth(scored.track.streams[name], SIGMA, "centred")[event.peak_frame]
            assert event.reason.facts[f"p_{name}"] == pytest.approx(np.exp(-0.5 * share**2))
    stream, row = explained.rows[second.event_id]
    assert (stream, row.tolist(), row.dtype) == ("geometry", [-1.0, -2.0], np.float32)


def test_a_model_whose_streams_are_no_surprises_gives_no_p_values():
    stream = replace(stream_of([0.0]), surprise=None)
    table = table_of(np.ones((20, 1)), list(range(20)))
    scored = scored_of({"velocity": stream.score_rows(table.values)})
    args = {"v": scored}, {"v": stored_of({"velocity": table})}, bundle_of({"velocity": stream})
    assert not [name for name in explain([event_at(scored, 5, 15)], *args, None).events[0].reason.facts if "p_" in name]


@pytest.mark.parametrize("seed", range(5))
def test_the_object_is_the_highest_row_near_the_peak_as_smoothing_weighs_it(seed):
    rng = np.random.default_rng(seed)
    frames = np.sort(rng.integers(0, 100, 150))
    table, stream = table_of(rng.normal(size=(150, 2)), frames.tolist()), stream_of([0.0, 0.0])
    scored = scored_of({"a": rng.exponential(size=100)})
    events = [event_at(scored, 10, 40), event_at(scored, 60, 62), event_at(scored, 90, 100)]
    for event, got in zip(events, chosen_rows(table, stream, events, scored), strict=True):
        best, expected = -1.0, -1
        for i, frame in enumerate(frames):
            away = frame - event.peak_frame
            if event.start_frame <= frame < event.end_frame and abs(away) <= 2 * SIGMA:
                weighed = stream.score_rows(table.values[i : i + 1])[0] * np.exp(-0.5 * (away / SIGMA) ** 2)
                best, expected = (weighed, i) if weighed > best else (best, expected)
        assert got == expected or expected == -1


@pytest.mark.parametrize("tracked", [False, True])
def test_an_object_that_stays_gave_more_than_a_wild_box_of_one_frame(tracked):
    frames = [*range(20), 10]
    order = np.argsort(frames, kind="stable")
    box = np.concatenate([boxes_at(frames[:20]), boxes_at([10], x0=200)])
    if tracked:  # then the boxes need not overlap
        box[:20, [0, 2]] += 50 * np.arange(20, dtype=np.float32)[:, None]
    values = np.array([[2.0]] * 20 + [[5.0]])
    track_id = np.array([7] * 20 + [8]) if tracked else None
    table = FeatureTable(
        values[order].astype(np.float32),
        np.array(frames)[order],
        box[order],
        None if track_id is None else track_id[order],
    )
    scored = scored_of({"a": np.ones(20)})
    event = replace(event_at(scored, 0, 20), peak_frame=9)
    (row,) = chosen_rows(table, stream_of([0.0]), [event], scored)
    assert (table.frame_index[row], table.values[row].tolist()) == (9, [2.0])


def test_only_rows_near_peaks_are_scored():
    stream, scored = stream_of([0.0]), scored_of({"a": np.ones(10_000)})
    table = table_of(np.ones((10_000, 1)), list(range(10_000)))
    events = [replace(event_at(scored, 0, 10_000), peak_frame=peak) for peak in (5000, 5003, 9000)]
    chosen_rows(table, stream, events, scored)
    assert stream.densities[0].num_scored == (2 * 6 + 1) + 3 + (2 * 6 + 1)


def test_an_event_without_rows_near_its_peak_looks_as_far_as_the_smoothing_and_then_says_so():
    stream = stream_of([0.0])
    scored = scored_of({"velocity": np.ones(100)})
    table = table_of([[1.0], [5.0]], [10, 61])
    events = [replace(event_at(scored, 48, 53), peak_frame=50), replace(event_at(scored, 78, 83), peak_frame=80)]
    assert chosen_rows(table, stream, events, scored).tolist() == [1, -1]
    explained = explain(
        events, {"v": scored}, {"v": stored_of({"velocity": table})}, bundle_of({"velocity": stream}), None
    )
    assert [event.reason.region is None for event in explained.events] == [False, True]
    assert explained.events[1].reason.text == "nothing is seen at its peak"
    assert list(explained.rows) == [events[0].event_id]


def test_frames_that_could_not_be_decoded_do_not_shift_the_region():
    frames = np.array([*range(10), *range(500, 520)])
    track = ScoreTrack("v", frames, frames / 25, np.ones(30), np.ones(30), {"a": np.ones(30)})
    scored = ScoredVideo(track, SIGMA, 0, 25.0)
    event = Event("v", 0, 520, 0.0, 20.0, 501, 20.04, 1.0, 0.1)
    table = table_of([[9.0], [1.0], [1.0]], [9, 505, 519])
    assert chosen_rows(table, stream_of([0.0]), [event], scored).tolist() == [
        1
    ]  # frame 9 is next to it in the list, and 20 s away


def test_the_name_and_track_of_the_object_are_told():
    frames = [9, 10, 10]
    box = np.array([[0, 0, 9, 9], [5, 5, 30, 60], [100, 60, 120, 100]], np.float32)
    regions = Regions(box, np.array(frames), np.ones(3, np.float32), np.array([-1, 0, 1]))
    scored, stream = scored_of({"velocity": np.ones(20)}), stream_of([0.0])
    event = replace(event_at(scored, 8, 12), peak_frame=10)
    said = []
    for odd in range(3):
        values = np.zeros((3, 1))
        values[odd] = 4.0
        table = table_of(values, frames, box_xyxy=box, track_id=np.array([-1, 12, 7]))
        args = {"v": scored}, {"v": stored_of({"velocity": table}, regions)}, bundle_of({"velocity": stream})
        reason = explain([event], *args, None).events[0].reason
        assert (reason.region.frame_index, reason.region.box_xyxy) == (frames[odd], tuple(box[odd].tolist()))
        said.append((reason.region.what, reason.region.track_id, reason.text.split(":")[0]))
    assert said == [("moving object", -1, "moving object"), ("person", 12, "person 12"), ("bicycle", 7, "bicycle 7")]


def test_groups_have_the_shares_of_what_they_add_on_the_way_from_normal():
    stream = stream_of([0.0] * 4, [0.0] * 4)
    reference, values = np.zeros((2, 4), np.float32), np.array([[1, 2, 0, 3], [0, 0, 2, 0]], np.float32)
    first, second = group_shares(stream, values, reference, ("a", "a", "b", "c"))
    np.testing.assert_allclose(
        [share for _, share in first], [9 / 14, 5 / 14, 0]
    )  # halves of squares, as a bowl has it
    assert [name for name, _ in first] == ["c", "a", "b"]
    assert second[0] == ("b", 1.0)


def test_groups_leave_out_what_makes_a_row_less_unusual_and_what_is_not_scored():
    stream = stream_of([0.0, 0.0])
    reference, values = np.array([[0, 3]], np.float32), np.array([[4, 1]], np.float32)
    assert group_shares(stream, values, reference, ("a", "b")) == [(("a", 1.0), ("b", 0.0))]
    clipped = stream_of([0.0, 0.0], least=np.array([0, 0], np.float32))
    assert group_shares(clipped, np.array([[-9, 1]], np.float32), reference, ("a", "b"))[0][0] == ("a", 0.0)


def test_noise_levels_are_the_mean_over_the_densities():
    reason = explain_one("velocity", [4.0], stream=stream_of([1.0], [3.0]))
    assert reason.scales == ((0.1, 2.0), (1.0, 4.0))  # |4 - 1| and |4 - 3|


WALK_RIGHT = np.tile([1.0, 0.0, 0.0, 0.0], (60, 1))
STANDING = np.tile([1.0, 0.8, -3.0, -2.0], (60, 1))  # a quarter of the frame high
BOTH_WAYS = np.tile([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], (30, 1))


@pytest.mark.parametrize(
    ("name", "row", "usual", "text"),
    [
        ("velocity", [3.1, 0, 0, 0], WALK_RIGHT, "moves 3.1 times as fast as usual here, heading right"),
        (
            "velocity",
            [0, 0, 1, 0],
            WALK_RIGHT,
            "moves left, where less than 1 % of normal motion goes that way",
        ),
        (
            "velocity",
            [0.6, 0, 0.5, 0],
            WALK_RIGHT,
            "moves partly left, where less than 1 % of normal motion goes that way",
        ),
        ("velocity", [0.7, 0, 0, 0.7], WALK_RIGHT, "moves 1.4 times as fast as usual here, heading up right"),
        ("velocity", [0.3, 0, 0, 0], WALK_RIGHT, "moves at 30 % of the usual speed here, heading right"),
        ("velocity", [0, 0, 0, 0], WALK_RIGHT, "hardly moves, where things usually move"),
        ("velocity", [0, 99, 0, 0], WALK_RIGHT, "moves more than 20 times as fast as usual here, heading down"),
        ("velocity", [2.1], np.full((60, 1), 2.0), "moves in an unusual way"),
        ("velocity", [5.2], np.full((60, 1), 2.0), "moves 2.6 times as fast as usual here"),
        ("geometry", [-1, -2], np.full((60, 2), -2.0), "2.0 times as wide as usual here"),
        ("geometry", [-2, -3], np.full((60, 2), -2.0), "50 % as tall as usual here"),
        ("geometry", [-2, -2], np.full((60, 2), -2.0), "unusual size or place"),
        ("place", [1, 0.8, -3, -1], STANDING, "2.0 times as tall as usual here"),
        ("place", [1, 0.8, -4, -2], STANDING, "50 % as wide as usual here"),
        (
            "place",
            [1.8, 0.8, -3, -2],
            STANDING,
            "stands where hardly anything stands, 3.2 times its own height from where things stand",
        ),
    ],
)
def test_sentences_say_what_differs_from_normal_objects_there(name, row, usual, text):
    reason = explain_one(name, row, usual)
    assert reason.text == f"object: {text}"


def test_among_people_who_walk_both_ways_the_speed_is_the_reason():
    assert "times_as_fast" in explain_one("velocity", [0, 0, 3, 0], BOTH_WAYS).facts
    assert "share_in_direction" in explain_one("velocity", [0, 0, 0, 1], BOTH_WAYS).facts


def test_the_usual_speed_is_that_of_objects_that_stood_near():
    """In front of the camera things move four times as fast as far away; the object is far away."""
    speed = np.array([[1.0]] * 60 + [[4.0]] * 60)
    near = np.concatenate([boxes_at([0] * 60), boxes_at([0] * 60) + np.float32([0, 120, 0, 120])])
    normal_index = moments_of({"velocity": speed}, near)
    stream, frames = stream_of([2.5]), list(range(20))
    values = np.full((20, 1), 2.5)
    values[10] = 5.0
    scored = scored_of({"velocity": stream.score_rows(values.astype(np.float32))})
    args = {"v": scored}, {"v": stored_of({"velocity": table_of(values, frames)})}, bundle_of({"velocity": stream})
    (event,) = explain([event_at(scored, 5, 15)], *args, normal_index).events
    assert event.reason.text == "object: moves 5.0 times as fast as usual here"
    elsewhere = moments_of({"velocity": speed}, near, size_hw=(480, 640))  # another camera
    (event,) = explain([event_at(scored, 5, 15)], *args, elsewhere).events
    assert event.reason.text == "object: moves 2.0 times as fast as usual"
    (event,) = explain([event_at(scored, 5, 15)], *args, None).events
    assert event.reason.text == "object: moves 2.0 times as fast as usual"
    assert event.reason.nearest == ()


def test_without_directions_the_boxes_tell_where_an_object_heads():
    frames = list(range(20))
    box = boxes_at(frames)
    box[:, [0, 2]] -= 4 * np.arange(20, dtype=np.float32)[:, None]
    usual = np.full((60, 1), 2.0)
    assert explain_one("velocity", [6.0], usual, box_xyxy=box).text.endswith("as usual here, heading left")
    table = table_of(np.zeros((20, 1)), frames, box_xyxy=box)
    assert way(table, 10) == pytest.approx(np.pi)
    assert way(replace(table, box_xyxy=boxes_at(frames)), 10) is None
    assert way(table.select(np.array([3])), 0) is None


def test_a_pose_names_the_joints_that_differ():
    usual = np.random.default_rng(0).normal(0, 0.01, (60, 34))
    row = usual.mean(axis=0)
    row[2 * 13], row[2 * 16 + 1] = 2.0, 1.0  # x of the left knee, y of the right ankle
    reason = explain_one("pose", row.tolist(), usual)
    assert reason.text == "object: unusual pose: left knee"
    row[2 * 13] = 0.9
    assert explain_one("pose", row.tolist(), usual).text == "object: unusual pose: right ankle, left knee"
    assert len(reason.groups) == 17


def test_an_appearance_is_so_many_times_as_far_as_normal_moments_are():
    rng = np.random.default_rng(0)
    usual, row = rng.normal(size=(60, 3)), [9.0, 0.0, 0.0]
    normal_index = moments_of({"own": usual}, boxes_at([0] * 60))
    found, distance = normal_index.nearest("own", np.array([row], np.float32), 3)
    reason = explain_one("own", row, usual)
    far = f"{distance[0, 0]:.0f} times as far from the nearest normal moment as normal moments are from each other"
    assert reason.text == f"object: looks unlike anything seen: {far}"
    assert reason.groups == (("appearance", 1.0),)
    assert [near.moment for near in reason.nearest] == found[0].tolist()
    assert [near.distance for near in reason.nearest] == distance[0].tolist()
    near = reason.nearest[0]
    assert (near.video, near.frame_index) == (normal_index.video[near.moment], normal_index.frame_index[near.moment])
    assert len(explain_one("own", row, usual, settings=("reasons.nearest=1",)).nearest) == 1
    none = explain_one("own", row, usual, settings=("reasons.nearest=0",))
    assert (none.nearest, none.text) == ((), reason.text)
    assert explain_one("own", row).text == "object: looks unlike anything seen"  # a model without normal_index


def test_whole_pictures_have_no_region():
    still = np.tile([0.1, 0.0, 0.0, 0.0], (60, 1))
    four = ("features.flow_histogram.bins=4",)
    reason = explain_one("flow_histogram", [0, 0, 0.5, 0], still, boxed=False, settings=four)
    assert reason.text == "the whole picture is unusual: 5.0 times as much motion as usual, most of it heading left"
    assert reason.region is None
    corners = np.tile([0.1, 0.0], (60, 4))
    two = ("features.flow_histogram.bins=2", "features.flow_histogram.grid=2")
    reason = explain_one("flow_histogram", [0.1, 0, 0.1, 0, 0.1, 0, 0.9, 0], corners, boxed=False, settings=two)
    assert reason.text.endswith(
        "3.0 times as much motion as usual, most of it heading right, above all at the lower right"
    )
    reason = explain_one("own", [9.0, 0.0], np.random.default_rng(0).normal(size=(60, 2)), boxed=False)
    assert reason.text.startswith("the whole picture looks unlike anything seen: ")


def test_features_that_are_gone_are_an_error():
    def gone(name: str) -> FeatureTable:
        raise StoreError(f"no stored {name}")

    scored = scored_of({"velocity": np.ones(20)})
    stored = SimpleNamespace(features=gone, passports={}, size_hw=SIZE_HW, rate=Fraction(25))
    with pytest.raises(StoreError, match="no stored velocity"):
        explain(
            [event_at(scored, 5, 15)], {"v": scored}, {"v": stored}, bundle_of({"velocity": stream_of([0.0])}), None
        )


def test_no_events_are_an_ordinary_value():
    explained = explain([], {}, {}, Bundle({}, Settings(), {}, TrainingRecord()), None)
    assert (explained.events, explained.rows) == ([], {})
