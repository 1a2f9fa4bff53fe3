"""The pictures of an evaluation, and one page with all of it that opens from disk, without network or script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mulde.evaluation.protocol import Evaluation
from mulde.evaluation.regions import RegionCurves
from mulde.evaluation.smoothing import Smoothing
from mulde.files import write_text
from mulde.filetypes import natural_key
from mulde.names import output_path
from mulde.progress import Reporter
from mulde.records import Float64, LabelTrack, ScoredVideo
from mulde.report.curves import TradeOff, frame_trade_offs, region_trade_offs, truth_frames
from mulde.report.evaluation_tables import evaluation_tables, video_table
from mulde.report.plots import plot_scores, plot_trade_off
from mulde.report.templating import render, run_facts
from mulde.report.video_panels import show_videos

PAGE = "evaluation.html"
_MAX_UNFOLDED = 24  # with more videos their curves are folded, so that the page can be looked over


def write_evaluation_page(
    folder: Path,
    evaluation: Evaluation,
    scored: Mapping[str, ScoredVideo],
    labels: Mapping[str, LabelTrack],
    reporter: Reporter,
    *,
    title: str,
    notes: Sequence[str] = (),
    record: Mapping[str, Any] | None = None,
    settings: str = "",
    region_curves: RegionCurves | None = None,
    alarm_level: float | None = None,
    p_values: Mapping[str, Float64] | None = None,
) -> Path:
    """Write roc.png, pr.png, those of regions, curves/<video>.png and evaluation.html into `folder`; path of the page.

    labels: of the videos to show, one per scored frame. notes: sentences for the box at the top, after the remarks of
    the evaluation. record: run.json, settings: settings.toml, both shown as they are. alarm_level: drawn in every
    curve. p_values: video -> (T,) of the scored frames, where there are any.
    """
    videos = {name: scored[name].track for name in sorted(labels, key=natural_key)}
    smoothing = {name: Smoothing.of(scored[name]) for name in videos}
    trade_offs = frame_trade_offs(evaluation, {name: track.fused for name, track in videos.items()}, labels, smoothing)
    trade_offs += region_trade_offs(region_curves) if region_curves is not None else []
    with reporter.bar("draw", len(trade_offs) + len(videos), "pictures") as advance:
        for trade_off in trade_offs:
            plot_trade_off(trade_off, folder / f"{trade_off.key}.png")
            advance(1)
        for name, track in videos.items():
            plot_scores(
                track,
                output_path(folder / "curves", name, ".png"),
                anomalous_spans=truth_frames(track.frame_index, labels[name].spans()),
                alarm_level=alarm_level,
                p_values=(p_values or {}).get(name),
            )
            advance(1)
    smoothed = "smoothed causally" if any(video.is_causal for video in scored.values()) else "smoothed both ways"
    shown = show_videos(videos, labels, alarm_level, p_values or {})
    page = render(
        "evaluation.html",
        title=title,
        subtitle=f"{evaluation.num_videos} videos, {evaluation.num_frames:,} frames, "
        f"{evaluation.num_anomalous_frames:,} labelled anomalous",
        remarks=[*_remarks(evaluation), *notes],
        tables=evaluation_tables(evaluation),
        pictures=[
            {"png": _encoded(folder / f"{trade_off.key}.png"), "text": _in_words(trade_off)} for trade_off in trade_offs
        ],
        index=video_table(shown, smoothed),
        smoothed=smoothed,
        videos=shown,
        unfolded=len(videos) <= _MAX_UNFOLDED,
        has_level=alarm_level is not None,
        **run_facts(record or {}, settings),
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def _encoded(picture: Path) -> str:
    return base64.b64encode(picture.read_bytes()).decode("ascii")


def _in_words(trade_off: TradeOff) -> str:
    lines = ", ".join(line.name for line in trade_off.lines)
    return f"{trade_off.title}: {trade_off.y_label}, against {trade_off.x_label}. Lines: {lines}."


def _remarks(evaluation: Evaluation) -> list[str]:
    if evaluation.rows[0].result.micro_auc is None:
        return ["All frames are of one class: no figure of frames is defined."]
    above = "Every micro and macro AUC is above that of the best score that never looks at the video."
    return evaluation.remarks() or [above]
