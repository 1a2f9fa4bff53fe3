"""Normal footage with drawn anomalies, on which settings can be chosen without a test label.

    .venv/bin/python benchmarks/inserted.py ucsd-ped2:ROOT --detector yolov8n.pt --out inserted
    .venv/bin/mulde run folder:inserted --set video.frame_rate=10 --detector yolov8n.pt --out runs/inserted
    .venv/bin/mulde ablate runs/inserted

Of the training videos of a data set (the test split is not opened) a quarter is held out. Into copies of these a
cyclist, a runner, a cart, a slow cyclist or a tumbling bag is drawn, as the synthetic world draws them, in grey. How
tall a person is at each height of the picture, and how fast people walk, is learnt from the detector's normal boxes.
The others become the training split: a data set `folder` with labels.csv. Videos must be folders of frames.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mulde.datasets.base import Video
from mulde.datasets.sources import open_source
from mulde.datasets.synthetic import figures
from mulde.datasets.synthetic.figures import RUN, WHEEL_RADIUS, Appearance
from mulde.datasets.synthetic.shapes import Color, Shape, paint
from mulde.filetypes import list_frames
from mulde.pipeline.extraction.engine import extract
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.extraction.video import StoredVideo
from mulde.progress import Reporter
from mulde.records import Bool, UInt8, spans
from mulde.settings_file import load_settings
from mulde.store import store as tables

PERSON, STEPS, MIN_PIXELS = 0, 10, 30
SPEEDS = {  # multiples of walking
    "cyclist": (1.8, 3.0),
    "runner": (1.8, 2.6),
    "cart": (1.3, 2.0),
    "slow cyclist": (0.8, 1.3),
    "bag": (2.0, 3.0),
}


class Ground(NamedTuple):
    """Learnt from normal boxes: a person's height in pixels is slope * foot_y + offset; walking in heights a frame;
    where feet are, 5th and 95th percentile of y."""

    slope: float
    offset: float
    walking: float
    foot_y: tuple[float, float]


def learn_ground(videos: list[StoredVideo]) -> Ground:
    heights, ground_point, speeds = [], [], []
    for video in videos:
        regions = tables.regions_from_arrow(video.store.read(video.passports["regions"]))
        tracks = video.store.read(video.passports["tracks"])["track_id"].to_numpy()
        person = (regions.class_id == PERSON) & (regions.confidence > 0.5)
        box = regions.box_xyxy
        heights.append((box[:, 3] - box[:, 1])[person])
        ground_point.append(box[person, 3])
        for track in np.unique(tracks[tracks >= 0]):
            mine = (tracks == track) & (regions.class_id == PERSON)
            if mine.sum() > 2 * STEPS:
                own, frame = box[mine], regions.frame_index[mine]
                x, tall = (own[:, 0] + own[:, 2]) / 2, (own[:, 3] - own[:, 1]).mean()
                way = np.hypot(x[STEPS:] - x[:-STEPS], own[STEPS:, 3] - own[:-STEPS, 3])
                speeds.append(way / (frame[STEPS:] - frame[:-STEPS]) / tall)
    foot = np.concatenate(ground_point)
    slope, offset = np.polyfit(foot, np.concatenate(heights), 1)
    low, high = np.quantile(foot, [0.05, 0.95])
    return Ground(float(slope), float(offset), float(np.median(np.concatenate(speeds))), (float(low), float(high)))


def grey_look(rng: np.random.Generator) -> Appearance:
    def grey(low: int, high: int) -> Color:
        value = int(rng.integers(low, high))
        return value, value, value

    return Appearance(grey(110, 170), grey(20, 60), grey(20, 220), grey(20, 220), grey(15, 110), grey(10, 50))


def shapes(kind: str, x: float, y: float, tall: float, way: float, time: int, look: Appearance) -> list[Shape]:
    """The figure at (x, y) after `way` body heights."""
    if kind.endswith("cyclist"):
        return figures.cyclist(x, y, 1.05 * tall, way / WHEEL_RADIUS, look)
    if kind == "runner":
        return figures.person(x, y, tall, 0.0, 2 * np.pi * way / RUN.cycle_length, 1.0, RUN, look)
    if kind == "cart":
        return figures.cart(x, y, 1.1 * tall, way / 0.14, look)
    return figures.bag(x, y, 1.3 * tall, 0.8 * abs(np.sin(0.35 * time)), 2.5 * way, look)


def draw_into(frame: UInt8, figure: list[Shape], rng: np.random.Generator) -> tuple[UInt8, int]:
    """The frame with a figure that is as soft and noisy as a camera's, and its visible pixels."""
    mask, canvas = np.zeros(frame.shape[:2], np.uint8), frame.copy()
    paint(mask, figure, value=255)
    paint(canvas, figure)
    cover = cv2.GaussianBlur(mask, (3, 3), 0.6)[..., None] / 255.0
    noisy = cv2.GaussianBlur(canvas, (3, 3), 0.7) + rng.normal(0, 2, mask.shape)[..., None]
    return np.clip(frame * (1 - cover) + noisy * cover, 0, 255).astype(np.uint8), int((mask > 127).sum())


def insert(video: Video, kind: str, folder: Path, ground: Ground, rng: np.random.Generator) -> Bool:
    """Write the frames of a video with one figure that passes, again and again, for a part of the time; labels (T,)."""
    paths = list_frames(video.path)
    look, mirrored, y = grey_look(rng), rng.random() < 0.5, rng.uniform(*ground.foot_y)
    speed, drift = ground.walking * rng.uniform(*SPEEDS[kind]), rng.uniform(-0.05, 0.05)
    first = int(rng.uniform(0.05, 0.5) * len(paths))
    last = min(first + int(rng.uniform(0.3, 0.6) * len(paths)), len(paths))
    anomalous = np.zeros(len(paths), np.bool_)
    folder.mkdir(parents=True, exist_ok=True)
    x, way = -10.0, 0.0
    for time, path in enumerate(paths):
        frame = np.asarray(cv2.imread(str(path)), np.uint8)
        if first <= time < last:
            tall = ground.slope * y + ground.offset
            side = np.ascontiguousarray(frame[:, ::-1]) if mirrored else frame
            side, visible = draw_into(side, shapes(kind, x, y, tall, way, time, look), rng)
            frame = np.ascontiguousarray(side[:, ::-1]) if mirrored else side
            anomalous[time] = visible >= MIN_PIXELS
            x, y, way = x + speed * tall, y + drift * speed * tall, way + speed
            x = -10.0 if x > frame.shape[1] + 15 else x
        cv2.imwrite(str(folder / f"{time:04d}.png"), frame)
    return anomalous


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="NAME:ROOT of a data set of frame folders; only its training split is read")
    parser.add_argument("--detector", required=True)
    parser.add_argument("--store", type=Path, default=Path("mulde-features"))
    parser.add_argument("--out", type=Path, default=Path("inserted"))
    parser.add_argument("--copies", type=int, default=3, help="of each held-out video, each with another figure")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    changes = ['regions.finders=["yolo", "motion"]', f"regions.yolo.weights={json.dumps(args.detector)}"]
    settings = load_settings(overrides=[*changes, 'tracks.tracker="bytetrack"', 'features.extractors=["geometry"]'])
    place = Session.open(args.store, "auto", Reporter())
    videos = open_source(args.source).split("train")
    stored = extract(videos, ExtractionPlan(settings, place.device), place.store, place.reporter).done
    rng = np.random.default_rng(args.seed)
    held = sorted(rng.permutation(len(videos))[: len(videos) // 4].tolist())
    ground = learn_ground([one for i, one in enumerate(stored) if i not in held])
    (args.out / "train").mkdir(parents=True)
    for i, video in enumerate(videos):
        if i not in held:
            (args.out / "train" / video.name).symlink_to(video.path.resolve())
    rows = [("video", "start_frame", "end_frame")]
    for number in range(args.copies * len(held)):
        video, kind = videos[held[number % len(held)]], list(SPEEDS)[number % len(SPEEDS)]
        name = f"{video.name}-{number}-{kind.replace(' ', '-')}"
        anomalous = insert(video, kind, args.out / "test" / name, ground, rng)
        rows += [(name, str(start), str(end)) for start, end in spans(anomalous)]
    with (args.out / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    print(f"{args.out}: {ground}")


if __name__ == "__main__":
    main()
