"""What a trained bundle still lacks, from one pass over the pictures of its videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle
from mulde.pipeline.model.loading import TrainedModel
from mulde.pipeline.training.exclusions import Exclusions
from mulde.pipeline.training.health import HealthSampler
from mulde.pipeline.training.reference_samples import make_normal_index
from mulde.progress import Reporter


def finish_model(
    videos: Sequence[StoredVideo], bundle: Bundle, plan: ExtractionPlan, *, seed: int, reporter: Reporter
) -> TrainedModel:
    """The model with its reference samples, and with the reference of its camera's health."""
    max_pictures, sampler = bundle.settings.health.pictures, None
    if max_pictures:
        sampler = HealthSampler(videos, max_pictures, Exclusions.of_record(bundle.training.left_out))
    index = make_normal_index(videos, bundle, plan, seed=seed, reporter=reporter, health=sampler)
    reference = None if sampler is None else sampler.reference()
    if reference is not None and not any(regime.has_view for regime in reference.regimes.values()):
        reporter.say(
            "camera health: the training footage does not look at one place, so of its camera only dark, bright and "
            "frozen can be told"
        )
    return TrainedModel(replace(bundle, health=reference), index)
