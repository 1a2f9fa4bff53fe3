"""What becomes of a camera whose picture is not what it was."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from mulde.errors import StreamEnded
from mulde.health import Light, LightSwitch
from mulde.media.packets import StreamPacket, StreamPicture
from mulde.pipeline.live.alerts import alert_id
from mulde.pipeline.live.engine import LiveEngine
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.live.watched import CameraSpec
from mulde.pipeline.scoring.frames import read_scores
from tests.api_world import frames_of
from tests.health.scenes import in_grey, shifted

from .small_world import HOUR_S, Listener, predictor, still_clocks, train, watch

FPS = 2
START_MS = 1000 * (HOUR_S + 60)


@pytest.fixture(scope="session")
def model2(live_world):
    """Looks at 2 frames a second."""
    return train(live_world, FPS)


@pytest.fixture(scope="session")
def pictures(live_world):
    """Pictures of an ordinary clip, and noise that is another in each of them."""
    images = [image for image, _ in frames_of(live_world / "world/train/train01.mp4")]
    noise = np.random.default_rng(0).integers(-3, 4, (40, *images[0].shape))

    def picture(n, change=lambda image: image, moving=True):
        image = change(images[n % len(images) if moving else 0])
        return np.clip(image + noise[n % len(noise)], 0, 255).astype(np.uint8)

    return picture


class Pictures:
    """A camera that shows these pictures, FPS a second; `at` is called with the number of each."""

    template = None
    camera_time_s = None

    def __init__(self, images, at=lambda n: None):
        self.images, self.size_hw, self.at = images, images[0].shape[:2], at

    @contextlib.contextmanager
    def open(self):
        yield self

    def __iter__(self):
        for n, image in enumerate(self.images):
            self.at(n)
            picture = StreamPicture(n / FPS, self.size_hw, lambda image=image: image)
            yield StreamPacket(None, n == 0, 1000.0 + n / FPS, (picture,), 0)
        raise StreamEnded("over")


def camera(model, images, *changes, **fields):
    opener = Pictures(images).open
    return CameraSpec("yard", opener, predictor(model, *changes), "model", "", lossless=True, **fields)


def alerts_of(run, kind=None):
    with AlertLedger.read(run) as ledger:
        return [stored for stored in ledger.alerts() if kind in (None, stored.alert.kind)]


def moved_images(pictures, seconds=(15, 25, 34)):
    """As ever, then moved, then as ever."""
    edges = np.cumsum(seconds) * FPS
    away = lambda image: shifted(image, 20, 9)  # noqa: E731
    return [pictures(n, away if edges[0] <= n < edges[1] else lambda image: image) for n in range(edges[-1])]


def test_a_moved_camera_raises_one_alert_and_closes_it_when_it_is_back(model2, pictures, tmp_path):
    listener = Listener()
    watch(tmp_path / "run", [camera(model2, moved_images(pictures))], still_clocks(), listener)

    (stored,) = alerts_of(tmp_path / "run", "camera")
    alert = stored.alert
    assert (alert.state, alert.health, alert.cut_short) == ("closed", ("moved",), False)
    assert alert.id == alert_id("yard", alert.start, "camera")
    assert START_MS + 15_000 <= alert.start <= START_MS + 17_000
    assert START_MS + 38_000 <= alert.end <= START_MS + 40_000
    assert alert.revision == 2
    # A picture of 160 pixels: 22 of these are 49 of 360.
    assert alert.reason.startswith("the picture has moved by ")
    assert int(alert.reason.split()[5]) == pytest.approx(np.hypot(20, 9) * 360 / 160, abs=2)
    assert (tmp_path / "run" / "alerts" / f"{alert.id}.jpg").is_file()
    assert sum("has moved by" in line for line in listener.warnings) == 1
    assert listener.lines.count("yard: the picture is as it was") == 1


def test_the_same_pictures_raise_the_same_alert(model2, pictures, tmp_path):
    ids = []
    for name in ("one", "other"):
        watch(tmp_path / name, [camera(model2, moved_images(pictures)[: 30 * FPS])], still_clocks())
        ids.append([stored.alert.id for stored in alerts_of(tmp_path / name)])
    assert any(one.endswith("-camera") for one in ids[0])
    assert ids[0] == ids[1]


@pytest.mark.parametrize("mutes", [True, False])
def test_what_is_unusual_while_it_has_moved_is_muted_and_scored_all_the_same(mutes, model2, pictures, tmp_path):
    images = moved_images(pictures)
    for n in range(33 * FPS, 36 * FPS):  # somebody runs through the picture
        images[n] = images[n].copy()
        images[n][20:80, 20 * (n % 7) : 20 * (n % 7) + 20] = (250, 20, 20)
    listener = Listener()
    with running(tmp_path / "run", camera(model2, images, mute_when_moved=mutes), listener) as engine:
        engine.run(threading.Event())
        state = engine.cameras["yard"].view()
    (of_camera,) = alerts_of(tmp_path / "run", "camera")
    since_ms = START_MS + 30_000
    during = [stored for stored in alerts_of(tmp_path / "run", "unusual") if stored.alert.start >= since_ms]
    during = [stored for stored in during if stored.alert.start < START_MS + 39_000]
    assert during
    assert {stored.alert.health for stored in during} == {("moved",)}
    assert {stored.covered_by for stored in during} == {of_camera.alert.id if mutes else ""}
    assert state.num_muted >= len(during) if mutes else state.num_muted == 0
    assert sum("muted alert" in line for line in listener.lines) == state.num_muted
    (scores,) = read_scores(tmp_path / "run" / "scores").values()
    assert len(scores.track.fused) == len(images)


@contextlib.contextmanager
def running(root, spec, reporter=None):
    root.mkdir(exist_ok=True)
    with AlertLedger.open(root) as ledger:
        engine = LiveEngine(root, ledger, reporter or Listener(), threads=1, clocks=still_clocks())
        engine.add(spec)
        yield engine


def test_the_state_says_what_is_wrong_and_since_when(model2, pictures, tmp_path):
    away = lambda image: shifted(image, 20, 9)  # noqa: E731
    images = [pictures(n, away) for n in range(60)]
    seen = []
    with running(tmp_path / "run", camera(model2, images)) as engine:
        engine.run(threading.Event(), lambda: seen.append(engine.cameras["yard"].view()))
    found = [state for state in seen if state.health]
    assert found
    (health,) = found[-1].health
    assert (health.kind, health.since_ms) == ("moved", START_MS)
    assert health.text.startswith("the picture has moved by ")
    measures = found[-1].health_figures
    assert set(measures) == {"shift_pixels", "sharpness_ratio", "background_ratio", "brightness_ratio"}
    assert measures["shift_pixels"] == pytest.approx(np.hypot(20, 9) * 360 / 160, abs=2)


@pytest.mark.parametrize("change", [in_grey, lambda image: (image * 0.3).astype(np.uint8)], ids=["infra-red", "off"])
def test_a_switch_of_light_is_one_notice_and_no_alert(change, model2, pictures, tmp_path):
    listener, at = Listener(), 40
    images = [pictures(n, change if n >= at else lambda image: image, moving=False) for n in range(100)]
    with running(tmp_path / "run", camera(model2, images), listener) as engine:
        engine.run(threading.Event())
        status = engine.cameras["yard"].reader.status()
    assert sum("the light has changed" in line for line in listener.lines) == 1
    assert 2 * FPS <= status.num_skipped["light"] <= 5 * FPS
    assert alerts_of(tmp_path / "run", "camera") == []
    (scores,) = read_scores(tmp_path / "run" / "scores").values()
    times_s = scores.track.time_s - 60
    assert len(times_s) == len(images) - status.num_skipped["light"]
    gaps = [(a, b) for a, b in pairwise(times_s.tolist()) if b - a > 1.5 / FPS]
    assert len(gaps) == 1
    assert gaps[0][0] == pytest.approx(at / FPS - 1 / FPS)
    assert gaps[0][1] <= at / FPS + 5


def test_without_the_pause_a_switch_of_light_would_raise_an_alert(model2, pictures, tmp_path, monkeypatch):
    darker = lambda image: (image * 0.3).astype(np.uint8)  # noqa: E731
    images = [pictures(n, darker if n >= 40 else lambda image: image, moving=False) for n in range(60)]

    def near_the_switch(run):
        edges = START_MS + 1000 * 39 / FPS, START_MS + 1000 * 46 / FPS
        return [s.alert for s in alerts_of(run, "unusual") if edges[0] <= s.alert.end and s.alert.start <= edges[1]]

    watch(tmp_path / "with", [camera(model2, images)], still_clocks())
    assert near_the_switch(tmp_path / "with") == []
    monkeypatch.setattr(LightSwitch, "take", lambda self, image, time_s: Light())
    watch(tmp_path / "without", [camera(model2, images)], still_clocks())
    assert near_the_switch(tmp_path / "without")


def test_an_alert_that_is_open_at_the_end_is_cut_short(model2, pictures, tmp_path):
    watch(tmp_path / "run", [camera(model2, moved_images(pictures)[: 35 * FPS])], still_clocks())
    (stored,) = alerts_of(tmp_path / "run", "camera")
    assert (stored.alert.state, stored.alert.cut_short) == ("closed", True)
    assert stored.alert.end >= START_MS + 33_000


def test_an_alert_that_a_killed_process_left_goes_on(model2, pictures, tmp_path):
    images, run = moved_images(pictures), tmp_path / "run"
    with running(run, camera(model2, images)) as engine:
        stop = threading.Event()
        engine.run(stop, lambda: engine.cameras["yard"].health.conditions and stop.set())
        left = alerts_of(run, "camera")[0].alert
    with AlertLedger.open(run) as ledger:  # as if nobody had closed it
        opened = left.model_copy(update={"state": "opened", "revision": 1, "cut_short": False})
        ledger._db.execute(
            "UPDATE alerts SET state = 'opened', revision = 1, json = ? WHERE id = ?", [opened.to_json(), left.id]
        )
        assert ledger.recover(START_MS + 10_000_000, 1.0) == []
        assert [stored.alert.id for stored in ledger.open_alerts()] == [left.id]
    later = replace(camera(model2, [pictures(n) for n in range(80)]))
    watch(run, [later], still_clocks(HOUR_S + 1000.0))
    (stored,) = alerts_of(run, "camera")
    assert (stored.alert.id, stored.alert.state, stored.alert.cut_short) == (left.id, "closed", False)


def test_a_model_without_a_reference_says_so_and_tells_the_dark(model2, pictures, tmp_path):
    dark = lambda image: (image * 0.02).astype(np.uint8)  # noqa: E731
    listener, using = Listener(), predictor(model2)
    bare = replace(using, model=replace(using.model, bundle=replace(using.bundle, health=None)))
    images = [pictures(n, dark if n > 20 else lambda image: shifted(image, 20, 9)) for n in range(80)]
    spec = replace(camera(model2, images), predictor=bare)
    watch(tmp_path / "run", [spec], still_clocks(), listener)
    assert sum("has no reference of the picture" in line for line in listener.lines) == 1
    (stored,) = alerts_of(tmp_path / "run", "camera")
    assert stored.alert.health == ("dark",)


def test_health_that_cannot_be_told_stops_nothing(model2, pictures, tmp_path, monkeypatch):
    def broken(self, image, time_s):
        raise ValueError("no way")

    monkeypatch.setattr(LightSwitch, "take", broken)
    listener = Listener()
    watch(tmp_path / "run", [camera(model2, [pictures(n) for n in range(20)])], still_clocks(), listener)
    assert sum("its health cannot be told" in line for line in listener.lines) == 1
    (scores,) = read_scores(tmp_path / "run" / "scores").values()
    assert len(scores.track.fused) == 20
