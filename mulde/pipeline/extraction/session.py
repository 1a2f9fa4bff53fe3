"""Where a command works, and how its videos are extracted there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mulde.datasets.base import Video
from mulde.devices import choose_device
from mulde.pipeline.extraction.boxes_alone import say_changes
from mulde.pipeline.extraction.engine import Extraction, extract
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.worker import THIS_MACHINE, WorkerConfig
from mulde.pipeline.model.weights import remember
from mulde.progress import Reporter
from mulde.store.store import FeatureStore


@dataclass(frozen=True)
class Session:
    """Where and how a command works: its store, its device, how it talks to a person, who extracts, and whether
    footage that is left out is an error (`strict`). command: its command line, for the record of a run; keeps_record:
    whether weights that were named go into the user's record."""

    store: FeatureStore
    device: str
    reporter: Reporter
    workers_config: WorkerConfig = THIS_MACHINE
    strict: bool = False
    command: tuple[str, ...] = ()
    keeps_record: bool = True

    @classmethod
    def open(
        cls,
        store: Path,
        device: str,
        reporter: Reporter,
        workers_config: WorkerConfig = THIS_MACHINE,
        *,
        strict: bool = False,
        command: Sequence[str] = (),
        keeps_record: bool = True,
    ) -> Session:
        chosen = choose_device(device)
        return cls(FeatureStore(store), chosen, reporter, workers_config, strict, tuple(command), keeps_record)

    def extract(self, videos: Sequence[Video], plan: ExtractionPlan) -> Extraction:
        extraction = extract(videos, plan, self.store, self.reporter, self.workers_config)
        say_changes(extraction.done, self.reporter)
        if extraction.done and self.keeps_record:
            remember(plan.settings, plan.fingerprint())
        return extraction
