"""What can be chosen: one table. Each line is tried on every stream; an earlier one is taken to be the simpler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mulde.config import DensitySettings, Settings, StreamDensitySettings
from mulde.extractors.registry import EXTRACTORS, is_built_in
from mulde.settings_file import parse_override, read_toml


class DensityCandidate(NamedTuple):
    """A density, and its name in tables."""

    name: str
    settings: StreamDensitySettings


def _line(name: str, method: str, **options: Any) -> DensityCandidate:
    return DensityCandidate(name, StreamDensitySettings(method=method, options=options))


DENSITIES: tuple[DensityCandidate, ...] = (
    _line("mahalanobis", "mahalanobis"),
    _line("mixture", "mixture"),
    _line("neighbours", "neighbours"),
    _line("neighbours, 5", "neighbours", neighbours=5),
    _line("mulde", "mulde"),
    _line("mulde, maximum", "mulde", aggregate="max"),
    _line("mulde, no base", "mulde", base="none"),
)
"""Behind the density of the given settings, which comes first: a change has to earn its place."""

ONLY_HIGH: frozenset[str] = frozenset({"velocity", "flow_histogram"})
"""Streams of which it is tried that only high values count: speeds."""
FLOW_STEPS: Mapping[str, Sequence[int]] = {"velocity": (2, 4)}
"""Streams with a setting `step`, and the numbers of frames that are tried beside the given one."""
SMOOTHING_S: Sequence[float] = (0.0, 0.25, 0.5, 1.0)
AVERAGE_S: Sequence[float] = (0.2, 0.5)
"""Reach of the averaging along tracks, seconds before and behind."""


def densities_for(density: DensitySettings, stream: str) -> list[DensityCandidate]:
    """The given density of a stream, then all of the table that differ from it."""
    given = density.streams.get(stream, density.shared)
    name = next((line.name for line in DENSITIES if line.settings == given), f"{given.method}, as given")
    return [DensityCandidate(name, given), *(line for line in DENSITIES if line.settings != given)]


def with_all_streams(settings: Settings, config: Path | None, changes: Sequence[str]) -> Settings:
    """The settings with all streams per box that need no weights, unless a person named some (in the TOML of `config`
    or in `changes`, KEY=VALUE)."""
    named = [read_toml(config)] if config is not None else []
    named += [parse_override(change) for change in changes]
    if any("extractors" in features or "imported" in features for table in named
           if isinstance(features := table.get("features"), Mapping)):  # fmt: skip
        return settings
    specs = [spec for spec in EXTRACTORS.values() if spec.object_centric and is_built_in(spec.section)]
    streams = [spec.name for spec in specs if "weights" not in spec.settings.model_fields]
    tracked = with_tracker(settings)  # which some of the streams need
    features = tracked.features.model_dump(mode="json") | {"extractors": streams}
    return Settings.model_validate(tracked.model_dump(mode="json") | {"features": features})


def with_one_stream(settings: Settings, stream: str, **changes: Any) -> Settings:
    """The settings with this stream alone, and changes to the section of its extractor."""
    data: dict[str, Any] = settings.model_dump(mode="json")
    data["features"] |= {"extractors": [stream], "imported": []}
    if changes:  # not every extractor has a section
        data["features"][stream] |= changes
    data["density"]["streams"], data["fusion"]["only_high"] = {}, []
    return Settings.model_validate(data)


def with_tracker(settings: Settings) -> Settings:
    """The settings with a tracker, which the insertions need."""
    if settings.tracks.tracker != "none":
        return settings
    return settings.model_copy(update={"tracks": settings.tracks.model_copy(update={"tracker": "bytetrack"})})
