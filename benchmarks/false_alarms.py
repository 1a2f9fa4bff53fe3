"""The promise of an alarm level, on normal clips that no model has seen: realised false alarms against their interval.

    .venv/bin/python benchmarks/false_alarms.py ucsd-ped2:ROOT --detector yolov8n_int8_openvino_model

The training clips are cut in folds; each clip is scored by a model trained on the other folds. Then, over and over, a
random half of the clips sets the alarm level for a wanted rate, and the events of the other half are counted: did the
realised rate lie within the interval that was stated for it? Figures go to standard output and --out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mulde.config import Settings, load_settings
from mulde.errors import UsageError
from mulde.evaluation.conformal import COVERAGE, NormalVideo, alarm_level, count_events
from mulde.pipeline.engine import extract
from mulde.pipeline.extract import StoredVideo
from mulde.pipeline.plan import ExtractionPlan
from mulde.pipeline.progress import Reporter
from mulde.pipeline.run import Workplace
from mulde.pipeline.score import score_video
from mulde.pipeline.sources import open_source
from mulde.pipeline.train import train


def settings_of(detector: str | None, extra: Sequence[str]) -> Settings:
    changes = list(extra)
    if detector:
        changes += ['regions.finders=["yolo", "motion"]', f"regions.yolo.weights={json.dumps(detector)}"]
    return load_settings(overrides=changes)


def cross_fitted(
    clips: Sequence[StoredVideo], settings: Settings, place: Workplace, num_folds: int, seed: int
) -> Iterator[tuple[str, NormalVideo]]:
    """Each clip with its smoothed scores by a model that was trained without it and the others of its fold."""
    order = np.random.default_rng(seed).permutation(len(clips))
    for fold in np.array_split(order, num_folds):
        others = [clip for i, clip in enumerate(clips) if i not in fold]
        with tempfile.TemporaryDirectory() as folder:
            bundle = train(
                others, settings, {}, seed=seed, device=place.device, reporter=place.reporter, folder=Path(folder)
            )
        for i in fold:
            yield clips[i].video.name, NormalVideo(score_video(clips[i], bundle).track.smoothed, float(clips[i].rate))


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
    parser.add_argument("source", help="NAME:ROOT of a data set; only its training split is read")
    parser.add_argument("--detector")
    parser.add_argument("--store", type=Path, default=Path("mulde-features"))
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the settings")
    parser.add_argument("--rate", type=float, action="append", help="false alarms per hour; default 60, 120, 240")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--merge-gap", type=float, default=1.0, help="seconds")
    parser.add_argument("--min-length", type=float, default=0.3, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("false-alarms.json"))
    args = parser.parse_args()
    settings = settings_of(args.detector, args.set)
    place = Workplace.open(args.store, "auto", Reporter(quiet=True))
    plan = ExtractionPlan(settings, place.device)
    stored = extract(open_source(args.source).split("train"), plan, place.store, place.reporter).done
    clips = dict(cross_fitted(stored, settings, place, args.folds, args.seed))
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
    report = {"settings": settings.model_dump(mode="json"), "coverage": COVERAGE, "scores": scores, "rates": found}
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
