"""The tables of an evaluation for a page: every figure as the console prints it, beside its nulls and its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mulde.evaluation.alarms import OperatingPoint
from mulde.evaluation.compat import CompatFigures
from mulde.evaluation.formatting import UNDEFINED, number, percent
from mulde.evaluation.metrics import Figures
from mulde.evaluation.pixels import PixelFigures
from mulde.evaluation.protocol import Evaluation
from mulde.evaluation.regions import RegionFigures
from mulde.report.video_panels import VideoView


@dataclass(frozen=True)
class TableRow:
    """Cells, the first its heading. muted: not a result; link: the id that the heading links to."""

    cells: Sequence[str]
    muted: bool = False
    link: str = ""


@dataclass(frozen=True)
class Group:
    name: str
    rows: Sequence[TableRow]


@dataclass(frozen=True)
class Table:
    caption: str
    columns: Sequence[str]
    groups: Sequence[Group]
    notes: Sequence[str] = ()


def evaluation_tables(evaluation: Evaluation) -> list[Table]:
    """Frame figures by smoothing; then, where there are any, region figures, events, protocol variants."""
    tables = [_frame_table(evaluation)]
    if evaluation.regions is not None:
        tables.append(_region_table(evaluation.regions))
    if evaluation.pixels:
        tables.append(_pixel_table(evaluation.pixels))
    if any(row.alarms for row in evaluation.rows):
        tables.append(_alarm_table(evaluation))
    return tables + [_variant_table(evaluation, figures) for figures in evaluation.variants]


def _frame_table(evaluation: Evaluation) -> Table:
    first = evaluation.rows[0].result
    headings = _figure_headings(first, evaluation.num_videos)
    groups = [
        Group(
            row.smoothing,
            [_figure_row(evaluation.method, row.result, headings, row.intervals), *_null_rows(row.nulls, headings)],
        )
        for row in evaluation.rows
    ]
    lowest, highest = min(evaluation.sigma_frames.values()), max(evaluation.sigma_frames.values())
    sigma = f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}"
    notes = [
        f"Smoothing is Gaussian, inside each video, with a sigma of {sigma} frames.",
        "macro_padded AUC is what some papers print: each video gets a fake normal and a fake anomalous frame.",
    ]
    if any(row.intervals for row in evaluation.rows):
        notes.append(
            f"In brackets: 95 % interval, {evaluation.num_resamples:,} resamples of the videos with replacement."
        )
    caption = "Frame-level figures by smoothing, beside scores that never look at the video"
    return Table(caption, ["score", *headings.values()], groups, notes)


def _figure_headings(figures: Figures, num_videos: int) -> dict[str, str]:
    return {
        "micro_auc": "micro AUC %",
        "macro_auc": f"macro AUC % ({figures.num_macro_videos} of {num_videos} videos)",
        "macro_padded_auc": "macro_padded AUC %",
        "average_precision": f"AP % (chance {percent(figures.average_precision_chance)})",
        "equal_error_rate": "EER %",
    }


def _figure_row(
    name: str, figures: Figures, keys: Iterable[str], intervals: Mapping[str, tuple[float, float]] | None = None
) -> TableRow:
    cells = [_with_interval(getattr(figures, key), (intervals or {}).get(key)) for key in keys]
    return TableRow([name, *cells], muted=intervals is None)


def _null_rows(nulls: Mapping[str, Figures], keys: Iterable[str]) -> list[TableRow]:
    return [_figure_row(name, figures, keys) for name, figures in nulls.items()]


def _region_table(regions: RegionFigures) -> Table:
    origin = {"tracks": "annotated tracks", "masks": "pixel masks", "none": "nothing"}[regions.regions_from]
    counts = f"{regions.num_true_regions:,} regions of {regions.num_true_tracks:,} tracks from {origin}"
    rows = [
        ["RBDC", percent(regions.rbdc), f"{counts}, {regions.num_region_frames:,} frames"],
        ["TBDC", percent(regions.tbdc), f"{counts}, {regions.num_region_frames:,} frames"],
        ["pixel-level AUC", percent(regions.pixel_auc), f"{regions.num_pixel_frames:,} frames with masks"],
        ["pixel-level EER", percent(regions.pixel_eer), f"{regions.num_pixel_frames:,} frames with masks"],
    ]
    return Table("Region figures", ["figure", "%", "against"], [Group("", [TableRow(row) for row in rows])])


def _pixel_table(pixels: Mapping[str, PixelFigures]) -> Table:
    first = next(iter(pixels.values()))
    rows = [
        TableRow([name, percent(one.pixel_auc), percent(one.average_precision), percent(one.pro)])
        for name, one in pixels.items()
    ]
    notes = [
        f"Over all pixels of {first.num_images:,} images; {first.num_regions:,} true regions.",
        "PRO: mean share of a true region that is flagged, as area up to 30 % of the normal pixels, over 30 %.",
        "A map that never looks at the image has 50 % pixel AUC and 15 % PRO.",
    ]
    chance = f"AP % (chance {percent(first.average_precision_chance)})"
    return Table("Pixel figures of each map", ["map", "pixel AUC %", chance, "PRO %"], [Group("", rows)], notes)


def _alarm_table(evaluation: Evaluation) -> Table:
    groups = [Group(row.smoothing, [_alarm_row(point) for point in row.alarms]) for row in evaluation.rows]
    rules = evaluation.event_rules
    hours = next(point.normal_hours for row in evaluation.rows for point in row.alarms)
    notes = [
        f"Gaps of at most {rules.merge_gap_s:g} s are closed, events shorter than {rules.min_length_s:g} s dropped. "
        f"False alarms overlap no true event and are counted per hour of the frames labelled normal, "
        f"{hours:.4g} hours. Delay is from the start of a found event to its first alarm.",
        "Best null: the largest recall of a score that never looks at the video, with no more false alarms and normal "
        "frames flagged.",
        "A level called oracle was read off the test labels: nobody has it in advance.",
    ]
    columns = [
        "level",
        "score",
        "true events found",
        "recall %",
        "best null recall %",
        "median delay s",
        "mean delay s",
        "alarms",
        "false",
        "false per hour",
        "frames flagged",
        "of them normal",
    ]
    return Table("Events by alarm level", columns, groups, notes)


def _alarm_row(point: OperatingPoint) -> TableRow:
    return TableRow(
        [
            point.name,
            f"{point.level:.4g}",
            f"{point.num_found:,} of {point.num_true_events:,}",
            percent(point.recall),
            _best_null(point),
            number(point.delay_s_median),
            number(point.delay_s_mean),
            f"{point.num_alarms:,}",
            f"{point.num_false_alarms:,}",
            number(point.false_alarms_per_hour),
            f"{point.num_frames_flagged:,}",
            f"{point.num_normal_frames_flagged:,}",
        ],
        muted="oracle" in point.name,
    )


def _best_null(point: OperatingPoint) -> str:
    if not point.null_recall:
        return UNDEFINED
    name, recall = max(point.null_recall.items(), key=lambda item: item[1])
    return f"{name} {percent(recall)}"


def _variant_table(evaluation: Evaluation, compat: CompatFigures) -> Table:
    known = _figure_headings(compat.result, evaluation.num_videos)
    headings = {key: known[key] for key in compat.reported}
    rows = [_figure_row(evaluation.method, compat.result, headings, {}), *_null_rows(compat.nulls, headings)]
    notes = [f"Why: {compat.not_comparable}.", f"Steps: {'; '.join(compat.steps)}."]
    return Table(
        f"Not comparable with the figures above: protocol variant {compat.name}",
        ["score", *headings.values()],
        [Group("", rows)],
        notes,
    )


def video_table(views: Sequence[VideoView], smoothed: str) -> Table:
    """The videos, those with the lowest AUC first; smoothed: how their scores are, in words."""
    ordered = sorted(views, key=lambda view: (view.auc is None, view.auc))
    rows = [
        TableRow(
            [
                view.name,
                f"{view.num_frames:,}",
                f"{view.num_anomalous:,}",
                f"{100 * view.share:.1f}",
                percent(view.auc),
            ],
            link=view.id,
        )
        for view in ordered
    ]
    notes = [f"Lowest first, {smoothed}; - where all frames are of one class."]
    return Table(
        "Videos by the AUC of their own frames",
        ["video", "frames", "anomalous", "share %", "AUC %"],
        [Group("", rows)],
        notes,
    )


def _with_interval(share: float | None, interval: tuple[float, float] | None) -> str:
    return percent(share) + (f" [{percent(interval[0])}, {percent(interval[1])}]" if interval else "")
