"""Overlay videos against real time, and their memory against the length of the video.

    .venv/bin/python benchmarks/overlay.py [--minutes 10] [--beside [--demo FOLDER]] [--footage CLIP] [--profile]

Writes a 720p video of 25 frames a second (noisy scenery with figures that cross it, or a real clip or folder of frames
scaled up and repeated, and sound), with 12 tracked boxes in each frame, an event every 30 s and truth; then draws its
overlay as `mulde overlay` does. Both minutes given and a tenth of them are measured, each in a process of its own.

--beside: `mulde score` runs at the same time on footage of its own, again and again, features made anew each time, as
beside a camera. --profile: besides, one core's seconds for reading, drawing and coding alone. Fails below real time or
where memory grows by more than a tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from mulde.datasets.base import Video
from mulde.events import Event, EventRegion, Reason
from mulde.media import VideoWriter, open_video
from mulde.pipeline.events.drawing import draw_overlay
from mulde.progress import Reporter
from mulde.records import LabelTrack, RegionScores, ScoreTrack, UInt8
from mulde.report.painter import Painter
from mulde.settings_file import load_settings

RATE, SIZE_HW, BOXES, EVENT_EVERY_S = Fraction(25), (720, 1280), 12, 30
LEVEL, GROWTH = 6.0, 1.1
QUIET = Reporter(quiet=True)


def scenery(count: int) -> Iterator[UInt8]:
    """A blurred ground with grain, and figures that cross it."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 256, (*SIZE_HW, 3)).astype(np.uint8), (0, 0), 8)
    ground = cv2.normalize(ground, None, 40, 200, cv2.NORM_MINMAX)
    grain = [rng.integers(0, 12, (*SIZE_HW, 3)).astype(np.uint8) for _ in range(8)]
    for frame in range(count):
        image = cv2.add(ground, grain[frame % len(grain)])
        for box in boxes_at(frame):
            x0, y0, x1, y1 = box.astype(int).tolist()
            cv2.ellipse(
                image, ((x0 + x1) // 2, (y0 + y1) // 2), ((x1 - x0) // 2, (y1 - y0) // 2), 0, 0, 360, (30, 60, 90), -1
            )
        yield image


def real(path: Path, count: int) -> Iterator[UInt8]:
    """A clip forwards, again and again, scaled to 720p."""
    with open_video(path) as reader:
        images = np.concatenate([batch.images for batch in reader])[:200]
    for frame in range(count):
        yield cv2.resize(images[frame % len(images)], SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC)


def boxes_at(frame: int) -> np.ndarray:
    """(BOXES, 4): figures that walk from side to side, each at its own pace."""
    number = np.arange(BOXES)
    x = (frame * (1 + number % 3) + 97 * number) % (SIZE_HW[1] - 60)
    y = 120 + 35 * number
    return np.stack([x, y, x + 45, y + 100], axis=1).astype(np.float64)


def findings(count: int) -> tuple[ScoreTrack, RegionScores, list[Event], LabelTrack]:
    index = np.arange(count)
    time_s = index / float(RATE)
    score = 3 + 2 * np.sin(time_s / 3) + 6 * (time_s % EVENT_EVERY_S > EVENT_EVERY_S - 5)
    track = ScoreTrack("street", index, time_s, score, score, {"velocity": score})
    box = np.concatenate([boxes_at(frame) for frame in range(count)]).astype(np.float32)
    own = np.random.default_rng(1).gamma(2.0, 1.5, len(box))
    number = np.tile(np.arange(BOXES), count)
    regions = RegionScores("street", SIZE_HW, box, np.repeat(index, BOXES), own, number, {"velocity": own})
    step = EVENT_EVERY_S * int(RATE)
    events = []
    for end in range(step, count + 1, step):
        first, peak = end - 5 * int(RATE) + 1, end - 2 * int(RATE)
        region = EventRegion(peak, tuple(map(float, box[BOXES * peak + 3])), 3, "person")  # type: ignore[arg-type]
        reason = Reason("velocity", "a person moves 3.1 times as fast as is usual here, heading left", region=region)
        times = [float(time_s[i]) for i in (first, end - 1, peak)]
        events.append(Event("street", first, end, times[0], times[1], peak, times[2], float(score[peak]), 0.01, reason))
    return track, regions, events, LabelTrack("street", score > LEVEL)


def write_source(path: Path, count: int, footage: Path | None) -> None:
    if path.exists():
        return
    with VideoWriter(path, RATE, crf=23, quick=True) as writer:
        for image in scenery(count) if footage is None else real(footage, count):
            writer.write(image)


def measure(source: Path, minutes: float) -> dict[str, float]:
    """In this process: seconds and peak memory of one overlay."""
    count = round(minutes * 60 * float(RATE))
    track, regions, events, labels = findings(count)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start, processor_start = time.perf_counter(), time.process_time()
    target = source.with_name("overlay.mp4")
    draw_overlay(Video("street", "test", source), track, regions, events, labels, load_settings(), LEVEL, target, QUIET)
    seconds, processor_s = time.perf_counter() - start, time.process_time() - processor_start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "minutes": minutes,
        "seconds": seconds,
        "processor_s": processor_s,
        "times_real_time": minutes * 60 / seconds,
        "peak_mb": peak_mb,
        "overlay_mb": peak_mb - before_mb,
        "file_mb": target.stat().st_size / 1e6,
    }


def in_own_process(source: Path, minutes: float) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", str(source), "--minutes", str(minutes)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


@contextmanager
def scoring(demo: Path, scratch: Path) -> Iterator[None]:
    """`mulde score` on the footage of a demo, over and over and with features made anew, while the block runs."""
    tool = [sys.executable, "-m", "mulde.cli"]
    if not (demo / "run" / "model.safetensors").is_file():
        subprocess.run([*tool, "demo", "--out", str(demo), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    once = [*tool, "score", f"{demo}/world", "--model", f"{demo}/run/model.safetensors", "--out", f"{scratch}/run"]
    loop = f"while rm -rf {scratch}/store && {' '.join(once)} --store {scratch}/store --quiet; do date; done"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (scratch / "rounds").open("w") as rounds:
        burning = subprocess.Popen(["bash", "-c", loop], start_new_session=True, env=environment, stdout=rounds)
    try:
        yield
        if burning.poll() is not None:
            raise RuntimeError("mulde score failed, so nothing ran beside the overlay")
    finally:
        if burning.poll() is None:
            os.killpg(burning.pid, signal.SIGTERM)
        burning.wait()
    print(f"beside it `mulde score` went {len((scratch / 'rounds').read_text().splitlines())} times through the demo")


def profile(source: Path, num_frames: int = 250) -> None:
    """Milliseconds of one frame in each step alone, in one thread."""
    track, regions, events, labels = findings(num_frames + 750)
    painter = Painter(SIZE_HW, track, regions, events, labels, LEVEL)
    cv2.setNumThreads(1)
    took = {"read": 0.0, "draw": 0.0, "write": 0.0}
    with open_video(source, batch_size=12) as reader, VideoWriter(
        source.with_name("profile.mp4"), RATE, crf=23, quick=True
    ) as writer:  # fmt: skip
        batches, done = iter(reader), 0
        while done < num_frames:
            start = time.process_time()
            batch = next(batches)
            read = time.process_time()
            for number, image in enumerate(batch.images):
                painter.paint(image, 700 + done + number)
            drawn = time.process_time()
            for image in batch.images:
                writer.write(image)
            written = time.process_time()
            for step, seconds in zip(took, (read - start, drawn - read, written - drawn), strict=True):
                took[step] += seconds
            done += len(batch)
    print("processor milliseconds a frame:", {step: round(1000 * seconds / done, 2) for step, seconds in took.items()})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--footage", type=Path, help="a clip or a folder of frames")
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--demo", type=Path, help="a folder that `mulde demo` has written; default: made anew")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.minutes)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lengths = (args.minutes / 10, args.minutes)
        sources = [folder / f"{number}" / "street.mp4" for number in range(len(lengths))]
        for source, minutes in zip(sources, lengths, strict=True):
            write_source(source, round(minutes * 60 * float(RATE)), args.footage)
        if args.profile:
            profile(sources[-1])
        with scoring(args.demo or folder / "demo", folder) if args.beside else nullcontext():
            found = [in_own_process(source, minutes) for source, minutes in zip(sources, lengths, strict=True)]
    for one in found:
        print(", ".join(f"{name} {value:.2f}" for name, value in one.items()))
    grown = found[1]["peak_mb"] / found[0]["peak_mb"]
    print(f"{found[1]['times_real_time']:.2f} times real time, memory x {grown:.2f} for 10 times the length")
    return int(found[1]["times_real_time"] < 1 or grown > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
