"""Every extractor, one line each: settings, plan, training, reasons and `mulde models` follow from this table."""

from __future__ import annotations

from pkgutil import resolve_name

from mulde.errors import UsageError
from mulde.extractors.spec import ExtractorSpec
from mulde.section import Section

_BUILT_IN = (  # file:spec
    "velocity:VELOCITY",
    "flow_histogram:FLOW_HISTOGRAM",
    "geometry:GEOMETRY",
    "place:PLACE",
    "trajectory:TRAJECTORY",
    "pose:POSE",
    "descriptor:DESCRIPTOR",
    "clip:CLIP",
    "clip:FRAME_CLIP",
    "backbone:BACKBONE",
    "timm_backbone:TIMM",
    "timm_backbone:FRAME_TIMM",
    "video:VIDEO",
    "prediction:PREDICTION",
    "prediction:OBJECT_PREDICTION",
)
_specs: list[ExtractorSpec] = [resolve_name(f"mulde.extractors.{line}") for line in _BUILT_IN]
EXTRACTORS: dict[str, ExtractorSpec] = {spec.name: spec for spec in _specs}
"""By name; the sections of the settings stand in this order."""
RESERVED = ("frames", "regions", "tracks", "extractors", "imported", "precision", "batch_size", "flow")
"""Kinds of tables in the store, and keys of `[features]` that belong to all extractors."""


def register_extractor(spec: ExtractorSpec) -> None:
    """Make an extractor of your own known to this process, as if it were one of mulde's.

    From then on `features.extractors` takes its name and `[features.<section>]` its settings. Call it before settings
    are read or a model that uses it is loaded, in every program that does so; with worker processes at the top level
    of the script, because each of them runs the script again. Registering the same name again replaces the extractor.

    Raises UsageError for a name or section that mulde itself uses.
    """
    taken = [known for known in _specs if known.name == spec.name]
    if taken or {spec.name, spec.section} & {*RESERVED}:
        raise UsageError(f"extractor {spec.name!r}, section {spec.section!r}", expected="names that are not taken")
    owner = next((k for k in EXTRACTORS.values() if k.section == spec.section and k.name != spec.name), None)
    if owner is not None and owner.settings is not spec.settings:
        raise UsageError(
            f"extractor {spec.name!r}: settings of features.{spec.section}",
            expected=f"{owner.settings.__name__}, as those of {owner.name!r}",
            got=spec.settings.__name__,
        )
    EXTRACTORS[spec.name] = spec


def known_extractor(name: str) -> ExtractorSpec:
    """Raises UsageError for an extractor that this process does not know."""
    if name not in EXTRACTORS:
        raise UsageError(
            f"extractor {name!r}",
            expected=f"one of {', '.join(EXTRACTORS)}",
            hint="for an extractor of your own, call register_extractor first, at the top level of the script",
        )
    return EXTRACTORS[name]


def sections() -> dict[str, type[Section]]:
    """The class of each section of settings that belongs to extractors, by its name."""
    return {spec.section: spec.settings for spec in EXTRACTORS.values() if spec.settings.model_fields}


def is_built_in(section: str) -> bool:
    """Whether the section belongs to an extractor of mulde; else a program has registered it."""
    return any(spec.section == section for spec in _specs)


def object_centric() -> set[str]:
    """The extractors that make a row per box."""
    return {name for name, spec in EXTRACTORS.items() if spec.object_centric}
