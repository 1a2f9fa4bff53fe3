"""MULDE beside its baselines, stream by stream, on the features of one data set: frame AUC, mean and spread over seeds.

    .venv/bin/python benchmarks/baselines.py ucsd-ped2:ROOT --config configs/ucsd-ped2.toml --store features

Every density is fitted on the same rows of three quarters of the training videos; the others stop it and set the scale,
as in a fold of `mulde train`. `--share 0.1` fits on a tenth of the rows, drawn by the seed. A frame scores as its most
unusual row; each stream alone is evaluated raw, all of them together (their surprises added up) raw and smoothed. Test
labels are read once, after all scores; nothing is chosen by them. Figures go to standard output and --out;
a call that was stopped goes on with the next stream.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from mulde.config import FusionSettings, Settings, StreamDensitySettings
from mulde.datasets.sources import open_source
from mulde.errors import FitError
from mulde.evaluation.smoothing import smooth
from mulde.files import atomic_write
from mulde.pipeline.extraction.boxes_alone import settings_without_pixels
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.calibration import combine
from mulde.pipeline.training.folds import split_folds
from mulde.pipeline.tuning.scoring import Footage, Recipe, StreamRows, score
from mulde.progress import Reporter
from mulde.records import Float64
from mulde.settings_file import load_settings

DEFAULT = ("mulde", "mixture", "neighbours", "mahalanobis")
HELDOUT_SHARE = 0.25
Scores = dict[str, list[Float64]]


def density_of(variant: str) -> StreamDensitySettings:
    """`METHOD` or `METHOD option=value ...`."""
    method, *options = variant.split()
    changes = [f"density.method={method}", *(f"density.options.{option}" for option in options)]
    return load_settings(overrides=changes).density.shared


def fit_and_score(
    stream: str, variants: Sequence[str], footage: Footage, settings: Settings, seed: int, share: float
) -> Scores:
    """Of each variant the surprises (T,) of the frames of each test video."""
    rows = StreamRows(stream, footage, seed)
    if share < 1:
        rng = np.random.default_rng(seed)
        for name in ("fitting", "heldout"):
            some = getattr(rows, name)
            keep = np.sort(rng.permutation(len(some))[: max(int(share * len(some)), 1)])
            setattr(rows, name, np.ascontiguousarray(some[keep]))
    found = {}
    for variant in variants:
        recipe = Recipe(stream, density_of(variant), stream in settings.fusion.only_high)
        try:
            found[variant] = score(recipe, rows, footage, seed, "cpu")[len(footage.heldout) :]
        except FitError as error:
            print(f"{stream}, {variant}, seed {seed}: {error}", file=sys.stderr)
    return found


def kept_or(path: Path, num_videos: int, make: Callable[[], Scores]) -> Scores:
    """The scores of a stream and a seed, from the file of a call that was stopped, where there is one."""
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial_file, partial_file.open("wb") as file:
            np.savez(file, **{f"{name}/{i}": v for name, values in made.items() for i, v in enumerate(values)})
    with np.load(path, allow_pickle=False) as file:
        names = dict.fromkeys(key.rpartition("/")[0] for key in file.files)
        return {name: [file[f"{name}/{i}"] for i in range(num_videos)] for name in names}


def aucs(
    scores: dict[str, Scores], test: Sequence[StoredVideo], truth: Sequence[Any], settings: Settings
) -> dict[str, dict[str, float]]:
    """variant -> figure -> frame AUC; scores: stream -> variant -> scores of each video."""
    anomalous = np.concatenate(truth)
    found: dict[str, dict[str, float]] = {}
    for variant in next(iter(scores.values())):
        streams = {name: by_variant[variant] for name, by_variant in scores.items() if variant in by_variant}
        figures = {name: roc_auc_score(anomalous, np.concatenate(values)) for name, values in streams.items()}
        fused = [combine({n: v[i] for n, v in streams.items()}, settings.fusion.combine) for i in range(len(test))]
        figures["fused, raw"] = roc_auc_score(anomalous, np.concatenate(fused))
        for mode in ("centred", "causal"):
            window = settings.fusion.smoothing_s
            smoothed = [smooth(s, window * float(v.rate), mode) for s, v in zip(fused, test, strict=True)]
            figures[f"fused, {mode}"] = roc_auc_score(anomalous, np.concatenate(smoothed))
        found[variant] = figures
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="NAME:ROOT of a data set with labels")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE")
    parser.add_argument("--store", type=Path, default=Path("mulde-features"))
    parser.add_argument("--seed", type=int, action="append", help="repeatable; default 0 to 4")
    parser.add_argument("--variant", action="append", help=f"repeatable; default {', '.join(DEFAULT)}")
    parser.add_argument("--share", type=float, default=1.0, help="of the training rows")
    parser.add_argument("--out", type=Path, default=Path("baselines.json"))
    args = parser.parse_args()
    seeds, variants = args.seed or [0, 1, 2, 3, 4], args.variant or DEFAULT
    place = Session.open(args.store, "cpu", Reporter(quiet=True))
    footage = open_source(args.source)
    settings = load_settings(args.config, overrides=args.set)
    settings = settings_without_pixels([*footage.split("train"), *footage.split("test")], settings, place.reporter)
    plan = ExtractionPlan(settings, place.device)
    normal, test = (place.extract(footage.split(name), plan).done for name in ("train", "test"))
    made: list[dict[str, Scores]] = []
    for seed in seeds:
        fold = split_folds(normal, FusionSettings(folds=1, heldout_share=HELDOUT_SHARE), seed)[0]
        of_seed = Footage(fold.fitting, fold.heldout, tuple(test))
        made.append({})
        for stream in settings.streams:
            kept = args.out.with_suffix("") / f"{stream}-{seed}-{args.share:g}.npz"
            made[-1][stream] = kept_or(
                kept, len(test), partial(fit_and_score, stream, variants, of_seed, settings, seed, args.share)
            )
            print(f"seed {seed}, {stream}: scored", file=sys.stderr, flush=True)
    labels = [footage.dataset.labels(video.video, video.end_frame) for video in test]
    truth = [track.anomalous[video.frame_index] for track, video in zip(labels, test, strict=True)]
    found = [aucs(scores, test, truth, settings) for scores in made]
    args.out.write_text(json.dumps({"seeds": seeds, "share": args.share, "figures": found}, indent=2) + "\n")
    print("|", " | ".join(["", *variants]), "|\n|", "|".join(["---"] * (len(variants) + 1)), "|")
    for name in found[0][variants[0]]:
        values = [[100 * one[variant].get(name, np.nan) for one in found] for variant in variants]
        cells = [f"{np.mean(v):.1f} ({np.std(v, ddof=len(v) > 1):.1f})" for v in values]
        print("|", " | ".join([name, *cells]), "|")


if __name__ == "__main__":
    main()
