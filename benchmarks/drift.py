"""What `mulde drift` and `mulde transfer` promise, each promise measured beside its limit.

    python -m benchmarks.drift days
    python -m benchmarks.drift transfer --work runs/drift-benchmark

From the root of the checkout.

days      made-up cameras (--cameras, 200) of one stream, scores of 10 minutes that resemble their neighbours (0.8) and
          have a daily rhythm, --reference days (14) and 30 more without change, at 365 days between false notices:
          the share of cameras with a false notice within these 30 days; then all scores rise by one standard deviation
          (of 10 minutes), for 30 days: the share that is found, and the median delay, in days, of all. The same where
          each day also has a level of its own (0.5 standard deviations), which no single day can be told from a shift
          by
transfer  four synthetic plazas that differ in how tall people are and how fast they walk, a model of each: figures of
          `mulde transfer` on the diagonal (held out) and beside it; and new footage of the first plaza against its
          winter, in which people walk a third slower: mean p-values and distances of the stream `velocity`

Each measurement prints a line of JSON and a row for each figure; the exit code is 1 where one is beyond its limit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.watching.figures import Figure, Result
from mulde.datasets.synthetic.plan import Actor, Stage, plan_walkers
from mulde.datasets.synthetic.plaza import background
from mulde.datasets.synthetic.render import render
from mulde.evaluation.drift import drift_course
from mulde.media import write_video
from mulde.records import Float64

DAYS_BETWEEN, NUM_DAYS = 365.0, 30
_PER_DAY, _ALIKE = 144, 0.8
SIZE_HW, FPS = (96, 160), 10
WORLDS = {"plaza": (1.0, 1.0), "fast": (2.0, 1.0), "tall": (1.0, 1.7), "small": (1.0, 0.55)}
"""How many times as fast and as tall as usual people are."""
SEASONS = {"plaza-again": (1.0, 1.0), "plaza-winter": (0.67, 1.0)}


def camera_days(rng: np.random.Generator, num_days: int, own_level: float, shift_from: int, shift: float) -> Float64:
    """Hourly means (D, 24) of scores of 10 minutes with a standard deviation of 1."""
    steps = rng.normal(size=num_days * _PER_DAY)
    values = np.empty_like(steps)
    values[0] = steps[0]
    for i in range(1, len(steps)):
        values[i] = _ALIKE * values[i - 1] + np.sqrt(1 - _ALIKE**2) * steps[i]
    days = values.reshape(num_days, _PER_DAY) + np.sin(2 * np.pi * np.arange(_PER_DAY) / _PER_DAY)
    days += own_level * rng.normal(size=(num_days, 1))
    days[shift_from:] += shift
    return np.asarray(days.reshape(num_days, 24, -1).mean(axis=2))


def days(options: argparse.Namespace) -> Result:
    figures = []
    for name, own_level in (("", 0.0), (", days with a level of their own", 0.5)):
        num_false, delays = 0, []
        changes = options.reference + NUM_DAYS
        for number in range(options.cameras):
            rng = np.random.default_rng([options.seed, number, round(10 * own_level)])
            values = camera_days(rng, changes + NUM_DAYS, own_level, changes, 1.0)
            course = drift_course(values, rng.random(len(values)), DAYS_BETWEEN, num_reference=options.reference)
            noticed = [drift.noticed for drift in course.drifts]
            num_false += any(day < changes for day in noticed)
            found = [day - changes + 1 for day in noticed if day >= changes]
            delays.append(min(found, default=np.inf))
        figures += [
            Figure(f"false notices in 30 days, %{name}", 100 * num_false / options.cameras, 100 * NUM_DAYS / 365),
            Figure(f"found within 30 days, %{name}", 100 * float(np.isfinite(delays).mean())),
            Figure(f"median delay, days{name}", float(np.median(delays)), 7),
        ]
    return Result("days", tuple(figures), {"cameras": options.cameras, "reference": options.reference})


def _paced(actor: Actor, speed: float) -> Actor:
    """The same way at another speed, from the same time on."""
    places = np.arange(0, len(actor.states), speed).astype(int)
    return replace(actor, states=tuple(actor.states[place] for place in places))


def write_footage(
    folder: Path, seed: int, first: int, num_clips: int, seconds: float, speed: float, size: float
) -> None:
    """Clips of a plaza, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    stage = Stage(SIZE_HW, float(FPS), round(seconds * FPS))
    empty = background(SIZE_HW, np.random.default_rng(seed))
    for number in range(first, first + num_clips):
        path = folder / f"{number:03d}.mp4"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, number])
        actors = [replace(_paced(actor, speed), tallness=size * actor.tallness) for actor in plan_walkers(stage, rng)]
        write_video(path, (image for image, _ in render(stage, empty, actors, rng)), Fraction(FPS))


def transfer(options: argparse.Namespace) -> Result:
    work: Path = options.work
    for name, (speed, size) in WORLDS.items():
        write_footage(work / "normal" / name, options.seed, 0, options.clips, options.seconds, speed, size)
    for number, (name, (speed, size)) in enumerate(SEASONS.items()):
        first = 1000 * (number + 1)
        write_footage(work / "seasons" / name, options.seed, first, options.clips, options.seconds, speed, size)
    where = ["--store", str(work / "store"), "--device", "cpu"]
    mulde = [sys.executable, "-m", "mulde"]
    changes = [word for setting in options.set for word in ("--set", setting)]
    models = work / "models"
    subprocess.run(
        [*mulde, "train", str(work / "normal"), "--per-camera", "--out", str(models), *where, "-q", *changes],
        check=True,
    )
    footage = [*(str(work / "normal" / name) for name in WORLDS), *(str(work / "seasons" / name) for name in SEASONS)]
    files = [str(models / name / "model.safetensors") for name in WORLDS]
    subprocess.run([*mulde, "transfer", *files, *where, "--out", str(work / "matrix"), "--on", *footage], check=True)
    cells = json.loads((work / "matrix/transfer.json").read_text())
    diagonal = [cell for cell in cells if cell["model"] == cell["footage"]]
    others = [cell for cell in cells if cell["model"] != cell["footage"] and cell["footage"] in WORLDS]
    seasons = {cell["footage"]: cell for cell in cells if cell["model"] == "plaza" and cell["footage"] in SEASONS}
    again, winter = seasons["plaza-again"], seasons["plaza-winter"]
    figures = (
        Figure("diagonal within the promise", sum(cell["is_within"] for cell in diagonal), len(WORLDS), "at least"),
        Figure("others beyond the promise, of 12", sum(not cell["is_within"] for cell in others), 12, "at least"),
        Figure("lowest time in alarm of others, %", 100 * min(cell["alarm_share"] for cell in others)),
        Figure("highest time in alarm of the diagonal, %", 100 * max(cell["alarm_share"] for cell in diagonal)),
        Figure("lowest KS of others", min(max(cell["ks"].values()) for cell in others)),
        Figure("highest KS of the diagonal", max(max(cell["ks"].values()) for cell in diagonal)),
        Figure("KS of velocity, same season", again["ks"]["velocity"]),
        Figure("KS of velocity, other season", winter["ks"]["velocity"], 2 * again["ks"]["velocity"], "at least"),
        Figure("mean p, same season", again["mean_p"]),
        Figure("mean p, other season", winter["mean_p"]),
    )
    return Result("transfer", figures, {"clips": options.clips, "seconds": options.seconds})


MEASUREMENTS = {"days": days, "transfer": transfer}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.drift", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="+", choices=MEASUREMENTS, help="what to measure, in this order")
    parser.add_argument("--work", type=Path, default=Path("runs/drift-benchmark"), help="for footage and models")
    parser.add_argument("--cameras", type=int, default=200, help="how many, for days")
    parser.add_argument("--reference", type=int, default=14, help="days of reference")
    parser.add_argument("--clips", type=int, default=8, help="of each plaza")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each clip")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the models")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    all_met = True
    for what in options.what:
        result = MEASUREMENTS[what](options)
        all_met &= result.is_met
        print(result.as_json())
        print("\n".join(result.rows()), flush=True)
    return int(not all_met)


if __name__ == "__main__":
    sys.exit(main())
