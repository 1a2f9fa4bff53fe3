"""Which settings a command has a use for, and which a finished model can still be scored with; others are refused.

A file of settings may hold all of them, for every command. A setting that is given by itself (`--set`) must have an
effect, so that nobody believes, or finds on record, what was not done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from mulde.config import Settings
from mulde.density.registry import find_density
from mulde.errors import UsageError
from mulde.extractors.registry import EXTRACTORS, object_centric, sections
from mulde.extractors.spec import ExtractorSpec, Requirement
from mulde.nested import leaves
from mulde.settings_file import load_settings, parse_override

_FEATURES = ("video", "regions", "tracks", "features")
_MODEL = (*_FEATURES, "density", "fusion", "alarms", "reasons", "health")
# command -> the sections, or single settings, that it uses, and those of them that it does not
USES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "extract": (_FEATURES, ("video.match_training",)),
    "cache export": (_FEATURES, ("video.match_training",)),
    "cache import": (("video",), ("video.match_training",)),
    "train": (_MODEL, ()),
    "run": ((*_MODEL, "run"), ()),
    "reproduce": ((*_MODEL, "run"), ("run.source", "run.out")),
    "score": (_MODEL, ()),
    "watch-folder": (_MODEL, ()),
}
# What scoring can change: `*` stands for one name.
_SCORING = (
    "video.stream", "video.frame_rate", "video.batch_frames", "video.match_training",
    "regions.yolo.weights", "regions.imported", "features.*.weights", "features.batch_size", "features.precision",
    "tracks.tracker", "tracks.lost_frames", "fusion.smoothing_s", "fusion.smoothing",
    "alarms.*", "reasons.nearest", "health.compare",
)  # fmt: skip
_WHY_NOT: Mapping[str, str] = {
    "fusion.combine": "the model keeps the scores of its normal video combined, and they set level and p-values",
    "density": "it is settled in training",
    "fusion": "it is settled in training",
    "reasons": "it is settled in training",
    "health": "it is settled in training",
    "run": "it is one of mulde run",
}
Need = tuple[str, str, Callable[[Settings], bool]]
"""A setting or section, what it needs to have an effect, and whether that is so."""


def _has_boxes(settings: Settings) -> bool:
    return not object_centric().isdisjoint(settings.features.extractors)


def _has_presets(method: str) -> bool:
    return bool(find_density(method).PRESETS)


def _shares_density(settings: Settings) -> bool:
    return not {*settings.streams} <= settings.density.streams.keys()


_OWN_FINDERS = "regions.finders with yolo or motion"
_NEEDS: tuple[Need, ...] = (
    ("regions", "a feature per box in features.extractors", _has_boxes),
    ("regions.yolo", 'regions.finders with "yolo" (--detector)', lambda s: "yolo" in s.regions.finders),
    ("regions.motion", 'regions.finders with "motion"', lambda s: "motion" in s.regions.finders),
    ("regions.imported", 'regions.finders=["imported"]', lambda s: "imported" in s.regions.finders),
    ("regions.min_area_px", _OWN_FINDERS, lambda s: "imported" not in s.regions.finders),
    ("regions.max_cover", _OWN_FINDERS, lambda s: "imported" not in s.regions.finders),
    ("tracks", "a feature per box in features.extractors", _has_boxes),
    ("tracks.lost_frames", "a tracks.tracker", lambda s: s.tracks.tracker not in ("none", "imported")),
    ("density.preset", "a density.method with presets, as mulde", lambda s: _has_presets(s.density.method)),
    *(
        (f"density.{key}", "a stream without a table of its own in density.streams", _shares_density)
        for key in ("method", "preset", "options")
    ),
    ("fusion.heldout_share", "fusion.folds=1", lambda s: s.fusion.folds == 1),
    ("health.compare", "health.pictures above 0", lambda s: s.health.pictures > 0),
    ("reasons.nearest", "reasons.normal_moments above 0", lambda s: s.reasons.normal_moments > 0),
)


def _needs(settings: Settings) -> Iterator[Need]:
    """All of them, those of the extractors and of the streams' densities too."""
    yield from _NEEDS
    for name in settings.density.streams:
        yield _of_density(f"density.streams.{name}", name)
    yield _of_extractors("flow", [name for name, spec in EXTRACTORS.items() if spec.uses_flow])
    yield "features.flow.preset", 'features.flow.method="dis"', lambda s: s.features.flow.method == "dis"
    yield "features.flow.weights", "RAFT as features.flow.method", lambda s: s.features.flow.method.startswith("raft")
    for section in sections():
        specs = [spec for spec in EXTRACTORS.values() if spec.section == section]
        yield _of_extractors(section, [spec.name for spec in specs])
        for spec in specs:
            for need in spec.requirements:
                yield _beside(spec, need)


def _of_extractors(section: str, names: Sequence[str]) -> Need:
    needed = f"{' or '.join(names)} in features.extractors"
    return f"features.{section}", needed, lambda s: not {*names}.isdisjoint(s.features.extractors)


def _of_density(table: str, stream: str) -> Need:
    needed = f"{table}.method with presets, as mulde"
    return f"{table}.preset", needed, lambda s: _has_presets(s.density.of(stream).method)


def _beside(spec: ExtractorSpec, need: Requirement) -> Need:
    section = f"features.{spec.section}"
    return (
        f"{section}.{need.key}",
        f"{section}.{need.needed}",
        lambda s: need.holds(s.features.for_extractor(spec.name)),
    )


def check_used(command: str, changes: Sequence[str], settings: Settings, beside: str = "{} beside it") -> None:
    """Raises UsageError for the first of the `changes` (KEY=VALUE) that has no effect on `mulde <command>`, or none
    beside the other settings, which are in `settings`. beside: how the sentence says what is missing."""
    uses, but = USES[command]
    for key in _keys(changes):
        if not any(_within(key, section) for section in uses) or key in but:
            other = next(name for name in ("train", "score", "run") if _is_used(key, name))
            raise UsageError(f"setting {key} has no effect on mulde {command}", hint=f"give it to mulde {other}")
        for section, needed, holds in _needs(settings):
            if _within(key, section) and not holds(settings):
                raise UsageError(f"setting {key} has no effect", expected=beside.format(needed))


def scoring_settings(learnt: Settings, changes: Sequence[str]) -> Settings:
    """The settings of a model with `changes` (KEY=VALUE) for scoring. Raises UsageError, by name, for one that
    scoring cannot change any more, or that has no effect."""
    settings = load_settings(overrides=changes, base=learnt)
    before, after = dict(leaves(learnt.model_dump(mode="json"))), dict(leaves(settings.model_dump(mode="json")))
    changed = [key for key in {**after, **before} if before.get(key) != after.get(key)]
    for key in changed:
        if any(fnmatchcase(key, pattern) for pattern in _SCORING):
            continue
        why = next(
            (why for section, why in _WHY_NOT.items() if _within(key, section)), "the model learnt from such features"
        )
        raise UsageError(
            f"setting {key} cannot be changed for scoring: {why}",
            expected=f"{before.get(key, 'nothing')!r} as in training",
            got=repr(after.get(key, "nothing")),
            hint="train again with it, or leave it out",
        )
    check_used("score", [f"{key}=0" for key in changed], settings, "a model trained with {}")
    return settings


def _keys(changes: Sequence[str]) -> Iterator[str]:
    for change in changes:
        yield from (key for key, _ in leaves(parse_override(change)))


def _is_used(key: str, command: str) -> bool:
    uses, but = USES[command]
    return any(_within(key, section) for section in uses) and key not in but


def _within(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")
