"""Rows of predicted frames: which clip describes a frame, by which network, and what stands in the rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mulde.devices import one_core_per_call
from mulde.errors import UsageError
from mulde.extractors.prediction import PredictionSettings
from mulde.extractors.registry import known_extractor
from mulde.extractors.spec import Machine, Shared
from mulde.extractors.wording import Comparison
from mulde.reconstruction.frames import to_square
from mulde.reconstruction.model_file import SeenModel, load_models, save_models
from mulde.reconstruction.peaks import frame_rows, object_rows
from mulde.reconstruction.registry import build_pixel_model
from mulde.records import Frames, Regions, Window
from tests.conftest import moving_square
from tests.reconstruction.clips import Walks
from tests.reconstruction.test_pixel_models import SMALL

FIRST, SECOND = "a" * 64, "b" * 64
SIDE = 64


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Two networks of a step each: one has seen the first video, one frames 10 to 19 of it and the second video."""
    path = tmp_path_factory.mktemp("networks") / "prediction.safetensors"
    seen = [{FIRST: ((0, 30),)}, {FIRST: ((10, 20),), SECOND: ((0, 30),)}]
    with one_core_per_call():
        models = [
            build_pixel_model("pdm", "paper", SMALL["pdm"] | {"max_steps": 1}, seed=i).fit(Walks(range(1)))
            for i in range(2)
        ]
    save_models(path, [SeenModel(m, of) for m, of in zip(models, seen, strict=True)], "these")
    return path


ALL = ("error", "gradient", "coarse", "fine")


def extractor(name="prediction", shared=None, **settings):
    spec = known_extractor(name)
    if "model" not in settings:
        settings = {"maps": ALL, **settings}
    return spec.build(PredictionSettings(**settings), shared or Shared())


def window(first: int, last: int, start: int = 0, num_frames: int = 30) -> Window:
    """The frames `first` to `last` of a video, of which those from `start` on are there."""
    frames = Frames(moving_square(num_frames)[start:], np.arange(start, num_frames), np.arange(start, num_frames) / 25)
    return Window(frames, first - start, last - start)


def expected(path, images, row, models=(0, 1)):
    """The rows of a frame, from the clip that ends at `row`."""
    clip = np.stack([to_square(image, SIDE) for image in images[row - 4 : row + 1]])
    loaded = load_models(path)
    return np.mean([frame_rows(loaded[i].model.maps(clip[None]))[0] for i in models], axis=0)


NONE = Regions.empty()


def test_a_frame_is_described_by_the_clip_that_ends_at_it(path):
    rows = extractor(weights=str(path)).extract(window(6, 9), NONE)
    assert rows.frame_index.tolist() == [6, 7, 8]
    for number, values in zip(rows.frame_index, rows.values, strict=True):
        np.testing.assert_allclose(values, expected(path, moving_square(30), number), rtol=1e-4, atol=1e-4)


def test_the_first_frames_are_described_by_the_first_clip(path):
    rows = extractor(weights=str(path)).extract(window(0, 6), NONE)
    assert rows.frame_index.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(rows.values[:4], np.tile(rows.values[4], (4, 1)))
    np.testing.assert_allclose(rows.values[4], expected(path, moving_square(30), 4), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_frames", [1, 3])
def test_a_video_that_is_too_short_begins_with_its_first_frame_again_and_again(path, num_frames):
    rows = extractor(weights=str(path)).extract(window(0, num_frames, num_frames=num_frames), NONE)
    images = moving_square(num_frames)
    longer = np.concatenate([np.repeat(images[:1], 5 - num_frames, axis=0), images])
    np.testing.assert_allclose(rows.values[-1], expected(path, longer, 4), rtol=1e-4, atol=1e-4)
    assert len(rows) == num_frames


def test_rows_do_not_depend_on_how_a_video_is_cut(path):
    whole = extractor(weights=str(path)).extract(window(0, 12), NONE)
    parts = [extractor(weights=str(path)).extract(of, NONE) for of in (window(0, 6), window(6, 12, start=2))]
    np.testing.assert_allclose(np.concatenate([part.values for part in parts]), whole.values, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("sha256", "frames", "by"),
    [
        (FIRST, (5, 9), (1,)),  # the first has seen it
        (FIRST, (12, 14), (0, 1)),  # both have: neither is better
        (SECOND, (12, 14), (0,)),
        ("c" * 64, (12, 14), (0, 1)),
    ],
)
def test_a_network_does_not_describe_what_it_has_seen(path, sha256, frames, by):
    rows = extractor(weights=str(path)).for_video(sha256).extract(window(*frames), NONE)
    for number, values in zip(rows.frame_index, rows.values, strict=True):
        np.testing.assert_allclose(values, expected(path, moving_square(30), number, by), rtol=1e-4, atol=1e-4)


def test_a_window_on_the_edge_of_what_was_seen_is_described_frame_by_frame(path):
    rows = extractor(weights=str(path)).for_video(FIRST).extract(window(8, 12), NONE)
    for number, by in ((8, (1,)), (9, (1,)), (10, (0, 1)), (11, (0, 1))):
        np.testing.assert_allclose(
            rows.values[number - 8], expected(path, moving_square(30), number, by), rtol=1e-4, atol=1e-4
        )


def test_weights_of_another_kind_are_refused_before_a_frame_is_looked_at(path, tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(
        UsageError, match=r"expected trained pixel models ppdm, got pdm\. Try: features.prediction.model="
    ):
        extractor(model="ppdm", weights=str(path)).fingerprint()
    save_file({"a": np.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    for name in ("other", "text"):
        with pytest.raises(UsageError, match="expected trained pixel models pdm, got a file without any"):
            extractor(weights=str(tmp_path / f"{name}.safetensors")).fingerprint()


def test_what_was_made_of_a_video_is_known_as_that(path):
    """The frames 3 to 13 of the first video with something put into them: the first has seen those before its tenth."""
    rows = extractor(weights=str(path)).for_video(FIRST, 3).extract(window(5, 9), NONE)
    for number, by in ((5, (1,)), (6, (1,)), (7, (0, 1)), (8, (0, 1))):
        np.testing.assert_allclose(
            rows.values[number - 5], expected(path, moving_square(30), number, by), rtol=1e-4, atol=1e-4
        )


def boxes(of: Window, count: int = 2) -> Regions:
    box_xyxy = np.array([[8, 36, 34, 64], [60, 10, 90, 30]], np.float32)[:count]
    index = of.core_index
    return Regions(np.tile(box_xyxy, (len(index), 1)), np.repeat(index, count), np.ones(count * len(index), np.float32),
                   np.zeros(count * len(index), np.int64))  # fmt: skip


def test_objects_have_what_lies_in_their_boxes(path):
    of = window(6, 8)
    regions = boxes(of)
    rows = extractor("object_prediction", weights=str(path)).extract(of, regions)
    loaded, images = load_models(path), moving_square(30)
    for values, box, frame in zip(rows.values, regions.box_xyxy, regions.frame_index, strict=True):
        clip = np.stack([to_square(image, SIDE) for image in images[frame - 4 : frame + 1]])
        wanted = np.mean([object_rows(m.model.maps(clip[None])[0], box[None], (96, 128))[0] for m in loaded], axis=0)
        np.testing.assert_allclose(values, wanted, rtol=1e-3, atol=1e-3)
    assert extractor("object_prediction", weights=str(path)).extract(of, boxes(of, 0)).values.shape == (0, 8)


def test_both_streams_read_maps_that_are_computed_once(path, monkeypatch):
    shared, calls = Shared(Machine()), []
    frames = extractor("prediction", shared, weights=str(path))
    objects = extractor("object_prediction", shared, weights=str(path))
    model = type(frames._maps.models[0].model)
    maps = model.maps
    monkeypatch.setattr(model, "maps", lambda self, clips: calls.append(len(clips)) or maps(self, clips))
    of = window(6, 9)
    alone = extractor("object_prediction", weights=str(path)).extract(of, boxes(of))
    calls.clear()
    frames.extract(of, NONE)
    np.testing.assert_array_equal(objects.extract(of, boxes(of)).values, alone.values)
    assert calls == [3, 3]  # each network once
    frames.extract(window(6, 9), NONE)
    assert calls == [3, 3, 3, 3]


def test_the_copying_null_is_the_difference_to_the_frame_before():
    rows = extractor(model="copy", options={"side": 64}).extract(window(1, 5), NONE)
    images = [to_square(image, 64).astype(np.float32) / 127.5 - 1 for image in moving_square(30)]
    for row, frame in zip(rows.values, range(1, 5), strict=True):
        difference = np.abs(images[frame] - images[frame - 1]).mean(axis=-1)
        highest = max(
            difference[max(y, 0) : y + 4, max(x, 0) : x + 4].sum() / 16 for y in range(-3, 64) for x in range(-3, 64)
        )
        assert np.exp(row[0]) == pytest.approx(highest, rel=1e-4)


def test_the_passport_names_the_weights_or_the_options(path):
    facts = extractor(weights=str(path)).fingerprint()
    assert facts.keys() == {"extractor", "version", "model", "maps", "weights_sha256"}
    made = extractor(model="copy", options={"side": 64}).fingerprint()
    assert made["options"] == {"side": 64}
    assert extractor(model="copy").fingerprint() != made


@pytest.mark.parametrize("weights", ["", "/nowhere/x.safetensors"])
def test_networks_that_nobody_trained_are_a_sentence(weights):
    with pytest.raises(UsageError, match=r"features.prediction.weights: expected the file that mulde train wrote"):
        extractor(weights=weights).fingerprint()


def test_settings_that_do_not_fit_are_a_sentence(path):
    with pytest.raises(UsageError, match="pixel model 'vae'"):
        extractor(model="vae")
    with pytest.raises(UsageError, match="option width of pixel model pdm"):
        extractor(options={"width": 0})
    with pytest.raises(UsageError, match="preset 'huge'"):
        extractor(preset="huge")
    with pytest.raises(UsageError, match="has no effect on the model copy"):
        extractor(model="copy", weights=str(path))


def test_words_say_how_much_more_wrong_the_prediction_is():
    spec, settings = known_extractor("object_prediction"), PredictionSettings(maps=ALL)
    usual = np.zeros((5, 8), np.float32)
    row = usual[0].copy()
    row[2] = np.log(3)  # mean of the gradient difference
    comparison = Comparison(row, usual, usual, is_local=True, is_object=True, score_rows=lambda rows: rows.sum(axis=1))
    text, facts = spec.describe(comparison, settings)
    assert text == "moves in a way that could not be foreseen: 3.0 times the usual error here"
    assert facts == {"times_as_wrong": pytest.approx(3)}
    whole = replace(comparison, row=row[:4], usual=usual[:, :4], is_object=False, is_local=False)
    assert known_extractor("prediction").describe(replace(whole, row=usual[0, :4]), settings)[0] == (
        "the whole picture looks unlike anything seen"
    )
    assert spec.groups(8, settings) == ("colours",) * 2 + ("edges",) * 2 + ("bending",) * 4
    assert known_extractor("prediction").groups(2, PredictionSettings(model="copy")) == ("colours", "edges")


def test_rows_are_made_of_the_errors_unless_bending_is_asked_for(path):
    of = window(6, 8)
    whole = extractor(weights=str(path)).extract(of, NONE).values
    by_default = extractor(weights=str(path), maps=())
    np.testing.assert_array_equal(by_default.extract(of, NONE).values, whole[:, :2])
    assert by_default.fingerprint() == extractor(weights=str(path), maps=("error", "gradient")).fingerprint()
    assert known_extractor("prediction").groups(2, PredictionSettings()) == ("colours", "edges")
    assert known_extractor("prediction").groups(2, PredictionSettings(model="ppdm")) == ("appearance", "bending")


def test_rows_can_be_made_of_some_maps(path):
    of = window(6, 8)
    whole = extractor(weights=str(path)).extract(of, NONE).values
    some = extractor(weights=str(path), maps=("fine", "gradient"))
    np.testing.assert_array_equal(some.extract(of, NONE).values, whole[:, [3, 1]])
    objects = extractor("object_prediction", weights=str(path)).extract(of, boxes(of)).values
    of_objects = extractor("object_prediction", weights=str(path), maps=("gradient",)).extract(of, boxes(of)).values
    np.testing.assert_array_equal(of_objects, objects[:, [2, 3]])
    assert some.fingerprint() == {**extractor(weights=str(path)).fingerprint(), "maps": ["fine", "gradient"]}
    assert known_extractor("prediction").groups(2, PredictionSettings(maps=("fine", "gradient"))) == (
        "bending",
        "edges",
    )
    for wrong in (("colour",), ("fine", "fine")):
        with pytest.raises(
            UsageError, match=r"features.prediction.maps: expected each of error, gradient, coarse, fine"
        ):
            extractor(weights=str(path), maps=wrong)
