"""How region finders, extractors and trackers are built from their settings."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TYPE_CHECKING

from mulde.config import FeatureSettings, RegionSettings, TrackSettings
from mulde.extractors.base import Extractor, RegionFinder, TrackExtractor
from mulde.extractors.finders import UnitedRegions
from mulde.extractors.given import IMPORTED, GivenBoxes, GivenTracks
from mulde.extractors.registry import known_extractor
from mulde.extractors.spec import ONE_CPU, Machine, Shared

if TYPE_CHECKING:
    from mulde.extractors.tracks import Tracker


def _motion(settings: RegionSettings, machine: Machine) -> RegionFinder:
    from mulde.extractors.motion import MotionRegions

    del machine  # OpenCV works on the CPU
    options = settings.motion.model_dump()
    if options["join_px"] == "auto":
        options["join_px"] = 2 if settings.finders == ("motion",) else 0
    return MotionRegions(**options)


def _yolo(settings: RegionSettings, machine: Machine) -> RegionFinder:
    from mulde.extractors.detector import YoloRegions
    from mulde.extractors.yolo import YoloNetwork

    y = settings.yolo
    network = YoloNetwork(
        y.weights, task="detect", image_size=y.image_size, device=machine.device, threads=machine.threads
    )
    return YoloRegions(network, confidence=y.confidence, classes=y.classes or None)


def _imported(settings: RegionSettings, machine: Machine) -> RegionFinder:
    del machine
    return GivenBoxes(settings.imported)


FINDERS: dict[str, Callable[[RegionSettings, Machine], RegionFinder]] = {
    "yolo": _yolo,
    "motion": _motion,
    IMPORTED: _imported,
}


def build_regions(settings: RegionSettings, machine: Machine = ONE_CPU) -> UnitedRegions:
    """The region finders that the settings name, united. Weights are loaded at the first frame."""
    finders = [FINDERS[name](settings, machine) for name in settings.finders]
    if IMPORTED in settings.finders:  # which are taken as they are
        return UnitedRegions(finders, min_area_px=0, max_cover=1)
    return UnitedRegions(finders, min_area_px=settings.min_area_px, max_cover=settings.max_cover)


def build_extractors(
    settings: FeatureSettings, machine: Machine = ONE_CPU, without: Set[str] = frozenset()
) -> list[Extractor | TrackExtractor]:
    """The extractors that the settings name, in order, but for those of `without`. Weights are loaded at the first
    frame."""
    shared = Shared(machine, settings.flow, settings.precision, settings.batch_size)
    names = [name for name in settings.extractors if name not in without]
    return [known_extractor(name).build(settings.for_extractor(name), shared) for name in names]


def build_tracker(settings: TrackSettings) -> Tracker | GivenTracks | None:
    """The tracker that the settings name, if any."""
    from mulde.extractors.tracks import Tracker

    if settings.tracker == IMPORTED:
        return GivenTracks()
    return Tracker(settings.tracker, lost_frames=settings.lost_frames) if settings.tracker != "none" else None
