"""A model and the world of its footage: what it learns of it, and what is done with videos of another.

Relatives that were looked for: sizes larger, smaller, of another shape, upright; rates that are a whole multiple, near
one, no multiple, lower, unknown (folders); holes in a video that is thinned out; grey and colour both ways; no objects
and very many; mixtures of each in training, in `mulde train` and in `mulde data check`; models of older versions;
imported features; boxes, pictures and heat maps of converted videos; the passport of the features.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mulde.datasets.base import Video
from mulde.errors import BundleError, VideoError
from mulde.images import is_coloured
from mulde.media import Conversion, ConvertedReader, open_video, write_video
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.model.bundle import load_bundle
from mulde.pipeline.model.world import (
    Match,
    ObservedVideo,
    World,
    in_lines,
    match,
    mixtures,
    other_colour,
    other_objects,
    world_of,
)
from mulde.pipeline.scoring.regions import read_regions_of, repeated_regions
from mulde.records import RegionScores
from mulde.settings_file import load_settings
from tests.media.media_samples import encode, remux
from tests.pipeline.clips import run
from tests.test_cli import run_main

RATE = Fraction(10)
ONE = world_of([ObservedVideo("a", (240, 360), 10.0, 100), ObservedVideo("b", (240, 360), 10.0, 50)])
SEVERAL = world_of(
    [
        ObservedVideo("a", (240, 320), 25.0, 10),
        ObservedVideo("b", (240, 360), 10.0, 90),
        ObservedVideo("c", (480, 720), 10.0, 5),
    ]
)


def matched(world: World, size_hw, rate, how="convert", **facts) -> Match:
    return match(world, Path("clip.mp4"), size_hw, Fraction(rate), how, **facts)


@pytest.mark.parametrize(
    ("world", "size_hw", "rate", "to_hw", "every"),
    [
        (ONE, (120, 180), 10, (240, 360), 1),
        (ONE, (480, 720), 10, (240, 360), 1),
        (ONE, (161, 241), 10, (240, 360), 1),  # the same shape but for rounding
        (ONE, (240, 360), 20, (240, 360), 2),
        (ONE, (240, 360), Fraction(30000, 1001), (240, 360), 3),
        (ONE, (240, 360), 50, (240, 360), 5),
        (ONE, (120, 180), 21, (240, 360), 2),
        (SEVERAL, (60, 80), 10, (240, 320), 1),
        (SEVERAL, (60, 90), 10, (240, 360), 1),  # of two sizes of that shape, the one with the most frames
        (SEVERAL, (240, 360), 50, (240, 360), 5),
    ],
)
def test_what_can_be_converted_is(world, size_hw, rate, to_hw, every):
    conversion = matched(world, size_hw, rate).conversion
    assert conversion == Conversion(to_hw, every, Fraction(rate) / every)


@pytest.mark.parametrize("rate", [10, Fraction(109, 10), Fraction(91, 10), Fraction(10, 1)])
@pytest.mark.parametrize("how", ["convert", "warn", "refuse"])
def test_what_was_learnt_is_left_alone(rate, how):
    assert matched(ONE, (240, 360), rate, how) == Match()
    assert all(matched(SEVERAL, one.size_hw, 25, how) == Match() for one in SEVERAL.sizes)
    assert matched(World(), (7, 9), 1, how) == Match()


@pytest.mark.parametrize(
    ("size_hw", "rate", "sentence"),
    [
        ((120, 160), 10, "clip.mp4: 160 x 120, the model learnt 360 x 240, a picture of another shape"),
        ((360, 240), 10, "clip.mp4: 240 x 360, the model learnt 360 x 240, a picture of another shape"),
        ((240, 360), 5, "clip.mp4: 5 frames per second, the model learnt 10; frames cannot be added"),
        ((240, 360), 25, "clip.mp4: 25 frames per second, the model learnt 10; no whole number of frames"),
        ((240, 360), 13, "clip.mp4: 13 frames per second, the model learnt 10; no whole number of frames"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_way_out(size_hw, rate, sentence):
    with pytest.raises(VideoError) as refused:
        matched(ONE, size_hw, rate)
    assert str(refused.value).startswith(sentence)
    assert "--set 'video.match_training=\"warn\"'" in str(refused.value)
    warned = matched(ONE, size_hw, rate, "warn")
    assert warned.conversion is None
    assert warned.remarks[0].endswith("it is scored as it is")


def test_a_refusal_names_what_would_be_converted():
    with pytest.raises(VideoError, match=r"180 x 120, the model learnt 360 x 240.*match_training=\"convert\""):
        matched(ONE, (120, 180), 10, "refuse")
    with pytest.raises(VideoError, match="what was imported cannot be converted"):
        matched(ONE, (120, 180), 10, imported=True)


def test_a_rate_that_nobody_named_is_not_converted_but_said():
    found = matched(ONE, (240, 360), 25, rate_is_known=False)
    assert found.conversion is None
    said = "25 frames per second are taken, as nothing names its rate; the model learnt 10"
    assert found.remarks == (f"{said}: set video.frame_rate to its own",)
    assert matched(ONE, (240, 360), 10, rate_is_known=False) == Match()


def test_a_world_is_the_same_after_it_is_written_and_no_other_is_read():
    seen = [
        ObservedVideo("a", (4, 6), 10.0, 3, True, np.array([0, 2, 5])),
        ObservedVideo("b", (4, 6), None, 2, False, np.array([1, 1])),
    ]
    world = world_of(seen)
    assert World.model_validate(json.loads(world.model_dump_json())) == world
    assert (world.coloured, world.grey) == (1, 1)
    assert (world.objects.median, world.objects.q99, world.objects.share_without) == (1, 5, 0.2)
    assert [(one.size_hw, one.videos, one.frames) for one in world.sizes] == [((4, 6), 2, 5)]
    assert [(one.rate, one.videos, one.frames) for one in world.rates] == [(10, 1, 3)]
    size = {"height": 4, "width": 6, "videos": 1, "frames": 1}
    for bad in ({**size, "height": "4"}, {**size, "width": 0}, {**size, "frames": -1}, {"height": 4}, 7):
        with pytest.raises(ValueError, match="validation error"):
            World.model_validate({"sizes": [bad]})
    with pytest.raises(ValueError, match="validation error"):
        World.model_validate({"rates": [{"rate": float("nan"), "videos": 1, "frames": 1}]})


@pytest.mark.parametrize(
    ("seen", "sentences"),
    [
        (
            [
                ObservedVideo("a", (4, 6), 10.0, 3, True),
                ObservedVideo("b", (4, 6), 10.5, 3, True),
                ObservedVideo("c", (4, 6), None, 1, None),
            ],
            [],
        ),
        (
            [ObservedVideo("a", (4, 6), 10.0, 9), ObservedVideo("b", (8, 12), 10.0, 3)],
            ["several sizes: 6 x 4 (1 video), 12 x 8 (1 video)"],
        ),
        (
            [ObservedVideo("a", (4, 6), 10.0, 9), ObservedVideo("b", (4, 6), 25.0, 3)],
            ["per second: 10 (1 video), 25 (1 video); convert"],
        ),
        (
            [ObservedVideo("a", (4, 6), 10.0, 9, True), ObservedVideo("b", (4, 6), 10.0, 3, False)],
            ["colour (1 video) and grey (1 video)"],
        ),
    ],
)
def test_a_mixture_is_said_with_what_to_do(seen, sentences):
    found = mixtures(world_of(seen))
    assert len(found) == len(sentences)
    for sentence, said in zip(found, sentences, strict=True):
        assert said in sentence
        assert "train a model" in sentence


@pytest.mark.parametrize(("learnt", "got", "said"), [
    (True, False, "grey, the"), (False, True, "colour, the"), (True, True, None), (False, False, None),
    (True, None, None), (None, True, None),
])  # fmt: skip
def test_grey_and_colour_are_told_apart_both_ways(learnt, got, said):
    found = other_colour(world_of([ObservedVideo("a", (4, 6), 10.0, 3, learnt)]), got)
    assert found is None if said is None else str(found).startswith(said)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([0, 0, 0], "no object in any frame"),
        ([0, 1, 0], None),
        ([6, 6, 7], None),
        ([30, 31, 40], "31 objects"),
        ([], None),
    ],
)
def test_far_fewer_and_far_more_objects_are_said(counts, said):
    world = world_of([ObservedVideo("a", (4, 6), 10.0, 100, None, np.array([1] * 60 + [2] * 30 + [5] * 10))])
    found = other_objects(world, np.array(counts, np.int64))
    assert found is None if said is None else str(found).startswith(said)
    assert other_objects(world_of([]), np.array(counts, np.int64)) is None


def test_lines_are_one_per_sentence_however_many_videos():
    said = [(f"{i}.mp4", "too large") for i in range(9)] + [("x.mp4", "grey")]
    assert in_lines(said) == ["0.mp4, 1.mp4, 2.mp4 and 6 more: too large", "x.mp4: grey"]


@pytest.mark.parametrize(
    ("image", "coloured"),
    [
        (np.full((48, 64, 3), 90), False),
        (np.stack([np.full((48, 64), v) for v in (90, 92, 96)], -1), False),  # the cast of a coder
        (np.stack([np.full((48, 64), v) for v in (90, 120, 60)], -1), True),
        (np.zeros((48, 64, 3)), None),
        (np.full((48, 64), 90), False),
    ],
)
def test_colour_is_seen_in_the_pixels(image, coloured):
    assert is_coloured(image.astype(np.uint8)) is coloured


def scene(num_frames: int, *, speed_px: float = 2.0, colour: bool = False, y: int = 40, seed: int = 0) -> np.ndarray:
    """(T, 96, 128, 3) uint8: a soft bright square that walks to the right over a soft ground, alike in any size."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(40, 110, (6, 8)).astype(np.float32), (128, 96), interpolation=cv2.INTER_CUBIC)
    square = cv2.resize(rng.integers(150, 250, (3, 3)).astype(np.float32), (24, 24), interpolation=cv2.INTER_CUBIC)
    frames = np.repeat(np.clip(ground, 0, 255)[None, ..., None], num_frames, 0).repeat(3, -1)
    for t in range(num_frames):
        x = 6 + int(t * speed_px) % 96
        frames[t, y : y + 24, x : x + 24] = np.clip(square, 0, 255)[..., None]
    return (frames * ((1, 0.8, 0.6) if colour else (1, 1, 1))).astype(np.uint8)


def sized(frames: np.ndarray, factor: float) -> list[np.ndarray]:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return [cv2.resize(frame, None, fx=factor, fy=factor, interpolation=how) for frame in frames]


ODD = np.concatenate([scene(24, seed=7), scene(16, seed=7, speed_px=9), scene(12, seed=7)])
PLAIN = scene(40, seed=2, y=44)


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    """Videos as learnt, and the same in other sizes, at another rate, in colour and with nothing in them."""
    root = tmp_path_factory.mktemp("world")
    for i in range(3):
        write_video(root / "train" / f"n{i}.mp4", iter(scene(40, seed=i, y=36 + 4 * i)), RATE)
    for name, frames in (("odd", ODD), ("plain", PLAIN)):
        write_video(root / f"{name}.mp4", iter(frames), RATE)
        write_video(root / f"{name}-half.mp4", iter(sized(frames, 0.5)), RATE)
        write_video(root / f"{name}-double.mp4", iter(sized(frames, 2)), RATE)
    write_video(root / "odd-rate.mp4", iter(np.repeat(ODD, 2, axis=0)), 2 * RATE)
    write_video(root / "wide.mp4", iter(PLAIN[:, :64]), RATE)
    write_video(root / "slow.mp4", iter(PLAIN[::2]), RATE / 2)
    write_video(root / "colour.mp4", iter(scene(40, seed=2, colour=True)), RATE)
    write_video(root / "empty.mp4", iter(np.repeat(PLAIN[:1], 20, axis=0)), RATE)
    return root


QUICK = ["--set", "density.method=mixture", "--set", "density.options={components=1}", "--set", "fusion.folds=2"]
STREAMS = ["--set", 'features.extractors=["velocity", "geometry"]']


@pytest.fixture(scope="module")
def scored(footage, tmp_path_factory):
    """A model, the run of all videos under it, and what was said of them."""
    work = tmp_path_factory.mktemp("scored")
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **options: Path(path).touch())
        patch.setattr("mulde.progress.Reporter.warn", lambda self, text: told.append(text))
        run_main("train", footage / "train", "--out", work / "model", "--store", work / "store", *QUICK, *STREAMS)
        videos = [path for path in sorted(footage.glob("*.mp4")) if path.stem not in ("wide", "slow")]
        told.clear()
        run_main("score", *videos, "--model", work / "model" / "model.safetensors", "--out", work / "run",
                 "--store", work / "store", "--heat-maps", "--device", "cpu")  # fmt: skip
    return SimpleNamespace(model=work / "model" / "model.safetensors", run=work / "run", store=work / "store",
                           said=told)  # fmt: skip


def table(scored, name: str) -> pd.DataFrame:
    return pd.read_parquet(scored.run / "scores" / f"{name}.parquet")


def test_the_model_keeps_the_world_of_its_footage(scored):
    world = load_bundle(scored.model).world
    assert [(one.size_hw, one.videos, one.frames) for one in world.sizes] == [((96, 128), 3, 120)]
    assert [(one.rate, one.videos) for one in world.rates] == [(10, 3)]
    assert (world.coloured, world.grey) == (0, 3)
    assert world.objects.median >= 1


@pytest.mark.parametrize("name", ["odd-half", "odd-double"])
def test_an_event_is_the_same_in_another_size(scored, name):
    here, there = table(scored, "odd"), table(scored, name)
    assert len(there) == len(ODD)
    assert np.corrcoef(here["smoothed"], there["smoothed"])[0, 1] > 0.95
    assert np.median(np.abs(here["smoothed"] - there["smoothed"])) < 0.15 * here["smoothed"].max()
    events = pd.read_csv(scored.run / "events.csv")
    own, other = (events[events["video"] == one].iloc[0] for one in ("odd", name))
    assert abs(own["peak_frame"] - other["peak_frame"]) <= 3
    assert min(own["end_frame"], other["end_frame"]) > max(own["start_frame"], other["start_frame"])


@pytest.mark.parametrize("name", ["plain-half", "plain-double"])
def test_a_normal_video_in_another_size_has_no_long_event(scored, name):
    events = pd.read_csv(scored.run / "events.csv")
    frames = events[events["video"] == name].eval("end_frame - start_frame").sum()
    assert frames <= 0.2 * len(PLAIN)


def test_twice_the_rate_gives_the_scores_of_the_rate_learnt(scored):
    """Each frame is there twice: the second takes what the first has, and that is what the slower video has."""
    slow, fast = table(scored, "odd"), table(scored, "odd-rate")
    assert fast["frame_index"].tolist() == list(range(2 * len(ODD)))
    np.testing.assert_array_equal(fast["fused"][::2], fast["fused"][1::2])
    assert np.corrcoef(slow["smoothed"], fast["smoothed"][::2])[0, 1] > 0.95
    boxes = read_regions_of(scored.run / "regions", "odd-rate")
    even, uneven = (boxes.frame_index % 2 == rest for rest in (0, 1))
    np.testing.assert_array_equal(boxes.frame_index[even] + 1, boxes.frame_index[uneven])
    np.testing.assert_array_equal(boxes.box_xyxy[even], boxes.box_xyxy[uneven])
    events = pd.read_csv(scored.run / "events.csv").set_index("video")
    assert abs(events.loc["odd-rate"]["peak_s"] - events.loc["odd"]["peak_s"]) < 0.3


def test_what_is_not_as_learnt_is_said_once_for_each_kind(scored):
    said = scored.said
    assert "odd-double.mp4, plain-double.mp4: 256 x 192, the model learnt 128 x 96; frames are scaled to it" in said
    assert "odd-half.mp4, plain-half.mp4: 64 x 48, the model learnt 128 x 96; frames are scaled to it" in said
    assert (
        "odd-rate.mp4: 20 frames per second, the model learnt 10; one frame of 2 is kept, the others take its score"
        in said
    )
    assert sum(line.startswith("colour.mp4: colour, the model learnt grey") for line in said) == 1
    assert sum(line.startswith("empty.mp4: no object in any frame") for line in said) == 1
    assert not [line for line in said if line.startswith(("odd.mp4", "plain.mp4"))]
    assert set(json.loads((scored.run / "run.json").read_text())["not_as_learnt"]) == {
        "odd-half", "odd-double", "plain-half", "plain-double", "odd-rate", "colour", "empty",
    }  # fmt: skip


def test_boxes_and_pictures_are_those_of_the_frames_that_are_shown(scored):
    """Boxes are in pixels of frames of the size learnt, as tables and heat maps say; the square is where it is."""
    for name in ("odd", "odd-half", "odd-double"):
        boxes = read_regions_of(scored.run / "regions", name)
        assert boxes.size_hw == (96, 128)
        assert np.median(boxes.box_xyxy[:, 1]) == pytest.approx(40, abs=6)
        facts = json.loads((scored.run / "heat_maps" / f"{name}.json").read_text())
        assert facts["size_hw"] == [96, 128]
        assert np.load(scored.run / "heat_maps" / f"{name}.npy").shape[0] == len(ODD)
    pictures = list((scored.run / "thumbnails" / "odd-double").glob("*.jpg"))
    assert pictures
    assert cv2.imread(str(pictures[0])).shape[:2] == (96, 128)


def test_an_overlay_of_a_converted_video_has_its_own_size_and_all_its_frames(scored, tmp_path):
    run_main("overlay", scored.run, "--video", "odd-double", "--video", "odd-rate", "-q")
    for name, size_hw, count in (("odd-double", (192, 256), len(ODD)), ("odd-rate", (96, 128), 2 * len(ODD))):
        with open_video(scored.run / "overlays" / f"{name}.mp4") as reader:
            assert reader.size_hw == size_hw
            assert sum(len(frames) for frames in reader) == count


def test_features_of_a_converted_video_are_other_features(scored, mulde, footage, tmp_path):
    """Scored as it is, the same video finds nothing of the conversion in the store, and the other way round."""
    common = ("--model", scored.model, "--store", scored.store, "--device", "cpu")
    code, _, err = mulde(
        "score", footage / "odd-half.mp4", *common, "--out", "as-is", "--set", "video.match_training=warn"
    )
    assert code == 0
    assert "64 x 48, the model learnt 128 x 96; it is scored as it is" in err
    assert read_regions_of(tmp_path / "as-is" / "regions", "odd-half").size_hw == (48, 64)
    code, _, _ = mulde("score", footage / "odd-half.mp4", *common, "--out", "again", "-q")
    assert code == 0
    again = pd.read_parquet(tmp_path / "again" / "scores" / "odd-half.parquet")
    pd.testing.assert_frame_equal(again, table(scored, "odd-half"))


def test_one_refused_video_stops_no_other(scored, mulde, footage):
    code, _, err = mulde("score", footage / "wide.mp4", footage / "slow.mp4", footage / "plain.mp4",
                         "--model", scored.model, "--store", scored.store, "--device", "cpu", "-q")  # fmt: skip
    assert code == 3
    assert "128 x 64, the model learnt 128 x 96, a picture of another shape" in err
    assert "5 frames per second, the model learnt 10; frames cannot be added" in err


def test_a_camera_that_leaves_out_still_pictures_has_the_rate_learnt(scored, mulde, tmp_path):
    """From one frame to the next motion means the same, however low the mean rate is."""
    even = encode(tmp_path / "even.mkv", [*PLAIN], rate=10, options={"bf": "0"})
    pts_ms = [100 * i + 5000 * (i > 9) + 9000 * (i > 21) for i in range(len(PLAIN))]
    paused = remux(even, tmp_path / "paused.mkv", pts_ms)
    code, _, err = mulde("score", even, paused, "--model", scored.model, "--store", scored.store, "--device", "cpu",
                         "-q", "--out", "paused")  # fmt: skip
    assert code == 0
    assert "the model learnt" not in err
    one, other = (pd.read_parquet(tmp_path / "paused" / "scores" / f"{name}.parquet") for name in ("even", "paused"))
    np.testing.assert_allclose(one["fused"], other["fused"], atol=1e-6)


def test_a_model_without_a_world_says_that_it_cannot_compare(scored, mulde, footage, tmp_path):
    def rewritten(change) -> Path:
        with safe_open(scored.model, framework="np") as file:
            header = json.loads(file.metadata()["mulde"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        change(header)
        save_file(tensors, tmp_path / "old.safetensors", metadata={"mulde": json.dumps(header)})
        return tmp_path / "old.safetensors"

    def without(header):
        header["schema"] = 2  # as it was before there were digests
        del header["world"]

    def broken(header):
        header["schema"] = 2
        header["world"] = {"sizes": [{"height": "tall"}]}

    path, common = rewritten(without), ("--store", scored.store, "--device", "cpu", "-q")
    code, _, err = mulde("score", footage / "odd-half.mp4", "--model", path, *common)
    assert code == 0
    assert "sizes, rates and colour are not known" in err
    with pytest.raises(BundleError):
        load_bundle(rewritten(broken))


def test_a_mixture_in_training_is_said_by_train_and_by_data_check(mulde, footage, tmp_path):
    for i, name in enumerate(("odd", "plain-double", "colour")):
        target = tmp_path / "d" / "train" / f"{i}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((footage / f"{name}.mp4").read_bytes())
    (tmp_path / "d" / "test").mkdir()
    (tmp_path / "d" / "test" / "x.mp4").write_bytes((footage / "plain.mp4").read_bytes())
    code, _, err = mulde("train", "d", "--out", "m", "--store", "s", "--device", "cpu", "-q", *QUICK, *STREAMS)
    assert code == 0
    sizes, colours = "frames of several sizes: 128 x 96 (2 videos), 256 x 192 (1 video)", "colour (1 video) and grey"
    assert sizes in err
    assert colours in err
    _, out, _ = mulde("data", "check", "d", "-q")
    assert sizes in " ".join(out.split())
    assert colours in " ".join(out.split())


@pytest.mark.parametrize("decoder", ["pyav", "frames"])
def test_a_converted_reader_gives_every_nth_frame_and_knows_them_all(tmp_path, decoder):
    frames = scene(23)
    path = tmp_path / ("clip.mp4" if decoder == "pyav" else "clip")
    if decoder == "pyav":
        write_video(path, iter(frames), 3 * RATE)
    else:
        path.mkdir()
        for i, frame in enumerate(frames):
            cv2.imwrite(str(path / f"{i:03d}.png"), frame[..., ::-1])
    with open_video(path, frame_rate=3 * RATE) as source:
        whole = np.concatenate([batch.images for batch in source])
        reader = ConvertedReader(source, Conversion((48, 64), 3, RATE))
        batches = list(reader)
        assert np.concatenate([batch.frame_index for batch in batches]).tolist() == list(range(8))
        wanted = np.stack([cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA) for frame in whole[::3]])
        np.testing.assert_array_equal(np.concatenate([batch.images for batch in batches]), wanted)
        assert reader.source_index.tolist() == list(range(23))
        assert reader.rate == RATE


def test_rows_boxes_and_tracks_of_a_thinned_video_are_those_of_the_slow_one(tmp_path):
    """Frames as images, so that no coder stands between: every table is equal, under the numbers of the source."""
    for name, frames in (("slow", ODD), ("fast", np.repeat(ODD, 3, axis=0))):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(frames):
            cv2.imwrite(str(tmp_path / name / f"{i:04d}.png"), frame)
    world = world_of([ObservedVideo("a", (96, 128), 10.0, 100)])
    changes = ["video.batch_frames=7", "tracks.tracker=bytetrack", "tracks.average_frames=2"]
    changes.append('features.extractors=["velocity", "geometry", "descriptor", "trajectory"]')
    videos = [Video(name, "all", tmp_path / name, rate) for name, rate in (("slow", RATE), ("fast", 3 * RATE))]
    slow, fast = run(videos, ExtractionPlan(load_settings(overrides=changes), "cpu", world=world), tmp_path / "s").done
    assert (fast.num_frames, int(fast.described.sum()), fast.rate) == (3 * len(ODD), len(ODD), 3 * RATE)
    for name in ("velocity", "geometry", "descriptor", "trajectory"):
        one, other = slow.features(name), fast.features(name)
        assert len(one) > 20
        np.testing.assert_allclose(one.values, other.values, rtol=1e-5 if name == "trajectory" else 0, atol=1e-6)
        np.testing.assert_array_equal(3 * one.frame_index, other.frame_index)
        np.testing.assert_array_equal(one.track_id, other.track_id)
    np.testing.assert_array_equal(slow.regions().box_xyxy, fast.regions().box_xyxy)
    as_it_is = run(videos[1:], ExtractionPlan(load_settings(overrides=changes), "cpu"), tmp_path / "s").done[0]
    assert as_it_is.passports["frames"] == fast.passports["frames"]
    assert all(as_it_is.passports[kind] != fast.passports[kind] for kind in fast.passports if kind != "frames")


def test_the_grid_keeps_its_place_over_holes_and_jitter():
    conversion = Conversion((1, 1), 2, Fraction(10))
    steady = np.arange(12) / 20
    assert np.flatnonzero(conversion.kept(steady)).tolist() == [0, 2, 4, 6, 8, 10]
    shaken = steady + np.tile([0, 0.004, -0.004], 4)
    assert np.flatnonzero(conversion.kept(shaken)).tolist() == [0, 2, 4, 6, 8, 10]
    holed = np.delete(steady, [3, 4, 5])
    assert conversion.numbers(holed[conversion.kept(holed)]).tolist() == [0, 1, 3, 4, 5]


def test_boxes_are_held_until_the_next_frame_that_was_worked_on():
    box = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [4, 4, 6, 6]], np.float32)
    found = RegionScores("v", (9, 9), box, np.array([0, 0, 4]), np.array([1.0, 2, 3]), np.array([-1, -1, 5]),
                         {"a": np.array([1.0, 2, 3])})  # fmt: skip
    held = repeated_regions(found, np.arange(6), np.array([0, 0, 2, 2, 4, 4]))
    assert held.frame_index.tolist() == [0, 0, 1, 1, 4, 5]
    assert held.anomaly_score.tolist() == [1, 2, 1, 2, 3, 3]
    assert held.box_xyxy[-1].tolist() == [4, 4, 6, 6]
    assert held.track_id.tolist() == [-1, -1, -1, -1, 5, 5]
