"""COCO JSON: the boxes of one video as `annotations` beside its `images`, or a bare list of detections.

A box is [left, top, width, height]. The frame of an image is its `frame_id` (or `frame_index`) where all images have
one, else its `id`; in a list of detections it is the `image_id`. Tracks are `track_id` or `instance_id`. The category
"person" or "pedestrian" is class 0, the others are 1, 2, ... in order of their ids: for COCO's own 80 the numbers that
detectors give. In a list of detections, which names no categories, the class is `category_id` less 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mulde.datasets.boxes.rows import MAX_BOXES, BoxRows, too_many
from mulde.errors import VideoError
from mulde.files import read_json

_MAX_BYTES = 2**28
_FORM = (
    '{"images": [{"id": 1, ...}, ...], "annotations": [{"image_id": 1, "bbox": [left, top, width, height], ...}, ...]}'
)
_PERSON = ("person", "pedestrian")
_FRAME_KEYS, _TRACK_KEYS = ("frame_id", "frame_index"), ("track_id", "instance_id")


def read_coco(path: Path, size_hw: tuple[int, int]) -> BoxRows:
    """The rows of a file of one video with frames of `size_hw`. Raises VideoError for anything else."""
    data = read_json(path, max_bytes=_MAX_BYTES, error=VideoError)
    frames, categories, annotations = None, None, data
    if isinstance(data, dict):
        images, annotations = data.get("images"), data.get("annotations")
        if not isinstance(images, list) or not _are_tables(images):
            raise VideoError(f"{path}", expected=_FORM, got="no list of images")
        frames = _frames(path, images, size_hw)
        listed = data.get("categories")
        if _are_tables(listed) and listed:
            categories = _categories(path, listed)
    if not _are_tables(annotations):
        raise VideoError(f"{path}", expected=f"{_FORM}, or a list of detections", got="something else")
    if len(annotations) > MAX_BOXES:
        raise too_many(path)
    rows = [_row(path, place, entry, frames, categories) for place, entry in enumerate(annotations, 1)]
    table = np.array(rows, np.float64).reshape(-1, 8)
    corners = np.stack([table[:, 2], table[:, 3], table[:, 2] + table[:, 4], table[:, 3] + table[:, 5]], axis=1)
    return BoxRows(table[:, 0], table[:, 1], corners, table[:, 6], table[:, 7])


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _frames(path: Path, images: Sequence[Mapping[str, Any]], size_hw: tuple[int, int]) -> dict[float, float]:
    """The frame of each image by its id."""
    videos = {image.get("video_id") for image in images if isinstance(image.get("video_id"), int | str)}
    if len(videos) > 1:
        raise VideoError(f"{path}", expected="the images of one video", got=f"those of {len(videos)}")
    key = next((key for key in _FRAME_KEYS if images and all(key in image for image in images)), "id")
    frames: dict[float, float] = {}
    for place, image in enumerate(images, 1):
        number = _number(path, "image", place, image, ("id",))
        if number in frames:
            raise VideoError(f"{path}: image {place}", expected="an id of its own", got=f"{number:g} once more")
        frames[number] = _number(path, "image", place, image, (key,))
        sides = [image.get(name) for name in ("height", "width")]
        if None not in sides and tuple(sides) != size_hw:
            got = f"{sides[1]} x {sides[0]}"
            raise VideoError(f"{path}: image {place}", expected=f"{size_hw[1]} x {size_hw[0]} pixels", got=got)
    return frames


def _categories(path: Path, listed: Sequence[Mapping[str, Any]]) -> dict[float, int]:
    """The class of each category by its id."""
    names = {
        _number(path, "category", place, entry, ("id",)): entry.get("name") for place, entry in enumerate(listed, 1)
    }
    others = [number for number in sorted(names) if names[number] not in _PERSON]
    return dict.fromkeys(names, 0) | {number: place for place, number in enumerate(others, 1)}


def _row(
    path: Path,
    place: int,
    entry: Mapping[str, Any],
    frames: Mapping[float, float] | None,
    categories: Mapping[float, int] | None,
) -> tuple[float, ...]:
    """frame, track, left, top, width, height, confidence, class of one annotation."""
    what = "annotation"
    image = _number(path, what, place, entry, ("image_id",))
    if frames is not None and image not in frames:
        raise VideoError(f"{path}: {what} {place}", expected="the id of an image of the file", got=f"{image:g}")
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise VideoError(f"{path}: {what} {place}", expected='"bbox": [left, top, width, height]', got=f"{box!r:.60}")
    category = _number(path, what, place, entry, ("category_id",), default=None if categories else 1)
    if categories is not None and category not in categories:
        raise VideoError(f"{path}: {what} {place}", expected="a category of the file", got=f"{category:g}")
    return (
        image if frames is None else frames[image],
        _number(path, what, place, entry, _TRACK_KEYS, default=-1),
        *map(float, box),
        _number(path, what, place, entry, ("score",), default=1),
        category - 1 if categories is None else categories[category],
    )


def _number(
    path: Path, what: str, place: int, entry: Mapping[str, Any], keys: Sequence[str], default: float | None = None
) -> float:
    """The number under the first of the keys that is there."""
    value = next((entry[key] for key in keys if key in entry), default)
    if value is None or not _is_number(value):
        raise VideoError(f"{path}: {what} {place}", expected=f'"{keys[0]}": a number', got=f"{value!r:.60}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
