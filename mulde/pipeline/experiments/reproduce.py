"""`mulde reproduce`: a benchmark with pinned settings and several seeds, and a record that another person can diff."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from mulde.config import Settings
from mulde.datasets.registry import DATASETS, find_dataset
from mulde.datasets.sources import VideoCollection, open_source
from mulde.digests import fingerprint
from mulde.errors import MuldeError, UsageError, VideoError
from mulde.evaluation.compat import VARIANTS
from mulde.files import read_json, write_json, write_text
from mulde.media.content_hash import content_hash
from mulde.pipeline.evaluation.run import run_evaluate
from mulde.pipeline.experiments.record import Reproduction, build_record, portable, to_json
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.model.setting_uses import check_used
from mulde.pipeline.outcome import Outcome
from mulde.pipeline.run_folder import versions
from mulde.pipeline.stages import run_all
from mulde.progress import Reporter
from mulde.report.reproduction_page import to_markdown
from mulde.settings_file import load_settings
from mulde.typed import validated

MADE_BY = "made_by.json"
"""Written beside a seed's run when all of it is done: what made it."""


def run_reproduce(
    name: str,
    root: Path,
    out: Path | None,
    place: Session,
    *,
    frames: bool = False,
    config: Path | None = None,
    weights: Mapping[str, str | None] | None = None,
    changes: Sequence[str] = (),
    seeds: Sequence[int] = (),
    compat: str | None = None,
) -> Outcome:
    """Run the benchmark `name` below `root` by its pinned config; `<out>/reproduction.json` and `.md`.

    Each seed works in `<out>/seed-<n>`; one that is finished and was made by the same settings, weights, videos,
    versions and device is evaluated again, but not trained again. frames: the config with one row per frame. config: a
    file in the place of the pinned one. weights: paths for `detector`, `pose`, `backbone`. changes: KEY=VALUE.
    compat: a protocol variant whose figures are recorded as well. Raises UsageError for a name without a config, for
    weights that the settings have no use for, and for an unknown variant.
    """
    if compat is not None and compat not in VARIANTS:
        raise UsageError("protocol variant", expected=" or ".join(VARIANTS), got=repr(compat))
    path = config or pinned_config(name, frames=frames)
    chosen = [*changes, *([f"run.seeds={[*seeds]}"] if seeds else [])]
    local = weights_as_changes(load_settings(path, chosen), weights or {})
    pinned, settings = load_settings(path), load_settings(path, [*chosen, *local])
    check_used("reproduce", changes, settings)
    source, out = f"{name}:{root.expanduser().resolve()}", out or _default_out(name, frames)
    collection, outcome = open_source(source), Outcome()
    digests = _digests(collection, place.reporter)
    folders = {seed: out / f"seed-{seed}" for seed in settings.run.seeds}
    for seed, folder in folders.items():
        run = {"source": source, "out": str(folder), "seeds": (seed,)}
        settings_of_seed = Settings.model_validate({**settings.model_dump(), "run": run})
        _add(outcome, seed, _reproduce_seed(settings_of_seed, folder, digests, place))
    record = build_record(
        Reproduction(name, source, out, pinned, settings, digests, folders, outcome.failures, place.device, compat)
    )
    write_text(out / "reproduction.json", to_json(record))
    write_text(out / "reproduction.md", to_markdown(record))
    place.reporter.say(f"record: {out / 'reproduction.md'}")
    return outcome


def pinned_config(name: str, *, frames: bool = False) -> Path:
    """The config of a benchmark that comes with mulde. Raises UsageError, with those that there are, for another."""
    folder = Path(str(resources.files("mulde") / "configs"))
    paths = {known: folder / f"{find_dataset(known).config_name}{'-frames' * frames}.toml" for known in DATASETS}
    known = sorted(known for known, path in paths.items() if path.is_file())
    if name not in known:
        what = "frame-centric config of a benchmark (--frames)" if frames else "config of a benchmark"
        raise UsageError(
            what, expected=f"one of {', '.join(known)}", got=repr(name), hint="--config with settings of your own"
        )
    return paths[name]


def _default_out(name: str, frames: bool) -> Path:
    return Path("runs") / f"reproduce-{name}{'-frames' * frames}"


def weights_as_changes(settings: Settings, weights: Mapping[str, str | None]) -> list[str]:
    """`detector`, `pose`, `backbone` as KEY=VALUE. Raises UsageError for weights that nothing would load."""
    uses = {
        "detector": ("regions.yolo.weights", "yolo" in settings.regions.finders),
        "pose": ("features.pose.weights", "pose" in settings.features.extractors),
        "backbone": ("features.backbone.weights", "backbone" in settings.features.extractors),
    }
    changes = []
    for kind, path in weights.items():
        if path is None:
            continue
        key, used = uses[kind]
        if not used:
            raise UsageError(f"--{kind} {path}", expected=f"settings that use {key}", got="settings that do not")
        changes.append(f"{key}={json.dumps(path, ensure_ascii=False)}")
    return changes


def _digests(collection: VideoCollection, reporter: Reporter) -> dict[str, dict[str, str]]:
    """Digest of the content of every video, by split and name; names may repeat between the splits."""
    found: dict[str, dict[str, str]] = {}
    with reporter.bar("compare videos", len(collection.all), "videos") as advance:
        for split, videos in collection.splits.items():
            for video in videos:
                try:
                    found.setdefault(split, {})[video.name] = content_hash(video.path)
                except VideoError:  # the run names it among its failures
                    found.setdefault(split, {})[video.name] = "unreadable"
                advance(1)
    return found


def _reproduce_seed(
    settings: Settings, folder: Path, digests: Mapping[str, Mapping[str, str]], place: Session
) -> Outcome:
    """One seed from the videos to its figures, or, where all but the figures is there, these alone."""
    different = _differs(folder / MADE_BY, _made_by(settings, digests, place))
    if different is None:
        place.reporter.say(f"{folder}: finished before; evaluated again")
        return run_evaluate(folder, settings.run.source, place.reporter)
    if different:
        place.reporter.say(f"{folder}: made again, because of another {different}")
    (folder / MADE_BY).unlink(missing_ok=True)
    outcome = run_all(settings, place, overwrite=True)
    if not outcome.failures:
        write_json(folder / MADE_BY, _made_by(settings, digests, place))
    return outcome


def _made_by(settings: Settings, digests: Mapping[str, Mapping[str, str]], place: Session) -> dict[str, Any]:
    """Everything that decides the scores of a seed, as plain JSON."""
    facts = {
        "settings": portable(settings),
        "seeds": list(settings.run.seeds),
        "features": ExtractionPlan(settings, place.device).fingerprint(),
        "videos": fingerprint(digests),
        "versions": versions(),
        "device": place.device,
    }
    return dict(json.loads(json.dumps(facts)))


def _differs(path: Path, wanted: Mapping[str, Any]) -> str | None:
    """None when the file holds what is wanted, else the name of the first thing that differs ("" without a file)."""
    try:
        made_by = validated(read_json(path), dict[str, Any], str(path))
    except MuldeError:
        return ""
    return next((key for key in wanted if made_by.get(key) != wanted[key]), None)


def _add(outcome: Outcome, seed: int, of_seed: Outcome) -> None:
    """Failures are the same in each seed and count once."""
    outcome.done = max(outcome.done, of_seed.done)
    known = {failure.video for failure in outcome.failures}
    outcome.failures += [failure for failure in of_seed.failures if failure.video not in known]
    for evaluation in of_seed.evaluations.values():
        outcome.evaluations[seed] = evaluation
