"""What a model keeps of its held-out normal video is what the saved model gives for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mulde.pipeline.bundle import Bundle, load_bundle
from mulde.pipeline.extract import StoredVideo
from mulde.pipeline.score import score_frames, score_video
from mulde.pipeline.train import train
from tests.pipeline.clips import QUIET, clips, plan_of, run

OPTIONS = ('features.extractors=["velocity","geometry"]', "density.options={steps=20, hidden=[16]}")


def trained(videos: list[StoredVideo], folder: Path, folds: int = 1) -> Bundle:
    """Trained, saved and loaded again."""
    plan = plan_of(*OPTIONS, f"fusion.folds={folds}")
    bundle = train(
        videos, plan.settings, plan.fingerprint(), seed=0, device="cpu", reporter=QUIET, folder=folder / "run"
    )
    bundle.save(folder / "model.safetensors")
    return load_bundle(folder / "model.safetensors")


def stored(folder: Path, count: int, num_frames: int) -> list[StoredVideo]:
    (folder / "clips").mkdir()
    return run(clips(folder / "clips", count, num_frames), plan_of(*OPTIONS), folder / "store").done


def test_heldout_videos_have_the_scores_that_the_saved_model_gives_them(tmp_path):
    videos = stored(tmp_path, 5, 20)
    bundle = trained(videos, tmp_path)
    ((name, kept),) = bundle.normal.items()
    assert np.ravel(bundle.training["heldout"]).tolist() == [name]
    (video,) = (one for one in videos if one.video.name == name)
    again = score_frames(video.features, video.frame_index, bundle.streams, bundle.settings.fusion.combine)
    np.testing.assert_allclose(kept.scores, again.fused, rtol=1e-6)
    np.testing.assert_allclose(kept.scores, score_video(video, bundle).track.fused, rtol=1e-6)
    assert kept.rate == video.rate == 25
    assert len(kept.scores) == 20


def test_with_folds_every_video_is_kept_once_as_the_density_that_has_not_seen_it_scores_it(tmp_path):
    videos = stored(tmp_path, 5, 20)
    bundle = trained(videos, tmp_path, folds=2)
    by_name = {one.video.name: one for one in videos}
    assert sorted(bundle.normal) == sorted(by_name)
    for number, names in enumerate(bundle.training["heldout"]):
        alone = {
            name: replace(one, densities=one.densities[number : number + 1]) for name, one in bundle.streams.items()
        }
        for name in names:
            video = by_name[name]
            again = score_frames(video.features, video.frame_index, alone, bundle.settings.fusion.combine)
            np.testing.assert_allclose(bundle.normal[name].scores, again.fused, rtol=1e-6)


def test_of_a_single_video_the_last_part_is_held_out_and_kept(tmp_path):
    videos = stored(tmp_path, 1, 40)
    bundle = trained(videos, tmp_path)
    (kept,) = bundle.normal.values()
    assert len(kept.scores) == 40 * bundle.settings.fusion.heldout_share == 10
    np.testing.assert_allclose(kept.scores, score_video(videos[0], bundle).track.fused[-10:], rtol=1e-6)


def test_folds_side_by_side_give_what_one_after_the_other_gives(tmp_path, monkeypatch):
    videos = stored(tmp_path, 5, 20)
    found = []
    for callers in (1, 3):
        monkeypatch.setattr("mulde.pipeline.train.choose_threads", lambda device, callers=callers: callers)
        (tmp_path / str(callers)).mkdir()
        found.append(trained(videos, tmp_path / str(callers), folds=3).normal)
    alone, together = found
    assert list(alone) == list(together)
    for name, video in alone.items():
        np.testing.assert_allclose(video.scores, together[name].scores, rtol=1e-4)
