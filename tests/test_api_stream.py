"""Frames as they come score as the same frames in a file do, with scores smoothed over the past alone."""

from __future__ import annotations

import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import mulde
from mulde.api.model import Model
from mulde.devices import one_core_per_call
from mulde.errors import MuldeWarning, RecordError, UsageError, VideoError
from mulde.evaluation.conformal import frame_p_values
from mulde.evaluation.smoothing import Smoothing
from mulde.extractors.registry import EXTRACTORS
from mulde.extractors.spec import ExtractorSpec
from mulde.media import write_video
from mulde.pipeline.predictor.stream import FrameScorer
from mulde.reconstruction.model_file import SeenModel, save_models
from mulde.reconstruction.registry import build_pixel_model
from mulde.records import FeatureTable
from mulde.settings_file import load_settings
from tests.api_world import QUICK, frames_of, write_small_world
from tests.reconstruction.clips import Walks
from tests.reconstruction.test_pixel_models import SMALL

NETWORK = {"density.method": "mulde", "density.options": {"steps": 40, "hidden": [16, 16], "components": 1}}
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
"""float32 of one row and of many: some processors add them up in another order."""
AHEAD = 3


class Ahead:
    """How bright the whole picture is, and how bright it will be; half as bright where nobody knows."""

    name, object_centric, before, after = "ahead", False, 1, AHEAD

    def fingerprint(self):
        return {"extractor": self.name, "version": 1}

    def extract(self, window, regions):
        means = window.frames.images.mean(axis=(1, 2, 3))
        later = np.append(means[AHEAD:], means[-AHEAD:] / 2)[: len(means)]
        values = np.stack([means, later], axis=1)[window.first : window.last]
        return FeatureTable(values.astype(np.float32), window.core_index)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_small_world(tmp_path_factory.mktemp("stream") / "world")


@pytest.fixture(scope="module")
def models(world, tmp_path_factory):
    """By name: models of objects, one of whole frames that also looks three frames ahead, one of predicted frames."""
    with pytest.MonkeyPatch.context() as patch:
        spec = ExtractorSpec(name="ahead", object_centric=False, build=lambda settings, shared: Ahead())
        patch.setitem(EXTRACTORS, "ahead", spec)
        store = tmp_path_factory.mktemp("stream") / "store"
        steps = {"features.velocity.step": 2, "tracks.tracker": "bytetrack"}
        frames = {"features.extractors": ["flow_histogram", "ahead"]}
        networks = write_networks(tmp_path_factory.mktemp("networks") / "prediction.safetensors")
        prediction = {
            "features.extractors": ["prediction", "object_prediction"],
            "features.prediction.weights": networks,
        }
        yield {
            "objects": mulde.train(world / "train", settings={**QUICK, **steps}, store=store),
            "network": mulde.train(world / "train", settings={**QUICK, **NETWORK}, store=store),
            "frames": mulde.train(world / "train", settings={**QUICK, **frames}, store=store),
            "prediction": mulde.train(world / "train", settings={**QUICK, **prediction}, store=store),
        }


def write_networks(path: Path) -> str:
    """Two that have learnt next to nothing, of other video."""
    with one_core_per_call():
        models = [
            build_pixel_model("pdm", "paper", {**SMALL["pdm"], "max_steps": 1}, seed=seed).fit(Walks(range(1)))
            for seed in range(2)
        ]
    save_models(path, [SeenModel(model, {}) for model in models], "")
    return str(path)


def causal(model: Model, path: Path, **options):
    """Scores and p-values of a file, causally smoothed, as the evaluation has them; and the result."""
    result = model.score(path, **options)
    (scored,) = result._scored.values()
    scores = Smoothing.of(scored)(scored.track.fused, "causal")
    settings, normal = model.settings, model._predictor.bundle.smoothed_normal["causal"]
    moment_s = max(settings.alarms.merge_gap_s, 4 * settings.fusion.smoothing_s)
    return scores, frame_p_values(scores, normal, stretch_s=moment_s), result


@pytest.mark.parametrize(("kind", "delay"), [("objects", 0), ("network", 0), ("frames", AHEAD), ("prediction", 0)])
def test_a_stream_scores_as_the_file(models, world, kind, delay):
    model, path = models[kind], world / "test/test01.mp4"
    scores, p_values, result = causal(model, path)
    stream = model.stream(frames_of(path))
    assert (stream.delay, stream.rate) == (delay, 25)
    found = list(stream)
    assert [frame.frame_index for frame in found] == list(range(50))
    np.testing.assert_allclose([frame.anomaly_score for frame in found], scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose([frame.p_value for frame in found], p_values, rtol=0, atol=1e-6)
    np.testing.assert_array_equal([frame.time_s for frame in found], result.frames["time_s"])
    for name in model.streams:
        of_file = result.frames[f"score_{name}"]
        np.testing.assert_allclose([frame.streams[name] for frame in found], of_file, **CLOSE)
    boxes = [(frame.frame_index, *thing.box_xyxy, thing.anomaly_score) for frame in found for thing in frame.objects]
    columns = ["frame_index", "x0", "y0", "x1", "y1", "anomaly_score"]
    if kind == "frames":
        assert boxes == []
    else:
        np.testing.assert_allclose(boxes, result.objects[columns], **CLOSE)


@pytest.mark.parametrize("kind", ["objects", "frames", "prediction"])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_a_short_stream_ends_as_a_short_file(models, world, tmp_path, kind, num_frames):
    """Frames at both ends, which lack a past or a future."""
    images = [image for image, _ in frames_of(world / "test/test02.mp4")][:num_frames]
    write_video(tmp_path / "short.mkv", iter(images), Fraction(25))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a single frame has no moving object, which is said
        scores, _, _ = causal(models[kind], tmp_path / "short.mkv")
    found = list(models[kind].stream(frames_of(tmp_path / "short.mkv")))
    np.testing.assert_allclose([frame.anomaly_score for frame in found], scores, rtol=0, atol=1e-6)


def test_results_come_as_soon_as_nothing_can_change_them(models, world):
    """The first frames wait for what stands in for their past, two frames of motion or what lies ahead."""
    for kind, first, delay in (("objects", [0, 0, 1, 3], 0), ("frames", [0, 0, 0, 1], AHEAD)):
        scorer = FrameScorer(models[kind]._predictor)
        counts = [len(list(scorer.push(*frame))) for frame in frames_of(world / "test/test01.mp4")]
        assert counts == [*first, *[1] * 46]
        assert len(list(scorer.flush())) == delay


def test_memory_does_not_grow(models, world):
    scorer = FrameScorer(models["frames"]._predictor)
    frames = list(frames_of(world / "test/test01.mp4"))
    for i in range(120):
        list(scorer.push(frames[i % 50][0], i / 25))
    assert len(scorer._held) <= 1 + AHEAD + 1
    assert len(scorer._waiting) == AHEAD
    assert len(scorer._past) == 1 + round(4 * 25 * models["frames"].settings.fusion.smoothing_s)


def test_another_size_and_rate_are_brought_to_what_was_learnt(models, world, tmp_path):
    """Every frame twice, at twice the rate and size, as a file and as a stream."""
    images = [image.repeat(2, axis=0).repeat(2, axis=1) for image, _ in frames_of(world / "test/test01.mp4")]
    write_video(tmp_path / "large.mkv", (image for image in images for _ in range(2)), Fraction(50))
    with warnings.catch_warnings(record=True) as of_file:
        warnings.simplefilter("always")
        scores, _, result = causal(models["objects"], tmp_path / "large.mkv")
    with warnings.catch_warnings(record=True) as of_stream:
        warnings.simplefilter("always")
        found = list(models["objects"].stream(frames_of(tmp_path / "large.mkv"), rate=50))
    for told in (of_file, of_stream):
        assert {warning.category for warning in told} == {MuldeWarning}
        assert {warning.filename for warning in told} == {__file__}
        sentences = [str(warning.message).partition(": ")[2] for warning in told]
        assert [text.partition("; ")[2] for text in sentences] == [
            "frames are scaled to it",
            "one frame of 2 is kept, the others take its score",
        ]
    np.testing.assert_allclose([frame.anomaly_score for frame in found], scores, rtol=0, atol=1e-6)
    assert sum(len(frame.objects) for frame in found) == len(result.objects)


def test_a_picture_array_may_be_used_again(models, world):
    """As cameras do that hand out the same buffer for every frame."""
    frames = list(frames_of(world / "test/test01.mp4"))[:12]
    buffer = np.empty_like(frames[0][0])

    def reused():
        for image, time_s in frames:
            buffer[:] = image
            yield buffer, time_s

    expected = [frame.anomaly_score for frame in models["objects"].stream(frames)]
    assert [frame.anomaly_score for frame in models["objects"].stream(reused())] == expected


def test_frames_of_another_kind_are_refused(models):
    picture, stream = np.zeros((96, 160, 3), np.uint8), models["objects"].stream
    for image, sentence in (
        (np.zeros((96, 160), np.uint8), r"frame 0: expected RGB uint8 of shape \(H, W, 3\), got uint8 of shape"),
        (np.zeros((96, 160, 3)), "got float64"),
        (None, "got NoneType"),
    ):
        with pytest.raises(RecordError, match=sentence):
            list(stream([(image, 0.0)]))
    with pytest.raises(RecordError, match="time of frame 1: expected seconds after"):
        list(stream([(picture, 1.0), (picture, 1.0)]))
    with pytest.raises(RecordError, match="time of frame 0: expected seconds, got nan"):
        list(stream([(picture, float("nan"))]))
    with pytest.raises(VideoError, match="changes its frame size"):
        list(stream([(picture, 0.0), (picture[:90], 1.0)]))
    with pytest.raises(VideoError, match="a picture of another shape"):
        list(stream([(np.zeros((160, 96, 3), np.uint8), 0.0)]))
    with pytest.raises(VideoError, match="10 frames per second"):
        list(stream([(picture, 0.0)], rate=10))
    with pytest.raises(UsageError, match="rate of a stream: expected frames per second above 0, got 0"):
        stream([], rate=0)
    assert list(stream([])) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["tracks.average_frames=3"], "averages along tracks"),
        (['features.extractors=["trajectory"]', "tracks.tracker=bytetrack"], r"features of tracks \(trajectory\)"),
        (['features.imported=["depth"]'], r"features that were made elsewhere \(features.imported\)"),
    ],
)
def test_features_of_whole_videos_are_refused(models, change, sentence):
    predictor = models["objects"]._predictor
    bundle = predictor.bundle
    bundle = replace(bundle, settings=load_settings(overrides=change, base=bundle.settings))
    model = Model(replace(predictor, model=replace(predictor.model, bundle=bundle)))
    with pytest.raises(UsageError, match=sentence):
        model.stream([])


def test_a_model_that_does_not_know_its_footage_needs_a_rate(models):
    predictor = models["objects"]._predictor
    old = Model(replace(predictor, model=replace(predictor.model, bundle=replace(predictor.bundle, world=None))))
    with pytest.raises(UsageError, match="rate of a stream: expected frames per second"):
        old.stream([])
    assert old.stream([], rate=12.5).rate == 12.5
