"""Objects of other footage: the pixels of theirs, as tall as what is normal here, grey in grey footage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mulde.datasets.boxes.writing import write_boxes_folder
from mulde.datasets.sources import open_sources
from mulde.errors import MuldeError, UsageError
from mulde.images import read_image
from mulde.media import write_video
from mulde.pipeline.tuning import clips
from mulde.pipeline.tuning.candidates import with_tracker
from mulde.pipeline.tuning.clips import FOLDER
from mulde.pipeline.tuning.material import Deadline, Material, make_material
from mulde.pipeline.tuning.tune import run_tune
from mulde.settings_file import load_settings
from tests.pipeline.tuning.test_tune import RATE, session, walkers
from tests.pipeline.tuning.test_tune_boxes import walking

TALL = 44  # twice as tall as a walker
SETTINGS = load_settings(overrides=['features.extractors=["geometry"]', 'density.method="mahalanobis"'])


def vehicles(root: Path) -> Path:
    """A folder with a video of another size: a red disc that drives through a grey picture."""
    y, x = np.mgrid[:TALL, :TALL] - (TALL - 1) / 2
    disc, rng = np.hypot(x, y) <= TALL / 2, np.random.default_rng(0)
    paint = rng.choice([90, 250], disc.shape)[..., None] * np.array([1.0, 0.2, 0.2])  # textured, so that it moves
    frames = np.full((60, 120, 200, 3), 200, np.uint8)
    for t, frame in enumerate(frames):
        place = frame[40 : 40 + TALL, 3 + 2 * t : 3 + 2 * t + TALL]
        place[disc] = paint[disc]
    write_video(root / "road.mp4", iter(frames), RATE, crf=1)
    return root


def write_normal(folder: Path, sky: tuple[int, int, int] = (80, 80, 80)) -> Path:
    """Two videos with the upper of the walkers alone, who is 22 pixels tall."""
    for i in range(2):
        frames = walkers(60, i)
        frames[:, :30], frames[:, 58:] = sky, 80
        write_video(folder / f"n{i}.mp4", iter(frames), RATE, crf=1)
    return folder


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    return write_normal(tmp_path / "normal")


def made(footage: Path, other: Path, tmp_path: Path) -> Material:
    normal, objects = (open_sources([str(source)], "train").videos for source in (footage, other))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "KINDS", [])
        patch.setattr(clips, "ROUNDS", 2)
        material = make_material(
            normal, with_tracker(SETTINGS), tmp_path / "out", 0, session(tmp_path), Deadline(None), [], objects
        )
    assert material is not None
    return material


def pictures(out: Path, material: Material) -> list[np.ndarray]:
    """The frame of each clip with a foreign object that shows it best."""
    found = [clip for clip in material.clips if clip.kind == "foreign object"]
    assert len(found) == 2
    return [read_image(out / FOLDER / clip.name / f"{clip.shown:05d}.png", "bgr")[..., ::-1] for clip in found]


def test_they_are_inserted_as_they_are_and_as_tall_as_what_is_normal_here(tmp_path):
    coloured = write_normal(tmp_path / "coloured", sky=(60, 90, 200))
    material = made(coloured, vehicles(tmp_path / "road"), tmp_path)
    for picture in pictures(tmp_path / "out", material):
        red = picture[..., 0].astype(int) - picture[..., 1] > 60
        y, x = np.nonzero(red)
        assert 17 <= np.ptp(y) <= 27  # it was 44 pixels tall
        assert abs(np.ptp(x) - np.ptp(y)) <= 3  # and is as round as it was
        assert red[y.min() : y.max(), x.min() : x.max()].mean() == pytest.approx(np.pi / 4, abs=0.1)


def test_they_are_grey_in_grey_footage(footage, tmp_path):
    material = made(footage, vehicles(tmp_path / "road"), tmp_path)
    for picture in pictures(tmp_path / "out", material):
        assert np.ptp(picture.astype(int), axis=2).max() <= 1


def test_footage_without_any_object_is_a_sentence(footage, tmp_path):
    write_video(tmp_path / "still" / "s.mp4", iter(np.repeat(walkers(1, 0), 40, axis=0)), RATE, crf=1)
    with pytest.raises(MuldeError, match="no object of the other footage can be cut out: expected objects that differ"):
        made(footage, tmp_path / "still", tmp_path)


def test_boxes_alone_have_no_objects_and_no_place_for_them(footage, tmp_path):
    write_boxes_folder(tmp_path / "boxes", [walking(0), walking(1)])
    boxes = f"boxes:{tmp_path / 'boxes'}"
    for source, other in ((boxes, str(footage)), (str(footage), boxes)):
        with pytest.raises(UsageError, match=r"--objects .*: expected a video with pixels, got a video of boxes alone"):
            run_tune(source, SETTINGS, tmp_path / "out", 0, session(tmp_path), objects=[other])


def test_other_objects_are_another_run(footage, tmp_path):
    road = vehicles(tmp_path / "road")
    run_tune(str(footage), SETTINGS, tmp_path / "out", 0, session(tmp_path), hours=1e-9, objects=[str(road)])
    assert f"# with objects of {road}," in (tmp_path / "out" / "tuned.toml").read_text()
    with pytest.raises(UsageError, match="holds another run: one with other --objects"):
        run_tune(str(footage), SETTINGS, tmp_path / "out", 0, session(tmp_path), hours=1e-9)
    run_tune(str(footage), SETTINGS, tmp_path / "out", 0, session(tmp_path), hours=1e-9, objects=[str(road)])
