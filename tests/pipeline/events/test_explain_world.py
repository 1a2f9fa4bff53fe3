"""Reasons where the true cause is known: on the synthetic world."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import pytest

from mulde.datasets import open_dataset, write_world
from mulde.media import write_video
from mulde.pipeline.events.explain import Explained, explain
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.model.normal_index import NORMAL_INDEX_FILE, NormalIndex
from mulde.pipeline.scoring.frames import score_video
from mulde.pipeline.scoring.threshold import find_alarms, learn_threshold
from mulde.pipeline.training.fit import train
from mulde.pipeline.training.reference_samples import make_normal_index
from mulde.settings_file import load_settings
from tests.pipeline.clips import QUIET, run

named_cause = run_path(str(Path(__file__).parents[3] / "benchmarks/reasons.py"))["named_cause"]
SEED = 0
QUICK = ["density.method=mixture", "fusion.folds=1", "reasons.normal_moments=300", "features.flow.preset=ultrafast"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The world, and what is needed to explain the events of its test clips."""
    root = tmp_path_factory.mktemp("reasons")
    write_world(root / "world", seed=SEED, write_video=write_video, train_clips=3, test_clips=5, num_frames=80)
    dataset = open_dataset("synthetic", root / "world")
    settings = load_settings(overrides=QUICK)
    plan = ExtractionPlan(settings, "cpu")
    normal, test = (run(list(dataset.videos(split)), plan, root / "store").done for split in ("train", "test"))
    bundle = train(normal, settings, plan.fingerprint(), seed=0, device="cpu", reporter=QUIET, folder=root / "run")
    index = make_normal_index(normal, bundle, plan, seed=0, reporter=QUIET)
    assert index is not None
    index.write(root / NORMAL_INDEX_FILE)
    stored = {one.video.name: one for one in test}
    scored = {name: score_video(one, bundle) for name, one in stored.items()}
    events = find_alarms(scored, learn_threshold(bundle, settings.alarms, QUIET))
    return dataset, (events, scored, stored, bundle), NormalIndex.read(root / NORMAL_INDEX_FILE)


@pytest.mark.parametrize("with_index", [True, False])
def test_the_named_stream_is_a_true_cause_of_four_in_five_events(world, with_index):
    dataset, seen, normal_index = world
    explained: Explained = explain(*seen, normal_index if with_index else None)
    right = []
    for event in explained.events:
        true = [
            cause.cause.split("|")
            for cause in dataset.causes()
            if cause.video == event.video
            and cause.start_frame < event.end_frame
            and event.start_frame < cause.end_frame
        ]
        if true:  # others are false alarms, which nothing caused
            right.append(named_cause(event.reason) in true[0])
        assert sum(event.reason.streams.values()) == pytest.approx(event.score, abs=1e-9)
        assert all(near.distance >= 0 for near in event.reason.nearest)
        assert len(event.reason.nearest) == 3 * with_index
    assert len(right) >= 4
    assert sum(right) >= 0.8 * len(right)
