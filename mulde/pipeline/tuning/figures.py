"""The figures that are inserted into pictures: people cut out of the footage, drawn ones, patches of texture.

A figure gives a layer (H, W, 3) uint8 and its cover (H, W) float32 in 0..1, how much of each pixel is the layer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from mulde.datasets.synthetic import figures
from mulde.datasets.synthetic.figures import RUN, WHEEL_RADIUS, Appearance
from mulde.datasets.synthetic.shapes import Color, Shape, paint
from mulde.pipeline.extraction.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.training.folds import Share
from mulde.pipeline.tuning.courses import FOREIGN, OWN, PATCH, Course
from mulde.pipeline.tuning.scene import Track
from mulde.records import Float32, Float64, UInt8

MIN_PIXELS = 30
"""A frame in which fewer pixels of a figure are seen is not labelled."""
_NOISE = 2.0  # grey levels, of drawn figures
_MIN_CHANGE = 14  # grey levels between an object and the ground behind it
_COVER = (0.2, 0.92)  # shares of its box that an object can fill
_NUM_GROUND, _MAX_CROPS, _MARGIN = 15, 24, 0.15


class Layer(NamedTuple):
    picture: UInt8
    cover: Float32


class Figure(Protocol):
    def layer(self, frame: UInt8, course: Course, time: int, rng: np.random.Generator) -> Layer:
        """How it looks at a time of its course, in the place of a frame (H, W, 3)."""
        ...


def insert(frame: UInt8, figure: Figure, course: Course, time: int, rng: np.random.Generator) -> tuple[UInt8, int]:
    """The frame with the figure in it, blended at its edges, and how many pixels of it are seen."""
    picture, cover = figure.layer(frame, course, time, rng)
    mixed = frame + (picture.astype(np.float32) - frame) * cover[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), int((cover > 0.5).sum())


@dataclass(frozen=True)
class CutOut:
    """An object of the footage in several frames: crops (h, w, 3) and covers (h, w), the ground point (x, y) in each,
    and the height of its box, pixels. going: 1 to the right, -1 to the left."""

    crops: tuple[UInt8, ...]
    covers: tuple[Float32, ...]
    foot: tuple[tuple[float, float], ...]
    height: float
    going: int

    def layer(self, frame: UInt8, course: Course, time: int, rng: np.random.Generator) -> Layer:
        del rng
        number = self._step(course, time)
        crop, cover = self.crops[number], self.covers[number]
        scale = float(course.size[time, 1]) / self.height
        foot = np.array(self.foot[number])
        if scale < 0.7:  # else single pixels would be picked
            size = max(2, round(crop.shape[1] * scale)), max(2, round(crop.shape[0] * scale))
            foot = foot * (size[0] / crop.shape[1], size[1] / crop.shape[0])
            crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
            cover = np.asarray(cv2.resize(cover, size, interpolation=cv2.INTER_AREA), np.float32)
            scale = 1.0
        ahead = course.foot[-1, 0] - course.foot[0, 0]
        mirror = -1.0 if ahead * self.going < 0 else 1.0
        cos, sin = np.cos(course.angle[time]), np.sin(course.angle[time])
        turn = scale * np.array([[cos * mirror, -sin], [sin * mirror, cos]])
        place = np.column_stack([turn, course.foot[time] - turn @ foot])
        size = frame.shape[1], frame.shape[0]
        return Layer(
            np.asarray(cv2.warpAffine(crop, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)),
            np.asarray(cv2.warpAffine(cover, place, size, flags=cv2.INTER_LINEAR), np.float32),
        )

    def _step(self, course: Course, time: int) -> int:
        """Which of the crops: there and back, one per frame while it moves, as fast as it moves."""
        moved = course.way[time] - course.way[0]
        total = max(float(course.way[-1] - course.way[0]), 1e-9)
        steps = time if total < 0.3 else moved / total * min(len(course.way) - 1, 3 * len(self.crops))
        still = total < 0.3
        number, last = 0 if still else int(steps), len(self.crops) - 1
        return last - abs(last - number % (2 * last)) if last else 0


def cut_out(share: Share, track: Track, plan: ExtractionPlan, ground: UInt8) -> CutOut | None:
    """The object of a track of a share, without the ground behind it; None where it cannot be told from the ground."""
    middle = len(track) // 2
    start = max(0, middle - _MAX_CROPS // 2)
    wanted = range(start, min(start + _MAX_CROPS, len(track)))
    crops, covers, feet = [], [], []
    height, width = ground.shape[:2]
    for frame, image in wanted_frames(share.stored.video, plan, [track.first + i for i in wanted]):
        i = frame - track.first
        x, y = track.foot[i]
        wide, tall = track.size[i] * (1 + 2 * _MARGIN)
        box = np.rint([x - wide / 2, y - tall * (1 - _MARGIN / (1 + 2 * _MARGIN)), x + wide / 2, y + _MARGIN * tall])
        x0, y0, x1, y1 = box.astype(int)
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            continue
        crop = image[y0:y1, x0:x1]
        cover = _cover(crop, ground[y0:y1, x0:x1])
        if _COVER[0] <= (cover > 0.5).mean() * (1 + 2 * _MARGIN) ** 2 <= _COVER[1]:
            crops.append(crop.copy())
            covers.append(cover)
            feet.append((float(x - x0), float(y - y0)))
    if len(crops) < min(6, len(wanted)):
        return None
    return CutOut(tuple(crops), tuple(covers), tuple(feet), track.height, 1 if track.net[0] >= 0 else -1)


def _cover(crop: UInt8, ground: UInt8) -> Float32:
    """How much of each pixel (h, w) of a crop is the object: what differs from the ground, in one piece."""
    change = np.abs(crop.astype(np.int16) - ground).max(axis=2).astype(np.uint8)
    mask = (cv2.GaussianBlur(change, (3, 3), 0) >= _MIN_CHANGE).astype(np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)), np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return np.zeros(mask.shape, np.float32)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    outline, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(whole, outline, -1, 255, cv2.FILLED)
    return _as_cover(cv2.GaussianBlur(whole, (3, 3), 0.8))


def _as_cover(mask: Any) -> Float32:
    return np.asarray(np.asarray(mask, np.float32) / np.float32(255), np.float32)


def empty_ground(share: Share, plan: ExtractionPlan) -> UInt8:
    """The median (H, W, 3) of some frames of a share: what is behind the objects, where the camera stands still."""
    frames = share.frame_index
    wanted = frames[np.unique(np.linspace(0, len(frames) - 1, _NUM_GROUND).astype(int))]
    pictures = [image for _, image in wanted_frames(share.stored.video, plan, wanted.tolist())]
    return np.asarray(np.median(np.stack(pictures), axis=0), np.uint8)


@dataclass(frozen=True)
class Drawn:
    """A figure of the synthetic world: a cyclist, a runner, a cart or a bag."""

    kind: str
    look: Appearance
    coloured: bool

    def layer(self, frame: UInt8, course: Course, time: int, rng: np.random.Generator) -> Layer:
        to_left = course.foot[-1, 0] < course.foot[0, 0]
        picture = np.ascontiguousarray(frame[:, ::-1]) if to_left else frame.copy()
        x, y = course.foot[time]
        x = frame.shape[1] - x if to_left else x
        shapes = self._shapes(float(x), float(y), float(course.size[time, 1]), float(course.way[time]), time)
        mask = np.zeros(frame.shape[:2], np.uint8)
        paint(mask, shapes, value=255)
        paint(picture, shapes)
        if not self.coloured:  # parts of some figures have a colour of their own
            picture = np.repeat(picture[..., 1:2], 3, axis=2)
        if to_left:
            picture, mask = np.ascontiguousarray(picture[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
        return _as_filmed(picture, mask, rng)

    def _shapes(self, x: float, y: float, tall: float, way: float, time: int) -> list[Shape]:
        if self.kind == "cyclist":
            return figures.cyclist(x, y, 1.05 * tall, way / WHEEL_RADIUS, self.look)
        if self.kind == "runner":
            return figures.person(x, y, tall, 0.0, 2 * np.pi * way / RUN.cycle_length, 1.0, RUN, self.look)
        if self.kind == "cart":
            return figures.cart(x, y, 1.1 * tall, way / 0.14, self.look)
        return figures.bag(x, y, 1.3 * tall, 0.8 * abs(np.sin(0.35 * time)), 2.5 * way, self.look)


@dataclass(frozen=True)
class Patch:
    """A textured ellipse where a person's box would be: an appearance that the footage does not have."""

    texture: UInt8

    def layer(self, frame: UInt8, course: Course, time: int, rng: np.random.Generator) -> Layer:
        x0, y0, x1, y1 = course.box_xyxy[time]
        height, width = self.texture.shape[:2]
        place = np.array([[(x1 - x0) / width, 0, x0], [0, (y1 - y0) / height, y0]])
        size = frame.shape[1], frame.shape[0]
        picture = np.asarray(cv2.warpAffine(self.texture, place, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        mask = np.zeros(frame.shape[:2], np.uint8)
        centre, half = (round(float(x0 + x1) * 8), round(float(y0 + y1) * 8)), (x1 - x0, y1 - y0)
        axes = max(round(float(half[0]) * 8), 1), max(round(float(half[1]) * 8), 1)
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, cv2.FILLED, cv2.LINE_AA, 4)
        return _as_filmed(picture, mask, rng)


def _as_filmed(picture: UInt8, mask: UInt8, rng: np.random.Generator) -> Layer:
    """As soft and noisy as a camera's."""
    noise = rng.normal(0, _NOISE, mask.shape)[..., None]
    soft = np.clip(cv2.GaussianBlur(picture, (3, 3), 0.7) + noise, 0, 255).astype(np.uint8)
    return Layer(soft, _as_cover(cv2.GaussianBlur(mask, (3, 3), 0.6)))


def new_figure(
    kind: str, height: float, cut_outs: Sequence[CutOut], rng: np.random.Generator, *, coloured: bool
) -> Figure:
    """A figure of a kind that is to be `height` pixels tall; of the cut-outs one of those nearest to that."""
    if kind in (OWN, FOREIGN):
        nearest = sorted(cut_outs, key=lambda one: abs(np.log(one.height / height)))[: max(4, len(cut_outs) // 3)]
        return nearest[int(rng.integers(len(nearest)))]
    if kind == PATCH:
        return Patch(_texture(rng, coloured))
    return Drawn(kind, _look(rng, coloured), coloured)


def _texture(rng: np.random.Generator, coloured: bool) -> UInt8:
    """Stripes, checks or blots, (64, 32, 3)."""
    y, x = np.mgrid[0:64, 0:32]
    period = rng.integers(4, 12)
    choice = int(rng.integers(3))
    if choice == 2:
        base: Float64 = np.asarray(cv2.resize(rng.random((8, 4)), (32, 64), interpolation=cv2.INTER_CUBIC))
    else:
        base = ((x // period + (y // period if choice else 0)) % 2).astype(np.float64)
    low, high = (np.array(_color(rng, *bounds, coloured)) for bounds in ((10, 110), (130, 245)))
    return np.asarray(np.clip(low + base[..., None] * (high - low), 0, 255), np.uint8)


def _look(rng: np.random.Generator, coloured: bool) -> Appearance:
    bounds = ((110, 170), (20, 60), (20, 220), (20, 220), (15, 110), (10, 50))
    return Appearance(*(_color(rng, low, high, coloured) for low, high in bounds))


def _color(rng: np.random.Generator, low: int, high: int, coloured: bool) -> Color:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return (red, green, blue) if coloured else (red, red, red)
