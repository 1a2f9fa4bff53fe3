"""The demo: a synthetic world on disk, and everything run on it."""

from __future__ import annotations

from pathlib import Path

from mulde.config import Settings
from mulde.datasets.synthetic import write_world
from mulde.media import write_video
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.outcome import Outcome
from mulde.pipeline.review.overlay import run_overlay
from mulde.pipeline.review.report import run_report
from mulde.pipeline.run_claim import claim
from mulde.pipeline.stages import run_all


def run_demo(out: Path, seed: int, place: Session) -> Outcome:
    """Write the world of `seed` to `<out>/world` where it is not there yet, and run it into `<out>/run`."""
    world = out / "world"
    run = {"source": f"synthetic:{world}", "out": str(out / "run"), "seeds": (seed,)}
    # Two folds of six clips: a demo should not take longer than a coffee.
    settings = Settings.model_validate({"run": run, "fusion": {"folds": 2}})
    claim(out / "run", "run", [settings.run.source], settings)
    place.reporter.say(f"writing the synthetic world to {world}")
    write_world(world, seed=seed, write_video=write_video)
    outcome = run_all(settings, place)
    for clips in (False, True):
        run_overlay(out / "run", place.reporter, only=(), clips=clips, labels=None)
    page = run_report(out / "run", None, place.reporter, embed_clips=False)
    place.reporter.say(f"pictures of the scores: {out / 'run' / 'figures'}   to review the events: {page}")
    return outcome
