"""`mulde tune`: settings that normal footage chooses. No label and no test video is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.datasets.left_out import as_record
from mulde.datasets.sources import absolute_source, open_sources
from mulde.errors import Failure, UsageError
from mulde.evaluation.formatting import percent
from mulde.extractors.given import IMPORTED
from mulde.extractors.registry import known_extractor
from mulde.files import write_csv, write_text
from mulde.pipeline.extraction.boxes_alone import check_pixels, settings_without_pixels
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.outcome import Outcome
from mulde.pipeline.run_claim import claim
from mulde.pipeline.run_folder import RunFolder
from mulde.pipeline.training.exclusions import Exclusions
from mulde.pipeline.training.fit import check_density
from mulde.pipeline.training.networks import check_networks, untrained_streams, with_networks
from mulde.pipeline.tuning import scoring
from mulde.pipeline.tuning.candidates import with_tracker
from mulde.pipeline.tuning.courses import KINDS
from mulde.pipeline.tuning.judging import FALSE_FRAMES, Judge
from mulde.pipeline.tuning.material import Deadline, Material, folds_with_step, make_material
from mulde.pipeline.tuning.page import write_page
from mulde.pipeline.tuning.scorer import Scorer
from mulde.pipeline.tuning.search import ALONE, Choice, Search, Tried
from mulde.settings_file import dump_toml

TUNED, CANDIDATES = "tuned.toml", "candidates.csv"


def run_tune(
    source: str,
    settings: Settings,
    out: Path,
    seed: int,
    session: Session,
    *,
    hours: float | None = None,
    objects: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Outcome:
    """Choose streams, densities and fusion on the normal videos of a source: `<out>/tuned.toml`, `candidates.csv`,
    `tuning.html`. hours: how long it may take, about; objects: sources of other footage, whose objects are inserted as
    well; without: kinds of anomalies that are none here. A call that was stopped goes on where it was.

    Raises UsageError where `out` holds another run, FitError for footage in which nothing moves.
    """
    check_density(settings.density)
    _check_kinds(without)
    _check_networks(settings, hours)
    deadline = Deadline(hours)
    before = claim(out, "tune", [source], settings)
    if before is not None and before.seed != seed:
        raise UsageError(f"{out} holds another run: one with seed {before.seed}", hint="another --out")
    elsewhere = [absolute_source(other) for other in objects]
    given: dict[str, Any] = {"objects": elsewhere, "without": sorted({*without})}
    for name, value in given.items():
        if before is not None and before.tuning.get(name, []) != value:
            raise UsageError(f"{out} holds another run: one with other --{name}", hint="another --out")
    opened = open_sources([source], "train")
    opened.report(session.reporter, strict=session.strict)
    others = _open_objects(objects, opened.videos, session)
    folder = RunFolder(out, session.command)
    folder.write_settings(settings)
    folder.note(
        kind="tune", sources=[absolute_source(source)], device=session.device, seed=seed,
        left_out=as_record(opened.left_out), tuning=given,
    )  # fmt: skip
    outcome = Outcome(failures=opened.failures, folder=out)
    settings = settings_without_pixels(opened.videos, settings, session.reporter)
    _check_made_here(opened.videos, settings)
    settings = _with_networks(opened.videos, settings, folder, seed, session)
    tracked = with_tracker(settings)
    failures: list[Failure] = []
    with folder.stage("insert and extract"):
        material = make_material(opened.videos, tracked, out, seed, session, deadline, failures, others, without)
    outcome.add(len(opened.videos) + len(others) - len(failures), failures)
    search, choice = None, None
    if material is not None:
        with folder.stage("search"):
            search = _search(material, tracked, out, seed, session, deadline)
            choice = search.run()
    _write(folder, settings, material, search, choice, session)
    session.reporter.say(f"mulde train {source} --config {out / TUNED}")
    return outcome


def _check_kinds(without: Sequence[str]) -> None:
    """Raises UsageError for names of no kind of anomaly, and for all of them."""
    kinds = [kind.name for kind in KINDS]
    if unknown := [name for name in without if name not in kinds]:
        raise UsageError("--without", expected=f"kinds among {', '.join(kinds)}", got=", ".join(unknown))
    if {*kinds} <= {*without}:
        raise UsageError("--without", expected="some kind of anomaly to be left", got="all of them")


def _check_networks(settings: Settings, hours: float | None) -> None:
    """Raises UsageError for networks that cannot be trained, and where there may be no time to train them."""
    check_networks(settings)
    if hours is not None and (missing := untrained_streams(settings)):
        raise UsageError(
            f"--hours with {' and '.join(sorted(missing))}", expected="trained networks", got="none",
            hint="mulde train with these streams, then features.prediction.weights; or no --hours",
        )  # fmt: skip


def _with_networks(
    videos: Sequence[Video], settings: Settings, folder: RunFolder, seed: int, session: Session
) -> Settings:
    """The settings with networks of the streams that still lack them, trained into the folder on halves of the normal
    videos, which are the folds that judge: what a network has seen judges nothing."""
    missing = untrained_streams(settings)
    if not missing:
        return settings
    with folder.stage("networks"):
        plan = ExtractionPlan(with_tracker(settings), session.device, without=missing)
        done = session.extract(videos, plan).done  # what fails here does so again, and is said then
        return with_networks(done, settings, plan, session, folder.root, seed=seed, exclusions=Exclusions())


def _open_objects(objects: Sequence[str], videos: Sequence[Video], session: Session) -> tuple[Video, ...]:
    """The videos of other footage, of data sets the normal ones. Raises UsageError where there are boxes alone, there
    or in the videos that objects are to be set into."""
    if not objects:
        return ()
    opened = open_sources(objects, "train")
    opened.report(session.reporter, strict=session.strict)
    check_pixels(videos, "--objects to be set into the frames")
    check_pixels(opened.videos, "--objects out of the frames")
    return opened.videos


def _check_made_here(videos: Sequence[Video], settings: Settings) -> None:
    """Raises UsageError for boxes or features that were made elsewhere: the clips have none."""
    has_pixels = any(video.boxes is None for video in videos)
    elsewhere = {
        "regions.finders": settings.regions.finders if has_pixels and IMPORTED in settings.regions.finders else (),
        "features.imported": settings.features.imported,
    }
    for key, names in elsewhere.items():
        if names:
            expected = "finders and features that mulde computes, also in the clips that it makes"
            raise UsageError(f"setting {key} of mulde tune", expected=expected, got=", ".join(names))


def _search(
    material: Material, settings: Settings, out: Path, seed: int, session: Session, deadline: Deadline
) -> Search:
    @cache
    def folds_of(stream: str, step: int) -> scoring.Folds | None:
        if deadline.is_over():
            return None
        return folds_with_step(material, settings, stream, step, session, deadline)

    tables = scoring.ScoreTables(out / scoring.FOLDER, seed, session.device)
    return Search(
        settings=settings,
        folds=material.folds,
        folds_of=folds_of,
        judge=Judge(material.videos, seed),
        scorer=Scorer(material.folds, tables, seed, session.device, deadline.is_over),
        reporter=session.reporter,
        is_over=deadline.is_over,
        rate=material.rate,
    )


def _write(
    folder: RunFolder,
    settings: Settings,
    material: Material | None,
    search: Search | None,
    choice: Choice | None,
    session: Session,
) -> None:
    tried = search.tried if search is not None else []
    notes = [*(material.notes if material else []), *(_left_out(search) if choice else [])]
    if choice is None:
        notes.append("The time was up before anything could be compared: the settings are those that were given.")
    tuned = settings if choice is None else tuned_settings(settings, choice)
    summary = in_words(tried)
    write_text(folder.root / TUNED, _header(folder, summary, notes) + dump_toml(tuned, _comments(tried, choice)))
    write_csv(candidate_table(tried), folder.root / CANDIDATES)
    folder.note(
        video_sha256=_digests(material),
        tuning={
            **folder.record.tuning,
            "false_frames": FALSE_FRAMES,
            "folds": [[share.label for share in fold.heldout] for fold in material.folds] if material else [],
            "clips": [clip.name for clip in material.clips] if material else [],
            "notes": notes,
            "result": summary,
        },
    )
    page = write_page(folder.root, tried, material, tuned, summary, notes, folder.record.as_json())
    for line in (*notes, *summary):
        session.reporter.say(line)
    session.reporter.say(f"settings: {folder.root / TUNED}   evidence: {page}")


def _left_out(search: Search | None) -> list[str]:
    if search is None:
        return []
    notes = [f"stream {one.name} left out: {one.note}" for one in search.tried if one.stage == ALONE and one.note]
    if not search.left_out:
        return notes
    return [*notes, f"{len(search.left_out)} candidates were not tried, no time left: {'; '.join(search.left_out[:5])}"
            + ("; ..." if len(search.left_out) > 5 else "")]  # fmt: skip


def _digests(material: Material | None) -> dict[str, str]:
    if material is None:
        return {}
    return {share.name: share.stored.passports["frames"].video_sha256 for share in material.shares}


def tuned_settings(settings: Settings, choice: Choice) -> Settings:
    """The given settings with what was chosen."""
    data: dict[str, Any] = settings.model_dump(mode="json")
    features, streams = data["features"], choice.streams
    features["extractors"] = [name for name in features["extractors"] if name in streams]
    features["imported"] = [name for name in features["imported"] if name in streams]
    data["density"]["streams"] = {
        name: own.density.settings.model_dump(mode="json")
        for name, own in streams.items()
        if own.density.settings != settings.density.shared
    }
    for name, own in streams.items():
        if own.step is not None:
            features[name]["step"] = own.step
    data["fusion"] |= {
        "only_high": [name for name, own in streams.items() if own.only_high],
        "combine": choice.combine,
        "smoothing_s": choice.smoothing_s,
    }
    data["tracks"]["average_frames"] = choice.average_frames
    if choice.average_frames or any(known_extractor(name).needs_tracks for name in features["extractors"]):
        data["tracks"]["tracker"] = with_tracker(settings).tracks.tracker
    return Settings.model_validate(data)


def in_words(tried: list[Tried]) -> list[str]:
    """What was found, in sentences."""
    chosen = [one for one in tried if one.is_chosen and one.figure is not None]
    if not chosen or (last := chosen[-1].figure) is None:
        return []
    low, high = last.interval
    lines = [
        f"Of the inserted anomalies the chosen settings find {percent(last.found)} % (95 %: {percent(low)} to "
        f"{percent(high)}), at the level that {100 * FALSE_FRAMES:g} % of the normal frames reach; frame AUC "
        f"{percent(last.auc)} %."
    ]
    given = next((one.figure for one in tried if one.stage != ALONE and one.figure is not None), None)
    if given is not None and given is not last:
        lines.append(f"The given settings find {percent(given.found)} %, AUC {percent(given.auc)} %.")
    return lines


def _header(folder: RunFolder, summary: list[str], notes: list[str]) -> str:
    lines = [
        f"Chosen by mulde {folder.record.mulde} tune on {', '.join(folder.record.sources)}, seed {folder.record.seed},",
        *(f"with objects of {other}," for other in folder.record.tuning["objects"]),
        *(f"without the kind {kind!r}," for kind in folder.record.tuning["without"]),
        f"without labels; {CANDIDATES} and tuning.html have the evidence.",
        *summary,
        *notes,
    ]
    return "".join(f"# {' '.join(line.split())}\n" for line in lines) + "\n"


def _comments(tried: list[Tried], choice: Choice | None) -> Mapping[str, str]:
    """A comment for each setting that was chosen."""
    if choice is None:
        return {}

    def because(stage: str) -> str:
        best = next((one for one in tried if one.stage == stage and one.is_chosen), None)
        if best is None or best.figure is None:
            return ""
        low, high = best.figure.interval
        return f"chosen: {best.name}, finds {percent(best.figure.found)} % ({percent(low)} to {percent(high)})"

    found = {
        "features.extractors": because("streams"),
        "fusion.smoothing_s": because("smoothing"),
        "tracks.average_frames": because("averaging along tracks"),
        "fusion.only_high": "; ".join(filter(None, (because(f"values of {name}") for name in choice.streams))),
    }
    for name in choice.streams:
        found[f"features.{name}.step"] = because(f"flow step of {name}")
        found[f"density.streams.{name}"] = because(f"density of {name}")
    return {key: text for key, text in found.items() if text}


def candidate_table(tried: list[Tried]) -> pd.DataFrame:
    """A row per candidate: stage, candidate, chosen, its figures with intervals, those by kind, and notes."""
    kinds = list(dict.fromkeys(kind for one in tried if one.figure for kind in one.figure.events))
    columns = ["stage", "candidate", "chosen", "found", "found_low", "found_high", "auc", "auc_low", "auc_high",
               "level", "controls"]  # fmt: skip
    rows = []
    for one in tried:
        row: dict[str, Any] = {"stage": one.stage, "candidate": one.name, "chosen": one.is_chosen}
        if (figure := one.figure) is not None:
            row |= dict(zip(("found_low", "found_high"), figure.interval, strict=True))
            row |= dict(zip(("auc_low", "auc_high"), figure.auc_interval, strict=True))
            row |= {"found": figure.found, "auc": figure.auc, "level": figure.level, "controls": figure.controls}
            row |= {f"events {kind}": value for kind, value in figure.events.items()}
            row |= {f"frames {kind}": value for kind, value in figure.frames.items()}
        rows.append({**row, "note": one.note})
    return pd.DataFrame(rows, columns=[*columns, *(f"{what} {k}" for k in kinds for what in ("events", "frames")),
                                       "note"])  # fmt: skip
