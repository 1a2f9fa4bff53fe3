"""How often the reason of an event names a true cause, on synthetic worlds, where causes are known.

    .venv/bin/python benchmarks/reasons.py [--seeds 0 1 2] [--clips 20] [--method mixture]

Each seed is a world of its own: 12 normal clips to learn from, `--clips` clips with an anomaly each. Events are those
at the alarm level that normal clips alone have set; those that overlap no anomaly are false alarms and not counted.
Fails where fewer than four in five reasons of all seeds together are right.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mulde.datasets import open_dataset, write_world
from mulde.events import Reason
from mulde.media import write_video
from mulde.pipeline.events.tables import read_events
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.stages import run_score, run_train
from mulde.progress import Reporter
from mulde.settings_file import load_settings

GOAL = 0.8


def named_cause(reason: Reason) -> str:
    """The cause of the synthetic world that the sentence of a reason names; empty for none of them."""
    if reason.stream == "velocity":
        if "share_in_direction" in reason.facts:
            return "against the stream"
        return "fast" if reason.facts.get("times_as_fast", 0) >= 1 else ""
    if reason.stream == "geometry":  # a cart is wider than people
        return "unusual object" if {"times_as_wide", "times_as_tall"} & reason.facts.keys() else ""
    if reason.stream == "pose":
        return "unusual pose"
    return "" if reason.region is None else "unusual object"


def verdicts(folder: Path, seed: int, clips: int, method: str) -> Iterator[tuple[str, bool]]:
    """For each event of a world that has a cause: its kind, and whether the reason names a true cause."""
    world, place = folder / "world", Session.open(folder / "store", "cpu", Reporter(quiet=True))
    write_world(world, seed=seed, write_video=write_video, train_clips=12, test_clips=clips)
    source = [f"synthetic:{world}"]
    run_train(source, load_settings(overrides=[f"density.method={method}"]), folder / "model", 0, place)
    run_score(source, folder / "model" / "model.safetensors", (), folder / "run", place)
    dataset = open_dataset("synthetic", world)
    for event in read_events(folder / "run"):
        for cause in dataset.causes():
            overlaps = cause.start_frame < event.end_frame and event.start_frame < cause.end_frame
            if cause.video == event.video and overlaps:
                yield cause.kind, named_cause(event.reason) in cause.cause.split("|")
                break


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--method", default="mixture", help="density of the streams: mixture, mulde ...")
    options = parser.parse_args()
    right, seen = Counter[str](), Counter[str]()
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            found = list(verdicts(Path(folder), seed, options.clips, options.method))
        print(f"seed {seed}: {sum(is_right for _, is_right in found)} of {len(found)} reasons name a true cause")
        for kind, is_right in found:
            seen[kind] += 1
            right[kind] += is_right
    for kind in sorted(seen):
        print(f"  {kind}: {right[kind]} of {seen[kind]}")
    share = right.total() / max(seen.total(), 1)
    print(f"together {right.total()} of {seen.total()}, {share:.0%}; goal {GOAL:.0%}")
    return int(share < GOAL)


if __name__ == "__main__":
    sys.exit(main())
