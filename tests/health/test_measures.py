"""What is measured of a picture, against what was done to it."""

from __future__ import annotations

import numpy as np
import pytest

from mulde.health import HealthReference, Sample, learn_reference, measure, thumbnail
from mulde.health.view import View

from .scenes import blurred, covered, in_grey, noisy, place, reference_of, shifted, turned

PLACE = place()
REFERENCE = reference_of(PLACE)


def look(image: np.ndarray, reference: HealthReference | None = REFERENCE):
    return measure(thumbnail(image), reference)


@pytest.mark.parametrize("right", [-80.0, -31.5, -4.0, 0.0, 0.75, 4.0, 30.0])
@pytest.mark.parametrize("down", [-20.0, 0.0, 1.5, 5.0])
def test_a_known_shift_is_recovered(right, down):
    measures = look(noisy(shifted(PLACE, right, down), 99))
    assert measures.shift_pixels == pytest.approx(np.hypot(right, down), abs=0.6)


@pytest.mark.parametrize("angle", np.linspace(0, 2 * np.pi, 8, endpoint=False))
def test_four_pixels_are_a_move_and_two_are_a_sway(angle):
    for length, wrong in ((4.0, "moved"), (2.0, None)):
        image = noisy(shifted(PLACE, length * np.cos(angle), length * np.sin(angle)), 98)
        assert look(image).wrong == wrong


@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        (lambda image: image, None),
        (lambda image: shifted(image, 40, 25), "moved"),
        (lambda image: turned(image, 3), "moved"),
        (lambda image: turned(image, 0, 1.06), "moved"),
        (lambda image: place(7)[::-1], "moved"),
        (lambda image: covered(image, 0, 0, 1, 0.4), "covered"),
        (lambda image: covered(image, 0.3, 0.2, 1, 1, 180), "covered"),
        (lambda image: covered(image, 0, 0, 1, 1, 90), "covered"),
        (lambda image: blurred(image, 2.5), "blurred"),
        (lambda image: blurred(image, 8), "blurred"),
        (lambda image: (image * 0.04).astype(np.uint8), "dark"),
        (lambda image: np.clip(image.astype(int) + 120, 0, 255).astype(np.uint8), "bright"),
        (lambda image: (image * 0.4).astype(np.uint8), None),
        (lambda image: noisy(image, 5, 0.3, 8), None),
        (lambda image: noisy(image, 5, 1.0, 15), None),
        (lambda image: covered(image, 0.5, 0.5, 0.75, 0.6), None),  # somebody who stands there
    ],
    ids=["as ever", "shift", "turn", "zoom", "elsewhere", "a side", "most", "all", "soft", "very soft", "night",
         "glare", "dusk", "noisy dusk", "noise", "person"],
)  # fmt: skip
def test_what_is_wrong(what, wrong):
    assert look(noisy(what(PLACE), 97)).wrong == wrong


def test_the_sharpness_of_a_blur_is_that_of_its_transfer_function():
    """A blur by a Gaussian multiplies each frequency f by exp(-2 (pi sigma f)^2), so the ratio follows from the
    spectrum of the reference alone; the picture is small enough to be measured as it is."""
    image = thumbnail(PLACE).grey
    view = View(image, np.ones(image.shape, np.bool_))
    height, width = image.shape
    right, down = np.fft.fftfreq(width)[None, :], np.fft.fftfreq(height)[:, None]
    length = np.hypot(right, down)
    window = np.outer(np.hanning(height + 1)[:-1], np.hanning(width + 1)[:-1])
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    fine, coarse = (length >= 0.12) & (length < 0.30), (length >= 0.01) & (length < 0.08)
    last = 1.1
    for sigma in (0.5, 1.0, 2.0):
        kept = np.exp(-2 * (np.pi * sigma * length) ** 2)
        expected = (power * kept)[fine].sum() / power[fine].sum() / ((power * kept)[coarse].sum() / power[coarse].sum())
        found = view.look(np.clip(blurred(image.astype(np.float64), sigma), 0, 255).round().astype(np.uint8)).sharpness
        assert found == pytest.approx(expected, rel=0.1, abs=0.01)
        assert found < last
        last = found


def test_light_does_not_change_sharpness_and_background():
    full, half = look(noisy(PLACE, 3, sigma=0)), look(noisy(PLACE, 3, gain=0.5, sigma=0))
    assert half.brightness_ratio == pytest.approx(full.brightness_ratio / 2, rel=0.02)
    assert half.sharpness_ratio == pytest.approx(full.sharpness_ratio, rel=0.05)
    assert half.background_ratio == pytest.approx(full.background_ratio, abs=0.03)


def test_the_covered_share_is_that_of_the_cover():
    assert look(covered(PLACE, 0, 0, 1, 0.5)).covered_share == pytest.approx(0.5, abs=0.12)
    assert look(PLACE).covered_share == 0


def test_without_a_reference_only_light_is_told():
    assert look(covered(PLACE, 0, 0, 1, 1), None).wrong is None
    assert look(np.zeros_like(PLACE), None).wrong == "dark"
    assert look(np.full_like(PLACE, 255), None).wrong == "bright"
    assert look(PLACE, None).shift_pixels is None


def test_a_regime_that_was_never_learnt_is_held_to_its_place_alone():
    assert list(REFERENCE.regimes) == ["colour"]
    assert look(in_grey(PLACE)).wrong is None
    assert look(in_grey(blurred(PLACE, 3))).wrong is None
    assert look(in_grey(shifted(PLACE, 20, 0))).wrong == "moved"


def test_a_coloured_cover_before_a_grey_camera_is_seen():
    night = in_grey(PLACE)
    reference = reference_of(night)
    assert list(reference.regimes) == ["grey"]
    cover = covered(noisy(night, 50), 0, 0, 1, 0.5)
    cover[:, :180] = (200, 40, 30)
    assert look(cover, reference).wrong == "covered"
    assert look(noisy(night, 51), reference).wrong is None


def test_each_regime_has_its_own_reference():
    night = noisy(in_grey(place()[:, ::1]), 0, 0.4)
    samples = [Sample(n % 4, thumbnail(noisy(image, n))) for image in (PLACE, night) for n in range(12)]
    reference = learn_reference(samples)
    assert set(reference.regimes) == {"colour", "grey"}
    assert look(night, reference).brightness_ratio == pytest.approx(1, abs=0.05)
    assert look(PLACE, reference).brightness_ratio == pytest.approx(1, abs=0.05)
    assert look(blurred(night, 3), reference).wrong == "blurred"


def test_footage_of_many_places_has_no_view():
    samples = [Sample(n, thumbnail(noisy(place(n)[:: (-1) ** n, :: (-1) ** (n // 2)], n))) for n in range(16)]
    reference = learn_reference(samples)
    assert not reference.regimes["colour"].has_view
    measures = look(PLACE, reference)
    assert (measures.wrong, measures.is_compared) == (None, False)


def test_a_picture_of_another_shape_is_not_compared():
    assert look(PLACE[:, :240]).is_compared is False
    assert look(np.repeat(np.repeat(PLACE, 2, 0), 2, 1)).wrong is None
    assert look(np.repeat(np.repeat(PLACE, 2, 0), 2, 1)).is_compared


@pytest.mark.parametrize("count", [0, 7])
def test_a_few_pictures_make_no_reference(count):
    assert learn_reference([Sample(0, thumbnail(noisy(PLACE, n))) for n in range(count)]) is None


@pytest.mark.parametrize("size_hw", [(1, 1), (4, 6), (15, 400), (16, 16), (40, 24)])
def test_small_pictures_are_measured_or_make_no_reference(size_hw):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (*size_hw, 3)).astype(np.uint8) for _ in range(9)]
    reference = learn_reference([Sample(n % 2, thumbnail(image)) for n, image in enumerate(images)])
    assert (reference is None) == (min(thumbnail(images[0]).grey.shape) < 16)
    assert look(images[0], reference).wrong is None
    assert look(images[0]).is_compared is False


def test_what_is_learnt_does_not_depend_on_the_order_of_pictures_within_videos():
    samples = [Sample(n % 4, thumbnail(noisy(PLACE, n, 0.8 + 0.02 * n))) for n in range(16)]
    one, other = learn_reference(samples).regimes["colour"], learn_reference(samples[::-1]).regimes["colour"]
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.edges, other.edges)
    np.testing.assert_array_equal(np.sort(one.background), np.sort(other.background))
