"""`mulde compare`: evaluated runs side by side, from their stored scores and labels. No labels are opened."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulde.datasets.base import listing
from mulde.errors import MuldeError, UsageError
from mulde.evaluation.alarms import EventRules
from mulde.evaluation.comparison import RunComparison, SeedScores, compare_runs
from mulde.evaluation.metrics import mean_and_std, roc_auc
from mulde.evaluation.protocol import NUM_RESAMPLES
from mulde.evaluation.smoothing import Smoothing
from mulde.files import write_csv
from mulde.names import valid_text
from mulde.pipeline.run_folder import read_record, read_truth, seed_folders
from mulde.pipeline.scoring.frames import read_scores
from mulde.progress import Reporter
from mulde.records import Float64, Int64, LabelTrack, ScoredVideo
from mulde.report.comparison_page import MAX_RUNS, RunCurves, write_comparison_page

TABLE = "comparison.csv"


@dataclass(frozen=True)
class _Seed:
    """One folder with scores: by video, with the labels of these videos, and what it knows of its alarm levels."""

    folder: Path
    scored: Mapping[str, ScoredVideo]
    labels: Mapping[str, LabelTrack]
    scores: SeedScores


def run_compare(
    roots: Sequence[Path], out: Path, reporter: Reporter, *, bootstrap: int = NUM_RESAMPLES
) -> RunComparison:
    """Compare evaluated runs on the videos that all of them have; `<out>/comparison.csv` and `comparison.html`.

    roots: run folders, or folders of `seed-<n>`. Raises UsageError for fewer than two runs or more than MAX_RUNS,
    MuldeError for a run that was not evaluated, and for runs whose labels or frames differ.
    """
    import pandas as pd

    if not 2 <= len(roots) <= MAX_RUNS:
        raise UsageError("mulde compare", expected=f"2 to {MAX_RUNS} runs", got=len(roots))
    named = run_names(roots)
    runs = {name: _read(root) for name, root in named.items()}
    seeds = [seed for run in runs.values() for seed in run]
    labels, notes = _common_labels(seeds)
    notes += _smoothing_notes(runs, labels)
    for note in notes:
        reporter.warn(note)
    with reporter.bar("compare", None, "runs"):
        scores = {name: [seed.scores for seed in run] for name, run in runs.items()}
        comparison = compare_runs(scores, labels, num_resamples=bootstrap)
    write_csv(pd.DataFrame(comparison.as_table()), out / TABLE)
    page = write_comparison_page(
        out,
        comparison,
        [_curves(name, run, labels) for name, run in runs.items()],
        {name: seeds[0].scored[name].track for name in labels},
        labels,
        notes=notes,
        folders={name: valid_text(str(root)) for name, root in named.items()},
    )
    reporter.say(f"table: {out / TABLE}   page: {page}")
    return comparison


def run_names(roots: Sequence[Path]) -> dict[str, Path]:
    """A name for each run: its folder's, with as many folders above as it takes. Raises UsageError for one twice."""
    places = [Path(os.path.abspath(root)) for root in roots]
    if len({os.path.realpath(place) for place in places}) < len(places):
        raise UsageError("mulde compare", expected="each run once", got=", ".join(map(str, roots)))
    for num in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-num:]) for place in places]
        if len(set(names)) == len(names):
            break
    return dict(zip(map(valid_text, names), roots, strict=True))


def _read(root: Path) -> list[_Seed]:
    folders = [root] if (root / "scores").is_dir() else seed_folders(root)
    if not folders:
        raise MuldeError(f"no scores in {root}", expected="scores/, or seed-<n>/scores/",
                         hint="mulde run, or mulde evaluate --scores for scores made elsewhere")  # fmt: skip
    return [_read_seed(folder) for folder in folders]


def _read_seed(folder: Path) -> _Seed:
    scored, truth, alarm = read_scores(folder / "scores"), read_truth(folder), read_record(folder).alarm
    labelled = [name for name in scored if name in truth]
    if not labelled:
        raise MuldeError(f"{folder}", expected="a run that was evaluated", got="no labels of its scored videos",
                         hint=f"mulde evaluate {folder}")  # fmt: skip
    scores = SeedScores(
        {name: scored[name].track.fused for name in labelled},
        {name: Smoothing.of(scored[name]) for name in labelled},
        {name: scored[name].rate for name in labelled},
        alarm.levels if alarm else {},
        EventRules(alarm.merge_gap_s, alarm.min_length_s) if alarm else EventRules(),
    )
    labels = {name: _labels(name, scored[name].track.frame_index, truth[name]) for name in labelled}
    return _Seed(folder, scored, labels, scores)


def _labels(name: str, frame_index: Int64, spans: Sequence[tuple[int, int]]) -> LabelTrack:
    """The labels of the scored frames (T,) from half-open ranges of frames."""
    anomalous = np.zeros(len(frame_index), np.bool_)
    for start, end in spans:
        first, last = np.searchsorted(frame_index, (start, end))
        anomalous[first:last] = True
    return LabelTrack(name, anomalous)


def _common_labels(seeds: Sequence[_Seed]) -> tuple[dict[str, LabelTrack], list[str]]:
    """The labels of the videos that all have, and a sentence on the others. Raises MuldeError where labels or frames
    of such a video differ, or there is none."""
    first, every = seeds[0], sorted({name for seed in seeds for name in seed.labels})
    common = [name for name in every if all(name in seed.labels for seed in seeds)]
    if not common:
        other = min(seeds, key=lambda seed: len(first.labels.keys() & seed.labels.keys()))
        ours, theirs = (f"{listing(sorted(each.labels), 3)} in {each.folder}" for each in (first, other))
        raise MuldeError("runs to compare", expected="videos that all of them have", got=f"{ours}; {theirs}")
    for seed in seeds[1:]:
        for name in common:
            frames, others = first.scored[name].track.frame_index, seed.scored[name].track.frame_index
            if not np.array_equal(frames, others):
                raise MuldeError(f"scored frames of {name}", expected=f"the {len(frames)} of {first.folder}",
                                 got=f"others in {seed.folder} ({len(others)})",
                                 hint="compare runs on the same copy of the videos")  # fmt: skip
            differ = int((first.labels[name].anomalous != seed.labels[name].anomalous).sum())
            if differ:
                raise MuldeError(f"labels of {name}", expected=f"those of {first.folder}",
                                 got=f"others in {differ} of {len(frames)} frames in {seed.folder}",
                                 hint="mulde evaluate both with the same --labels")  # fmt: skip
    left_out = [name for name in every if name not in common]
    notes = (
        [f"Only the {len(common)} videos that all runs have are compared, without {listing(left_out, 5)}."]
        if left_out
        else []
    )
    return {name: first.labels[name] for name in common}, notes


def _smoothing_notes(runs: Mapping[str, Sequence[_Seed]], labels: Mapping[str, LabelTrack]) -> list[str]:
    video = next(iter(labels))
    sigma_s = {name: run[0].scored[video].sigma_frames / run[0].scored[video].rate for name, run in runs.items()}
    if np.ptp(list(sigma_s.values())) < 1e-9:
        return []
    each = ", ".join(f"{name} {value:.3g} s" for name, value in sigma_s.items())
    return [f"The runs are smoothed differently, each as it says itself: {each}."]


def _curves(name: str, run: Sequence[_Seed], labels: Mapping[str, LabelTrack]) -> RunCurves:
    """The ranks of the smoothed scores among all frames of a run, 0 to 1, and the AUC of each video; means of seeds."""
    from scipy.stats import rankdata

    ends = np.cumsum([len(track) for track in labels.values()])
    ranks: list[Float64] = []
    for seed in run:
        smoothed = np.concatenate([seed.scored[video].track.smoothed for video in labels])
        ranks.append((rankdata(smoothed) - 0.5) / max(len(smoothed), 1))
    heights = dict(zip(labels, np.split(np.mean(ranks, axis=0), ends[:-1]), strict=True))
    aucs = {
        video: mean_and_std(roc_auc(seed.scored[video].track.smoothed, track.anomalous) for seed in run)[0]
        for video, track in labels.items()
    }
    return RunCurves(name, heights, aucs)
