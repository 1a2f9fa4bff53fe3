"""The page of `mulde compare`: runs side by side, and their scores over each other; without network or script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mulde.evaluation.bootstrap import PairedDifference
from mulde.evaluation.comparison import FIGURES, PAIRED, ComparedRow, RunComparison
from mulde.evaluation.formatting import UNDEFINED, number, percent, with_spread
from mulde.evaluation.smoothing import SMOOTHING_MODES
from mulde.files import write_text
from mulde.filetypes import natural_key
from mulde.records import Float64, LabelTrack, ScoreTrack
from mulde.report.curves import columns_per_video, truth_frames
from mulde.report.evaluation_tables import Group, Table, TableRow
from mulde.report.templating import render
from mulde.report.video_panels import Panel, Scale, span_rectangles, spans_in_words, svg_points, tick

PAGE = "comparison.html"
_LINES = (
    ("#0072b2", "none"), ("#d55e00", "7 3"), ("#009e73", "2 3"), ("#cc79a7", "9 3 2 3"), ("#1a1a1a", "none"),
    ("#56b4e9", "7 3"), ("#e69f00", "2 3"), ("#767676", "9 3 2 3"),
)  # fmt: skip
"""Colour and dashes of each run: distinct for colour-blind readers, neighbours in greyscale too."""
MAX_RUNS = len(_LINES)
_MAX_VIDEOS = 6


@dataclass(frozen=True)
class RunCurves:
    """A run as it is drawn: video -> heights (T,) in 0..1, and the AUC of each video, None where undefined."""

    run: str
    heights: Mapping[str, Float64]
    aucs: Mapping[str, float | None]


@dataclass(frozen=True)
class _Style:
    name: str
    run: str
    colour: str
    dashes: str


@dataclass(frozen=True)
class _VideoView:
    name: str
    facts: str
    panel: Panel
    spans: Sequence[tuple[int, int]]
    ticks: Sequence[str]
    caption: str


def write_comparison_page(
    folder: Path,
    comparison: RunComparison,
    curves: Sequence[RunCurves],
    tracks: Mapping[str, ScoreTrack],
    labels: Mapping[str, LabelTrack],
    *,
    notes: Sequence[str],
    folders: Mapping[str, str],
) -> Path:
    """Write comparison.html into `folder`; its path.

    tracks: with the frames and times of each video of `labels`; notes: sentences for the box at the top; folders: where
    each run lies. At most MAX_RUNS curves.
    """
    styles = [
        _Style(f"run-{i}", run.run, *line) for i, (run, line) in enumerate(zip(curves, _LINES, strict=False), start=1)
    ]
    names = _most_different(curves, list(labels))
    page = render(
        "comparison.html",
        subtitle=f"{comparison.num_videos} videos, {comparison.num_frames:,} frames, "
        f"{comparison.num_anomalous_frames:,} labelled anomalous",
        remarks=notes,
        tables=comparison_tables(comparison),
        styles=styles,
        curves_note=f"The {len(names)} of {len(labels)} videos whose AUC differs most between the runs. The height is "
        "the share of all frames of the same run with a lower score, smoothed as the run is, so that scores of any "
        "unit compare.",
        videos=[_view(name, tracks[name], labels[name], curves, styles, len(names)) for name in names],
        facts=list(folders.items()),
        texts=[],
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _reading_of(comparison: RunComparison) -> str:
    """What the differences are, as a sentence."""
    first = comparison.runs[0]
    if not comparison.num_resamples:
        return f"Differences are to {first}; there are no intervals (--bootstrap 0)."
    return (
        f"Differences are to {first}, in percentage points, with 95 % intervals over the same "
        f"{comparison.num_resamples:,} resamples of the videos for both runs; better: share of the resamples in which "
        "the run is above the first. An interval that holds 0 says that other videos may turn the order round."
    )


def comparison_tables(comparison: RunComparison) -> list[Table]:
    """Figures by smoothing and run, and the differences to the first run."""
    return [_figure_table(comparison), _difference_table(comparison)]


def _figure_table(comparison: RunComparison) -> Table:
    has_events = any(row.num_found is not None for row in comparison.rows)
    columns = ["run", *(f"{name} %" for name in FIGURES.values())]
    columns[2] = f"macro AUC % ({comparison.num_macro_videos} of {comparison.num_videos} videos)"
    columns += [f"events found (of {comparison.num_true_events})", "false alarms per hour"] if has_events else []
    groups = []
    for mode in SMOOTHING_MODES:
        rows = [TableRow([row.run, *_figure_cells(row, has_events=has_events)])
                for row in comparison.rows if row.smoothing == mode]  # fmt: skip
        for name, figures in comparison.nulls[mode].items():
            cells = [percent(getattr(figures, figure)) for figure in FIGURES]
            rows.append(TableRow([f"null: {name}", *cells, *([""] * (2 * has_events))], muted=True))
        groups.append(Group(mode, rows))
    notes = ["A null is a score that never looks at the video; nulls are smoothed as the first run is."]
    if any(row.num_seeds > 1 for row in comparison.rows):
        each = ", ".join(f"{row.run} {row.num_seeds}" for row in comparison.rows[: len(comparison.runs)])
        notes.append(f"Means over seeds ({each}), sample standard deviation in brackets.")
    if has_events:
        notes.append("Events are those at the alarm level of each run, set without labels; - where a run has none.")
    return Table("Frame-level figures by smoothing", columns, groups, notes)


def _figure_cells(row: ComparedRow, *, has_events: bool) -> list[str]:
    cells = [with_spread(*row.figures[figure]) for figure in FIGURES]
    if has_events:
        cells += [with_spread(*(spread or (None, None)), number) for spread in (row.num_found, row.false_per_hour)]
    return cells


def _difference_table(comparison: RunComparison) -> Table:
    others = [row for row in comparison.rows if row.run != comparison.runs[0]]
    groups = [
        Group(
            mode, [_difference_row(comparison, row, name) for row in others if row.smoothing == mode for name in PAIRED]
        )
        for mode in SMOOTHING_MODES
    ]
    columns = ["run", "figure", "difference", "95 % interval", "better %"]
    return Table(f"Differences to {comparison.runs[0]}", columns, groups, [_reading_of(comparison)])


def _difference_row(comparison: RunComparison, row: ComparedRow, name: str) -> TableRow:
    """The difference to the first run in one figure, its interval, and how often the run is better."""
    paired = row.differences.get(name)
    better = None if paired is None else paired.share_higher
    cells = [FIGURES[name], _signed(comparison.difference(row, name)), _interval(paired), percent(better)]
    return TableRow([row.run, *cells])


def _signed(share: float | None) -> str:
    return UNDEFINED if share is None else f"{100 * share:+.2f}"


def _interval(paired: PairedDifference | None) -> str:
    return UNDEFINED if paired is None else f"{_signed(paired.low)} to {_signed(paired.high)}"


def _most_different(curves: Sequence[RunCurves], videos: Sequence[str]) -> list[str]:
    """The videos whose AUC differs most between runs, in natural order; those of one class come last."""

    def spread(video: str) -> float:
        aucs = [auc for run in curves if (auc := run.aucs[video]) is not None]
        return max(aucs) - min(aucs) if aucs else -1.0

    ordered = sorted(sorted(videos, key=natural_key), key=spread, reverse=True)
    return sorted(ordered[:_MAX_VIDEOS], key=natural_key)


def _view(
    name: str,
    track: ScoreTrack,
    labels: LabelTrack,
    curves: Sequence[RunCurves],
    styles: Sequence[_Style],
    num_videos: int,
) -> _VideoView:
    columns, scale = columns_per_video(num_videos * len(curves)), Scale(0.0, 1.0)
    lines = [
        (style.name, svg_points(track.frame_index, run.heights[name], scale, columns))
        for style, run in zip(styles, curves, strict=True)
    ]
    aucs = ", ".join(f"{run.run} {percent(run.aucs[name])}" for run in curves)
    spans = truth_frames(track.frame_index, labels.spans())
    return _VideoView(
        name,
        f"{len(track):,} frames; AUC % of its own frames: {aucs}",
        Panel("score", "share of frames below", "1", "0", f"Scores of {name} by {len(curves)} runs", lines),
        span_rectangles(track.frame_index, spans),
        [tick(track, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        spans_in_words(spans),
    )
