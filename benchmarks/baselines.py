"""MULDE beside its baselines on the features of one data set: frame AUC, mean and spread over seeds.

    .venv/bin/python benchmarks/baselines.py ucsd-ped2:ROOT --detector yolov8n_int8_openvino_model --seed 0 --seed 1

Each variant is a density with options, trained on the training split and scored on the test split with everything else
equal; nothing is chosen by the test labels. `--variant "mulde precision=bfloat16"` adds one; see DEFAULT. Per seed the
fused scores are evaluated as `mulde run` does, and each stream alone, raw. Figures go to standard output and --out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from mulde.config import Settings
from mulde.datasets.base import Dataset
from mulde.datasets.sources import open_source
from mulde.pipeline.evaluation.evaluate import evaluate
from mulde.pipeline.evaluation.labels import read_labels
from mulde.pipeline.extraction.engine import Extraction, extract
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.scoring.frames import score_video
from mulde.pipeline.training.fit import train
from mulde.progress import Reporter
from mulde.settings_file import load_settings

DEFAULT = ("mulde", "msma", "mixture", "neighbours", "mahalanobis")


def settings_of(variant: str, detector: str | None, extra: list[str]) -> Settings:
    method, *options = variant.split()
    changes = [f"density.method={method}", *(f"density.options.{option}" for option in options), *extra]
    if detector:
        changes += ['regions.finders=["yolo", "motion"]', f"regions.yolo.weights={json.dumps(detector)}"]
    return load_settings(overrides=changes)


def measure(settings: Settings, splits: dict[str, Extraction], dataset: Dataset, seed: int, place: Session) -> dict:
    """Frame AUCs of one seed: fused by smoothing, each stream alone (raw), and seconds to train and to score."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        bundle = train(
            splits["train"].done,
            settings,
            {},
            seed=seed,
            device=place.device,
            reporter=place.reporter,
            folder=Path(folder),
        )
    trained = time.perf_counter()
    scored = {stored.video.name: score_video(stored, bundle) for stored in splits["test"].done}
    ended = time.perf_counter()
    labels = read_labels(dataset, scored)
    evaluation = evaluate(scored, labels, dataset, place.reporter)
    truth = np.concatenate([labels[name].anomalous for name in scored])
    streams = {
        stream: roc_auc_score(truth, np.concatenate([one.track.streams[stream] for one in scored.values()]))
        for stream in bundle.streams
    }
    learnt = {name: counts.learnt for name, counts in bundle.training.streams.items()}
    return {
        **{f"fused, {row.smoothing}": row.result.micro_auc for row in evaluation.rows},
        **{f"{name} alone, raw": auc for name, auc in streams.items()},
        "train_s": trained - start,
        "score_s": ended - trained,
        "learnt": learnt,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="NAME:ROOT of a data set with labels")
    parser.add_argument("--detector")
    parser.add_argument("--store", type=Path, default=Path("mulde-features"))
    parser.add_argument("--seed", type=int, action="append", help="repeatable; default 0 to 4")
    parser.add_argument("--variant", action="append", help=f"repeatable; default {', '.join(DEFAULT)}")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE, for all variants")
    parser.add_argument("--out", type=Path, default=Path("baselines.json"))
    args = parser.parse_args()
    seeds = args.seed or [0, 1, 2, 3, 4]
    place = Session.open(args.store, "auto", Reporter(quiet=True))
    footage = open_source(args.source)
    plan = ExtractionPlan(settings_of("mulde", args.detector, args.set), place.device)
    splits = {name: extract(footage.split(name), plan, place.store, place.reporter) for name in ("train", "test")}
    found: dict[str, list[dict]] = {}
    for variant in args.variant or DEFAULT:
        settings = settings_of(variant, args.detector, args.set)
        found[variant] = [measure(settings, splits, footage.dataset, seed, place) for seed in seeds]
        print(f"{variant}  ({len(seeds)} seeds)")
        for name in found[variant][0]:
            if name == "learnt":
                continue
            values = np.array([one[name] for one in found[variant]]) * (1 if name.endswith("_s") else 100)
            spread = f"({values.std(ddof=1):.2f})" if len(values) > 1 else ""
            print(f"    {name:<28} {values.mean():6.2f} {spread:<8} each {' '.join(f'{v:.2f}' for v in values)}")
        print(flush=True)
        args.out.write_text(json.dumps({"seeds": seeds, "variants": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
