"""Who is where, when and doing what: the script of one clip, in numbers, before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import cos, pi, sin

import numpy as np

from mulde.datasets.synthetic import figures
from mulde.datasets.synthetic.figures import FORESHORTENING, RUN, WALK, Appearance, Gait
from mulde.datasets.synthetic.plaza import LANES, person_height
from mulde.datasets.synthetic.shapes import Color, Shape

WALKING_SPEED = 0.82  # body heights a second: 1.4 m/s for 1.7 m
PERSON_WIDTH = 0.5  # body heights, limbs stretched out


@dataclass(frozen=True)
class State:
    """An actor in one frame: ground point in pixels, heading, angle of gait or wheels, how much the limbs move."""

    x: float
    y: float
    heading: float
    phase: float
    swing: float = 1.0
    up: float = 0.0


Draw = Callable[[State, float], list[Shape]]


@dataclass(frozen=True)
class Actor:
    """States from `first_frame` on, and how to draw one at a body height in pixels; `width` in body heights."""

    first_frame: int
    states: tuple[State, ...]
    draw: Draw
    tallness: float
    width: float
    anomalous: bool = False

    def at(self, frame: int) -> State | None:
        position = frame - self.first_frame
        return self.states[position] if 0 <= position < len(self.states) else None

    def shapes(self, state: State) -> list[Shape]:
        return self.draw(state, person_height(state.y) * self.tallness)


@dataclass(frozen=True)
class Stage:
    """What every clip of a world shares: picture size, frames a second, length in frames."""

    size_hw: tuple[int, int]
    frame_rate: float
    num_frames: int


def plan_walkers(stage: Stage, rng: np.random.Generator) -> list[Actor]:
    """Normal life: people of varied speed, size and clothes in their lanes, some in pairs, some pausing."""
    actors: list[Actor] = []
    for lane in LANES:
        frame = -12 * stage.frame_rate  # early enough for the lane to be populated when the clip starts
        while frame < stage.num_frames:
            group = 2 if rng.random() < 0.2 else 1
            speed = WALKING_SPEED * rng.uniform(0.75, 1.3)
            pause = (rng.uniform(20, 160), rng.uniform(20, 45)) if rng.random() < 0.12 else (0.0, 0.0)
            for place in range(group):
                y = lane.entry_y + rng.uniform(-0.02, 0.02) + 0.03 * place
                heading = lane.heading + rng.normal(0, 0.05)
                states = _cross(stage, y, heading, speed, WALK.cycle_length, PERSON_WIDTH, pause)
                actors.append(_person(int(frame), states, WALK, rng))
            frame += rng.exponential(lane.mean_gap_s) * stage.frame_rate + 0.4 * stage.frame_rate
    return [actor for actor in actors if actor.first_frame + len(actor.states) > 0]


def plan_anomaly(kind: str, stage: Stage, rng: np.random.Generator, *, late: bool) -> list[Actor]:
    """Actors of one kind, one pass after the other, so that they are in view for about 40 % of the clip.

    late: whether an episode too long to begin anywhere stands at the end of the clip or at its start. Where clips
    take turns, a score that only knows the time of a frame gains nothing.
    """
    wanted = round(rng.uniform(0.36, 0.44) * stage.num_frames)
    passes = [replace(KINDS[kind](stage, rng), anomalous=True)]
    while (end := passes[-1].first_frame + len(passes[-1].states)) < wanted:
        pause = round(stage.frame_rate * rng.uniform(0.4, 1.0))
        passes.append(replace(KINDS[kind](stage, rng), first_frame=end + pause, anomalous=True))
    first = _first_frame(end, wanted, stage.num_frames, late, rng)
    return [replace(actor, first_frame=actor.first_frame + first) for actor in passes]


def _first_frame(length: int, wanted: int, num_frames: int, late: bool, rng: np.random.Generator) -> int:
    """Where an episode of `length` frames begins so that the clip shows `wanted` frames of it or all of it."""
    if length <= 0.55 * num_frames:
        return int(rng.integers(round(0.2 * num_frames), num_frames - length + 1))
    return num_frames - wanted if late else wanted - length


def _cross(
    stage: Stage,
    y: float,
    heading: float,
    speed: float,
    cycle_length: float,
    width: float,
    pause: tuple[float, float] = (0.0, 0.0),
) -> tuple[State, ...]:
    """States of something that comes in at one side of the picture and leaves at the other.

    `y` as a share of the picture's height, `speed` in body heights a second, `cycle_length` and `width` in body
    heights, `pause` the first frame and the length in frames of a stop.
    """
    picture_height, picture_width = stage.size_hw
    y_px = y * picture_height
    margin = width / 2 * person_height(y_px)
    state = State(-margin if cos(heading) > 0 else picture_width + margin, y_px, heading, phase=7.0 * y_px)
    states: list[State] = []
    while -margin <= state.x <= picture_width + width / 2 * person_height(state.y):
        states.append(state)
        pace = _pace(len(states), pause)
        state = _step(state, pace * speed / stage.frame_rate, cycle_length, min(1.0, 1.5 * pace))
    return tuple(states)


def _step(state: State, heights: float, cycle_length: float, swing: float) -> State:
    distance = heights * person_height(state.y)
    return replace(
        state,
        x=state.x + distance * cos(state.heading),
        y=state.y - distance * sin(state.heading) * FORESHORTENING,
        phase=state.phase + 2 * pi * heights / cycle_length,
        swing=swing,
    )


def _pace(frame: int, pause: tuple[float, float]) -> float:
    """1 outside the pause, 0 in it, with slopes of eight frames between."""
    first, length = pause
    if length == 0:
        return 1.0
    return float(np.clip(max(first - frame, frame - first - length) / 8, 0, 1))


def _person(first_frame: int, states: tuple[State, ...], gait: Gait, rng: np.random.Generator) -> Actor:
    look = _look(rng)

    def draw(state: State, height: float) -> list[Shape]:
        return figures.person(state.x, state.y, height, state.heading, state.phase, state.swing, gait, look)

    return Actor(first_frame, states, draw, tallness=rng.uniform(0.9, 1.1), width=PERSON_WIDTH)


def _runner(stage: Stage, rng: np.random.Generator) -> Actor:
    speed = WALKING_SPEED * rng.uniform(2.6, 3.1)
    return _person(0, _cross(stage, 0.86, 0.0, speed, RUN.cycle_length, PERSON_WIDTH), RUN, rng)


def _against_stream(stage: Stage, rng: np.random.Generator) -> Actor:
    speed, y = WALKING_SPEED * rng.uniform(0.9, 1.2), rng.choice([0.68, 0.88])
    return _person(0, _cross(stage, y, pi, speed, WALK.cycle_length, PERSON_WIDTH), WALK, rng)


def _vehicle(
    stage: Stage,
    rng: np.random.Generator,
    *,
    builder: Callable[[float, float, float, float, Appearance], list[Shape]],
    speeds: tuple[float, float],
    wheel_radius: float,
    width: float,
) -> Actor:
    """A cyclist or a cart: `speeds` as multiples of walking, lengths in body heights."""
    look = _look(rng)
    speed = WALKING_SPEED * rng.uniform(*speeds)
    states = _cross(stage, rng.uniform(0.76, 0.80), 0.0, speed, 2 * pi * wheel_radius, width)

    def draw(state: State, height: float) -> list[Shape]:
        return builder(state.x, state.y, height, state.phase, look)

    return Actor(0, states, draw, tallness=1.0, width=width)


def _thrown_bag(stage: Stage, rng: np.random.Generator) -> Actor:
    """A bag that flies in from the left, bounces and tumbles through the picture."""
    look = _look(rng)
    speed, width = WALKING_SPEED * rng.uniform(2.9, 3.3), 0.4
    flat = _cross(stage, rng.uniform(0.74, 0.84), 0.0, speed, 2.5, width)
    up, climb = 1.1, rng.uniform(1.6, 2.4)  # body heights, body heights a second
    states = []
    for state in flat:
        states.append(replace(state, up=up))
        climb -= 5.6 / stage.frame_rate  # gravity: 9.81 m/s^2 in body heights
        up += climb / stage.frame_rate
        if up < 0:
            up, climb = 0.0, 0.72 * abs(climb)

    def draw(state: State, height: float) -> list[Shape]:
        return figures.bag(state.x, state.y, height, state.up, state.phase, look)

    return Actor(0, tuple(states), draw, tallness=1.0, width=width)


_SKIN: tuple[Color, ...] = ((236, 190, 160), (205, 150, 115), (150, 100, 70), (95, 62, 45))
_HAIR: tuple[Color, ...] = ((35, 28, 24), (80, 52, 32), (150, 110, 60), (120, 120, 120))


def _look(rng: np.random.Generator) -> Appearance:
    def pick(low: int, high: int) -> Color:
        r, g, b = (int(channel) for channel in rng.integers(low, high, 3))
        return r, g, b

    skin, hair = _SKIN[rng.integers(len(_SKIN))], _HAIR[rng.integers(len(_HAIR))]
    return Appearance(skin, hair, top=pick(30, 235), stripes=pick(30, 235), trousers=pick(20, 110), shoes=pick(15, 60))


KINDS: dict[str, Callable[[Stage, np.random.Generator], Actor]] = {
    "cyclist": partial(
        _vehicle, builder=figures.cyclist, speeds=(3.1, 3.6), wheel_radius=figures.WHEEL_RADIUS, width=1.0
    ),
    "runner": _runner,
    "cart": partial(_vehicle, builder=figures.cart, speeds=(1.5, 1.8), wheel_radius=0.14, width=1.5),
    "against the stream": _against_stream,
    "thrown bag": _thrown_bag,
}
