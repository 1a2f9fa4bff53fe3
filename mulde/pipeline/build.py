"""Names of region finders and extractors, and how each is built from its settings; the choice of the device."""

from __future__ import annotations

from collections.abc import Callable

from mulde.config import FeatureSettings, RegionSettings
from mulde.errors import UsageError
from mulde.extractors.base import Extractor, RegionFinder
from mulde.extractors.finders import UnitedRegions


def _motion(settings: RegionSettings, device: str) -> RegionFinder:
    from mulde.extractors.motion import MotionRegions

    del device  # OpenCV works on the CPU
    options = settings.motion.model_dump()
    if options["join_px"] == "auto":
        options["join_px"] = 2 if settings.finders == ("motion",) else 0
    return MotionRegions(**options)


def _yolo(settings: RegionSettings, device: str) -> RegionFinder:
    from mulde.extractors.yolo import YoloRegions

    y = settings.yolo
    return YoloRegions(
        y.weights, confidence=y.confidence, classes=y.classes or None, image_size=y.image_size, device=device
    )


def _velocity(settings: FeatureSettings, device: str) -> Extractor:
    from mulde.extractors.flow import DisFlow
    from mulde.extractors.velocity import Velocity

    del device
    v = settings.velocity
    return Velocity(flow=DisFlow(v.flow_preset), step=v.step, bins=v.bins)


def _descriptor(settings: FeatureSettings, device: str) -> Extractor:
    from mulde.extractors.descriptor import Descriptor

    del settings, device
    return Descriptor()


def _geometry(settings: FeatureSettings, device: str) -> Extractor:
    from mulde.extractors.geometry import Geometry

    del settings, device
    return Geometry()


def _clip(settings: FeatureSettings, device: str) -> Extractor:
    from mulde.extractors.clip import clip_appearance

    return clip_appearance(settings.clip.model, settings.clip.weights, device=device)


def _backbone(settings: FeatureSettings, device: str) -> Extractor:
    from mulde.extractors.backbone import backbone_appearance

    return backbone_appearance(settings.backbone.model, settings.backbone.weights, device=device)


FINDERS: dict[str, Callable[[RegionSettings, str], RegionFinder]] = {"yolo": _yolo, "motion": _motion}
EXTRACTORS: dict[str, Callable[[FeatureSettings, str], Extractor]] = {
    "velocity": _velocity,
    "geometry": _geometry,
    "descriptor": _descriptor,
    "clip": _clip,
    "backbone": _backbone,
}


def build_regions(settings: RegionSettings, device: str = "cpu") -> UnitedRegions:
    """The region finders that the settings name, united. Weights are loaded at the first frame."""
    finders = [FINDERS[name](settings, device) for name in settings.finders]
    return UnitedRegions(finders, min_area_px=settings.min_area_px, max_cover=settings.max_cover)


def build_extractors(settings: FeatureSettings, device: str = "cpu") -> list[Extractor]:
    """The extractors that the settings name, in order. Weights are loaded at the first frame."""
    return [EXTRACTORS[name](settings, device) for name in settings.extractors]


def choose_device(wanted: str = "auto") -> str:
    """A torch device name; `auto` takes a CUDA device where there is one. Raises UsageError for a device not here."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {wanted!r} cannot be used ({str(error).splitlines()[0]})", hint="--device cpu, or auto"
        ) from None
    return wanted
