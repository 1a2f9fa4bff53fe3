"""What the commands print: figures on standard output, failures on standard error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.table import Table

from mulde.console import output
from mulde.errors import Failure
from mulde.evaluation.alarms import OperatingPoint
from mulde.evaluation.compat import CompatFigures
from mulde.evaluation.conformal import COVERAGE
from mulde.evaluation.formatting import UNDEFINED, number, percent, with_spread
from mulde.evaluation.metrics import Figures, mean_and_std
from mulde.evaluation.pixels import PixelFigures
from mulde.evaluation.protocol import Evaluation
from mulde.evaluation.regions import RegionFigures
from mulde.pipeline.evaluation.events_found import MIN_LENGTH_S, EventsFound
from mulde.progress import Reporter

_WIDTH = 110
_COMPAT_COLUMNS = {"micro_auc": "micro AUC", "macro_auc": "macro AUC", "macro_padded_auc": "macro_padded AUC"}


def print_evaluations(evaluations: Mapping[int, Evaluation]) -> None:
    """The tables of each seed and, for several seeds, the mean and spread of the AUCs."""
    console = output(_WIDTH)
    for seed, evaluation in evaluations.items():
        console.print(_frame_table(evaluation, f"seed {seed}" if len(evaluations) > 1 else ""))
        if any(row.alarms for row in evaluation.rows):
            console.print(_alarm_table(evaluation))
        if evaluation.regions is not None:
            console.print(_region_line(evaluation.regions))
        if evaluation.pixels:
            console.print(_pixel_table(evaluation.pixels))
        for variant in evaluation.variants:
            console.print(_variant_table(evaluation.method, variant))
            console.print(f"not comparable: {variant.not_comparable}")
        for remark in evaluation.remarks():
            console.print(f"note: {remark}")
    if len(evaluations) > 1:
        console.print(_mean_table(list(evaluations.values())))


def _frame_table(evaluation: Evaluation, title: str) -> Table:
    first = evaluation.rows[0].result
    macro = f"macro AUC % ({first.num_macro_videos} of {evaluation.num_videos} videos)"
    precision = f"AP % (chance {percent(first.average_precision_chance)})"
    table = _new_table(title, 2, "smoothing", "score", "micro AUC %", macro, "macro_padded %", precision, "EER %")
    for row in evaluation.rows:
        table.add_row(row.smoothing, evaluation.method, *_cells(row.result))
        if row.intervals:
            intervals = (_interval(row.intervals.get(kind)) for kind in ("micro_auc", "macro_auc"))
            table.add_row("", "  95 % interval", *intervals, style="dim")
        for name, figures in row.nulls.items():
            table.add_row("", name, *_cells(figures))
        table.add_section()
    table.caption = (
        f"{evaluation.num_videos} videos, {evaluation.num_frames} frames, "
        f"{evaluation.num_anomalous_frames} labelled anomalous"
    )
    if any(row.intervals for row in evaluation.rows):
        table.caption += f"; intervals: {evaluation.num_resamples} bootstrap resamples of the videos"
    return table


def _cells(figures: Figures) -> list[str]:
    return [
        percent(value)
        for value in (
            figures.micro_auc,
            figures.macro_auc,
            figures.macro_padded_auc,
            figures.average_precision,
            figures.equal_error_rate,
        )
    ]


def _alarm_table(evaluation: Evaluation) -> Table:
    columns = ("events found", "best null", "delay s: median (mean)", "false alarms (per hour)")
    table = _new_table("alarms", 2, "smoothing", "threshold", *columns, "normal frames flagged %")
    num_normal = evaluation.num_frames - evaluation.num_anomalous_frames
    for row in evaluation.rows:
        for i, point in enumerate(row.alarms):
            table.add_row(
                "" if i else row.smoothing,
                point.name,
                f"{point.num_found} of {point.num_true_events}",
                _best_null(point),
                f"{number(point.delay_s_median)} ({number(point.delay_s_mean)})",
                f"{point.num_false_alarms} ({number(point.false_alarms_per_hour)})",
                percent(point.num_normal_frames_flagged / num_normal if num_normal else None),
            )
        table.add_section()
    rules = evaluation.event_rules
    hours = next(point.normal_hours for row in evaluation.rows for point in row.alarms)
    table.caption = (
        f"per hour of the {hours:.4g} h labelled normal; alarms at most {rules.merge_gap_s:g} s apart are merged, "
        f"those shorter than {rules.min_length_s:g} s dropped; best null: with no more false alarms and normal frames "
        "flagged; oracle: threshold set on the test labels"
    )
    return table


def _best_null(point: OperatingPoint) -> str:
    if not point.null_recall:
        return UNDEFINED
    name, recall = max(point.null_recall.items(), key=lambda item: item[1])
    return f"{name} {recall * point.num_true_events:.0f}"


def _region_line(regions: RegionFigures) -> str:
    criteria = f"RBDC {percent(regions.rbdc)} %, TBDC {percent(regions.tbdc)} %"
    pixels = f"pixel-level AUC {percent(regions.pixel_auc)} %, EER {percent(regions.pixel_eer)} %"
    return (
        f"regions: {criteria} ({regions.num_true_regions} true regions on {regions.num_true_tracks} tracks, from "
        f"{regions.regions_from}, {regions.num_region_frames} frames); {pixels} ({regions.num_pixel_frames} frames "
        "with masks)"
    )


def _pixel_table(pixels: Mapping[str, PixelFigures]) -> Table:
    first = next(iter(pixels.values()))
    precision = f"AP % (chance {percent(first.average_precision_chance)})"
    table = _new_table("pixels", 1, "map", "pixel AUC %", precision, "PRO %")
    for name, one in pixels.items():
        table.add_row(name, percent(one.pixel_auc), percent(one.average_precision), percent(one.pro))
    table.caption = f"{first.num_images} images, {first.num_regions} true regions; PRO up to 30 % of the normal pixels"
    return table


def _variant_table(method: str, compat: CompatFigures) -> Table:
    title = f"compat {compat.name}: not comparable ({', then '.join(compat.steps)})"
    table = _new_table(title, 1, "score", *(f"{_COMPAT_COLUMNS[name]} %" for name in compat.reported))
    for name, figures in [(method, compat.result), *compat.nulls.items()]:
        table.add_row(name, *(percent(getattr(figures, figure)) for figure in compat.reported))
    return table


def _new_table(title: str, num_names: int, *columns: str) -> Table:
    """An empty table: the first columns hold names, the others numbers."""
    table = Table(title=title or None)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < num_names else "right")
    return table


def _mean_table(evaluations: Sequence[Evaluation]) -> Table:
    title = f"mean of {len(evaluations)} seeds (standard deviation)"
    table = _new_table(title, 1, "smoothing", "micro AUC %", "macro AUC %")
    for i, row in enumerate(evaluations[0].rows):
        results = [evaluation.rows[i].result for evaluation in evaluations]
        micro = mean_and_std(result.micro_auc for result in results)
        macro = mean_and_std(result.macro_auc for result in results)
        table.add_row(row.smoothing, with_spread(*micro), with_spread(*macro))
    return table


def _interval(ends: tuple[float, float] | None) -> str:
    return UNDEFINED if ends is None else f"{percent(ends[0])} to {percent(ends[1])}"


def print_events_found(events: EventsFound) -> None:
    """The annotated anomalies as a table, and a summary below it."""
    console = output(_WIDTH)
    table = Table(title="annotated anomalies")
    for column in ("video", "start", "length s", "found", "delay s", "p-value", "stream", "reason"):
        table.add_column(column, justify="right" if column in ("start", "length s", "delay s", "p-value") else "left")
    for row in events.table.to_dict(orient="records"):
        state = "yes" if row["found"] else f"suppressed {row['exemption']}" if row["exemption"] else "no"
        delay, p_value = row["delay_s"], row["p_value"]
        table.add_row(
            row["video"],
            f"{row['start_s']:.2f}",
            f"{row['length_s']:.2f}",
            state,
            UNDEFINED if np.isnan(delay) else f"{delay:.2f}",
            UNDEFINED if np.isnan(p_value) else f"{p_value:.2g}",
            row["stream"],
            row["reason"],
        )
    console.print(table)
    for sentence in summary(events):
        console.print(sentence)


def summary(events: EventsFound) -> list[str]:
    """The counts in sentences."""
    sentences = [
        f"{events.num_long_found} of {events.num_long} annotated anomalies of at least {MIN_LENGTH_S:g} s are found; "
        f"all of them in {events.num_clips_found} of {events.num_clips} clips that have any",
        f"{events.num_false} of {events.num_alarms} alarms are false{_false_alarm_rate(events)}",
        f"the threshold was set for {events.wanted_per_hour:.4g} false alarms per hour "
        f"({events.wanted_per_hour / 60:.3g} per minute) on held-out normal video, without labels",
    ]
    if events.num_suppressed:
        sentences.append(
            f"{events.num_suppressed} suppressed {'event counts' if events.num_suppressed == 1 else 'events count'} "
            "neither as found nor as a false alarm"
        )
    return sentences


def _false_alarm_rate(events: EventsFound) -> str:
    per_hour, highest = events.false_per_hour, events.max_false_per_hour
    if per_hour is None or highest is None:
        return "; no frame is labelled normal, so there is no rate"
    return (
        f": {per_hour:.4g} per hour, {per_hour / 60:.3g} per minute of the {60 * events.normal_hours:.3g} minutes "
        f"labelled normal, {100 * events.share_flagged:.3g} % of which lie inside alarms; the true rate may be up to "
        f"{highest / 60:.3g} per minute ({100 * COVERAGE:.0f} % confidence if alarms are independent)"
    )


def print_failures(failures: Sequence[Failure], reporter: Reporter) -> None:
    """Name every video that failed and why, at the end where it is seen."""
    reporter.warn(f"{len(failures)} {'video' if len(failures) == 1 else 'videos'} failed:")
    for failure in failures:
        reporter.warn(f"  {failure.video}: {failure.reason}")
