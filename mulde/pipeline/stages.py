"""The stages as a person runs them: each command of the command line is one function here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mulde.config import Settings
from mulde.datasets.base import SPLITS
from mulde.datasets.left_out import as_record
from mulde.datasets.sources import Opened, absolute_source, open_source, open_sources, parse_source
from mulde.datasets.tree import walk
from mulde.errors import Failure, FileError, MuldeError, UsageError, stops_all
from mulde.files import write_json
from mulde.filetypes import is_hidden
from mulde.pipeline.evaluation.evaluate import mean_and_spread
from mulde.pipeline.evaluation.labels import labelled_dataset, labels_to_draw, read_labels
from mulde.pipeline.evaluation.run import write_evaluation
from mulde.pipeline.extraction.boxes_alone import check_pixels, settings_without_pixels
from mulde.pipeline.extraction.engine import Extraction
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle
from mulde.pipeline.model.loading import TrainedModel
from mulde.pipeline.model.world import World, mixtures, world_of
from mulde.pipeline.outcome import Outcome
from mulde.pipeline.predictor.scorer import ScoreOptions, Scorer
from mulde.pipeline.review.audit import write_audit
from mulde.pipeline.run_claim import added, claim, new_run, prune, same_settings
from mulde.pipeline.run_folder import MODEL, SETTINGS, RunFolder, RunRecord
from mulde.pipeline.training.exclusions import Exclusions, check_exclusions, read_exclusions
from mulde.pipeline.training.finish import finish_model
from mulde.pipeline.training.fit import CHECKPOINTS, check_density, train
from mulde.pipeline.training.networks import check_networks, train_networks, untrained_streams
from mulde.progress import Reporter
from mulde.records import LabelTrack


def run_extract(sources: Sequence[str], settings: Settings, session: Session) -> Outcome:
    """Features of all videos of the sources into the store."""
    opened = _open(sources, None, session)
    outcome = Outcome(failures=opened.failures)
    settings = settings_without_pixels(opened.videos, settings, session.reporter)
    extraction = session.extract(opened.videos, ExtractionPlan(settings, session.device))
    outcome.add(len(extraction.done), extraction.failures)
    session.reporter.say(f"{extraction.computed} videos computed, {extraction.reused} already in {session.store.root}")
    return outcome


def run_train(
    sources: Sequence[str],
    settings: Settings,
    out: Path,
    seed: int,
    session: Session,
    *,
    exclude: Path | None = None,
) -> Outcome:
    """A model from normal videos (the training split of a data set): `<out>/model.safetensors`, and what looks least
    normal among them, `<out>/audit.csv`. exclude: a table of frame ranges not to learn from."""
    check_density(settings.density)
    check_networks(settings)
    if exclude:
        check_exclusions(exclude)
    claim(out, "train", sources, settings)
    opened = _open(sources, "train", session)
    settings = settings_without_pixels(opened.videos, settings, session.reporter)
    folder = _start(out, settings, sources, session, kind="train", seed=seed, left_out=as_record(opened.left_out))
    outcome = Outcome(failures=opened.failures)
    plan = ExtractionPlan(settings, session.device, without=untrained_streams(settings))
    with folder.stage("extract"):
        extraction = session.extract(opened.videos, plan)
    outcome.add(len(extraction.done), extraction.failures)
    _note_digests(folder, extraction.done)
    world = say_mixtures(extraction.done, session.reporter)
    exclusions = read_exclusions(exclude, extraction.done) if exclude else Exclusions()
    extraction, plan, settings = _train_networks(extraction, plan, settings, folder, seed, session, exclusions)
    model = _train(extraction.done, world, settings, plan, folder, seed, session, exclusions)
    with folder.stage("audit"):
        write_audit(model.bundle, extraction.done, plan, folder.root, session.reporter)
    return outcome


def run_train_per_camera(source: str, settings: Settings, out: Path, seed: int, session: Session) -> Outcome:
    """A model for each folder with videos in a folder, as `normal/yard`: `<out>/yard/model.safetensors`.

    One after the other; a camera that fails is counted, and the others are trained. A camera whose model was trained on
    the same videos with the same settings and seed is done already. Raises UsageError where there is no such folder.
    """
    check_density(settings.density)
    check_networks(settings)
    name, root = parse_source(source)
    folders = [] if name or not root.is_dir() else sorted(path for path in root.iterdir() if path.is_dir())
    folders = [path for path in folders if not is_hidden(path.name) and walk(path).videos]
    if not folders:
        raise UsageError(
            f"--per-camera {source}",
            expected="a folder that holds a folder of videos for each camera, as mulde collect writes it",
            got="none",
        )
    outcome = Outcome(folder=out)
    for folder in folders:
        target = out / folder.name
        try:
            if _is_trained(folder, target, settings, seed):
                session.reporter.say(f"{folder.name}: trained already, {target / MODEL}")
                outcome.done += 1
                continue
            session.reporter.say(f"{folder.name}: training")
            trained = run_train([str(folder)], settings, target, seed, session)
        except MuldeError as error:
            if isinstance(error, FileError) and stops_all(error):  # a disk that takes no more takes no other model
                raise
            session.reporter.warn(f"{folder.name}: {error}")
            outcome.failures.append(Failure(folder.name, str(error)))
            continue
        outcome.add(1, [Failure(f"{folder.name}: {each.video}", each.reason) for each in trained.failures])
    return outcome


def _is_trained(folder: Path, out: Path, settings: Settings, seed: int) -> bool:
    """Whether a folder holds the finished model of these videos. Raises UsageError where it holds another run."""
    before = claim(out, "train", [str(folder)], settings)
    model = out / MODEL
    if before is None or not model.is_file() or "audit" not in before.wall_time_s or before.seed != seed:
        return False
    videos = open_sources([str(folder)], "train").videos
    known = {video.name for video in videos} == before.video_sha256.keys()
    newest = max((video.path.stat().st_mtime for video in videos), default=0.0)
    return known and newest <= model.stat().st_mtime and same_settings(out / SETTINGS, settings)


def _train_networks(
    extraction: Extraction,
    plan: ExtractionPlan,
    settings: Settings,
    folder: RunFolder,
    seed: int,
    session: Session,
    exclusions: Exclusions,
) -> tuple[Extraction, ExtractionPlan, Settings]:
    """`train_networks` as a stage of the run."""
    if not untrained_streams(settings):
        return extraction, plan, settings
    with folder.stage("networks"):
        return train_networks(extraction, plan, settings, folder.root, seed, session, exclusions)


def _train(
    videos: Sequence[StoredVideo],
    world: World,
    settings: Settings,
    plan: ExtractionPlan,
    folder: RunFolder,
    seed: int,
    session: Session,
    exclusions: Exclusions,
) -> TrainedModel:
    with folder.stage("train"):
        bundle = fit_bundle(videos, world, settings, plan, folder.root, seed, session, exclusions)
        bundle.save(folder.model)
    shutil.rmtree(folder.root / CHECKPOINTS, ignore_errors=True)
    folder.note(training=bundle.training.as_json(), made_from=bundle.made_from)
    with folder.stage("normal moments"):
        model = finish_model(videos, bundle, plan, seed=seed, reporter=session.reporter)
        model.save(folder.model)
    session.reporter.say(f"model: {folder.model}")
    return model


def fit_bundle(
    videos: Sequence[StoredVideo],
    world: World,
    settings: Settings,
    plan: ExtractionPlan,
    folder: Path,
    seed: int,
    session: Session,
    exclusions: Exclusions,
) -> Bundle:
    """A bundle that knows its footage and the names of its classes; `folder` gets the course and the checkpoints."""
    bundle = train(
        videos,
        settings,
        plan.fingerprint(),
        seed=seed,
        device=session.device,
        reporter=session.reporter,
        folder=folder,
        exclusions=exclusions,
    )
    return replace(bundle, world=world, classes=plan.class_names())


def run_score(
    sources: Sequence[str],
    model: Path,
    changes: Sequence[str],
    out: Path | None,
    session: Session,
    options: ScoreOptions = ScoreOptions(),  # noqa: B008 - frozen
    *,
    add: bool = False,
) -> Outcome:
    """Scores of every frame of the videos (the test split of a data set): tables, events and pictures below `out`, or
    a new `runs/score-<n>`.

    changes: of the model's settings, as `load_settings` takes them: a detector that lies elsewhere, another alarm.
    add: to the videos of the run that `out` holds. Raises UsageError where it holds another.
    """
    scorer = Scorer.open(model, changes, session, options)  # first, because it may refuse
    sha256 = scorer.model.sha256
    if add and out is None:
        raise UsageError("--add", expected="--out with the run to add to")
    before = None
    if out is not None:
        before = claim(out, "score", sources, scorer.settings, model_sha256=sha256, add=add)
    opened = _open(sources, "test", session)
    videos = opened.videos
    if options.overlay:
        check_pixels(videos, "--overlay")
    if add and before is not None:
        sources, videos = added(before, sources, session.reporter.warn)
    facts = {"model": str(model.resolve()), "model_sha256": sha256, "left_out": as_record(opened.left_out)}
    folder = _start(
        out or new_run("score"), scorer.settings, sources, session, before if add else None, kind="score", **facts
    )
    outcome = Outcome(failures=opened.failures, folder=folder.root)
    with folder.stage("extract"):
        extraction = session.extract(videos, scorer.plan)
    outcome.add(len(extraction.done), extraction.failures)
    _note_digests(folder, extraction.done)
    scorer.look(extraction.done, folder)
    folder.note(made_from=scorer.bundle.made_from)
    prune(folder, before, folder.record.video_sha256, add=add)
    with folder.stage("score"):
        failed = outcome.failing(session.reporter)
        scored = scorer.score(extraction.done, folder, add=add, failed=failed)
    with folder.stage("draw"):
        labels = labels_to_draw(opened.dataset, scored, session.reporter)
        scorer.draw(extraction.done, scored, folder, labels, failed)
    if scored:
        session.reporter.say(f"scores: {folder.scores}   pictures: {folder.figures}")
    return outcome


def say_mixtures(videos: Sequence[StoredVideo], reporter: Reporter) -> World:
    """What a model that is trained on these videos learns of their footage; a mixture is reported."""
    world = world_of(video.observed() for video in videos)
    for sentence in mixtures(world):
        reporter.warn(f"the training videos have {sentence}")
    return world


def run_all(settings: Settings, session: Session, *, overwrite: bool = False) -> Outcome:
    """Extract, train, score and evaluate the data set `run.source`; each seed trains on the same features.

    One seed works in `run.out`, several in `<out>/seed-<n>`, with their mean and spread in `<out>/metrics.json`.
    overwrite: first remove what an earlier run left in `run.out`. Raises UsageError where it holds another run.
    """
    source, seeds = settings.run.source, settings.run.seeds
    if not source:
        raise UsageError("mulde run without a source", expected="SOURCE, or run.source in the TOML of --config")
    check_density(settings.density)
    check_networks(settings)
    footage = open_source(source)
    dataset = labelled_dataset(footage, source)
    opened = {split: footage.opened(source, split) for split in SPLITS}
    opened["train"].report(session.reporter, strict=session.strict)
    outcome = Outcome(failures=opened["train"].failures)
    settings = settings_without_pixels(footage.all, settings, session.reporter)
    out = Path(settings.run.out or Path("runs") / footage.name)
    before = claim(out, "run", [source], settings, overwrite=overwrite)
    plan = ExtractionPlan(settings, session.device, without=untrained_streams(settings))
    facts: dict[str, Any] = {"seeds": list(seeds), "left_out": as_record(footage.left_out)}
    folder = _start(out, settings, [source], session, kind="run", **facts)
    with folder.stage("extract"):  # with the training of networks, where streams lack them
        splits = {"train": session.extract(opened["train"].videos, plan)}
        splits["train"], plan, settings = _train_networks(
            splits["train"], plan, settings, folder, seeds[0], session, Exclusions()
        )
        world = say_mixtures(splits["train"].done, session.reporter)
        scoring = ExtractionPlan(settings, session.device, world=world)
        splits["test"] = session.extract(opened["test"].videos, scoring)
    for extraction in splits.values():
        outcome.add(len(extraction.done), extraction.failures)
    _note_digests(folder, [stored for extraction in splits.values() for stored in extraction.done])
    failed = outcome.failing(session.reporter)
    for seed in seeds:
        seed_folder = folder
        if len(seeds) > 1:
            before = claim(out / f"seed-{seed}", "run", [source], settings, overwrite=overwrite)
            seed_folder = _start(out / f"seed-{seed}", settings, [source], session, kind="run", seed=seed)
        prune(seed_folder, before, folder.record.video_sha256)
        session.reporter.say(f"seed {seed}")
        model = _train(splits["train"].done, world, settings, plan, seed_folder, seed, session, Exclusions())
        scorer = Scorer.trained(model, scoring, seed_folder.model, session)
        scorer.look(splits["test"].done, seed_folder, say=seed == seeds[0])
        with seed_folder.stage("score"):
            scored = scorer.score(splits["test"].done, seed_folder, add=False, failed=failed)
        labels: dict[str, LabelTrack] = {}
        if scored and (labels := read_labels(dataset, scored)):
            with seed_folder.stage("evaluate"):
                outcome.evaluations[seed] = write_evaluation(
                    seed_folder.root, scored, labels, dataset, session.reporter
                )
        with seed_folder.stage("draw"):
            scorer.draw(splits["test"].done, scored, seed_folder, labels, failed)
    if len(seeds) > 1 and outcome.evaluations:
        write_json(out / "metrics.json", mean_and_spread(outcome.evaluations))
    return outcome


def _open(sources: Sequence[str], split: str | None, session: Session) -> Opened:
    """The videos of the sources; what is left out is reported, and refused where the command is strict."""
    opened = open_sources(sources, split)
    opened.report(session.reporter, strict=session.strict)
    return opened


def _start(
    out: Path,
    settings: Settings,
    sources: Sequence[str],
    session: Session,
    before: RunRecord | None = None,
    **facts: Any,
) -> RunFolder:
    """A run folder with its settings and first facts written, so that a killed run leaves a record. before: an earlier
    record, whose facts stay unless there are new ones."""
    folder = RunFolder(out, session.command, before)
    folder.write_settings(settings)
    folder.note(sources=[absolute_source(source) for source in sources], device=session.device, **facts)
    return folder


def _note_digests(folder: RunFolder, videos: Sequence[StoredVideo]) -> None:
    """Put on record the content of every video, so that another person can tell whether theirs is the same, and the
    frames that could not be decoded."""
    before = folder.record
    sha256 = {stored.video.name: stored.passports["frames"].video_sha256 for stored in videos}
    folder.note(video_sha256={**before.video_sha256, **sha256})
    if missing := {stored.video.name: stored.missing for stored in videos if stored.missing}:
        folder.note(missing_frames={**before.missing_frames, **missing})
