"""The detector: real weights on real footage, quiet, and no download unless a hub name was asked for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mulde.errors import UsageError
from mulde.extractors.yolo import YoloRegions
from mulde.media import open_video
from mulde.records import Frames, Regions, Window


@pytest.fixture(scope="module")
def people(request) -> Window:
    """Three frames of a clip of Ped2."""
    folder = request.getfixturevalue("ped2_clips")
    with open_video(folder / "Test" / "Test001.mp4", batch_size=3) as reader:
        frames = next(iter(reader))
    return Window(frames, 0, len(frames))


@pytest.mark.parametrize("name", ["yolov8n_int8_openvino_model", "yolov8n.pt"])
def test_people_are_found_inside_the_picture_in_every_frame(people, weights, name):
    found = YoloRegions(str(weights / name)).find(people, Regions.empty())
    per_frame = [int((found.frame_index == f).sum()) for f in people.core_index]
    assert min(per_frame) >= 8
    assert (found.class_id == 0).mean() > 0.8
    assert (found.confidence >= 0.25).all()
    assert found.box_xyxy.min() >= 0
    assert (found.box_xyxy.max(axis=0) <= [360, 240, 360, 240]).all()


def test_boxes_do_not_depend_on_the_frames_beside_them(people, weights):
    finder = YoloRegions(str(weights / "yolov8n_int8_openvino_model"))
    whole = finder.find(people, Regions.empty())
    alone = finder.find(Window(people.frames, 1, 2), Regions.empty())
    rows = whole.frame_index == 1
    assert np.array_equal(whole.box_xyxy[rows], alone.box_xyxy)


def test_confidence_and_classes_are_kept(people, weights):
    path = str(weights / "yolov8n_int8_openvino_model")
    assert (YoloRegions(path, confidence=0.7).find(people, Regions.empty()).confidence >= 0.7).all()
    assert len(YoloRegions(path, classes=("giraffe",)).find(people, Regions.empty())) == 0
    assert set(YoloRegions(path, classes=("person",)).find(people, Regions.empty()).class_id) == {0}
    with pytest.raises(UsageError, match=r"class 'pedestrian' of the detector: expected one of person, bicycle"):
        YoloRegions(path, classes=("pedestrian",)).find(people, Regions.empty())


def test_the_digest_of_the_weights_is_in_the_fingerprint(weights):
    prints = [YoloRegions(str(weights / name)).fingerprint() for name in ("yolov8n.pt", "yolov8n-pose.pt")]
    assert prints[0]["weights_sha256"] != prints[1]["weights_sha256"]


def blank() -> Window:
    return Window(Frames(np.zeros((1, 64, 64, 3), np.uint8), np.arange(1), np.zeros(1)), 0, 1)


@pytest.mark.parametrize("name", ["nowhere/yolov8n.pt", "yolo-unheard-of.pt", "missing_openvino_model"])
def test_what_is_not_there_is_not_looked_for_on_the_network(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=r"expected an existing file or folder, or an official name such as yolov8n\.pt"
    ):
        YoloRegions(name).find(blank(), Regions.empty())


def test_a_file_that_is_no_detector_is_a_sentence(tmp_path):
    bad = tmp_path / "bad.pt"
    bad.write_text("not weights")
    with pytest.raises(UsageError, match=r"detector weights .*bad\.pt cannot be loaded: expected a detector"):
        YoloRegions(str(bad)).find(blank(), Regions.empty())


def test_the_library_stays_quiet_and_leaves_the_users_settings_alone(tmp_path, weights):
    code = (
        "import numpy as np\n"
        "from mulde.extractors.yolo import YoloRegions\n"
        "from mulde.records import *\n"
        "w = Window(Frames(np.zeros((1, 64, 64, 3), np.uint8), np.arange(1), np.zeros(1)), 0, 1)\n"
        f"YoloRegions({str(weights / 'yolov8n.pt')!r}).find(w, Regions.empty())\n"
        "from ultralytics.utils.events import events\n"
        "assert not events.enabled\n"
    )
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=home, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / ".config").exists()


def test_everything_but_the_detector_works_without_ultralytics():
    code = (
        "import sys\n"
        "sys.modules['ultralytics'] = None\n"
        "import numpy as np\n"
        "from mulde.config import load_settings\n"
        "from mulde.errors import UsageError\n"
        "from mulde.pipeline.build import build_extractors, build_regions\n"
        "from mulde.records import *\n"
        "w = Window(Frames(np.zeros((3, 64, 64, 3), np.uint8), np.arange(3), np.zeros(3)), 0, 3)\n"
        "s = load_settings()\n"
        "r = build_regions(s.regions).find(w)\n"
        "assert [e.extract(w, r).values.shape[0] for e in build_extractors(s.features)] == [0, 0, 0]\n"
        "s = load_settings(overrides=['regions.finders=[\"yolo\"]'])\n"
        "try:\n"
        "    build_regions(s.regions).find(w)\n"
        "except UsageError as error:\n"
        "    assert \"the detector needs the package 'ultralytics'\" in str(error), error\n"
        "else:\n"
        "    raise AssertionError('no error')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
