"""What the page of `mulde tune` shows: figures by kind, all candidates, and a picture of each kind of insertion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mulde.config import Settings
from mulde.evaluation.formatting import percent
from mulde.images import read_image
from mulde.pipeline.tuning.clips import FOLDER, Clip
from mulde.pipeline.tuning.judging import FALSE_FRAMES, NUM_RESAMPLES, SURE, Figure
from mulde.pipeline.tuning.material import Material
from mulde.pipeline.tuning.search import ALONE, Tried
from mulde.report.evaluation_tables import Group, Table, TableRow
from mulde.report.plots import Bar
from mulde.report.tuning_page import TuningPicture, write_tuning_page
from mulde.settings_file import dump_toml

_MAX_WIDTH = 640
_BOX = (230, 159, 0)


def write_page(
    out: Path,
    tried: Sequence[Tried],
    material: Material | None,
    tuned: Settings,
    summary: Sequence[str],
    notes: Sequence[str],
    record: Mapping[str, Any],
) -> Path:
    """`<out>/tuning.html`; its path."""
    stages = {stage: [one for one in tried if one.stage == stage] for stage in dict.fromkeys(t.stage for t in tried)}
    return write_tuning_page(
        out,
        title=", ".join(record["sources"]),
        subtitle=_subtitle(material),
        remarks=[
            "Nothing here was chosen by a label, and no test video was opened: the anomalies were inserted by mulde. "
            "What they do not resemble, these figures say nothing of.",
            *summary,
            *notes,
        ],
        first=_by_kind(stages),
        groups={stage: bars for stage, found in stages.items() if (bars := _bars(found))},
        tables=[_stage_table(stage, found) for stage, found in stages.items()],
        pictures=_pictures(out, material.clips if material else []),
        record=record,
        settings=dump_toml(tuned),
    )


def _subtitle(material: Material | None) -> str:
    if material is None:
        return "nothing was inserted"
    videos = len({share.name for share in material.shares})
    anomalous = sum(not clip.is_control for clip in material.clips)
    return (
        f"{videos} normal video{'s' * (videos > 1)} in {len(material.folds)} folds, each judged by what was fitted on "
        f"the rest; {anomalous} clips with an anomaly and {len(material.clips) - anomalous} controls, "
        f"{sum(c.num_frames for c in material.clips):,} frames"
    )


def _bars(found: Sequence[Tried]) -> list[Bar]:
    return [
        Bar(one.name, one.figure.found, *one.figure.interval, one.is_chosen) for one in found if one.figure is not None
    ]


def _by_kind(stages: Mapping[str, Sequence[Tried]]) -> list[Table]:
    """What the chosen settings, the given ones, and each of their streams alone, find of each kind."""
    alone = {one.name: one.figure for one in stages.get(ALONE, []) if one.figure is not None}
    within = [one for stage, found in stages.items() if stage != ALONE for one in found if one.figure is not None]
    chosen = [one.figure for one in within if one.is_chosen and one.figure is not None]
    if not chosen or (given := within[0].figure) is None:
        return []
    columns: dict[str, Figure] = {"all that was chosen": chosen[-1], "as given": given, **alone}
    kinds = list(dict.fromkeys(kind for figure in columns.values() for kind in figure.events))
    groups = [
        Group("", [TableRow([kind, *(percent((f.events[kind] + f.frames[kind]) / 2) for f in columns.values())])
                   for kind in kinds]),
        Group("all together", [
            TableRow(["found, mean over the kinds", *(percent(f.found) for f in columns.values())]),
            TableRow(["frame AUC, mean over the kinds", *(percent(f.auc) for f in columns.values())]),
            TableRow(["frames of controls at the level", *(percent(f.controls) for f in columns.values())], muted=True),
        ]),
    ]  # fmt: skip
    note = (
        "Percent. Found: the mean of the shares of events and of frames at or above the level that "
        f"{100 * FALSE_FRAMES:g} % of the normal frames reach, controls among them. A control is an object of the "
        "footage that was pasted with normal motion at a normal place: what calls it an anomaly has learnt to see that "
        "something was pasted."
    )
    return [Table("Found by kind", ["kind", *columns], groups, [note])]


def _stage_table(stage: str, found: Sequence[Tried]) -> Table:
    def cells(one: Tried) -> list[str]:
        if one.figure is None:
            return [one.name, "", "-", "-", "-", "-", one.note]
        figure = one.figure
        ranges = [f"{percent(low)} to {percent(high)}" for low, high in (figure.interval, figure.auc_interval)]
        chosen = "chosen" if one.is_chosen else ""
        return [one.name, chosen, percent(figure.found), ranges[0], percent(figure.auc), ranges[1], one.note]

    note = (
        f"Intervals: 95 %, {NUM_RESAMPLES} resamples of the videos of each kind. A candidate replaces the one chosen "
        f"above it if in {100 * SURE:g} % of them it finds more, or if in as many its AUC is higher "
        "while it finds no less."
    )
    rows = [TableRow(cells(one), muted=one.figure is None) for one in found]
    columns = ["candidate", "", "found, %", "interval", "frame AUC, %", "interval", ""]
    return Table(stage, columns, [Group("", rows)], [note])


def _pictures(out: Path, clips: Sequence[Clip]) -> list[TuningPicture]:
    """The first clip of each kind that shows its anomaly, at the frame that shows most of it."""
    firsts: dict[str, Clip] = {}
    for clip in clips:
        if clip.is_control or clip.anomalous:
            firsts.setdefault(clip.kind, clip)
    shown = []
    for kind, clip in firsts.items():
        path = out / FOLDER / clip.name / f"{clip.shown:05d}.png"
        if path.is_file():
            shown.append(
                TuningPicture(_with_box(path, clip), f"{kind}: {clip.source}, frame {clip.first + clip.shown}")
            )
    return shown


def _with_box(path: Path, clip: Clip) -> bytes:
    import cv2

    image = read_image(path, "bgr")
    x0, y0, x1, y1 = (round(value) for value in clip.box_xyxy)
    cv2.rectangle(image, (x0 - 2, y0 - 2), (x1 + 2, y1 + 2), _BOX[::-1], 1, cv2.LINE_AA)
    if image.shape[1] > _MAX_WIDTH:
        height = round(image.shape[0] * _MAX_WIDTH / image.shape[1])
        image = np.asarray(cv2.resize(image, (_MAX_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())
