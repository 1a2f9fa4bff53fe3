"""Names of what a detector finds, without loading it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mulde.files import read_text
from mulde.names import printable, user_path

MOVING = "moving object"
_OFFICIAL = re.compile(
    r"(yolov(3|3-spp|3-tiny)u|yolov5[nsmlx]6?u|yolov8[nsmlx]|yolov9[tsmce]|yolov10[nsmblx]|yolo(11|12|26)[nsmlx]|"
    r"rtdetr-[lx])(-pose|-seg)?(_int8)?(_openvino_model)?"
)
"""Names, without their ending, of weights that Ultralytics trained on COCO, and of their exports."""

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


def class_names(weights: str) -> Mapping[int, str]:
    """Names by class number of a detector: those in its exported folder's metadata, COCO's for official weights, else
    none."""
    path = user_path(weights)
    metadata = path / "metadata.yaml"
    if metadata.is_file():
        return _names_in(read_text(metadata))
    name = path.stem if path.suffix in (".pt", ".onnx", ".engine") else path.name
    return dict(enumerate(COCO)) if _OFFICIAL.fullmatch(name) else {}


def shown(name: str) -> str:
    """A class name as it is kept and shown: at most 100 characters, none that a terminal obeys."""
    return printable(name)[:100]


def object_name(class_id: int, names: Mapping[int, str]) -> str:
    """What a box of a class is called; -1 is a region that moved."""
    return MOVING if class_id < 0 else names.get(class_id, f"object of class {class_id}")


def _names_in(metadata: str) -> dict[int, str]:
    """The entries `  0: person` below `names:`, the one part of the YAML that is asked for."""
    _, _, behind = f"\n{metadata}".partition("\nnames:\n")
    block = re.match(r"(?:[ \t]+\S.*\n?)*", behind)
    entries = re.findall(r"^\s+(\d+): *(.+?)\s*$", block[0] if block else "", flags=re.MULTILINE)
    return {int(number): name.strip("'\"") for number, name in entries}
