"""The promise of an alarm level, on normal clips that no model has seen: realised false alarms against their interval.

    .venv/bin/python benchmarks/false_alarms.py runs/reproduce-ucsd-ped2/seed-0/model.safetensors

A model keeps the scores of its training videos, each by the density of the fold that it was held out of. Over and over,
a random half of the clips sets the alarm level for a wanted rate, and the events of the other half are counted:
did the realised rate lie within the interval that was stated for it? Figures go to standard output and --out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mulde.errors import UsageError
from mulde.evaluation.conformal import COVERAGE, NormalVideo, alarm_level, count_events
from mulde.pipeline.model.loading import load_model


def try_splits(
    clips: Sequence[NormalVideo], per_hour: float, num_splits: int, merge_gap_s: float, min_length_s: float, seed: int
) -> list[dict[str, float | bool]]:
    """One entry per random half of the clips that supports the rate: what was promised and what came on the others."""
    rng = np.random.default_rng(seed)
    tried = []
    for _ in range(num_splits):
        drawn = rng.permutation(len(clips))
        held, new = ([clips[i] for i in half] for half in np.array_split(drawn, 2))
        try:
            alarm = alarm_level(held, per_hour, merge_gap_s=merge_gap_s, min_length_s=min_length_s)
        except UsageError:
            continue
        hours = sum(clip.hours for clip in new)
        realised = sum(count_events(clip, alarm.level, merge_gap_s, min_length_s) for clip in new) / hours
        low, high = alarm.interval(hours)
        told = {"expected": alarm.expected_per_hour, "low": low, "high": high, "clustering": alarm.clustering}
        tried.append({"realised": realised, **told, "within": low <= realised <= high})
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="bundle of mulde train")
    parser.add_argument("--rate", type=float, action="append", help="false alarms per hour; default 60, 120, 240")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--merge-gap", type=float, default=1.0, help="seconds")
    parser.add_argument("--min-length", type=float, default=0.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("false-alarms.json"))
    args = parser.parse_args()
    bundle = load_model(args.model).bundle
    clips = dict(zip(bundle.normal, bundle.smoothed_normal["centred"], strict=True))
    hours = sum(clip.hours for clip in clips.values())
    print(f"{len(clips)} clips, {60 * hours:.1f} minutes, {args.splits} splits in halves")
    print(
        f"{'wanted/h':>9} {'supported':>9} {'within':>7} {'expected/h':>10} {'realised/h':>10} {'interval/h, mean':>17}"
    )
    found = {}
    for per_hour in args.rate or [60.0, 120.0, 240.0]:
        tried = try_splits(list(clips.values()), per_hour, args.splits, args.merge_gap, args.min_length, args.seed)
        found[per_hour] = tried
        mean = {name: np.mean([one[name] for one in tried]) if tried else np.nan for name in ("expected", "realised")}
        mean |= {name: np.mean([one[name] for one in tried]) if tried else np.nan for name in ("low", "high")}
        within = sum(bool(one["within"]) for one in tried)
        print(
            f"{per_hour:9.0f} {len(tried):9d} {within:7d} {mean['expected']:10.1f} {mean['realised']:10.1f}"
            f" {mean['low']:8.1f}-{mean['high']:.1f}"
        )
    scores = {name: clip.scores.tolist() for name, clip in clips.items()}
    report = {
        "settings": bundle.settings.model_dump(mode="json"),
        "coverage": COVERAGE,
        "scores": scores,
        "rates": found,
    }
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
