"""Evaluation of hours of made-up scores with regions: seconds of each part, peak memory, beside the promise.

    .venv/bin/python benchmarks/evaluation.py [--hours 10] [--videos 20] [--masks]

Frame scores, labels, boxes (about two a frame) and true tracks of several videos at 25 frames a second go the way that
`mulde evaluate` sends them: boxes matched with truth, then the whole protocol (three smoothings, nulls, intervals over
resamples of the videos, events, region figures), then curves and plain values. Reading files is no part of it. Both the
seconds that passed and those of the processor are printed: they differ where others work on the machine too.
--masks: a 240 x 360 mask for every frame as well, for the pixel level. Fails above the promise.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mulde.evaluation.protocol import evaluate_tracks
from mulde.evaluation.regions import RegionPool, gather_evidence
from mulde.records import Bool, Float64, LabelTrack, RegionScores, TruthRegions

PROMISE_S, PROMISE_MB = 30.0, 1000.0
RATE, SIZE_HW = 25.0, (240, 360)
TRACKS_PER_HOUR, TRACK_S = 20, 20.0
BOXES_PER_FRAME = 2.0
STEPS = ("smooth", "frame_figures", "auc_intervals", "operating_point", "oracle_level")  # of the protocol


@dataclass(frozen=True)
class World:
    """Made-up videos: name -> frame scores (T,), labels, boxes, true tracks."""

    scores: dict[str, Float64]
    labels: dict[str, LabelTrack]
    regions: dict[str, RegionScores]
    truth: dict[str, TruthRegions]

    def masks(self, video: str) -> Iterator[Bool]:
        """One mask per frame, the true boxes filled."""
        truth, normal = self.truth[video], np.zeros(SIZE_HW, np.bool_)
        rows = np.searchsorted(truth.frame_index, np.arange(len(self.labels[video]) + 1))
        boxes = truth.box_xyxy.astype(int)
        for first, last in pairwise(rows):
            mask = normal.copy() if last > first else normal
            for x0, y0, x1, y1 in boxes[first:last]:
                mask[y0:y1, x0:x1] = True
            yield mask


def make_world(hours: float, num_videos: int, seed: int) -> World:
    rng = np.random.default_rng(seed)
    num_frames = round(hours * 3600 * RATE / num_videos)
    world = World({}, {}, {}, {})
    for number in range(num_videos):
        video = f"video{number:03d}"
        truth = make_truth(video, num_frames, round(hours * TRACKS_PER_HOUR / num_videos), rng)
        anomalous = np.zeros(num_frames, np.bool_)
        anomalous[truth.frame_index] = True
        regions = make_boxes(truth, num_frames, rng)
        scores = rng.normal(size=num_frames) + anomalous
        np.maximum.at(scores, regions.frame_index, regions.anomaly_score)
        world.scores[video], world.labels[video] = scores, LabelTrack(video, anomalous)
        world.regions[video], world.truth[video] = regions, truth
    return world


def random_boxes(count: int, rng: np.random.Generator) -> Float64:
    corner = rng.uniform((0, 0), (SIZE_HW[1] - 40, SIZE_HW[0] - 60), size=(count, 2))
    return np.concatenate([corner, corner + rng.uniform((12, 20), (40, 60), size=(count, 2))], axis=1)


def make_truth(video: str, num_frames: int, num_tracks: int, rng: np.random.Generator) -> TruthRegions:
    length = min(round(TRACK_S * RATE), num_frames)
    starts = rng.integers(0, num_frames - length + 1, num_tracks)
    frame = (starts[:, None] + np.arange(length)).ravel()
    track = np.repeat(np.arange(num_tracks), length)
    box = np.repeat(random_boxes(num_tracks, rng), length, axis=0).round()
    order = np.argsort(frame, kind="stable")
    return TruthRegions(video, box[order].astype(np.float32), frame[order].astype(np.int64), track[order])


def make_boxes(truth: TruthRegions, num_frames: int, rng: np.random.Generator) -> RegionScores:
    """Boxes anywhere, and boxes near most true regions that score higher on average."""
    seen = np.flatnonzero(rng.random(len(truth)) < 0.7)
    anywhere = max(round(BOXES_PER_FRAME * num_frames) - len(seen), 0)
    frame = np.concatenate([rng.integers(0, num_frames, anywhere), truth.frame_index[seen]])
    near = truth.box_xyxy[seen] + rng.normal(scale=3.0, size=(len(seen), 1))
    box = np.concatenate([random_boxes(anywhere, rng), near])
    score = np.concatenate([rng.normal(size=anywhere), rng.normal(loc=1.5, size=len(seen))])
    order = np.argsort(frame, kind="stable")
    nowhere = np.full(len(order), -1, np.int64)
    return RegionScores(truth.video, SIZE_HW, box[order].astype(np.float32), frame[order], score[order], nowhere)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def timed(part: str, seconds: dict[str, float]) -> Iterator[None]:
    start, processor_start = time.perf_counter(), time.process_time()
    yield
    seconds[part] = time.perf_counter() - start
    processor_s = time.process_time() - processor_start
    print(f"{part:<24} {seconds[part]:6.2f} s, processor {processor_s:6.2f} s, peak so far {peak_mb():4.0f} MB")


def print_steps(profile: cProfile.Profile) -> None:
    """Seconds of the protocol's steps, with what they call."""
    for (path, _, name), (_, calls, _, inclusive_s, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if name in STEPS and "evaluation" in path:
            print(f"    {name:<20} {inclusive_s:6.2f} s in {calls} calls")


def evaluate(world: World, *, with_masks: bool) -> dict[str, float]:
    seconds: dict[str, float] = {}
    profile = cProfile.Profile()
    num_frames = {video: len(labels) for video, labels in world.labels.items()}
    with timed("boxes against truth", seconds):
        masks = world.masks if with_masks else lambda video: None
        pool = RegionPool(gather_evidence(world.regions, num_frames, world.truth, masks))
    with timed("protocol", seconds), profile:
        evaluation = evaluate_tracks(
            world.scores,
            world.labels,
            smoothing=RATE,
            rates=RATE,
            levels={"raw": {"alarm": 4.0}, "causal": {"alarm": 2.0}, "centred": {"alarm": 2.0}},
            regions=pool,
        )
    print_steps(profile)
    with timed("curves, tables, JSON", seconds):
        pool.curves()
        evaluation.as_table()
        json.dumps(evaluation.to_dict())
    print(evaluation.regions)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--masks", action="store_true")
    args = parser.parse_args()
    world = make_world(args.hours, args.videos, args.seed)
    num_frames = sum(len(labels) for labels in world.labels.values())
    num_boxes = sum(len(regions) for regions in world.regions.values())
    num_tracks = sum(len(np.unique(truth.track_id)) for truth in world.truth.values())
    print(f"{num_frames} frames, {num_boxes} boxes, {num_tracks} tracks in {args.videos} videos: {peak_mb():.0f} MB")
    total_s = sum(evaluate(world, with_masks=args.masks).values())
    print(f"in all {total_s:.1f} s and {peak_mb():.0f} MB, promised under {PROMISE_S:.0f} s and {PROMISE_MB:.0f} MB")
    return int(total_s >= PROMISE_S or peak_mb() >= PROMISE_MB)


if __name__ == "__main__":
    sys.exit(main())
