"""The matrix of `mulde transfer`: models by footage, and what each makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mulde.datasets.base import Video
from mulde.datasets.sources import open_sources
from mulde.errors import BundleError, Failure, MuldeError, UsageError, sentence, stops_all
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.model.loading import load_model
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.transfer.units import OwnFootage, UnitScores, ks_distance, unit_scores
from mulde.records import Float64

OWN = "the model's own training footage, each video by the densities that have not seen it"
MAX_ALARM_SHARE = 0.5


@dataclass(frozen=True)
class Cell:
    """What a model makes of the footage of a folder.

    alarms_per_hour: events at the model's level; expected_per_hour, promised_per_hour: what its held-out video promises
    there, and the interval of as much new video of the same kind in 95 of 100 cases; alarm_share: of the time that lies
    in alarms, as one that never ends counts once; mean_p with its 95 % interval over
    videos; ks by stream; num_own: videos that the model was trained on; num_left_out: own videos that no fold held out;
    failure: why there are no figures, or empty; notes: sentences.
    """

    model: str
    footage: str
    hours: float = 0.0
    num_videos: int = 0
    num_own: int = 0
    num_left_out: int = 0
    num_alarms: int = 0
    alarms_per_hour: float | None = None
    expected_per_hour: float | None = None
    promised_per_hour: tuple[float, float] | None = None
    alarm_share: float | None = None
    mean_p: float | None = None
    mean_p_interval: tuple[float, float] | None = None
    ks: Mapping[str, float] = field(default_factory=dict)
    failure: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_held_out(self) -> bool:
        """Whether all of it is the model's own footage."""
        return self.num_videos > 0 and self.num_own == self.num_videos

    @property
    def is_within(self) -> bool | None:
        """Whether the false alarms are no more than what is promised, and do not stand for more than half of the time;
        None without figures."""
        if self.alarms_per_hour is None or self.promised_per_hour is None or self.alarm_share is None:
            return None
        return self.alarms_per_hour <= self.promised_per_hour[1] and self.alarm_share <= MAX_ALARM_SHARE

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "ks": dict(self.ks), "is_held_out": self.is_held_out, "is_within": self.is_within}


@dataclass(frozen=True)
class TransferMatrix:
    """The cells of all models, row by row, and what failed in part."""

    models: tuple[str, ...]
    footage: tuple[str, ...]
    cells: tuple[Cell, ...]
    failures: tuple[Failure, ...]

    def cell(self, model: str, footage: str) -> Cell:
        return next(each for each in self.cells if (each.model, each.footage) == (model, footage))


def transfer_matrix(
    models: Sequence[Path], footage: Sequence[str], changes: Sequence[str], session: Session
) -> TransferMatrix:
    """Score every footage with every model.

    footage: SOURCES of normal video (of a data set, the training split). changes: of the models' settings. Features
    come from the store and go there, so that a call that was stopped goes on. What a model cannot score is a sentence
    in its cell. Raises UsageError for footage that is not there.
    """
    model_names = _distinct([_model_name(path) for path in models], [str(path) for path in models], "models")
    footage_names = _distinct([Path(each.rpartition(":")[2]).name or each for each in footage], footage, "--on")
    opened = {name: open_sources([source], "train") for name, source in zip(footage_names, footage, strict=True)}
    for found in opened.values():
        found.report(session.reporter, strict=session.strict)
    failures = [failure for found in opened.values() for failure in found.failures]
    cells = []
    for name, path in zip(model_names, models, strict=True):
        try:
            predictor = _opened(path, changes, session)
        except MuldeError as error:
            session.reporter.warn(f"{name}: {error}")
            failures.append(Failure(name, str(error)))
            cells += [Cell(name, each, failure=str(error)) for each in footage_names]
            continue
        for each in footage_names:
            session.reporter.say(f"{name} on {each}")
            try:
                cell, failed = _cell(name, each, opened[each].videos, predictor, session)
            except (UsageError, BundleError) as error:  # of this model; a full disk would be of all
                cell, failed = Cell(name, each, failure=str(error)), []
            cells.append(cell)
            failures += failed or ([Failure(f"{name} on {each}", cell.failure)] if cell.failure else [])
    return TransferMatrix(tuple(model_names), tuple(footage_names), tuple(cells), tuple(failures))


def _opened(path: Path, changes: Sequence[str], session: Session) -> Predictor:
    trained = load_model(path, session.device)
    predictor = Predictor.open(trained, path, changes, session.device, session.reporter)
    if predictor.alarm is None:
        raise UsageError(f"model {path}", expected="one with an alarm level", got="one without")
    return predictor


def _cell(
    model: str, footage: str, videos: Sequence[Video], predictor: Predictor, session: Session
) -> tuple[Cell, list[Failure]]:
    extraction = session.extract(videos, predictor.plan)
    failures = [Failure(f"{model} on {footage}: {failure.video}", failure.reason) for failure in extraction.failures]
    own, alarm = OwnFootage.of(predictor.bundle), predictor.alarm
    assert alarm is not None, "a model without a level is refused where it is opened"
    units: list[UnitScores] = []
    num_own = num_left_out = num_scored = 0
    for stored in extraction.done:
        try:
            found = list(unit_scores(stored, predictor, alarm, own))
        except Exception as error:
            if stops_all(error):
                raise
            failures.append(
                Failure(f"{model} on {footage}: {stored.video.name}", str(sentence(error, stored.video.path)))
            )
            continue
        is_own = own.name(stored) is not None
        num_own += is_own
        num_left_out += is_own and not found
        num_scored += 1
        units += found
    if not units:
        why = failures[0].reason if failures else "no fold has held out any of its videos"
        return Cell(model, footage, num_own=num_own, num_left_out=num_left_out, failure=why), failures
    hours = sum(unit.hours for unit in units)
    num_alarms = sum(unit.num_alarms for unit in units)
    mean_p, interval = _mean([unit.mean_p for unit in units if unit.mean_p is not None])
    ks = {name: ks_distance([u.streams[name] for u in units], predictor.bundle, name) for name in units[0].streams}
    return (
        Cell(
            model,
            footage,
            hours,
            num_scored,
            num_own,
            num_left_out,
            num_alarms,
            num_alarms / hours,
            alarm.threshold.expected_per_hour,
            alarm.threshold.interval(hours),
            sum(unit.alarm_share * unit.hours for unit in units) / hours,
            mean_p,
            interval,
            {name: value for name, value in ks.items() if value is not None},
            notes=tuple(_notes(own, num_own, num_scored, num_left_out, len(failures))),
        ),
        failures,
    )


def _notes(own: OwnFootage, num_own: int, num_videos: int, num_left_out: int, num_failed: int) -> list[str]:
    notes = []
    if not own.is_known:
        notes.append(
            "this model does not say which content it was trained on, so its own footage counts as new; train it again"
        )
    elif num_own == num_videos:
        notes.append(OWN)
    elif num_own:
        notes.append(f"{num_own} of {num_videos} videos are {OWN}")
    if num_left_out:
        notes.append(f"{num_left_out} videos were never held out, so they say nothing and are left out")
    if num_failed:
        notes.append(f"{num_failed} videos could not be scored")
    return notes


def _mean(values: Sequence[float]) -> tuple[float | None, tuple[float, float] | None]:
    """The mean over videos and its 95 % interval by Student's t; None where there are too few."""
    if not values:
        return None, None
    means: Float64 = np.array(values)
    if len(means) < 2:
        return float(means.mean()), None
    from scipy import stats

    half = float(stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
    centre = float(means.mean())
    return centre, (max(centre - half, 0.0), min(centre + half, 1.0))


def _model_name(path: Path) -> str:
    """A model is called like its run folder, unless its file has a name of its own."""
    return path.absolute().parent.name if path.name == "model.safetensors" else path.stem


def _distinct(names: Sequence[str], given: Sequence[str], what: str) -> list[str]:
    """The names, in full where short ones are the same. Raises UsageError for one that is given twice."""
    if len(set(given)) != len(given):
        twice = next(each for each in given if given.count(each) > 1)
        raise UsageError(what, expected="each once", got=f"{twice} twice")
    return [name if names.count(name) == 1 else full for name, full in zip(names, given, strict=True)]
