"""Names of region finders, extractors and trackers, and how each is built from its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mulde.config import FeatureSettings, RegionSettings, TrackSettings
from mulde.extractors.base import Extractor, RegionFinder
from mulde.extractors.finders import UnitedRegions

if TYPE_CHECKING:
    from mulde.extractors.flow import SharedMotion
    from mulde.extractors.tracks import Tracker


@dataclass(frozen=True)
class Machine:
    """Where networks run, and how many threads call them at the same time."""

    device: str = "cpu"
    threads: int = 1


ONE_CPU = Machine()


@dataclass(frozen=True)
class Features:
    """What the extractors of one plan are built from; they share the motion between frames."""

    settings: FeatureSettings
    machine: Machine

    @cached_property
    def motion(self) -> SharedMotion:
        from mulde.extractors.flow import SharedMotion, build_flow

        f = self.settings.flow
        return SharedMotion(build_flow(f.method, preset=f.preset, weights=f.weights, device=self.machine.device))

    @cached_property
    def running(self) -> dict[str, Any]:
        """How networks run: their device, the format of their numbers, the most inputs at once."""
        from mulde.extractors.networks import resolve_precision

        device = self.machine.device
        precision = resolve_precision(self.settings.precision, device)
        return {"device": device, "precision": precision, "batch_size": self.settings.batch_size}


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


def _velocity(features: Features) -> Extractor:
    from mulde.extractors.velocity import Velocity

    v = features.settings.velocity
    return Velocity(motion=features.motion, step=v.step, bins=v.bins, normalise=v.normalise, horizon=v.horizon)


def _flow_histogram(features: Features) -> Extractor:
    from mulde.extractors.flow_histogram import FlowHistogram

    h = features.settings.flow_histogram
    return FlowHistogram(motion=features.motion, step=h.step, bins=h.bins, grid=h.grid)


def _pose(features: Features) -> Extractor:
    from mulde.extractors.pose import Pose
    from mulde.extractors.yolo import YoloNetwork

    p, machine = features.settings.pose, features.machine
    network = YoloNetwork(
        p.weights, task="pose", image_size=p.image_size, device=machine.device, threads=machine.threads
    )
    return Pose(network, **p.model_dump(exclude={"weights", "image_size"}))


def _descriptor(features: Features) -> Extractor:
    from mulde.extractors.descriptor import Descriptor

    del features
    return Descriptor()


def _geometry(features: Features) -> Extractor:
    from mulde.extractors.geometry import Geometry

    del features
    return Geometry()


def _clip(features: Features) -> Extractor:
    from mulde.extractors.clip import clip_appearance

    c = features.settings.clip
    return clip_appearance(c.model, c.weights, **features.running)


def _frame_clip(features: Features) -> Extractor:
    from mulde.extractors.clip import frame_clip

    c = features.settings.clip
    return frame_clip(c.model, c.weights, **features.running)


def _backbone(features: Features) -> Extractor:
    from mulde.extractors.backbone import backbone_appearance

    b, running = features.settings.backbone, features.running
    if features.settings.precision == "auto":  # bfloat16 changes MobileNetV2's numbers by a seventh
        running = {**running, "precision": "float32"}
    return backbone_appearance(b.model, b.weights, **running)


def _video(features: Features) -> Extractor:
    from mulde.extractors.video import video_backbone

    v = features.settings.video
    return video_backbone(v.model, v.weights, stride=v.stride, **features.running)


FINDERS: dict[str, Callable[[RegionSettings, Machine], RegionFinder]] = {"yolo": _yolo, "motion": _motion}
EXTRACTORS: dict[str, Callable[[Features], Extractor]] = {
    "velocity": _velocity,
    "geometry": _geometry,
    "pose": _pose,
    "descriptor": _descriptor,
    "clip": _clip,
    "backbone": _backbone,
    "frame_clip": _frame_clip,
    "flow_histogram": _flow_histogram,
    "video": _video,
}


def build_regions(settings: RegionSettings, machine: Machine = ONE_CPU) -> UnitedRegions:
    """The region finders that the settings name, united. Weights are loaded at the first frame."""
    finders = [FINDERS[name](settings, machine) for name in settings.finders]
    return UnitedRegions(finders, min_area_px=settings.min_area_px, max_cover=settings.max_cover)


def build_extractors(settings: FeatureSettings, machine: Machine = ONE_CPU) -> list[Extractor]:
    """The extractors that the settings name, in order. Weights are loaded at the first frame."""
    features = Features(settings, machine)
    return [EXTRACTORS[name](features) for name in settings.extractors]


def build_tracker(settings: TrackSettings) -> Tracker | None:
    """The tracker that the settings name, if any."""
    from mulde.extractors.tracks import Tracker

    return Tracker(settings.tracker, lost_frames=settings.lost_frames) if settings.tracker != "none" else None
