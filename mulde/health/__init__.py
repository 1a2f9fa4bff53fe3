"""Whether a camera's picture is what it was: moved, covered, blurred, dark, bright, frozen, or in another light.

Pictures in, measures and states out; no video, file or setting is known.
"""

from mulde.health.light import Light, LightSwitch
from mulde.health.measures import KINDS, HealthKind, HealthMeasures, measure
from mulde.health.monitor import Condition, HealthMonitor
from mulde.health.picture import Thumbnail, thumbnail
from mulde.health.reference import HealthReference, RegimeReference, Sample, learn_reference

__all__ = [
    "KINDS",
    "Condition",
    "HealthKind",
    "HealthMeasures",
    "HealthMonitor",
    "HealthReference",
    "Light",
    "LightSwitch",
    "RegimeReference",
    "Sample",
    "Thumbnail",
    "learn_reference",
    "measure",
    "thumbnail",
]
