"""The people and things of the synthetic world as lists of shapes, back to front.

Every builder takes the ground point (x, y) in pixels and the height in pixels of a person who stands there. Lengths
inside are in body heights. `phase` is the gait's (or wheel's) angle in radians.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, hypot, pi, sin

import numpy as np

from mulde.datasets.synthetic.shapes import Color, Point, Shape, capsule, disc, shade
from mulde.records import Float64

THIGH, SHIN, UPPER_ARM, FOREARM = 0.26, 0.26, 0.17, 0.16
HIP, SHOULDER, HEAD = 0.52, 0.82, 0.93
FORESHORTENING = 0.45  # how much shorter a length along the line of sight looks
WHEEL_RADIUS, WHEELBASE = 0.19, 0.60


@dataclass(frozen=True)
class Gait:
    """Largest angles in radians of hip, knee, shoulder, the bend of the elbow, and the lean in body heights."""

    hip: float
    knee: float
    arm: float
    elbow: float
    lean: float

    @property
    def cycle_length(self) -> float:
        """Ground covered by two steps, in body heights: with it the feet do not slide."""
        return 4 * (THIGH + SHIN) * sin(self.hip)


WALK = Gait(hip=0.42, knee=0.75, arm=0.45, elbow=0.25, lean=0.01)
RUN = Gait(hip=0.80, knee=1.55, arm=0.85, elbow=1.45, lean=0.10)


@dataclass(frozen=True)
class Appearance:
    """Colours (RGB) of one person or thing."""

    skin: Color
    hair: Color
    top: Color
    stripes: Color
    trousers: Color
    shoes: Color


def shadow(x: float, y: float, height: float, width: float) -> Shape:
    """The soft dark patch on the ground below something `width` body heights wide."""
    return disc((x + 0.08 * height, y), (0.5 * width * height, 0.05 * height), (0, 0, 0))


def person(
    x: float, y: float, height: float, heading: float, phase: float, swing: float, gait: Gait, look: Appearance
) -> list[Shape]:
    """A person who walks or runs. `heading` in radians: 0 to the right, negative towards the camera.

    `swing` in 0..1 scales the movement of the limbs; 0 is standing still.
    """
    lean = gait.lean * swing
    legs = {side: _leg(phase + (0 if side > 0 else pi), swing, gait) for side in (-1, 1)}
    lowest = max(leg[-1][1] for leg in legs.values())  # hip to ground now: the lower foot stands on the ground

    def at(forward: float, aside: float, up: float) -> Point:
        px = forward * cos(heading) + aside * sin(heading)
        py = FORESHORTENING * (aside * cos(heading) - forward * sin(heading)) - up
        return x + px * height, y + py * height

    def leg(side: int) -> list[Shape]:
        knee, ankle = ((forward, lowest - down) for forward, down in legs[side])
        tone = 1.0 if side == near else 0.78
        hip_point, knee_point = at(0, side * 0.05, lowest), at(knee[0], side * 0.05, knee[1])
        ankle_point, toe_point = at(ankle[0], side * 0.05, ankle[1]), at(ankle[0] + 0.09, side * 0.05, ankle[1])
        return [
            capsule(hip_point, knee_point, 0.105 * height, shade(look.trousers, tone)),
            capsule(knee_point, ankle_point, 0.08 * height, shade(look.trousers, tone)),
            capsule(ankle_point, toe_point, 0.055 * height, shade(look.shoes, tone)),
        ]

    def arm(side: int) -> list[Shape]:
        angle = -side * gait.arm * swing * sin(phase)
        bend = angle + 0.1 + gait.elbow * max(swing, 0.4)
        elbow = lean + UPPER_ARM * sin(angle), shoulder - UPPER_ARM * cos(angle)
        hand = elbow[0] + FOREARM * sin(bend), elbow[1] - FOREARM * cos(bend)
        tone = 1.0 if side == near else 0.75
        elbow_point, hand_point = at(elbow[0], side * 0.125, elbow[1]), at(hand[0], side * 0.12, hand[1])
        return [
            capsule(at(lean, side * 0.11, shoulder), elbow_point, 0.07 * height, shade(look.top, 0.9 * tone)),
            capsule(elbow_point, hand_point, 0.055 * height, shade(look.skin, tone)),
        ]

    near = 1 if cos(heading) >= 0 else -1
    shoulder, head = lowest + SHOULDER - HIP, lowest + HEAD - HIP
    width = 0.15 + 0.07 * abs(sin(heading))
    neckline, belt = at(lean, 0, shoulder - 0.05), at(0, 0, lowest + 0.02)
    torso = _shirt(neckline, belt, width * height, look)
    head_point = at(lean * 1.4 + 0.01, 0, head)
    hair_point = at(lean * 1.4 - 0.012, 0, head + 0.018)
    face_point = at(lean * 1.4 + 0.022, 0, head - 0.012)
    face = [
        disc(hair_point, (0.066 * height, 0.068 * height), look.hair),
        disc(face_point, (0.05 * height, 0.055 * height), look.skin),
    ]
    neck = capsule(at(lean, 0, shoulder), head_point, 0.06 * height, look.skin)
    return [*arm(-near), *leg(-near), *leg(near), neck, *torso, *face, *arm(near)]


def cyclist(x: float, y: float, height: float, phase: float, look: Appearance) -> list[Shape]:
    """A rider on a bicycle who goes to the right, seen from the side."""

    def at(forward: float, up: float) -> Point:
        return x + forward * height, y - up * height

    def tube(a: Point, b: Point) -> Shape:
        return capsule(at(*a), at(*b), max(0.035 * height, 1.5), look.shoes)

    def leg(turn: float, tone: float) -> list[Shape]:
        pedal = bracket[0] + 0.09 * cos(turn), bracket[1] - 0.09 * sin(turn)
        knee = _bend(seat, pedal, THIGH, SHIN)
        return [
            capsule(at(*seat), at(*knee), 0.105 * height, shade(look.trousers, tone)),
            capsule(at(*knee), at(*pedal), 0.08 * height, shade(look.trousers, tone)),
            capsule(at(*pedal), at(pedal[0] + 0.08, pedal[1]), 0.05 * height, shade(look.hair, tone)),
        ]

    rear, front = (-WHEELBASE / 2, WHEEL_RADIUS), (WHEELBASE / 2, WHEEL_RADIUS)
    bracket, seat, head_tube, bar = (-0.03, 0.17), (-0.13, 0.56), (0.20, 0.47), (0.24, 0.60)
    shoulder, head = (0.10, 0.88), (0.17, 1.0)
    wheels = [shape for hub in (rear, front) for shape in wheel(at(*hub), WHEEL_RADIUS * height, phase)]
    frame = [tube(*ends) for ends in ((rear, bracket), (rear, seat), (seat, bracket), (seat, head_tube))]
    frame += [tube(*ends) for ends in ((bracket, head_tube), (head_tube, front), (head_tube, bar))]
    rider = [
        *_shirt(at(shoulder[0], shoulder[1] - 0.04), at(seat[0], seat[1] + 0.03), 0.16 * height, look),
        disc(at(head[0] - 0.015, head[1] + 0.02), (0.068 * height, 0.065 * height), look.hair),
        disc(at(head[0] + 0.022, head[1] - 0.02), (0.048 * height, 0.05 * height), look.skin),
        capsule(at(*shoulder), at(*bar), 0.06 * height, shade(look.top, 0.9)),
    ]
    return [*leg(0.6 * phase + pi, 0.75), *wheels, *frame, *leg(0.6 * phase, 1.0), *rider]


def cart(x: float, y: float, height: float, phase: float, look: Appearance) -> list[Shape]:
    """A small service cart with a roof, a load bed and a driver, going to the right."""

    def at(forward: float, up: float) -> Point:
        return x + forward * height, y - up * height

    def box(left: float, right: float, low: float, high: float, color: Color) -> Shape:
        return Shape(np.array([at(left, low), at(right, low), at(right, high), at(left, high)]), color)

    driver = [
        capsule(at(0.17, 0.50), at(0.16, 0.72), 0.17 * height, look.trousers),
        disc(at(0.17, 0.88), (0.065 * height, 0.068 * height), look.skin),
    ]
    posts = [capsule(at(p, 0.4), at(p, 1.05), 0.035 * height, look.hair) for p in (-0.06, 0.45)]
    body = [
        box(-0.75, 0.72, 0.18, 0.34, look.top),
        box(-0.75, -0.10, 0.34, 0.62, shade(look.top, 0.75)),
        box(0.45, 0.72, 0.34, 0.52, look.top),
        box(-0.14, 0.54, 1.03, 1.10, (225, 225, 215)),
        disc(at(0.70, 0.40), (0.035 * height, 0.035 * height), (250, 245, 200)),
    ]
    wheels = [s for hub in (-0.48, 0.46) for s in solid_wheel(at(hub, 0.14), 0.14 * height, phase)]
    return [posts[0], *driver, *body, posts[1], *wheels]


def bag(x: float, y: float, height: float, up: float, angle: float, look: Appearance) -> list[Shape]:
    """A sports bag that tumbles `up` body heights above its ground point, turned by `angle` radians."""
    half = np.array([0.17, 0.10]) * height
    turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    center = np.array([x, y - up * height - half[1]])

    def outline(corners: Sequence[Point]) -> Float64:
        return np.asarray(np.array(corners) * half @ turn + center)

    body = [(-1, -0.6), (-0.8, -1), (0.8, -1), (1, -0.6), (1, 1), (-1, 1)]
    handle = [(-0.45, -1), (-0.35, -1.7), (0.35, -1.7), (0.45, -1)]
    stripe = [(-0.15, -1), (0.15, -1), (0.15, 1), (-0.15, 1)]
    return [
        Shape(outline(handle), look.shoes, outline_px=max(1, round(0.03 * height))),
        Shape(outline(body), look.top),
        Shape(outline(stripe), look.stripes),
    ]


def wheel(hub: Point, radius: float, phase: float) -> list[Shape]:
    """A bicycle wheel: tyre and turning spokes, the ground shows through."""
    spokes = []
    for angle in (phase, phase + pi / 3, phase + 2 * pi / 3):
        dx, dy = 0.9 * radius * cos(angle), 0.9 * radius * sin(angle)
        spokes.append(capsule((hub[0] - dx, hub[1] - dy), (hub[0] + dx, hub[1] + dy), 0.7, (150, 150, 150)))
    return [*spokes, disc(hub, (radius, radius), (25, 25, 28), outline_px=max(1, round(0.17 * radius)))]


def solid_wheel(hub: Point, radius: float, phase: float) -> list[Shape]:
    """A small rubber wheel with a turning bar across the rim."""
    dx, dy = 0.5 * radius * cos(phase), 0.5 * radius * sin(phase)
    rim = [disc(hub, (radius, radius), (30, 30, 32)), disc(hub, (0.6 * radius, 0.6 * radius), (165, 165, 165))]
    return [*rim, capsule((hub[0] - dx, hub[1] - dy), (hub[0] + dx, hub[1] + dy), 0.2 * radius, (70, 70, 70))]


def _leg(phase: float, swing: float, gait: Gait) -> tuple[Point, Point]:
    """Knee and ankle as (forward, below the hip) in body heights. The knee bends while the leg swings forward."""
    hip = gait.hip * swing * sin(phase)
    shin = hip - gait.knee * swing * max(0.0, cos(phase)) - 0.04
    knee = THIGH * sin(hip), THIGH * cos(hip)
    return knee, (knee[0] + SHIN * sin(shin), knee[1] + SHIN * cos(shin))


def _shirt(neckline: Point, belt: Point, width: float, look: Appearance) -> list[Shape]:
    """A torso with two stripes along it: edges across the direction of walking make movement visible."""
    stripes = [
        capsule((neckline[0] + x * width, neckline[1]), (belt[0] + x * width, belt[1]), 0.18 * width, look.stripes)
        for x in (-0.25, 0.25)
    ]
    return [capsule(neckline, belt, width, look.top), *stripes]


def _bend(a: Point, b: Point, first: float, second: float) -> Point:
    """The joint between two limbs of given lengths from `a` to `b`, on the forward side."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    distance = min(hypot(dx, dy), 0.999 * (first + second))
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    off = max(first**2 - along**2, 0.0) ** 0.5
    ux, uy = dx / hypot(dx, dy), dy / hypot(dx, dy)
    return a[0] + along * ux - off * uy, a[1] + along * uy + off * ux
