"""The normal index: what is drawn, what its pictures show, and what lies near, against loops."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mulde.datasets.base import Video
from mulde.errors import MuldeError, RecordError
from mulde.media import write_video
from mulde.pipeline.model.bundle import Bundle
from mulde.pipeline.model.normal_index import NormalIndex
from mulde.pipeline.model.training_record import TrainingRecord
from mulde.pipeline.model.world import Match
from mulde.pipeline.training.exclusions import Exclusions
from mulde.pipeline.training.reference_samples import draw_reference_samples, make_normal_index
from mulde.progress import Reporter
from mulde.records import FeatureTable, Frames
from mulde.settings_file import load_settings
from tests.pipeline.clips import QUIET, clips, plan_of, run

RED = (220, 30, 40)


@dataclass
class Stored:
    """Stands for a StoredVideo whose tables the test made up."""

    video: Video
    tables: dict[str, FeatureTable]
    num_frames: int = 30
    size_hw: tuple[int, int] = (96, 128)
    frame_index: np.ndarray = field(init=False)
    time_s: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.frame_index = np.arange(self.num_frames)
        self.time_s = self.frame_index / 25

    def features(self, name: str) -> FeatureTable:
        return self.tables[name]


def boxes(frames: list[int], dim: int, seed: int = 0, *, tracked: bool = True) -> FeatureTable:
    """A row for each entry of `frames`, whose box says which one of its frame it is."""
    rng = np.random.default_rng(seed)
    nth = np.array([frames[:i].count(frame) for i, frame in enumerate(frames)], np.int64)
    corners = np.stack([10 + nth, 20 + nth, 30 + nth, 50 + nth], axis=1).astype(np.float32)
    values = rng.normal(size=(len(frames), dim)).astype(np.float32)
    index = np.array(frames, np.int64)
    return FeatureTable(values, index, corners.reshape(-1, 4), nth if tracked else None)


def whole(num_frames: int, dim: int, seed: int = 0) -> FeatureTable:
    values = np.random.default_rng(seed).normal(size=(num_frames, dim)).astype(np.float32)
    return FeatureTable(values, np.arange(num_frames))


def stored(name: str, **tables: FeatureTable) -> Stored:
    return Stored(Video(name, "train", Path(f"{name}.mp4")), tables)


def bundle_of(videos, most: int = 3000) -> Bundle:
    tables = videos[0].tables
    streams = {name: SimpleNamespace(dim=table.dim) for name, table in tables.items()}
    return Bundle(streams, load_settings(overrides=[f"reasons.normal_moments={most}"]), {}, TrainingRecord())


class Recorder(Reporter):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class NoPictures:
    """A plan none of whose videos opens."""

    def open(self, video):
        raise MuldeError(f"{video.name} is gone")


def write_normal_index(videos, bundle, plan, path, *, seed, reporter):
    index = make_normal_index(videos, bundle, plan, seed=seed, reporter=reporter)
    assert index is not None
    index.write(path)


def made(tmp_path, videos, most: int = 3000, seed: int = 0, plan=None) -> NormalIndex:
    path = tmp_path / "index.parquet"
    write_normal_index(videos, bundle_of(videos, most), plan or NoPictures(), path, seed=seed, reporter=Recorder())
    normal_index = NormalIndex.read(path)
    assert normal_index is not None
    return normal_index


def test_all_moments_are_there_where_they_are_few_each_with_its_row_in_every_stream(tmp_path):
    first = stored("a", speed=boxes([0, 0, 3], 2), pose=boxes([0, 3, 5], 3, seed=1), clip=whole(4, 5))
    second = stored("cam/b", speed=boxes([], 2), pose=boxes([2], 3, seed=2, tracked=False), clip=whole(2, 5, seed=3))
    normal_index = made(tmp_path, [first, second])
    assert normal_index.streams == ("speed", "pose", "clip")
    assert len(normal_index) == 4 + 4 + 1 + 2  # two boxes of speed are boxes of pose as well
    assert [len(normal_index.rows_of(name)) for name in normal_index.streams] == [3, 4, 6]
    seen = set()
    for name in normal_index.streams:
        for sample, value in zip(normal_index.rows_of(name).tolist(), normal_index.values(name), strict=True):
            owner = {"a": first, "cam/b": second}[normal_index.video[sample]]
            table, frame, box = owner.tables[name], normal_index.frame_index[sample], normal_index.box_xyxy[sample]
            same = [
                i
                for i in range(len(table))
                if table.frame_index[i] == frame
                and (np.isnan(box).all() if table.box_xyxy is None else (table.box_xyxy[i] == box).all())
            ]
            assert len(same) == 1
            np.testing.assert_array_equal(value, table.values[same[0]])
            assert normal_index.time_s[sample] == frame / 25
            assert normal_index.size_hw[sample].tolist() == [96, 128]
            tracked = table.track_id is not None
            assert normal_index.track_id[sample] == (table.track_id[same[0]] if tracked else -1)
            seen.add(sample)
    assert seen == set(range(len(normal_index)))
    order = [(video, frame) for video, frame in zip(normal_index.video, normal_index.frame_index.tolist(), strict=True)]
    assert order == sorted(order)
    assert normal_index.jpeg(0) is None


def test_a_frame_is_drawn_twice_only_when_no_other_is_left():
    crowd = stored("a", speed=boxes([0] * 50 + [1, 2, 3, 4, 4], 1))
    for seed in range(5):
        drawn = draw_reference_samples([crowd], {"speed": 1}, 5, seed)
        assert drawn["frame_index"].tolist() == [0, 1, 2, 3, 4]
        more = draw_reference_samples([crowd], {"speed": 1}, 7, seed)
        assert more["frame_index"].tolist() == [0, 0, 1, 2, 3, 4, 4]


def test_every_row_of_every_video_has_the_same_chance():
    """One video has four times the rows of the other."""
    videos = [stored("a", speed=boxes(list(range(800)), 1)), stored("b", speed=boxes(list(range(200)), 1))]
    for video in videos:
        video.frame_index, video.time_s = np.arange(800), np.arange(800) / 25
    drawn = [draw_reference_samples(videos, {"speed": 1}, 100, seed) for seed in range(20)]
    of_b = np.mean([(one["video"] == 1).sum() for one in drawn])
    assert 18 < of_b < 22  # its standard deviation is 0.85
    thirds = np.histogram(np.concatenate([one["frame_index"][one["video"] == 0] for one in drawn]), 3, (0, 800))[0]
    assert (np.abs(thirds / thirds.sum() - 1 / 3) < 0.05).all()


@pytest.mark.parametrize(
    ("num_boxes", "most", "shares"), [(30, 20, (10, 10)), (30, 21, (11, 10)), (4, 20, (4, 16)), (30, 100, (30, 25))]
)
def test_boxes_and_frames_share_what_is_kept(num_boxes, most, shares):
    video = stored("a", speed=boxes(sorted(list(range(30)) * 2)[:num_boxes], 1), clip=whole(25, 2))
    drawn = draw_reference_samples([video], {"speed": 1, "clip": 2}, most, 0)
    is_frame = np.isnan(drawn["box_xyxy"]).all(axis=1)
    assert ((~is_frame).sum(), is_frame.sum()) == shares
    np.testing.assert_array_equal(np.isnan(drawn["values_speed"]).all(axis=1), is_frame)
    np.testing.assert_array_equal(np.isnan(drawn["values_clip"]).any(axis=1), ~is_frame)


def test_what_was_left_out_is_no_normal_moment():
    videos = [stored("a", velocity=boxes([0, 1, 2, 3, 4], 2)), stored("b", velocity=boxes([1, 2], 2))]
    left_out = Exclusions({"a": ((1, 3), (4, 9))})
    drawn = draw_reference_samples(videos, {"velocity": 2}, 100, 0, left_out)
    assert list(zip(drawn["video"].tolist(), drawn["frame_index"].tolist(), strict=True)) == [
        (0, 0),
        (0, 3),
        (1, 1),
        (1, 2),
    ]
    assert Exclusions.of_record(left_out.as_record()) == left_out


def test_the_same_seed_writes_the_same_bytes_and_another_one_draws_others(tmp_path):
    videos = [stored("a", speed=boxes(list(range(30)), 2)), stored("b", speed=boxes(list(range(25)), 2, seed=1))]
    paths = [tmp_path / f"{i}.parquet" for i in range(3)]
    for path, seed in zip(paths, (4, 4, 5), strict=True):
        write_normal_index(videos, bundle_of(videos, 10), NoPictures(), path, seed=seed, reporter=Recorder())
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    first, _, third = map(NormalIndex.read, paths)
    assert set(zip(first.video, first.frame_index, strict=True)) != set(
        zip(third.video, third.frame_index, strict=True)
    )


def test_pandas_opens_the_file(tmp_path):
    import pandas as pd

    video = stored("a", speed=boxes([0, 3], 2), clip=whole(2, 3))
    made(tmp_path, [video])
    frame = pd.read_parquet(tmp_path / "index.parquet")
    corners = ["x0", "y0", "x1", "y1"]
    places = ["moment", "video", "frame_index", "time_s", *corners, "track_id", "height", "width", "jpeg"]
    assert list(frame.columns) == [*places, "values_speed", "values_clip"]
    assert frame["moment"].tolist() == [0, 1, 2, 3]
    assert frame["values_clip"].isna().tolist() == frame["x0"].notna().tolist()
    np.testing.assert_array_equal(np.stack(frame["values_speed"].dropna()), video.tables["speed"].values)
    assert frame.loc[frame["x0"].notna(), corners].to_numpy().tolist() == video.tables["speed"].box_xyxy.tolist()


def nearest_by_loops(rows, owner, query, k):
    """Distances of one query row to all rows, standardised by them, in units of the median distance of a row to the
    nearest one of another owner: the k least with their places."""
    mean, std = rows.astype(np.float64).mean(axis=0), rows.astype(np.float64).std(axis=0, ddof=1)
    z = (rows - mean) / std
    apart = [
        min(np.sqrt(((a - b) ** 2).sum()) for b, other in zip(z, owner, strict=True) if other != own)
        for a, own in zip(z, owner, strict=True)
    ]
    distance = np.sqrt((((query - mean) / std - z) ** 2).sum(axis=1)) / np.median(apart)
    return np.argsort(distance)[:k], np.sort(distance)[:k], np.median(apart)


@pytest.mark.parametrize("dim", [1, 3, 40])
def test_nearest_and_its_unit_against_loops(tmp_path, dim):
    """Moments without a row in the stream lie between those that have one."""
    videos = [
        stored(f"v{i}", speed=boxes(list(range(0, 30, 2)), dim, seed=i), pose=boxes(list(range(30)), 2, seed=9 + i))
        for i in range(3)
    ]
    videos[1].tables["speed"].values[:] *= 5
    normal_index = made(tmp_path, videos)
    rows, values = normal_index.rows_of("speed"), normal_index.values("speed")
    assert len(rows) == 45
    assert len(normal_index) == 90
    query = np.random.default_rng(7).normal(0, 3, (6, dim)).astype(np.float32)
    sample, distance = normal_index.nearest("speed", query, 4)
    assert sample.shape == distance.shape == (6, 4)
    for i in range(6):
        places, expected, unit = nearest_by_loops(values, [normal_index.video[row] for row in rows], query[i], 4)
        np.testing.assert_array_equal(sample[i], rows[places])
        np.testing.assert_allclose(distance[i], expected, rtol=1e-4)
    std = values.astype(np.float64).std(axis=0, ddof=1)
    apart = np.sqrt((((query - query[::-1]) / std) ** 2).sum(axis=1)) / unit
    np.testing.assert_allclose(normal_index.distance("speed", query, query[::-1]), apart, rtol=1e-4)
    to_one = normal_index.distance("speed", query, values[:1])
    np.testing.assert_allclose(to_one, [normal_index.distance("speed", row[None], values[:1])[0] for row in query])


def test_of_a_single_video_the_quarters_count_as_videos(tmp_path):
    frames = [14, 14, 15, 17, 18, 21, 22, 24, 25, 28, 29]
    video = stored("a", speed=boxes(frames, 3))
    video.tables["speed"].values[:] += np.array(frames)[:, None]  # slowly changing, as a camera's picture
    normal_index = made(tmp_path, [video])
    quarters = [(frame - 14) // 4 for frame in frames]
    query = np.zeros((1, 3), np.float32)
    _, distance = normal_index.nearest("speed", query, 5)
    np.testing.assert_allclose(
        distance[0], nearest_by_loops(normal_index.values("speed"), quarters, query, 5)[1], rtol=1e-4
    )


def test_far_more_moments_than_the_unit_is_learnt_from_give_nearly_the_same_unit(tmp_path, monkeypatch):
    videos = [stored(f"v{i}", speed=boxes(sorted(list(range(30)) * 3), 3, seed=i)) for i in range(4)]
    a, b = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)
    exact = made(tmp_path, videos).distance("speed", a, b)
    monkeypatch.setattr("mulde.pipeline.model.normal_index._MAX_FOR_UNIT", 100)
    np.testing.assert_allclose(made(tmp_path, videos).distance("speed", a, b), exact, rtol=0.25)


def test_a_moments_own_row_is_found_at_distance_0(tmp_path):
    normal_index = made(tmp_path, [stored(f"v{i}", clip=whole(30, 40, seed=i)) for i in range(2)])
    sample, distance = normal_index.nearest("clip", normal_index.values("clip"), 2)
    np.testing.assert_array_equal(sample[:, 0], normal_index.rows_of("clip"))
    assert (distance[:, 0] == 0).all()
    assert (distance[:, 1] > 0).all()


def test_more_neighbours_than_moments_and_streams_without_rows_are_ordinary(tmp_path):
    normal_index = made(tmp_path, [stored("a", speed=boxes([1, 2], 2), pose=boxes([], 3))])
    sample, distance = normal_index.nearest("speed", np.zeros((4, 2), np.float32), 9)
    assert sample.shape == distance.shape == (4, 2)
    assert normal_index.nearest("speed", np.zeros((0, 2), np.float32), 1)[0].shape == (0, 1)
    assert normal_index.nearest("speed", np.zeros((4, 2), np.float32), 0)[0].shape == (4, 0)
    sample, distance = normal_index.nearest("pose", np.zeros((4, 3), np.float32), 3)
    assert sample.shape == distance.shape == (4, 0)
    assert np.isnan(normal_index.distance("pose", np.zeros((4, 3), np.float32), np.ones((1, 3), np.float32))).all()
    assert normal_index.values("pose").shape == (0, 3)


@pytest.mark.parametrize("frames", [[5], [5, 5, 5]])
def test_moments_of_one_time_have_a_unit(tmp_path, frames):
    normal_index = made(tmp_path, [stored("a", speed=boxes(frames, 2))])
    assert np.isfinite(normal_index.nearest("speed", np.ones((1, 2), np.float32), 1)[1]).all()


def test_equal_rows_have_a_unit(tmp_path):
    videos = [stored(name, speed=boxes([0, 1], 2)) for name in "ab"]
    for video in videos:
        video.tables["speed"].values[:] = 1
    normal_index = made(tmp_path, videos)
    assert normal_index.nearest("speed", np.array([[1, 2]], np.float32), 1)[1].tolist() == [[1.0]]


def test_no_moments_at_all_are_an_ordinary_value(tmp_path):
    normal_index = made(tmp_path, [stored("a", speed=boxes([], 2))])
    assert len(normal_index) == 0
    assert normal_index.box_xyxy.shape == (0, 4)
    assert normal_index.nearest("speed", np.zeros((1, 2), np.float32), 3)[0].shape == (1, 0)


def test_a_model_without_moments_has_no_index(tmp_path):
    assert NormalIndex.read(tmp_path / "index.parquet") is None
    videos = [stored("a", speed=boxes([0], 1))]
    assert make_normal_index(videos, bundle_of(videos, 0), NoPictures(), seed=0, reporter=QUIET) is None


def test_what_cannot_be_asked_is_a_sentence(tmp_path):
    normal_index = made(tmp_path, [stored("a", speed=boxes([0, 1], 2), pose=boxes([0], 3))])
    with pytest.raises(MuldeError, match="expected a stream among speed, pose, got 'clip'"):
        normal_index.nearest("clip", np.zeros((1, 2), np.float32), 1)
    for wrong in (np.zeros((1, 3), np.float32), np.zeros(2, np.float32)):
        with pytest.raises(
            RecordError, match=r"normal index, speed: expected rows of 2 numbers, got an array of shape"
        ):
            normal_index.nearest("speed", wrong, 1)
    with pytest.raises(RecordError, match=r"expected rows of 2 numbers, got an array of shape \(1, 3\)"):
        normal_index.distance("speed", np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32))


def flip(content: bytes) -> bytes:
    """One bit of the middle is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"hello" * 30, flip])
def test_a_damaged_file_is_a_sentence(tmp_path, damage):
    made(tmp_path, [stored("a", clip=whole(30, 200))])
    path = tmp_path / "index.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MuldeError, match=r"index\.parquet cannot be read .*\. Try: copy the file again, or train"):
        NormalIndex.read(path)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_a_file_of_another_version_is_a_sentence(tmp_path, version):
    import pyarrow.parquet as pq

    made(tmp_path, [stored("a", speed=boxes([0], 2))])
    path = tmp_path / "index.parquet"
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"mulde"]) | {"schema": version}
    pq.write_table(table.replace_schema_metadata({b"mulde": json.dumps(facts)}), path)
    with pytest.raises(MuldeError, match=r"index\.parquet, schema version: expected one that mulde"):
        NormalIndex.read(path)


def red_square(num_frames: int = 30) -> np.ndarray:
    """A red square of 40 pixels on grey ground; its left border is at the number of the frame."""
    frames = np.full((num_frames, 96, 128, 3), 90, np.uint8)
    for t in range(num_frames):
        frames[t, 30:70, t : t + 40] = RED
    return frames


@pytest.fixture
def filmed(tmp_path) -> Stored:
    path = tmp_path / "red.mkv"
    write_video(path, iter(red_square()), Fraction(25))
    frames = [4, 20, 20]
    corners = np.array([[4, 30, 44, 70], [20, 30, 60, 70], [0, 0, 128, 96]], np.float32)
    table = FeatureTable(np.ones((3, 1), np.float32), np.array(frames), corners)
    return Stored(Video("red", "train", path), {"speed": table, "clip": whole(2, 1)})


def pixels(normal_index: NormalIndex, sample: int) -> np.ndarray:
    import cv2

    coded = normal_index.jpeg(sample)
    assert coded is not None
    return cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)


def reddish(image: np.ndarray) -> np.ndarray:
    return np.abs(image - RED).max(axis=2) < 60


def test_pictures_show_the_box_with_what_is_around_it_and_whole_frames(tmp_path, filmed):
    normal_index = made(tmp_path, [filmed], plan=plan_of())
    assert normal_index.frame_index.tolist() == [0, 1, 4, 20, 20]
    near = pixels(normal_index, 2)  # 12 pixels around the box, but only 4 on its left
    assert near.shape == (64, 56, 3)
    expected = np.zeros((64, 56), bool)
    expected[12:52, 4:44] = True
    assert (reddish(near) == expected).mean() > 0.95
    by_area = {pixels(normal_index, i).shape for i in (3, 4)}
    assert by_area == {(64, 64, 3), (72, 96, 3)}  # the second one is shrunk
    frame = pixels(normal_index, 1)
    assert frame.shape == (96, 128, 3)
    assert (reddish(frame) == (np.abs(red_square()[1].astype(int) - RED).max(axis=2) < 60)).mean() > 0.97


class Watched:
    """A plan that notes which videos it opened and the readers that it gave."""

    def __init__(self) -> None:
        self.plan, self.readers = plan_of(), []

    def open(self, video):
        self.readers.append(self.plan.open(video))
        return self.readers[-1]

    def match(self, video, reader):
        return self.plan.match(video, reader)

    def converted(self, reader, match):
        return self.plan.converted(reader, match)


def test_a_video_is_decoded_once_and_no_further_than_needed(tmp_path, filmed):
    other = Stored(Video("none", "train", tmp_path / "none.mkv"), {"speed": boxes([], 1), "clip": whole(0, 1)})
    plan = Watched()
    made(tmp_path, [other, filmed], plan=plan)
    assert [reader.path.name for reader in plan.readers] == ["red.mkv"]
    assert plan.readers[0].num_frames_decoded == 21  # three windows of 7


def test_a_frame_that_is_gone_costs_its_picture_alone(tmp_path, filmed):
    class Gap:
        def open(self, video):
            frames = red_square()[[0, 4, 5]]
            return nullcontext([Frames(frames, np.array([0, 4, 5]), np.array([0, 0.16, 0.2]))])

        def match(self, video, reader):
            return Match()

        def converted(self, reader, match):
            return reader

    normal_index = made(tmp_path, [filmed], plan=Gap())
    assert normal_index.frame_index.tolist() == [0, 1, 4, 20, 20]
    assert [normal_index.jpeg(i) is not None for i in range(5)] == [True, False, True, False, False]


def test_a_video_that_is_gone_costs_its_pictures_alone(tmp_path, filmed):
    lost = Stored(Video("lost", "train", tmp_path / "lost.mkv"), {"speed": boxes([3], 1), "clip": whole(1, 1)})
    reporter = Recorder()
    path = tmp_path / "m.parquet"
    write_normal_index([lost, filmed], bundle_of([filmed]), plan_of(), path, seed=0, reporter=reporter)
    normal_index = NormalIndex.read(path)
    have = {
        name: [normal_index.jpeg(i) is not None for i, v in enumerate(normal_index.video) if v == name]
        for name in ("lost", "red")
    }
    assert have == {"lost": [False, False], "red": [True] * 5}
    assert len(reporter.warnings) == 1
    assert "lost: reference samples have no pictures" in reporter.warnings[0]
    assert "does not exist" in reporter.warnings[0]


def test_of_extracted_clips_each_moment_has_the_rows_that_the_store_has(tmp_path):
    plan = plan_of('features.extractors=["velocity", "geometry", "flow_histogram"]')
    done = run(clips(tmp_path, 2), plan, tmp_path / "store").done
    streams = {name: SimpleNamespace(dim=done[0].features(name).dim) for name in plan.streams}
    settings = load_settings(overrides=["reasons.normal_moments=12"])
    write_normal_index(
        done, Bundle(streams, settings, {}, TrainingRecord()), plan, tmp_path / "m.parquet", seed=1, reporter=QUIET
    )
    normal_index = NormalIndex.read(tmp_path / "m.parquet")
    assert len(normal_index) == 12
    assert set(normal_index.video) == {"clip0", "clip1"}
    assert len(normal_index.rows_of("velocity")) == len(normal_index.rows_of("flow_histogram")) == 6
    for name in streams:
        for sample, value in zip(normal_index.rows_of(name), normal_index.values(name), strict=True):
            table = next(one for one in done if one.video.name == normal_index.video[sample]).features(name)
            rows = table.frame_index == normal_index.frame_index[sample]
            if table.box_xyxy is not None:
                rows &= (table.box_xyxy == normal_index.box_xyxy[sample]).all(axis=1)
            np.testing.assert_array_equal(table.values[rows], value[None])
    assert all(normal_index.jpeg(i) for i in range(12))
