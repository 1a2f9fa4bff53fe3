"""Runs side by side on the same videos and labels: figures, and paired differences to the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mulde.evaluation.alarms import EventRules, OperatingPoint
from mulde.evaluation.bootstrap import PairedDifference, draw_videos, paired_difference, resampled_aucs
from mulde.evaluation.metrics import Figures, LabelledScores, mean_and_std
from mulde.evaluation.protocol import Evaluation, TableCell, evaluate_tracks
from mulde.evaluation.smoothing import SMOOTHING_MODES, Smoothing, SmoothingMode
from mulde.records import Float64, LabelTrack

FIGURES = {"micro_auc": "micro AUC", "macro_auc": "macro AUC", "average_precision": "AP", "equal_error_rate": "EER"}
PAIRED = ("micro_auc", "macro_auc")
Spread = tuple[float | None, float | None]
"""Mean and sample standard deviation over seeds; the latter is None for one seed."""


@dataclass(frozen=True)
class SeedScores:
    """The unsmoothed scores (T,) of one seed of a run by video, with the smoothing and the frames per second of each;
    levels: its alarm levels as `evaluate_tracks` takes them, with their rules."""

    scores: Mapping[str, Float64]
    smoothing: Mapping[str, Smoothing]
    rates: Mapping[str, float]
    levels: Mapping[SmoothingMode, Mapping[str, float]] = field(default_factory=dict)
    rules: EventRules = field(default_factory=EventRules)


@dataclass(frozen=True)
class ComparedRow:
    """A run after one smoothing. figures: by the names of FIGURES; num_found, false_per_hour: events at its own alarm
    level, None where it has none; differences: to the first run, of PAIRED; empty for the first run."""

    smoothing: SmoothingMode
    run: str
    num_seeds: int
    figures: Mapping[str, Spread]
    num_found: Spread | None
    false_per_hour: Spread | None
    differences: Mapping[str, PairedDifference]


@dataclass(frozen=True)
class RunComparison:
    """rows: by smoothing, then run; nulls: figures of scores that never look at the video, by smoothing and name, with
    the smoothing of the first run."""

    runs: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    nulls: Mapping[SmoothingMode, Mapping[str, Figures]]
    num_videos: int
    num_macro_videos: int
    num_frames: int
    num_anomalous_frames: int
    num_true_events: int
    num_resamples: int

    def row(self, smoothing: SmoothingMode, run: str) -> ComparedRow:
        return next(row for row in self.rows if (row.smoothing, row.run) == (smoothing, run))

    def difference(self, row: ComparedRow, figure: str) -> float | None:
        """How much the mean figure of a run exceeds that of the first run."""
        value, first = row.figures[figure][0], self.row(row.smoothing, self.runs[0]).figures[figure][0]
        return None if value is None or first is None else value - first

    def as_table(self) -> list[dict[str, TableCell]]:
        """One line per smoothing and run, with the same columns in each; shares in 0..1, empty where undefined."""
        return [self._line(row) for row in self.rows]

    def _line(self, row: ComparedRow) -> dict[str, TableCell]:
        line: dict[str, TableCell] = {"smoothing": row.smoothing, "run": row.run, "num_seeds": row.num_seeds}
        spreads = {**row.figures, "num_events_found": row.num_found, "false_alarms_per_hour": row.false_per_hour}
        for name, spread in spreads.items():
            line[name], line[f"{name}_std"] = spread or (None, None)
        line["num_true_events"] = self.num_true_events
        for name in PAIRED:
            paired = row.differences.get(name)
            line[f"{name}_difference"] = None if row.run == self.runs[0] else self.difference(row, name)
            for end in ("low", "high", "share_higher"):
                line[f"{name}_difference_{end}"] = None if paired is None else getattr(paired, end)
        return line


def compare_runs(
    runs: Mapping[str, Sequence[SeedScores]], labels: Mapping[str, LabelTrack], *, num_resamples: int, seed: int = 0
) -> RunComparison:
    """The figures of runs, each of one or more seeds, on the videos of `labels`, (T,) each.

    Differences to the first run are those of the means over seeds, on resamples of the videos that all runs share.
    seed: of the random null score and the bootstrap. Raises LabelError where scores and labels differ in length.
    """
    videos = sorted(labels)
    draws = draw_videos(len(videos), num_resamples, seed)
    evaluations = {name: [_evaluate(each, labels, seed) for each in seeds] for name, seeds in runs.items()}
    rows = []
    for at, mode in enumerate(SMOOTHING_MODES):
        resampled: dict[str, dict[str, Float64]] = {}
        for name, seeds in runs.items():
            each = [resampled_aucs(_smoothed(one, labels, videos, mode), draws) for one in seeds]
            resampled[name] = {figure: np.mean([found[figure] for found in each], axis=0) for figure in each[0]}
            first = next(iter(resampled.values()))
            differences = {
                figure: paired
                for figure, values in resampled[name].items()
                if len(resampled) > 1 and (paired := paired_difference(values, first[figure])) is not None
            }
            rows.append(_row(name, mode, [e.rows[at].result for e in evaluations[name]],
                             [_own_alarm(e, at) for e in evaluations[name]], differences))  # fmt: skip
    shown = next(iter(evaluations.values()))[0]
    return RunComparison(
        tuple(runs),
        tuple(rows),
        {row.smoothing: row.nulls for row in shown.rows},
        num_videos=len(videos),
        num_macro_videos=shown.rows[0].result.num_macro_videos,
        num_frames=shown.num_frames,
        num_anomalous_frames=shown.num_anomalous_frames,
        num_true_events=sum(len(track.spans()) for track in labels.values()),
        num_resamples=num_resamples,
    )


def _evaluate(scored: SeedScores, labels: Mapping[str, LabelTrack], seed: int) -> Evaluation:
    return evaluate_tracks(
        {video: scored.scores[video] for video in labels},
        labels,
        {video: scored.smoothing[video] for video in labels},
        seed,
        rates={video: scored.rates[video] for video in labels},
        levels=scored.levels,
        events=scored.rules,
        bootstrap=0,
    )


def _smoothed(
    scored: SeedScores, labels: Mapping[str, LabelTrack], videos: Sequence[str], mode: SmoothingMode
) -> list[LabelledScores]:
    return [LabelledScores(v, scored.smoothing[v](scored.scores[v], mode), labels[v].anomalous) for v in videos]


def _own_alarm(evaluation: Evaluation, at: int) -> OperatingPoint | None:
    """The events at the level that the run has itself; None where it has none."""
    return next((point for point in evaluation.rows[at].alarms if "oracle" not in point.name), None)


def _row(
    name: str,
    mode: SmoothingMode,
    results: Sequence[Figures],
    alarms: Sequence[OperatingPoint | None],
    differences: Mapping[str, PairedDifference],
) -> ComparedRow:
    own = [point for point in alarms if point is not None]
    has_level = len(own) == len(alarms)
    return ComparedRow(
        mode,
        name,
        len(results),
        {figure: mean_and_std(getattr(result, figure) for result in results) for figure in FIGURES},
        mean_and_std(float(point.num_found) for point in own) if has_level else None,
        mean_and_std(point.false_alarms_per_hour for point in own) if has_level else None,
        differences,
    )
