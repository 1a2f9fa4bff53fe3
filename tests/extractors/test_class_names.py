"""Names of objects without loading the detector."""

from __future__ import annotations

import pytest

from mulde.extractors.class_names import COCO, class_names, object_name


@pytest.mark.parametrize(
    "weights",
    [
        "yolov8n.pt",
        "/some/where/yolo11x.pt",
        "yolov5su.pt",
        "yolov5n6u.onnx",
        "yolov9c.engine",
        "rtdetr-l.pt",
        "yolo26n.pt",
    ],
)
def test_official_weights_know_the_80_classes_of_coco(weights):
    names = class_names(weights)
    assert len(names) == len(set(names.values())) == 80
    assert [names[i] for i in (0, 1, 2, 36, 79)] == ["person", "bicycle", "car", "skateboard", "toothbrush"]


@pytest.mark.parametrize("weights", ["best.pt", "yolov8n-oiv7.pt", "yolov8n-cls.pt", "my_yolov8n.pt", "yolov8n"])
def test_weights_of_others_have_no_names_unless_they_say(weights):
    assert (class_names(weights) == {}) == (weights != "yolov8n")
    assert object_name(7, class_names("best.pt")) == "object of class 7"


def test_an_exported_folder_says_its_own_names(tmp_path):
    text = "imgsz:\n- 640\nnames:\n  0: forklift\n  1: 'traffic cone'\n  12: \"worker\"\nargs:\n  3: none\nstride: 32\n"
    (tmp_path / "metadata.yaml").write_text(text)
    assert class_names(str(tmp_path)) == {0: "forklift", 1: "traffic cone", 12: "worker"}
    (tmp_path / "metadata.yaml").write_text("stride: 32\n")
    assert class_names(str(tmp_path)) == {}


def test_the_names_are_those_of_the_real_export(weights):
    assert class_names(str(weights / "yolov8n_int8_openvino_model")) == dict(enumerate(COCO))


def test_what_moved_is_a_moving_object():
    assert object_name(-1, {}) == "moving object"
