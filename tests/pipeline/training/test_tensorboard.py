"""The training log, read back by TensorBoard's own reader."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mulde.density.estimator import MuldeDensity
from mulde.density.rows import TrainingProgress
from mulde.pipeline.training.tensorboard import TrainingLog


def look(step: int, value: float, heldout: float | None = None, bands: tuple[float, ...] = ()) -> TrainingProgress:
    return TrainingProgress(step, 1000, value, value / 8, 3 * value, 1 / step, heldout, bands)


def events(folder) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def curve(folder, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def test_every_value_of_every_look_is_on_its_curve(tmp_path):
    with TrainingLog(tmp_path) as log:
        for step in (10, 20, 30):
            log.log(look(step, step / 3))
    steps = np.array([10, 20, 30])
    expected = {
        "loss/dsm": steps / 3,
        "loss/reg": steps / 24,
        "loss/total": steps / 3 + steps / 24,
        "gradient/largest": steps / 1.0,
        "lr": 1 / steps,
    }
    assert set(events(tmp_path).Tags()["scalars"]) == set(expected)
    for tag, values in expected.items():
        assert curve(tmp_path, tag) == list(zip(steps, values.astype(np.float32), strict=True)), tag


def test_held_out_losses_are_on_the_curve_once_per_measurement(tmp_path):
    with TrainingLog(tmp_path) as log:
        log.log(look(10, 1))
        log.log(look(20, 1, 0.5, (0.75, 0.25)))
        log.log(look(30, 1, 0.5, (0.75, 0.25)))
        log.log(look(40, 1, 0.25, (0.375, 0.125)))
    assert curve(tmp_path, "heldout/dsm") == [(20, 0.5), (40, 0.25)]
    assert curve(tmp_path, "heldout/dsm_band_1") == [(20, 0.75), (40, 0.375)]
    assert curve(tmp_path, "heldout/dsm_band_2") == [(20, 0.25), (40, 0.125)]


def test_the_log_of_a_training_holds_what_the_training_said(tmp_path):
    rows, looks = np.random.default_rng(0).normal(size=(300, 3)), []
    density = MuldeDensity(hidden=(8,), steps=60, eval_every=20, aggregate="max")
    with TrainingLog(tmp_path) as log:
        density.fit(rows[:200], heldout=rows[200:], progress=lambda look: (looks.append(look), log.log(look)))
    assert [step for step, _ in curve(tmp_path, "loss/dsm")] == [10, 20, 30, 40, 50, 60]
    assert [v for _, v in curve(tmp_path, "loss/dsm")] == np.float32([look.loss_dsm for look in looks]).tolist()
    measured = {20: looks[1], 40: looks[3], 60: looks[5]}
    assert curve(tmp_path, "heldout/dsm") == [(at, np.float32(look.heldout_loss)) for at, look in measured.items()]


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        ([10, 20], [(10, -10), (20, -20)]),  # begun anew
        ([30, 40], [(10, 10), (20, 20), (30, -30), (40, -40)]),  # killed after 30, gone on from a checkpoint of 20
    ],
)
def test_a_second_log_in_a_folder_overrules_the_first_from_where_it_starts(tmp_path, again, expected):
    with TrainingLog(tmp_path) as log:
        for step in (10, 20, 30):
            log.log(look(step, step))
    [first] = tmp_path.iterdir()
    first.rename(tmp_path / "events.out.tfevents.1000000000.earlier")  # names order files by the second alone
    with TrainingLog(tmp_path) as log:
        for step in again:
            log.log(look(step, -step))
    assert curve(tmp_path, "loss/dsm") == expected


def test_a_picture_comes_back_pixel_by_pixel_at_the_last_step(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    with TrainingLog(tmp_path / "log") as log:
        log.log(look(70, 1))
        log.figure("a/picture", tmp_path / "picture.png")
    [event] = events(tmp_path / "log").Images("a/picture")
    assert event.step == 70
    (tmp_path / "back.png").write_bytes(event.encoded_image_string)
    assert (np.asarray(Image.open(tmp_path / "back.png").convert("RGB")) == pixels).all()


def test_what_was_logged_before_a_failure_is_kept(tmp_path):
    def fail(log):
        with log:
            log.log(look(10, 1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail(TrainingLog(tmp_path))
    assert curve(tmp_path, "loss/dsm") == [(10, 1)]


def test_a_log_without_looks_leaves_nothing(tmp_path):
    with TrainingLog(tmp_path / "log"):
        pass
    assert not (tmp_path / "log").exists()
