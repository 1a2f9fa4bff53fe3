"""The synthetic world: repeatable, exactly labelled, and anomalous in the way it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from mulde.datasets import open_dataset, write_world
from mulde.datasets.synthetic import figures
from mulde.datasets.synthetic.plan import KINDS, WALKING_SPEED, Stage, plan_anomaly, plan_walkers
from mulde.datasets.synthetic.plaza import background, person_height
from mulde.datasets.synthetic.render import render
from mulde.datasets.synthetic.shapes import paint
from mulde.datasets.synthetic.world import CAUSES, open_synthetic
from mulde.errors import LabelError, UsageError

from .dataset_copies import write_mp4

SMALL = {"train_clips": 1, "test_clips": 2, "num_frames": 20, "size_hw": (90, 160)}
STAGE = Stage((90, 160), 25.0, 150)


class Digests:
    """A writer that keeps a digest of each clip's raw frames in the place of the video."""

    def __init__(self, fail_at: str = "") -> None:
        self.fail_at = fail_at
        self.written: dict[str, str] = {}

    def __call__(self, path: Path, frames: Iterable[np.ndarray], rate: Fraction) -> int:
        if path.stem == self.fail_at:
            raise OSError("No space left on device")
        digest, count = hashlib.sha256(), 0
        for frame in frames:
            count += 1
            assert (frame.dtype, frame.shape[2], rate) == (np.uint8, 3, 25)
            digest.update(frame.tobytes())
        path.write_bytes(digest.digest())
        self.written[path.stem] = digest.hexdigest()
        return count


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_world(tmp_path / name, write_video=Digests(), seed=seed, **SMALL)
    first, same, other = (contents(tmp_path / name) for name in "abc")
    assert first == same
    assert first["train/train01.mp4"] != other["train/train01.mp4"]
    assert any(data != other[name] for name, data in first.items() if name.startswith("pixel_masks/"))
    assert first["test/test01.mp4"] != first["test/test02.mp4"]


def test_a_clip_does_not_depend_on_how_many_there_are(tmp_path):
    few, many = Digests(), Digests()
    write_world(tmp_path / "few", write_video=few, **SMALL)
    write_world(tmp_path / "many", write_video=many, **{**SMALL, "train_clips": 2, "test_clips": 3})
    assert len(many.written) == len(few.written) + 2
    assert few.written.items() <= many.written.items()


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """One test clip of each kind, 150 frames each."""
    root = tmp_path_factory.mktemp("world")
    write_world(root, write_video=write_mp4, train_clips=1, test_clips=5, num_frames=150, size_hw=(90, 160))
    return root


def test_every_kind_is_there_for_a_good_third_of_its_clip(world):
    dataset = open_dataset("synthetic", world)
    assert {cause.kind for cause in dataset.causes()} == set(KINDS) == set(CAUSES)
    for video in dataset.videos("test"):
        track = dataset.labels(video, 150)
        assert 0.25 <= track.anomalous.mean() <= 0.55
        causes = [cause for cause in dataset.causes() if cause.video == video.name]
        assert [(cause.start_frame, cause.end_frame) for cause in causes] == track.spans()
        assert len({cause.kind for cause in causes}) == 1
        assert all(cause.cause == CAUSES[cause.kind] for cause in causes)


def test_a_frame_is_anomalous_when_its_mask_has_pixels(world):
    dataset = open_dataset("synthetic", world)
    for video in dataset.videos("test"):
        sizes = np.array([mask.sum() for mask in dataset.masks(video)])
        assert np.array_equal(sizes > 0, dataset.labels(video, 150).anomalous)
        assert sizes[sizes > 0].min() >= 4
        assert 60 < sizes.max() < 0.2 * 90 * 160


def test_the_world_is_also_own_footage(world):
    own, synthetic = open_dataset("folder", world), open_dataset("synthetic", world)
    assert own.videos("test") == synthetic.videos("test")
    for video in own.videos("test"):
        assert own.labels(video, 150).spans() == synthetic.labels(video, 150).spans()


def test_a_clip_cut_short_is_refused(world):
    dataset = open_dataset("synthetic", world)
    with pytest.raises(LabelError, match="synthetic test01: decoded frames: expected 150, got 149"):
        dataset.labels(dataset.videos("test")[0], 149)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_the_pixels_that_the_actor_changes(kind):
    """The same clip drawn with and without the actor differs in the mask, its blended rim and the shadow only."""
    stage = Stage((180, 320), 25.0, 60)
    empty = background(stage.size_hw, np.random.default_rng(0))
    rng = np.random.default_rng(5)
    walkers, anomaly = plan_walkers(stage, rng), plan_anomaly(kind, stage, rng, late=False)
    with_actor = render(stage, empty, walkers + anomaly, np.random.default_rng(1))
    without = render(stage, empty, walkers, np.random.default_rng(1))
    num_seen = 0
    for frame, ((image, mask), (other, no_mask)) in enumerate(zip(with_actor, without, strict=True)):
        differs = (image != other).any(axis=2)
        shadow = np.zeros(mask.shape, np.uint8)
        for actor in anomaly:
            if (state := actor.at(frame)) is not None:
                patch = figures.shadow(state.x, state.y, person_height(state.y), actor.width)
                paint(shadow, [patch], value=255)
        allowed = cv2.dilate(mask.astype(np.uint8) * 255 | shadow, np.ones((5, 5), np.uint8)) > 0
        outside = (np.abs(image.astype(int) - other) > 6).any(axis=2) & ~allowed
        outside[:, [0, -1]] = False  # an actor that begins half a pixel inside the picture tints its last column
        assert outside.sum() <= 8  # slivers that cover less than half of their pixels
        assert not no_mask.any()
        if mask.sum() > 50:
            num_seen += 1
            assert (differs & mask).sum() > 0.9 * mask.sum()
    assert num_seen >= 10


def paces(actor) -> np.ndarray:
    """Ground covered per frame in body heights, with the sign of its direction along the picture."""
    x = np.array([state.x for state in actor.states])
    heights = np.array([person_height(state.y) for state in actor.states])
    return np.diff(x) / heights[1:] * 25 / WALKING_SPEED


def test_normal_people_walk_to_the_right_at_usual_speed():
    walkers = [actor for seed in range(5) for actor in plan_walkers(STAGE, np.random.default_rng(seed))]
    assert len(walkers) > 30
    assert not any(actor.anomalous for actor in walkers)
    speeds = np.concatenate([paces(actor) for actor in walkers])
    assert speeds.min() >= 0
    assert 1.2 < speeds.max() < 1.4
    assert any((paces(actor) == 0).any() for actor in walkers)  # somebody pauses


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("cyclist", 2.5, 4),
        ("runner", 2.5, 4),
        ("thrown bag", 2.5, 4),
        ("cart", 1.4, 1.9),
        ("against the stream", -1.3, -0.8),
    ],
)
def test_anomalies_move_as_their_cause_says(kind, low, high):
    for seed in range(5):
        for actor in plan_anomaly(kind, STAGE, np.random.default_rng(seed), late=False):
            assert actor.anomalous
            assert low < np.median(paces(actor)) < high


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("num_frames", [20, 60, 150, 700])
@pytest.mark.parametrize("kind", KINDS)
def test_the_share_of_anomalous_frames_holds_for_clips_of_any_length(kind, num_frames, late):
    stage = Stage((90, 160), 25.0, num_frames)
    for seed in range(10):
        actors = plan_anomaly(kind, stage, np.random.default_rng(seed), late=late)
        states = [[actor.at(frame) for actor in actors] for frame in range(num_frames)]
        assert 0.3 <= np.mean([any(row) for row in states]) <= 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_late_and_early_episodes_take_turns_in_time(kind):
    """What knows nothing but the time of a frame must not rank frames: over both halves it is near chance."""
    labels = []
    for seed in range(20):
        for late in (False, True):
            actors = plan_anomaly(kind, STAGE, np.random.default_rng(seed), late=late)
            labels.append([any(actor.at(frame) for actor in actors) for frame in range(STAGE.num_frames)])
    first, second = np.array_split(np.mean(labels, axis=0), 2)
    assert abs(first.mean() - second.mean()) < 0.2


@pytest.mark.parametrize("gait", [figures.WALK, figures.RUN])
@pytest.mark.parametrize("heading", [0.0, -0.32, np.pi])
def test_people_stand_on_the_ground(gait, heading):
    look = figures.Appearance(*[(200, 100, 50)] * 6)
    for phase in np.linspace(0, 2 * np.pi, 13):
        shapes = figures.person(100, 200, 100, heading, phase, 1.0, gait, look)
        lowest = max(shape.points[:, 1].max() for shape in shapes)
        highest = min(shape.points[:, 1].min() for shape in shapes)
        assert 198 <= lowest <= 212
        assert 75 <= lowest - highest <= 112


def test_the_camera_has_noise_and_the_light_changes_slowly():
    stage = Stage((90, 160), 25.0, 400)
    empty = background(stage.size_hw, np.random.default_rng(0))
    frames = [image.astype(float) for image, _ in render(stage, empty, [], np.random.default_rng(2))]
    noise = np.std(frames[1] - frames[0])
    assert 2.8 < noise < 3.4  # sqrt(2) * 2.2 grey levels
    brightness = np.array([frame.mean() for frame in frames])
    assert 0.03 < np.ptp(brightness) / brightness.mean() < 0.12
    assert np.abs(np.diff(brightness)).max() < 0.3


def test_a_finished_world_is_left_alone(tmp_path):
    write_world(tmp_path, write_video=Digests(), **SMALL)
    before = contents(tmp_path)
    write_world(tmp_path, write_video=Digests(fail_at="train01"), **SMALL)
    assert contents(tmp_path) == before


def test_a_world_of_other_settings_is_not_overwritten(tmp_path):
    write_world(tmp_path, write_video=Digests(), **SMALL)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r'expected .*"seed": 1,.* got .*"seed": 0,.*Try: another folder'):
        write_world(tmp_path, write_video=Digests(), seed=1, **SMALL)
    assert contents(tmp_path) == before


def test_an_interrupted_world_is_finished(tmp_path):
    write_world(tmp_path / "whole", write_video=Digests(), **SMALL)
    with pytest.raises(OSError, match="No space left"):
        write_world(tmp_path / "cut", write_video=Digests(fail_at="test02"), **SMALL)
    with pytest.raises(UsageError, match="expected a finished synthetic world, got an unfinished one"):
        open_dataset("synthetic", tmp_path / "cut")
    write_world(tmp_path / "cut", write_video=Digests(), **SMALL)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_folder_with_other_things_is_not_touched(tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"expected an empty folder, got holiday\.mp4"):
        write_world(tmp_path, write_video=Digests(), **SMALL)
    assert contents(tmp_path) == {"holiday.mp4": b"mine"}
    with pytest.raises(UsageError, match="expected a folder, got a file"):
        write_world(tmp_path / "holiday.mp4", write_video=Digests(), **SMALL)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("seed", -1, "seed of the synthetic world: expected 0 or more, got -1"),
        ("train_clips", 0, "train_clips .* expected 1 or more, got 0"),
        ("test_clips", 0, "test_clips .* expected 1 or more, got 0"),
        ("num_frames", 19, "num_frames .* expected 20 or more, got 19"),
        ("size_hw", (88, 160), r"size_hw .* expected even numbers from \(90, 160\), got \(88, 160\)"),
        ("size_hw", (90, 158), r"got \(90, 158\)"),
        ("size_hw", (91, 160), r"got \(91, 160\)"),
    ],
)
def test_settings_that_cannot_be_drawn(tmp_path, name, value, sentence):
    with pytest.raises(UsageError, match=sentence):
        write_world(tmp_path / "world", write_video=Digests(), **{**SMALL, name: value})
    assert not (tmp_path / "world").exists()


def test_a_writer_that_loses_frames(tmp_path):
    with pytest.raises(UsageError, match="writer of train01: expected 20 frames written, got 19"):
        write_world(tmp_path, write_video=lambda path, frames, rate: sum(1 for _ in frames) - 1, **SMALL)


def test_a_world_that_lost_a_clip(tmp_path):
    write_world(tmp_path, write_video=Digests(), **SMALL)
    (tmp_path / "test" / "test02.mp4").unlink()
    with pytest.raises(UsageError, match=r"test: expected 2 clips, got 1\. Try: to delete the world"):
        open_dataset("synthetic", tmp_path)


def test_world_json_says_what_it_was_made_of(tmp_path):
    write_world(tmp_path, write_video=Digests(), seed=7, **SMALL)
    said = json.loads((tmp_path / "world.json").read_text())
    assert said == {"seed": 7, **SMALL, "size_hw": [90, 160], "generator": 2}
    assert not (tmp_path / "world.json.part").exists()


@pytest.mark.parametrize(
    "text", ["null", "7", "[]", "{}", '{"num_frames": "x"}', "{", "[" * 100_000, '{"num_frames": ' + "9" * 5000 + "}"]
)
def test_settings_of_a_world_that_nobody_wrote_are_refused(tmp_path, text):
    (tmp_path / "world.json").write_text(text)
    with pytest.raises(UsageError, match=r"world\.json"):
        open_synthetic(tmp_path)
