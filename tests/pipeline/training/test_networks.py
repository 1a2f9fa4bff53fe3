"""Networks that a stream describes video with are trained on its normal video first, and describe none that they have
seen."""

from __future__ import annotations

import gc
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mulde.media import write_video
from mulde.pipeline.model.weights import NETWORKS
from mulde.pipeline.training import networks
from mulde.reconstruction.model_file import load_models
from tests.conftest import moving_square

TINY = (
    "features.prediction.options={side=64, width=2, num_codes=8, side_width=2, pyramid_width=2, max_steps=6, "
    "batch_size=2, eval_every=3, heldout_clips=4}"
)
QUICK = ["--set", TINY, "--set", "features.prediction.preset=paper", "--set", "density.method=mixture",
         "--device", "cpu", "-q"]  # fmt: skip


def footage(folder: Path, count: int, num_frames: int = 20) -> Path:
    for i in range(count):
        write_video(folder / f"n{i}.mp4", iter(moving_square(num_frames, seed=i, speed_px=1 + i % 3)), Fraction(25))
    return folder


def streams(*names: str) -> list[str]:
    return ["--set", f"features.extractors={json.dumps(names)}"]


def test_train_makes_the_networks_and_score_finds_them(mulde, tmp_path):
    normal = footage(tmp_path / "обычное", 4)
    both = streams("prediction", "object_prediction", "geometry")
    code, _, err = mulde("train", normal, "--out", "model", "--store", "store", *both, *QUICK)
    assert code == 0, err
    made = load_models(tmp_path / "model" / NETWORKS)
    halves = [set(one.seen) for one in made]
    assert [len(half) for half in halves] == [2, 2]
    assert not halves[0] & halves[1]
    assert all(ranges == ((0, 20),) for one in made for ranges in one.seen.values())
    assert not list((tmp_path / "model").glob("checkpoints*"))
    clip = tmp_path / "new" / "clip.mp4"
    write_video(clip, iter(moving_square(20, seed=9)), Fraction(25))
    code, _, err = mulde(
        "score", clip, "--model", "model/model.safetensors", "--out", "scored", "--store", "store", "-q"
    )
    assert code == 0, err
    table = pd.read_csv(tmp_path / "scored/scores/clip.csv")
    assert len(table) == 20
    assert {"score_prediction", "score_object_prediction", "score_geometry"} <= set(table.columns)
    again = (tmp_path / "model" / NETWORKS).stat().st_mtime_ns
    code, _, err = mulde("train", normal, "--out", "model", "--store", "store", *both, *QUICK)
    assert code == 0, err
    assert (tmp_path / "model" / NETWORKS).stat().st_mtime_ns == again  # finished, so not trained again


def test_a_model_without_its_networks_says_which_it_needs(mulde, tmp_path, monkeypatch):
    footage(tmp_path / "normal", 3)
    assert mulde("train", "normal", "--out", "model", "--store", "store", *streams("prediction"), *QUICK)[0] == 0
    (tmp_path / "model" / NETWORKS).rename(tmp_path / "elsewhere.safetensors")
    code, _, err = mulde("score", "normal/n0.mp4", "--model", "model/model.safetensors", "--store", "s2", "-q")
    assert code == 2
    assert "the model needs the weights 'prediction.safetensors' of its training (features.prediction.weights" in err
    assert "--set features.prediction.weights=PATH" in err
    moved = ["--set", "features.prediction.weights=elsewhere.safetensors"]
    code, _, err = mulde("score", "normal/n0.mp4", "--model", "model/model.safetensors", "--store", "s2", "-q", *moved)
    assert code == 0, err


def test_networks_beside_a_model_are_found_wherever_both_are_taken(mulde, tmp_path, monkeypatch):
    footage(tmp_path / "normal", 3)
    assert mulde("train", "normal", "--out", "model", "--store", "store", *streams("prediction"), *QUICK)[0] == 0
    (tmp_path / "model").rename(tmp_path / "moved")
    monkeypatch.setenv("MULDE_CONFIG", str(tmp_path / "nobody"))
    score = ("score", "normal/n0.mp4", "--model", "moved/model.safetensors", "--store", "s2", "-q")
    code, _, err = mulde(*score)
    assert code == 0, err
    networks = tmp_path / "moved" / NETWORKS
    networks.write_bytes(networks.read_bytes()[:-1] + b"x")  # others than those of the training
    monkeypatch.setenv("MULDE_CONFIG", str(tmp_path / "nobody else"))
    code, _, err = mulde(*score)
    assert code == 2
    assert "the model needs the weights" in err


def test_videos_that_are_too_short_are_named(mulde, tmp_path):
    footage(tmp_path / "normal", 3)
    write_video(tmp_path / "normal/kurz.mp4", iter(moving_square(3)), Fraction(25))
    code, _, err = mulde("train", "normal", "--out", "model", "--store", "store", *streams("prediction"), *QUICK[:-1])
    assert code == 0, err
    assert "networks of the stream: fewer than 5 frames, not learnt from (1): kurz" in err
    score = ("score", "normal", "--model", "model/model.safetensors", "--store", "store", "--out", "scored", "-q")
    code, _, err = mulde(*score)
    assert code == 0, err
    assert "kurz.mp4: of 3 frames; 4 before each are looked at, and the first one stands for those" in err
    assert err.count("stands for those") == 1


def test_the_python_interface_trains_networks_too(tmp_path, monkeypatch):
    import mulde

    monkeypatch.setenv("MULDE_CONFIG", str(tmp_path / "config"))
    settings = {
        "features.extractors": ["prediction"],
        "features.prediction": {"preset": "paper", "options": {"side": 64, "width": 2, "num_codes": 8, "side_width": 2,
                                "pyramid_width": 2, "max_steps": 4, "batch_size": 2}},
        "density.method": "mixture",
    }  # fmt: skip
    model = mulde.train(footage(tmp_path / "normal", 3), settings=settings, device="cpu")
    clip = tmp_path / "new.mp4"
    write_video(clip, iter(moving_square(20, seed=9)), Fraction(25))
    before = model.score(clip).frames
    model.save(tmp_path / "door.safetensors")
    assert (tmp_path / NETWORKS).exists()
    folder = model._networks.path
    del model
    gc.collect()
    assert not folder.exists()
    after = mulde.load_model(tmp_path / "door.safetensors", device="cpu").score(clip).frames
    pd.testing.assert_frame_equal(before, after)
    with pytest.raises(mulde.errors.UsageError, match="option side of pixel model pdm"):
        mulde.train(tmp_path / "normal", settings={**settings, "features.prediction": {"options": {"side": 3}}})


def test_a_training_that_was_stopped_goes_on(mulde, tmp_path, monkeypatch):
    footage(tmp_path / "normal", 2, 60)
    args = ("train", "normal", "--store", "store", *streams("prediction"), *QUICK)
    assert mulde(*args, "--out", "whole")[0] == 0
    monkeypatch.setattr("mulde.reconstruction.trainer._SAVE_EVERY_S", 0)
    add = networks._Shown.add

    def stop(self, number, progress):
        add(self, number, progress)
        if progress.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(networks._Shown, "add", stop)
        code, _, err = mulde(*args, "--out", "model")
    assert code == 130, err
    assert not (tmp_path / "model" / NETWORKS).exists()
    assert not (tmp_path / "model/checkpoints/frames.raw").exists()
    assert list((tmp_path / "model/checkpoints").glob("prediction-*.safetensors"))
    assert mulde(*args, "--out", "model")[0] == 0
    whole, resumed = (load_models(tmp_path / name / NETWORKS) for name in ("whole", "model"))
    for one, other in zip(whole, resumed, strict=True):
        for name, array in one.model.arrays().items():
            np.testing.assert_array_equal(other.model.arrays()[name], array)


def test_a_single_video_is_cut_in_time(mulde, tmp_path):
    footage(tmp_path / "normal", 1, 40)
    code, _, err = mulde("train", "normal", "--out", "model", "--store", "store", *streams("prediction"), *QUICK)
    assert code == 0, err
    seen = [ranges for one in load_models(tmp_path / "model" / NETWORKS) for ranges in one.seen.values()]
    assert sorted(seen) == [((0, 20),), ((20, 40),)]


@pytest.mark.parametrize(("count", "num_frames"), [(2, 4), (1, 6), (1, 1)])
def test_too_little_footage_is_a_sentence(mulde, tmp_path, count, num_frames):
    footage(tmp_path / "normal", count, num_frames)
    code, _, err = mulde("train", "normal", "--out", "model", "--store", "store", *streams("prediction"), *QUICK)
    assert code == 1
    assert "error: training networks: expected" in err


def test_excluded_frames_are_not_learnt_from(mulde, tmp_path, monkeypatch):
    footage(tmp_path / "normal", 2)
    (tmp_path / "out.csv").write_text("video,start_frame,end_frame\nn0,8,12\n")
    seen = []
    clips = networks._Clips

    def watched(frames, parts, length):
        made = clips(frames, parts, length)
        seen.append((parts[0][0].name, sorted((made._starts - frames.rows[parts[0][0].name][0]).tolist())))
        return made

    monkeypatch.setattr(networks, "_Clips", watched)
    code, _, err = mulde("train", "normal", "--out", "model", "--store", "store", "--exclude", "out.csv",
                         *streams("prediction"), *QUICK)  # fmt: skip
    assert code == 0, err
    of_n0 = sorted(start for name, starts in seen for start in starts if name == "n0")
    rows = [*range(8), *range(12, 20)]  # which frame lies in which row
    clips_of = [rows[start : start + 5] for start in of_n0]
    assert clips_of == [[f, f + 1, f + 2, f + 3, f + 4] for f in (0, 1, 2, 3, 12, 13)]


def test_long_footage_is_read_in_blocks_and_said(mulde, tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "_MAX_FRAMES", 40)
    monkeypatch.setattr(networks, "_BLOCK", 10)
    footage(tmp_path / "normal", 2, 40)
    args = [arg for arg in QUICK if arg != "-q"]
    code, _, err = mulde("train", "normal", "--out", "model", "--store", "store", *streams("prediction"), *args)
    assert code == 0, err
    assert "trained on 40 of 80 frames, in blocks of 10" in err


def test_extract_says_that_networks_are_missing(mulde, tmp_path):
    footage(tmp_path / "normal", 1)
    code, _, err = mulde("extract", "normal", "--store", "store", *streams("prediction"), "-q")
    assert code == 2
    assert "features.prediction.weights: expected the file that mulde train wrote" in err


def test_options_that_do_not_fit_are_refused_before_anything_is_read(mulde, tmp_path):
    code, _, err = mulde("train", "nowhere", *streams("prediction"), "--set", "features.prediction.options={width=0}")
    assert code == 2
    assert "option width of pixel model pdm" in err


def test_a_disk_without_room_for_the_frames_is_a_sentence(mulde, tmp_path, monkeypatch):
    footage(tmp_path / "normal", 2)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    code, _, err = mulde("train", "normal", "--out", "model", "--store", "store", *streams("prediction"), *QUICK)
    assert code == 1
    assert "frames.raw cannot be written: No space left on device. Try: free some space" in err
    assert not (tmp_path / "model/checkpoints/frames.raw").exists()
