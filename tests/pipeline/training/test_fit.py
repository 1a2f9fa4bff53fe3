"""What a model keeps of its held-out normal video is what the saved model gives for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle, load_bundle
from mulde.pipeline.scoring.frames import score_frames, score_video
from mulde.pipeline.training.exclusions import Exclusions
from mulde.pipeline.training.fit import CHECKPOINTS, train
from mulde.pipeline.training.folds import NOTHING
from tests.pipeline.clips import QUIET, clips, plan_of, run

OPTIONS = ('features.extractors=["velocity","geometry"]', "density.options={steps=20, hidden=[16]}")


def trained(
    videos: list[StoredVideo], folder: Path, folds: int = 1, left_out: Exclusions = NOTHING, *changes: str
) -> Bundle:
    """Trained, saved and loaded again."""
    plan = plan_of(*OPTIONS, f"fusion.folds={folds}", *changes)
    made_from = plan.fingerprint()
    bundle = train(
        videos,
        plan.settings,
        made_from,
        seed=0,
        device="cpu",
        reporter=QUIET,
        folder=folder / "run",
        exclusions=left_out,
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
    assert np.ravel(bundle.training.heldout).tolist() == [name]
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
    for number, names in enumerate(bundle.training.heldout):
        alone = {
            name: replace(one, densities=one.densities[number : number + 1]) for name, one in bundle.streams.items()
        }
        for name in names:
            video = by_name[name]
            again = score_frames(video.features, video.frame_index, alone, bundle.settings.fusion.combine)
            np.testing.assert_allclose(bundle.normal[name].scores, again.fused, rtol=1e-6)


def test_a_stream_is_fitted_with_its_own_density_and_the_others_stay_as_they_are(tmp_path):
    videos = stored(tmp_path, 3, 20)
    (tmp_path / "own").mkdir()
    common = trained(videos, tmp_path, 2)
    own = trained(videos, tmp_path / "own", 2, NOTHING, 'density.streams={velocity={method="mahalanobis"}}')
    assert {name: {d.kind for d in stream.densities} for name, stream in own.streams.items()} == {
        "velocity": {"mahalanobis"},
        "geometry": {"mulde"},
    }
    assert own.settings.density.of("velocity").method == "mahalanobis"  # also in the file
    rows = videos[0].features("geometry").values
    np.testing.assert_array_equal(own.streams["geometry"].score_rows(rows), common.streams["geometry"].score_rows(rows))


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
        monkeypatch.setattr("mulde.devices.choose_threads", lambda device, callers=callers: callers)
        (tmp_path / str(callers)).mkdir()
        found.append(trained(videos, tmp_path / str(callers), folds=3).normal)
    alone, together = found
    assert list(alone) == list(together)
    for name, video in alone.items():
        np.testing.assert_allclose(video.scores, together[name].scores, rtol=1e-4)


def test_what_is_left_out_is_in_no_count_and_cuts_the_normal_scores(tmp_path):
    videos = stored(tmp_path, 3, 20)
    left_out = Exclusions({"clip1": ((5, 9),), "clip2": ((0, 20),)})
    bundle = trained(videos, tmp_path, 2, left_out)
    assert bundle.training.left_out == left_out.as_record()
    assert {name: len(video.scores) for name, video in bundle.normal.items()} == {
        "clip0": 20,
        "clip1 0-5": 5,
        "clip1 9-20": 11,
    }
    assert [part.name for part in bundle.training.normal_parts] == list(bundle.normal)
    for part in bundle.training.normal_parts:
        number, (video,) = part.fold, [one for one in videos if one.video.name == part.video]
        alone = {
            name: replace(one, densities=one.densities[number : number + 1]) for name, one in bundle.streams.items()
        }
        again = score_frames(video.features, video.frame_index, alone, bundle.settings.fusion.combine).fused
        expected = again[part.start_frame : part.end_frame]
        np.testing.assert_allclose(bundle.normal[part.name].scores, expected, rtol=1e-6)
    kept = {"clip0": np.ones(20, bool), "clip1": ~np.isin(np.arange(20), range(5, 9))}
    rows = {name: kept[name][video.features("velocity").frame_index].sum()
            for video in videos if (name := video.video.name) in kept}  # fmt: skip
    heldout = [name for (name,) in bundle.training.heldout]
    assert bundle.training.streams["velocity"].heldout_rows == [rows[name] for name in heldout]
    assert bundle.training.streams["velocity"].rows == [rows[name] for name in reversed(heldout)]


def test_frames_that_are_left_out_decide_nothing(tmp_path):
    """Two trainings that differ only in a video that is left out whole, and one that was never given it."""
    videos = stored(tmp_path, 4, 20)
    (tmp_path / "without").mkdir()
    alone = trained(videos[:3], tmp_path / "without", 3).normal
    left_out = trained(videos, tmp_path, 3, Exclusions({"clip3": ((0, 20),)})).normal
    assert list(alone) == list(left_out)
    for name, video in alone.items():
        np.testing.assert_array_equal(video.scores, left_out[name].scores)


def test_the_checkpoints_of_a_training_on_everything_are_not_gone_on_from(tmp_path, caplog):
    videos, left_out = stored(tmp_path, 3, 20), Exclusions({"clip1": ((5, 9),)})
    (tmp_path / "fresh").mkdir()
    fresh = trained(videos, tmp_path / "fresh", 2, left_out).normal
    trained(videos, tmp_path, 2)
    assert len(list((tmp_path / "run" / CHECKPOINTS).iterdir())) == 4
    after = trained(videos, tmp_path, 2, left_out).normal
    assert sum("is of other data" in record.message for record in caplog.records) == 4
    for name, video in fresh.items():
        np.testing.assert_array_equal(video.scores, after[name].scores)
