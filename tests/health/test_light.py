"""Sudden changes of the light, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from mulde.health import LightSwitch

from .scenes import covered, in_grey, noisy, place, shifted

PLACE = place()
FPS = 5


def run(images, fps=FPS):
    """Which pictures are blanked, and with which a change was said."""
    switch = LightSwitch()
    lights = [switch.take(image, n / fps) for n, image in enumerate(images)]
    return np.array([light.is_blanked for light in lights]), [n for n, light in enumerate(lights) if light.has_changed]


def scene(seconds, change=lambda image, time_s: image):
    return [noisy(change(PLACE, n / FPS), n) for n in range(round(seconds * FPS))]


def to_infrared(image, time_s):
    return image if time_s < 5 else in_grey(image)


def lamps_off(image, time_s):
    return image if time_s < 5 else image * 0.3


def lamps_on(image, time_s):
    return image * 0.35 if time_s < 5 else image


def pitch_dark(image, time_s):
    return image if time_s < 5 else image * 0.01


def ramp(image, time_s):
    return image * (0.35 + 0.65 * np.clip((time_s - 5) / 3, 0, 1))


@pytest.mark.parametrize("change", [to_infrared, lamps_off, lamps_on, pitch_dark, ramp], ids=lambda f: f.__name__)
def test_a_change_of_light_is_said_once_and_scored_again_within_five_seconds(change):
    blanked, said = run(scene(20, change))
    assert len(said) == 1
    assert 5 * FPS <= said[0] <= 7 * FPS
    assert blanked[said[0]]
    assert not blanked[: said[0]].any()
    assert 2 * FPS <= blanked.sum() <= 5 * FPS
    assert not blanked[said[0] + 5 * FPS :].any()


@pytest.mark.parametrize("fps", [0.5, 1, 2, 5, 25])
def test_a_switch_is_found_at_any_rate(fps):
    images = [noisy(PLACE, n) for n in range(8)] + [noisy(in_grey(PLACE) * 0.6, n) for n in range(8)]
    blanked, said = run(images, fps)
    assert said == [8]
    assert blanked[8]


@pytest.mark.parametrize(
    "change",
    [
        lambda image, time_s: image,
        lambda image, time_s: covered(image, 0.1, 0, 1, 0.95) if 5 < time_s < 8 else image,  # a lorry close by
        lambda image, time_s: shifted(image, 40, 30) if time_s > 5 else image,
        lambda image, time_s: image * (1 - 0.02 * time_s),  # dusk
        lambda image, time_s: place(9)[::-1] if time_s > 5 else image,
    ],
    ids=["nothing", "a lorry", "a move", "dusk", "elsewhere"],
)
def test_what_is_no_change_of_light(change):
    blanked, said = run(scene(15, change))
    assert not said
    assert not blanked.any()


def test_light_that_never_rests_does_not_stop_the_watch():
    blanked, said = run([noisy(PLACE, n, 1.0 if n // 3 % 2 else 0.4) for n in range(60 * FPS)])
    assert len(said) == 1
    assert blanked.sum() <= 4 * FPS + 1
    assert not blanked[10 * FPS :].any()


def test_a_flash_is_one_change():
    images = scene(15)
    images[30] = np.full_like(PLACE, 255)
    blanked, said = run(images)
    assert len(said) <= 1
    assert blanked.sum() <= 3 * FPS


def test_a_pause_is_no_change():
    switch = LightSwitch()
    assert not switch.take(noisy(PLACE, 1), 0.0).has_changed
    assert not switch.take(noisy(PLACE * 0.3, 2), 100.0).has_changed
    assert not switch.take(noisy(PLACE, 3), 50.0).has_changed  # a clock that was set back
