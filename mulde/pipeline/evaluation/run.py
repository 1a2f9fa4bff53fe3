"""`mulde evaluate`: scores of a run, or of another program, against labels; as figures and as a page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulde.config import Settings
from mulde.datasets.base import Dataset
from mulde.datasets.sources import absolute_source, open_source, parse_source
from mulde.errors import UsageError
from mulde.evaluation.protocol import NUM_RESAMPLES, Evaluation
from mulde.files import read_text, write_json
from mulde.names import valid_text
from mulde.pipeline.evaluation.evaluate import evaluate, region_pool
from mulde.pipeline.evaluation.events_found import EventsFound, write_events_found
from mulde.pipeline.evaluation.foreign_scores import ForeignScores, read_foreign_scores
from mulde.pipeline.evaluation.labels import labelled_dataset, labels_of_run, read_labels
from mulde.pipeline.evaluation.pixel_figures import pixel_figures
from mulde.pipeline.outcome import Outcome
from mulde.pipeline.run_claim import claim
from mulde.pipeline.run_folder import (
    PIXEL_MAPS,
    RECORD,
    REGIONS,
    SETTINGS,
    TRUTH,
    RunFolder,
    RunRecord,
    check_single_run,
    read_record,
)
from mulde.pipeline.scoring.frames import read_scores, write_scores
from mulde.pipeline.scoring.regions import read_regions
from mulde.progress import Reporter
from mulde.records import LabelTrack, ScoredVideo
from mulde.report.curves import truth_frames
from mulde.report.evaluation_page import write_evaluation_page
from mulde.settings_file import load_settings


@dataclass
class Evaluated(Outcome):
    """events_found: which event found which annotated anomaly; None where nobody asked."""

    events_found: EventsFound | None = None


def run_evaluate(
    root: Path,
    source: str | None,
    reporter: Reporter,
    *,
    bootstrap: int = NUM_RESAMPLES,
    compat: str | None = None,
    events: bool = False,
) -> Evaluated:
    """Figures of the scores in a run folder against the labels of a data set; `<root>/metrics.json` and
    `<root>/evaluation/` with curves and a page. events: also, which event found which annotated anomaly."""
    if source is None:
        sources = read_record(root).sources
        if len(sources) != 1:
            raise UsageError(f"{root}: scores of {len(sources)} sources", hint="--labels NAME:ROOT")
        source = sources[0]
    check_single_run(root)
    name, path = parse_source(source)
    is_csv = name is None and path.suffix.lower() == ".csv"
    hint = "--labels labels.csv, with video,start_s,end_s"
    dataset = None if is_csv else _dataset(source, reporter, hint)
    scored = read_scores(root / "scores" if (root / "scores").is_dir() else root)
    dataset = dataset or labels_of_run(path, scored, reporter)
    labels = read_labels(dataset, scored)
    evaluation = write_evaluation(root, scored, labels, dataset, reporter, bootstrap=bootstrap, compat=compat)
    events_found = write_events_found(root, scored, labels, reporter) if events else None
    return Evaluated(len(scored), evaluations={0: evaluation}, events_found=events_found)


def _dataset(source: str, reporter: Reporter, hint: str = "") -> Dataset:
    footage = open_source(source)
    for note in footage.notes:
        reporter.say(note)
    return labelled_dataset(footage, source, hint)


def run_evaluate_scores(
    foreign: ForeignScores,
    source: str,
    out: Path | None,
    reporter: Reporter,
    command: Sequence[str] = (),
    *,
    bootstrap: int = NUM_RESAMPLES,
    compat: str | None = None,
) -> Evaluated:
    """Figures of the scores of another program against the labels of a data set.

    out: the folder for them, for the scores as tables of ours, and for the page; None: a folder beside the scores.
    Raises UsageError for a folder that holds anything but such an evaluation, MuldeError for scores that do not fit the
    videos.
    """
    path = Path(os.path.abspath(foreign.path))
    name = valid_text(path.name if path.is_dir() else path.stem)
    folder = out or path.parent / f"{name}-evaluation"
    if not path.exists():
        raise UsageError(f"--scores {path}", expected="a file or folder of scores", got="a path that does not exist")
    if folder.resolve().is_relative_to(path.resolve()):
        raise UsageError(f"--out {folder}", expected="a folder outside the scores", got="one inside them")
    dataset, settings = _dataset(source, reporter), Settings()
    scored, notes = read_foreign_scores(foreign, dataset.videos("test"), settings.fusion.smoothing_s, reporter)
    for note in notes:
        reporter.say(note)
    labels = read_labels(dataset, scored)
    claim(folder, "evaluate", [source], settings, overwrite=True)
    run = RunFolder(folder, command)
    facts = {"path": valid_text(str(path)), "column": foreign.column, "skipped_frames": foreign.skipped}
    run.note(
        kind="evaluate",
        sources=[absolute_source(source)],
        scores_from={**facts, "lower_is_anomalous": foreign.lower_is_anomalous},
    )
    for video in scored.values():
        write_scores(video, run.scores)
    options = {"bootstrap": bootstrap, "compat": compat, "skipped": foreign.skipped, "method": name}
    evaluation = write_evaluation(folder, scored, labels, dataset, reporter, notes=notes, **options)
    return Evaluated(len(scored), evaluations={0: evaluation}, folder=folder)


def write_evaluation(
    root: Path,
    scored: Mapping[str, ScoredVideo],
    labels: Mapping[str, LabelTrack],
    dataset: Dataset,
    reporter: Reporter,
    *,
    notes: Sequence[str] = (),
    **options: Any,
) -> Evaluation:
    """Figures of the scores below `root` as `<root>/metrics.json` and as a page.

    notes: sentences for the page. options: of `evaluate`."""
    record = read_record(root) if (root / RECORD).is_file() else RunRecord()
    settings_file = root / SETTINGS
    settings = load_settings(settings_file) if settings_file.is_file() else Settings()
    pool, pixels = None, {}
    if labels:
        regions = read_regions(root / REGIONS)
        pixels = pixel_figures(root / PIXEL_MAPS, labels, dataset, settings, reporter)
        pool = region_pool(regions, scored, labels, dataset, settings, record.not_as_learnt)
    evaluation = evaluate(scored, labels, dataset, reporter, regions=pool, pixels=pixels, alarm=record.alarm, **options)
    write_json(root / "metrics.json", evaluation.to_dict())
    truth = {name: truth_frames(scored[name].track.frame_index, track.spans()) for name, track in labels.items()}
    write_json(root / TRUTH, truth)  # for the report, which opens no labels
    page = write_evaluation_page(
        root / "evaluation",
        evaluation,
        scored,
        labels,
        reporter,
        title=dataset.name,
        notes=[*notes, *([record.alarm.statement] if record.alarm else [])],
        record=record.as_json(),
        settings=read_text(settings_file) if settings_file.is_file() else "",
        region_curves=pool.curves() if pool else None,
        alarm_level=record.alarm_level,
        p_values={name: video.track.p_value for name, video in scored.items() if video.track.p_value is not None},
    )
    reporter.say(f"figures: {root / 'metrics.json'}   page: {page}")
    return evaluation
