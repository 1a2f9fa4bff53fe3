"""`mulde ablate`: what each stream adds, from the stored scores of a run. Nothing is trained or extracted.

Picking streams by the figures of this table is picking them on test labels: it explains a result, it chooses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulde.config import FusionSettings
from mulde.datasets.sources import open_source
from mulde.errors import LabelError, MuldeError, UsageError
from mulde.evaluation.protocol import TableCell, evaluate_tracks
from mulde.evaluation.smoothing import Smoothing
from mulde.files import atomic_write, write_csv, write_text
from mulde.pipeline.evaluation.labels import labelled_dataset, read_labels
from mulde.pipeline.model.calibration import combine
from mulde.pipeline.run_folder import read_record, seed_folders
from mulde.pipeline.scoring.frames import read_scores
from mulde.progress import Reporter
from mulde.records import Float64, LabelTrack, ScoredVideo
from mulde.settings_file import load_settings

ALL = "all"
AGREEMENT = "rank_correlation_with_all"
Line = dict[str, TableCell]


@dataclass(frozen=True)
class Ablation:
    """lines: one per run, choice of streams, smoothing and score, as `Evaluation.as_table` gives them, with the rank
    correlation of that choice's unsmoothed scores with those of all streams; without labels, one per choice.
    correlations: run -> stream -> stream -> rank correlation of frame scores, None where one never changes.
    """

    lines: list[Line]
    correlations: dict[str, dict[str, dict[str, float | None]]]


def run_ablate(root: Path, source: str | None, reporter: Reporter) -> Ablation:
    """All streams, each alone and each left out, of a run folder or of every `seed-<n>` in it.

    source: data set with the labels, as NAME:ROOT; None takes the one that was scored, and does without labels where
    there are none. Writes `<root>/ablation.csv`, `.parquet` and `.json`. Raises MuldeError for a run without scores of
    single streams, or whose settings do not give its fused scores.
    """
    folders = [root] if (root / "scores").is_dir() else seed_folders(root)
    if not folders:
        raise MuldeError(f"no scores in {root}", expected="scores/, or seed-<n>/scores/", hint="mulde run")
    lines: list[Line] = []
    correlations = {}
    for folder in folders:
        scored = read_scores(folder / "scores")
        choices = fused_choices(scored, load_settings(folder / "settings.toml").fusion, folder)
        labels = _labels(folder, source, scored, reporter)
        lines += [{"run": folder.name, **line} for line in ablate(scored, choices, labels)]
        correlations[folder.name] = stream_correlations(scored)
    ablation = Ablation(lines, correlations)
    _write(ablation, root)
    reporter.say(f"ablation: {root / 'ablation.csv'}")
    return ablation


def _fuse(streams: Mapping[str, Float64], fusion: FusionSettings) -> Float64:
    """The calibrated frame scores (T,) of some streams as one score (T,), as the run would have made it of these."""
    return combine(streams, fusion.combine)


def choices_of(streams: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Which streams to combine, by the name of the choice: all, each alone, all but each; no choice twice."""
    named = {ALL: tuple(streams)}
    named |= {f"only {name}": (name,) for name in streams}
    named |= {f"without {name}": tuple(other for other in streams if other != name) for name in streams}
    first_name: dict[tuple[str, ...], str] = {}
    for name, choice in named.items():
        if choice:
            first_name.setdefault(choice, name)
    return {name: choice for choice, name in first_name.items()}


def fused_choices(
    scored: Mapping[str, ScoredVideo], fusion: FusionSettings, folder: Path
) -> dict[str, dict[str, Float64]]:
    """Choice -> video -> its fused, unsmoothed scores (T,).

    Raises MuldeError when there are no streams, or all of them together are not the fused scores that were stored.
    """
    streams = list(dict.fromkeys(name for video in scored.values() for name in video.track.streams))
    if not streams:
        raise MuldeError(f"scores in {folder}", expected="a column score_<stream> for each stream", got="none")
    fused = {
        name: {v: _fuse({s: video.track.streams[s] for s in choice}, fusion) for v, video in scored.items()}
        for name, choice in choices_of(streams).items()
    }
    for name, video in scored.items():
        if not np.allclose(fused[ALL][name], video.track.fused):
            raise MuldeError(
                f"{folder}: scores of {name}",
                expected="streams that give the stored fused scores under settings.toml",
                got=f"others, up to {float(np.abs(fused[ALL][name] - video.track.fused).max()):.3g} away",
                hint="mulde score with this version",
            )
    return fused


def ablate(
    scored: Mapping[str, ScoredVideo],
    choices: Mapping[str, Mapping[str, Float64]],
    labels: Mapping[str, LabelTrack] | None,
) -> list[Line]:
    """The lines of one run; null scores, which no choice changes, stand once, under the choice `none`."""
    lines: list[Line] = []
    for name, fused in choices.items():
        agreement = rank_correlation(_joined(fused, scored), _joined(choices[ALL], scored))
        if not labels:
            lines.append({"streams": name, AGREEMENT: agreement})
            continue
        smoothing = {video: Smoothing.of(scored[video]) for video in labels}
        evaluation = evaluate_tracks({video: fused[video] for video in labels}, labels, smoothing, bootstrap=0)
        for line in evaluation.as_table():
            if line["score"] == "result":
                lines.append({"streams": name, **line, AGREEMENT: agreement})
            elif name == ALL:
                lines.append({"streams": "none", **line, AGREEMENT: None})
    return sorted(lines, key=lambda line: line["streams"] == "none")


def _joined(values: Mapping[str, Float64], scored: Mapping[str, ScoredVideo]) -> Float64:
    return np.concatenate([values[video] for video in scored])


def stream_correlations(scored: Mapping[str, ScoredVideo]) -> dict[str, dict[str, float | None]]:
    """Rank correlation of every two streams over the frames of all videos: what one says that another does not."""
    names = list(next(iter(scored.values())).track.streams)
    joined = {n: _joined({v: video.track.streams[n] for v, video in scored.items()}, scored) for n in names}
    return {a: {b: rank_correlation(joined[a], joined[b]) for b in names} for a in names}


def rank_correlation(a: Float64, b: Float64) -> float | None:
    """Spearman's rank correlation of scores (T,) and (T,), ties sharing their mean rank; None where one is constant."""
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(a), rankdata(b)])
    if (np.ptp(ranks, axis=1) == 0).any():
        return None
    return float(np.corrcoef(ranks)[0, 1])


def _labels(
    folder: Path, source: str | None, scored: Mapping[str, ScoredVideo], reporter: Reporter
) -> dict[str, LabelTrack] | None:
    if source is not None:
        return _read_labels(source, scored)
    sources = read_record(folder).sources
    try:
        return _read_labels(sources[0], scored) if len(sources) == 1 else None
    except (UsageError, LabelError) as error:
        reporter.warn(f"without labels: {error}")
        return None


def _read_labels(source: str, scored: Mapping[str, ScoredVideo]) -> dict[str, LabelTrack]:
    """Raises UsageError for a source that is no data set, LabelError for one without labels of these videos."""
    labels = read_labels(labelled_dataset(open_source(source), source), scored)
    if not labels:
        raise LabelError(f"labels from {source}", expected="labels of the scored videos", got="none")
    return labels


def _write(ablation: Ablation, root: Path) -> None:
    import pandas as pd

    table = pd.DataFrame(ablation.lines)
    write_csv(table, root / "ablation.csv")
    with atomic_write(root / "ablation.parquet") as partial:
        table.to_parquet(partial, index=False)
    data = {"lines": ablation.lines, "correlations": ablation.correlations}
    write_text(root / "ablation.json", json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
