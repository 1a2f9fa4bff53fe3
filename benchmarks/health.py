"""What `mulde watch` promises of camera health, each promise measured beside its limit.

    python -m benchmarks.health --ped2 PED2
    python -m benchmarks.health day --hours 24 --step 2

From the root of the checkout. PED2 is a folder with Train and Test, each with clips as files or folders of frames.

tampered  --times (20) cameras are tampered with in each way, at random strengths, places and times, half a minute after
          they were first looked at: how many are found within a minute. Played: the test clips of Ped2, held against
          its training clips, and a synthetic plaza at any hour, held against the day before.
usual     alerts on all of Ped2, every frame of each clip as a check of its own, and cost of a check
day       --hours (24) of the plaza with a check every --step seconds: light that follows the day, clouds, infra-red at
          night, lamps that go on and off: alerts, and notices of light beside the number of its switches

Each measurement prints a line of JSON and a row for each figure; the exit code is 1 where one is beyond its limit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from benchmarks.watching.figures import Figure, Result
from mulde.datasets.synthetic.plan import Stage, plan_walkers
from mulde.datasets.synthetic.plaza import background
from mulde.datasets.synthetic.render import render
from mulde.health import HealthKind, HealthMonitor, HealthReference, LightSwitch, Sample, learn_reference, thumbnail
from mulde.media import open_video
from mulde.records import UInt8

SIZE_HW = (240, 360)
BEFORE_S, FOUND_S = 15, 60
NUM_PICTURES = 240
HOUR_S, DAY_S = 3600, 86_400
Tamper = Callable[[UInt8], UInt8]


# --- ways of tampering; sizes in pixels of a picture 360 wide


def moved(rng: np.random.Generator) -> Tamper:
    """Bumped by 4 to 60 pixels, turned by 2 to 10 degrees, or zoomed by 5 to 30 %."""
    how = rng.integers(3)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(4, 60)
    turn, zoom = rng.choice([-1, 1]) * rng.uniform(2, 10), rng.uniform(1.05, 1.3)

    def tamper(image: UInt8) -> UInt8:
        height, width = image.shape[:2]
        by = cv2.getRotationMatrix2D((width / 2, height / 2), turn if how == 1 else 0, zoom if how == 2 else 1)
        if how == 0:
            by[:, 2] += length * width / 360 * np.array([np.cos(angle), np.sin(angle)])
        return np.asarray(cv2.warpAffine(image, by, (width, height), borderMode=cv2.BORDER_REFLECT))

    return tamper


def covered(rng: np.random.Generator) -> Tamper:
    """30 to 100 % of the picture, anywhere, in one colour or with a pattern."""
    share, aspect, place = rng.uniform(0.3, 1), rng.uniform(0.7, 1.4), rng.random(2)
    colour, seed, has_pattern = rng.uniform(10, 220, 3), int(rng.integers(2**31)), rng.random() < 0.5

    def tamper(image: UInt8) -> UInt8:
        height, width = image.shape[:2]
        tall = min(float(np.sqrt(share * aspect)), 1.0)
        rows, columns = round(tall * height), round(min(share / tall, 1.0) * width)
        top, left = round(place[0] * (height - rows)), round(place[1] * (width - columns))
        cover = np.full((rows, columns, 3), colour)
        if has_pattern:
            noise = np.random.default_rng(seed).normal(0, 1, (rows, columns, 1))
            cover += 150 * cv2.GaussianBlur(noise, (0, 0), 3)[..., None]
        image = image.copy()
        image[top : top + rows, left : left + columns] = np.clip(cover, 0, 255)
        return image

    return tamper


def blurred(rng: np.random.Generator) -> Tamper:
    """Out of focus, by a Gaussian of 2 to 6 pixels."""
    sigma = rng.uniform(2, 6)
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma * image.shape[1] / 360))


def dark(rng: np.random.Generator) -> Tamper:
    """At most 6 % of the light, with noise."""
    gain, sigma = rng.uniform(0, 0.06), rng.uniform(1, 4)
    return lambda image: np.clip(image * gain + rng.normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


def bright(rng: np.random.Generator) -> Tamper:
    """Glare, or a gain that is far too high."""
    glare = rng.uniform(200, 255)
    return lambda image: np.clip(image + glare, 0, 255).astype(np.uint8)


def frozen(rng: np.random.Generator) -> Tamper:
    """One picture for ever."""
    first: list[UInt8] = []

    def tamper(image: UInt8) -> UInt8:
        first[:] = first or [image]
        return first[0]

    return tamper


WAYS: dict[HealthKind, Callable[[np.random.Generator], Tamper]] = {
    "moved": moved, "covered": covered, "blurred": blurred, "dark": dark, "bright": bright, "frozen": frozen,
}  # fmt: skip


def as_seen(image: UInt8, tamper: Tamper) -> UInt8:
    """A picture of a camera that was tampered with: one that sees no colour sees none of a cover."""
    done = tamper(image)
    if (image.max(axis=-1) > image.min(axis=-1)).any():
        return done
    return np.asarray(cv2.cvtColor(cv2.cvtColor(done, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


# --- worlds


@dataclass(frozen=True)
class Clips:
    """Ped2: its clips as one camera, one after the other, ten frames a second."""

    clips: Sequence[Sequence[UInt8]]

    def seconds(self, rng: np.random.Generator, count: int) -> Iterator[UInt8]:
        """So many pictures, a second apart, from anywhere."""
        frames = [image for clip in self.clips for image in clip]
        start = int(rng.integers(len(frames)))
        for n in range(count):
            yield frames[(start + 10 * n) % len(frames)]


def read_clips(folder: Path) -> list[list[UInt8]]:
    clips = []
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".") and "gt" not in path.name):
        if path.is_dir() or path.suffix == ".mp4":
            with open_video(path) as reader:
                clips.append([image for batch in reader for image in batch.images])
    if not clips:
        raise SystemExit(f"{folder}: no clips there")
    return clips


@dataclass
class Plaza:
    """The synthetic plaza around the clock.

    From 7 to 19 h it is day, in colour; at night infra-red, in grey and noisy; at dusk and dawn the light goes and
    comes slowly. Clouds pass by day, and in the dark hours `lamps_s`, seconds of the day, a lamp goes on or off.
    """

    seed: int
    lamps_s: tuple[float, ...] = ()
    empty: UInt8 = field(init=False)

    def __post_init__(self) -> None:
        self.empty = background(SIZE_HW, np.random.default_rng(7))  # the same place on each day
        rng = np.random.default_rng([self.seed, 1])
        self.lamps_s = tuple(sorted(rng.choice([*range(0, 6), *range(20, 24)], 8, replace=False) * HOUR_S + 900.0))
        self.phases = rng.uniform(0, 2 * np.pi, 4)

    @property
    def switches_s(self) -> tuple[float, ...]:
        """When the light changes all at once: lamps, infra-red off and on."""
        return tuple(sorted((*self.lamps_s, 6.5 * HOUR_S, 19.5 * HOUR_S)))

    def pictures(self, start_s: float, count: int, step_s: float = 1.0) -> Iterator[UInt8]:
        """So many pictures of a stretch of the day, seconds apart."""
        stage = Stage(SIZE_HW, 1 / step_s, count)
        rng = np.random.default_rng([self.seed, 2, round(start_s)])
        people = plan_walkers(stage, rng)
        hour = start_s / HOUR_S
        people = [person for person in people if rng.random() < (0.9 if 7 < hour < 20 else 0.15)]
        for n, (image, _) in enumerate(render(stage, self.empty, people, rng)):
            yield self.lit(image, (start_s + n * step_s) % DAY_S, rng)

    def lit(self, image: UInt8, time_s: float, rng: np.random.Generator) -> UInt8:
        hour = time_s / HOUR_S
        if 6.5 <= hour < 19.5:
            sun = np.clip(min(hour - 6.2, 19.8 - hour) / 1.5, 0.3, 1.0)
            waves = np.sin(2 * np.pi * time_s / np.array([700.0, 1900.0, 4300.0, 9100.0]) + self.phases)
            return np.asarray(cv2.convertScaleAbs(image, alpha=float(sun * (1 + 0.07 * waves.sum() / 2))))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        is_on = sum(lamp_s <= time_s for lamp_s in self.lamps_s) % 2
        y, x = np.mgrid[-1 : 1 : SIZE_HW[0] * 1j, -1 : 1 : SIZE_HW[1] * 1j]
        light = (0.75 if is_on else 0.45) * (1 - 0.3 * (x * x + y * y))
        noise = _NOISE[rng.integers(200) :, rng.integers(200) :][: SIZE_HW[0], : SIZE_HW[1]]
        return np.asarray(cv2.cvtColor(np.clip(grey * light + 6 * noise, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2RGB))

    def seconds(self, rng: np.random.Generator, count: int) -> Iterator[UInt8]:
        return self.pictures(float(rng.uniform(0, DAY_S - count)), count)


_NOISE = np.random.default_rng(3).normal(0, 1, (SIZE_HW[0] + 200, SIZE_HW[1] + 200)).astype(np.float32)


def reference_of(clips: Sequence[Sequence[UInt8]], pairs_apart: int) -> HealthReference:
    """As training makes it: of pictures spread over the clips, each with the one a second later."""
    total = sum(map(len, clips))
    samples = []
    for place, clip in enumerate(clips):
        for n in np.linspace(0, len(clip) - 1, max(NUM_PICTURES * len(clip) // total, 1)).astype(int):
            picture, is_still = thumbnail(clip[n]), None
            if n + pairs_apart < len(clip):
                is_still = bool(np.array_equal(picture.grey, thumbnail(clip[n + pairs_apart]).grey))
            samples.append(Sample(place, picture, is_still))
    reference = learn_reference(samples)
    if reference is None:
        raise SystemExit("too few pictures for a reference")
    return reference


def day_before(seed: int) -> HealthReference:
    """The reference of the plaza: stretches of another day, every half an hour."""
    plaza = Plaza(seed)
    return reference_of([list(plaza.pictures(start_s, 6)) for start_s in range(0, DAY_S, HOUR_S // 2)], 1)


# --- measurements


def tampered(
    what: str, world: Clips | Plaza, reference: HealthReference, ways: Sequence[str], times: int, seed: int
) -> Result:
    figures, early = [], 0
    for number, (kind, way) in enumerate(WAYS.items()):
        if kind not in ways:
            continue
        num_found = num_named = 0
        delays = []
        for trial in range(times):
            rng = np.random.default_rng([seed, number, trial])
            monitor, tamper = HealthMonitor(reference), way(rng)
            for second, image in enumerate(world.seconds(rng, BEFORE_S + FOUND_S)):
                is_done = second >= BEFORE_S
                conditions = monitor.take(thumbnail(as_seen(image, tamper) if is_done else image), 1000 * second)
                if conditions:
                    early += not is_done
                    num_found += is_done
                    num_named += conditions[0].kind == kind
                    delays.append(second - BEFORE_S + 1)
                    break
        figures += [
            Figure(f"{kind}: found of {times}", num_found, times, "at least"),
            Figure(f"{kind}: called so", num_named),
            Figure(f"{kind}: longest delay, s", max(delays, default=float("nan")), FOUND_S),
        ]
    return Result(f"tampered, {what}", (*figures, Figure("alerts before", early, 0)))


def usual(clips: Sequence[Sequence[UInt8]], reference: HealthReference) -> Result:
    """Every frame is a check; alerts, and CPU of a check."""
    num_alerts = num_checks = num_wrong = num_light = 0
    begun_s = time.process_time()
    for clip in clips:
        monitor, light = HealthMonitor(reference), LightSwitch()
        was_wrong = False
        for n, image in enumerate(clip):
            is_wrong = bool(monitor.take(thumbnail(image), 1000 * n))
            num_light += light.take(image, n / 10).has_changed
            num_alerts += is_wrong and not was_wrong
            num_wrong += monitor.measures is not None and monitor.measures.wrong is not None
            was_wrong = is_wrong
            num_checks += 1
    cost_ms = 1000 * (time.process_time() - begun_s) / num_checks
    return Result(
        "usual, Ped2",
        (
            Figure("alerts", num_alerts, 0),
            Figure("notices of light", num_light, 0),
            Figure("checks", num_checks),
            Figure("checks that find something", num_wrong),
            Figure("CPU of a check and of the light, ms", cost_ms),
        ),
    )


def day(reference: HealthReference, hours: float, step_s: float, seed: int) -> Result:
    plaza, monitor, light = Plaza(seed), HealthMonitor(reference), LightSwitch()
    alerts: list[str] = []
    notices_s: list[float] = []
    num_checks = num_blanked = num_wrong = 0
    end_s = hours * HOUR_S
    for start_s in range(0, round(end_s), HOUR_S):
        count = round(min(HOUR_S, end_s - start_s) / step_s)
        for n, image in enumerate(plaza.pictures(start_s, count, step_s)):
            time_s = start_s + n * step_s
            seen = light.take(image, time_s)
            if seen.has_changed:
                notices_s.append(time_s)
                monitor.light_changed()
            before = monitor.conditions
            after = monitor.take(thumbnail(image), round(1000 * time_s))
            alerts += [
                f"{one.kind} {time_s / HOUR_S:.2f} h" for one in after if one.kind not in {b.kind for b in before}
            ]
            num_blanked += seen.is_blanked
            num_wrong += monitor.measures is not None and monitor.measures.wrong is not None
            num_checks += 1
    switches_s = [s for s in plaza.switches_s if s < end_s]
    missed = sum(not any(0 <= notice - s <= 3 * step_s for notice in notices_s) for s in switches_s)
    extra = len(notices_s) - (len(switches_s) - missed)
    return Result(
        "day, plaza",
        (
            Figure("alerts", len(alerts), 0),
            Figure("switches of light", len(switches_s)),
            Figure("switches without a notice", missed, 0),
            Figure("notices without a switch", extra, 0),
            Figure("checks", num_checks),
            Figure("checks that find something", num_wrong),
            Figure("share that is not scored", num_blanked / max(num_checks, 1)),
        ),
        {"alerts": alerts, "hours": hours, "step_s": step_s},
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("tampered", "usual", "day")
    parser.add_argument("measurements", nargs="*", default=[], metavar="|".join(names))
    parser.add_argument("--ped2", type=Path)
    parser.add_argument("--only-ped2", action="store_true", help="no plaza")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--ways", nargs="+", choices=[*WAYS], default=[*WAYS])
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--step", type=float, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wanted = options.measurements or names
    if unknown := set(wanted) - set(names):
        parser.error(f"no measurement {', '.join(sorted(unknown))}")
    results = []

    def note(result: Result) -> None:
        results.append(result)
        print(result.as_json(), *result.rows(), sep="\n", flush=True)

    if options.ped2 is not None:
        train, test = (read_clips(options.ped2 / name) for name in ("Train", "Test"))
        reference = reference_of(train, 10)
        if "usual" in wanted:
            note(usual([*train, *test], reference))
        if "tampered" in wanted:
            note(tampered("Ped2", Clips(test), reference, options.ways, options.times, options.seed))
    if {"tampered", "day"} & {*wanted} and not options.only_ped2:
        reference = day_before(options.seed + 1)
        if "tampered" in wanted:
            note(tampered("plaza", Plaza(options.seed), reference, options.ways, options.times, options.seed))
        if "day" in wanted:
            note(day(reference, options.hours, options.step, options.seed))
    return 0 if all(result.is_met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
