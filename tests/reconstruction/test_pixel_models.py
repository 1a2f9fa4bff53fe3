"""What every pixel model must do, whichever it is: one line here for each line of the registry."""

from __future__ import annotations

from functools import cache
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mulde.devices import one_core_per_call
from mulde.errors import BundleError, FitError, RecordError, UsageError
from mulde.reconstruction.pixel_model import PixelModel
from mulde.reconstruction.prediction import PredictionNet
from mulde.reconstruction.predictor import computes_bfloat16
from mulde.reconstruction.registry import MODELS, PRESETS, build_pixel_model, model_class
from mulde.reconstruction.teacher import untaught
from tests.reconstruction.clips import Walks

SMALL = {
    "pdm": {"side": 64, "width": 4, "num_codes": 16, "side_width": 4, "pyramid_width": 4, "crop_px": 32,
            "max_steps": 20, "lr": 4e-3, "eval_every": 5, "heldout_clips": 8},
    "ppdm": {"side": 64, "teacher": "resnet18", "num_codes": 8, "reduced": 4, "blocks": 1, "pyramid_width": 4,
             "max_steps": 20, "lr": 2e-3, "eval_every": 5, "heldout_clips": 8},
    "patches": {"side": 64, "teacher": "resnet18", "bank": 200},
    "copy": {"side": 64},
    "mean": {"side": 64},
}  # fmt: skip


TRAINED = ("pdm", "ppdm")
LEARNT = (*TRAINED, "patches", "mean")


def built(kind: str, seed: int = 0, **changes: object) -> PixelModel:
    return build_pixel_model(kind, "paper", SMALL[kind] | changes, seed=seed, teacher=teacher)


@cache
def teacher(name: str) -> torch.nn.Module:
    """Nothing that it is asked here needs one that has learnt."""
    torch.manual_seed(0)
    return untaught(name)


def walks(kind: str, seeds: range) -> Walks:
    return Walks(seeds, model_class(kind).NUM_PAST + 1)


@pytest.fixture(scope="module", autouse=True)
def one_core():
    """As `mulde train` fits them: two networks side by side. Other work on the cores then costs no more than its
    share."""
    with one_core_per_call():
        yield


@pytest.fixture(scope="module")
def fitted(one_core) -> dict[str, PixelModel]:
    return {kind: built(kind).fit(walks(kind, range(4)), walks(kind, range(10, 11))) for kind in MODELS}


@pytest.fixture(params=MODELS)
def model(fitted, request) -> PixelModel:
    return fitted[request.param]


@pytest.fixture
def clips(model) -> np.ndarray:
    return np.stack(list(islice(walks(model.kind, range(20, 21)), 6)))


def same(model: PixelModel, other: PixelModel) -> bool:
    ours, theirs = model.arrays(), other.arrays()
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_there_is_a_map_of_each_name_for_each_clip(model, clips):
    maps = model.maps(clips)
    assert (maps.shape, maps.dtype) == ((6, len(model.MAPS), 64, 64), np.float32)
    assert np.isfinite(maps).all()
    assert (maps >= 0).all()
    assert model.maps(clips[:0]).shape == (0, len(model.MAPS), 64, 64)


def test_clips_do_not_depend_on_those_beside_them(model, clips):
    alone = np.concatenate([model.maps(clip[None]) for clip in clips])
    np.testing.assert_array_equal(model.maps(clips), alone)


def test_the_same_seed_gives_the_same_bits(model, clips):
    again = built(model.kind).fit(walks(model.kind, range(4)), walks(model.kind, range(10, 11)))
    assert same(model, again)
    np.testing.assert_array_equal(model.maps(clips), again.maps(clips))


def test_what_is_stored_gives_the_same_maps(model, clips):
    again = built(model.kind, seed=7).restore(model.arrays())
    np.testing.assert_array_equal(again.maps(clips), model.maps(clips))


def test_something_that_appears_is_unusual_where_it_is(model, clips):
    """Far from the walker, a square comes out of nothing in the last frame."""
    there = clips.copy()
    there[:, -1, 44:56, 4:16] = 250
    before, after = model.maps(clips), model.maps(there)
    if not model.NUM_PAST:  # each place of its maps sees much of the image
        away = after[:, 0, 42:58, 2:18].mean(axis=(1, 2)) - before[:, 0, 42:58, 2:18].mean(axis=(1, 2))
        assert (away > 2 * np.abs(after[:, 0, :16, 48:] - before[:, 0, :16, 48:]).mean(axis=(1, 2))).all()
        return
    for name in ("error", "gradient"):
        channel = model.MAPS.index(name)
        assert (after[:, channel].max(axis=(1, 2)) >= before[:, channel].max(axis=(1, 2))).all()
        inside = after[:, channel, 42:58, 2:18]
        outside = after[:, channel].copy()
        outside[:, 42:58, 2:18] = before[:, channel, 42:58, 2:18]
        np.testing.assert_allclose(outside, before[:, channel], atol=1e-5)  # nothing changes elsewhere
        assert (inside.mean(axis=(1, 2)) > 3 * before[:, channel].mean(axis=(1, 2))).all()


def test_errors_of_a_prediction_are_at_most_those_of_the_frame_before(fitted):
    """What stands still is foreseen in any light, also one in which the network is wrong everywhere."""
    clips = np.stack(list(islice(walks("pdm", range(20, 21)), 6)))
    dark = clips // 4
    stays = fitted["copy"].maps(dark[:, -2:])
    maps = fitted["pdm"].maps(dark)[:, :2]
    assert (maps <= stays).all()
    assert (maps < stays).any()  # the network foresees something too
    still = np.repeat(dark[:, -1:], 5, axis=1)
    np.testing.assert_array_equal(fitted["pdm"].maps(still)[:, :2], 0)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((1, 3, 64, 64, 3), np.uint8), np.zeros((1, 9, 64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)],
)
def test_clips_of_another_form_are_refused(model, wrong):
    with pytest.raises(RecordError, match="clips: expected uint8 of shape"):
        model.maps(wrong)
    clip = np.zeros((1, model.NUM_PAST + 1, 32, 64, 3), np.uint8)
    with pytest.raises(RecordError, match="64, 64, 3"):
        model.maps(clip)
    with pytest.raises(RecordError, match="got float64"):
        model.maps(np.zeros((1, model.NUM_PAST + 1, 64, 64, 3)))


@pytest.mark.parametrize("kind", MODELS)
def test_options_are_held_to_their_limits(kind):
    with pytest.raises(UsageError, match=r"option side of pixel model .*got 31"):
        built(kind, side=31)
    with pytest.raises(UsageError, match="option sied of pixel model"):
        built(kind, sied=64)
    with pytest.raises(UsageError, match="preset 'large'"):
        build_pixel_model(kind, "large", {})
    assert PRESETS.keys() == MODELS.keys()


def test_an_unknown_model_is_refused():
    with pytest.raises(UsageError, match="pixel model 'vae': expected one of pdm, ppdm, patches, copy, mean"):
        build_pixel_model("vae", "paper", {})


# What is trained.


@pytest.mark.parametrize("kind", TRAINED)
def test_a_training_that_was_stopped_ends_with_the_same_bits(tmp_path, fitted, monkeypatch, kind):
    monkeypatch.setattr("mulde.reconstruction.trainer._SAVE_EVERY_S", 0)
    clips, heldout = walks(kind, range(4)), walks(kind, range(10, 11))

    def stop(progress):
        if progress.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(kind).fit(clips, heldout, progress=stop, checkpoint=tmp_path / "c", fingerprint="these")
    steps = []
    went_on = built(kind).fit(
        clips, heldout, progress=lambda p: steps.append(p.step), checkpoint=tmp_path / "c", fingerprint="these"
    )
    assert steps == [10, 15, 20]  # it was saved after the 9th
    assert same(went_on, fitted[kind])
    steps.clear()
    built(kind).fit(clips, heldout, progress=lambda p: steps.append(p.step), checkpoint=tmp_path / "c",
                     fingerprint="others")  # fmt: skip
    assert steps == [5, 10, 15, 20]


def test_the_weights_of_the_lowest_heldout_loss_are_kept(monkeypatch):
    """Of four measurements the second is made the lowest; a training that ends there has the same weights."""
    kept = {}
    losses = iter([3.0, 1.0, 2.0, 1.5])

    def measure(net, *_):
        kept[len(kept) + 1] = {name: value.clone().numpy() for name, value in net.state_dict().items()}
        return torch.tensor(next(losses))

    monkeypatch.setattr("mulde.reconstruction.trainer._measure", measure)
    model = built("pdm").fit(walks("pdm", range(4)), walks("pdm", range(10, 11)))
    for name, value in kept[2].items():
        np.testing.assert_array_equal(model.arrays()[name], value)
    assert any(not np.array_equal(kept[4][name], value) for name, value in kept[2].items())


@pytest.mark.parametrize("kind", TRAINED)
def test_the_loss_falls(fitted, kind):
    losses = []
    built(kind).fit(walks(kind, range(4)), walks(kind, range(10, 11)),
                     progress=lambda p: losses.append((p.loss, p.heldout_loss)))  # fmt: skip
    assert losses[-1][0] < 0.8 * losses[0][0]
    assert losses[-1][1] < losses[0][1]


@pytest.mark.parametrize("kind", LEARNT)
def test_nothing_to_learn_from_is_a_sentence(kind):
    with pytest.raises(FitError, match="training clips: expected at least one, got none"):
        built(kind).fit([])


def test_a_loss_that_is_not_finite_is_a_sentence(monkeypatch):
    loss = PredictionNet.loss
    monkeypatch.setattr(PredictionNet, "loss", lambda net, *made: loss(net, *made) / 0)
    with pytest.raises(
        FitError, match=r"loss: expected a finite number, got inf at step 1 of 20\. Try: a learning rate"
    ):
        built("pdm").fit(walks("pdm", range(4)))


@pytest.mark.parametrize("kind", LEARNT)
def test_before_it_is_fitted_it_has_no_maps(kind):
    with pytest.raises(UsageError, match="expected a fitted model"):
        built(kind).maps(np.zeros((1, model_class(kind).NUM_PAST + 1, 64, 64, 3), np.uint8))


@pytest.mark.parametrize("kind", LEARNT)
def test_weights_are_loaded_strictly(fitted, kind):
    arrays = fitted[kind].arrays()
    name = next(name for name, array in arrays.items() if array.ndim > 1 and name != "bank")
    bad = [
        {key: value for key, value in arrays.items() if key != name},
        arrays | {"more": arrays[name]},
        arrays | {name: arrays[name][:1]},
        arrays | {name: arrays[name].astype(np.float64)},
        arrays | {name: arrays[name] * np.nan},
    ]
    for wrong in bad:
        with pytest.raises(BundleError, match=f"stored model {kind}"):
            built(kind).restore(wrong)
    with pytest.raises(BundleError, match="expected no arrays"):
        built("copy").restore({"a": np.zeros(1)})


def test_a_crop_must_fit_into_the_frame():
    with pytest.raises(UsageError, match="crop_px: expected at most the side, 64, got 128"):
        built("pdm", crop_px=128)


def test_a_distillation_needs_its_teacher():
    model = build_pixel_model("ppdm", "paper", SMALL["ppdm"])
    with pytest.raises(UsageError, match="expected its teacher resnet18 with weights"):
        model.fit(walks("ppdm", range(1)))
    with pytest.raises(UsageError, match=r"teacher 'os\.path'"):
        build_pixel_model("ppdm", "paper", SMALL["ppdm"] | {"teacher": "os.path"}).restore({})


def test_low_precision_is_taken_where_the_processor_has_it(monkeypatch):
    dtypes = []
    loss = PredictionNet.loss
    monkeypatch.setattr(
        PredictionNet, "loss", lambda net, made, frame: dtypes.append(made.reference.dtype) or loss(net, made, frame)
    )
    for precision, can, expected in (
        ("float32", True, torch.float32), ("bfloat16", False, torch.bfloat16), ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
    ):  # fmt: skip
        monkeypatch.setattr("mulde.reconstruction.predictor.computes_bfloat16", lambda device, can=can: can)
        dtypes.clear()
        built("pdm", precision=precision, max_steps=1).fit(walks("pdm", range(1)))
        assert dtypes == [expected]
    monkeypatch.undo()
    assert isinstance(computes_bfloat16("cpu"), bool)


def test_the_mean_image_is_what_an_image_is_compared_with():
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 64, 64, 3), dtype=np.uint8)
    model = built("mean").fit(images)
    one = np.zeros((1, 1, 64, 64, 3), np.uint8)
    plain = np.abs(images.astype(float).mean(axis=0)[0] - one[0, 0]).mean(axis=2) / 127.5
    expected = gaussian_filter(plain, 1.0, mode="nearest", truncate=4)  # 4 of 256 pixels are one of 64
    np.testing.assert_allclose(model.maps(one)[0, 0], expected, atol=1e-5)
