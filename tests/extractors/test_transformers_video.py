"""Video encoders of transformers with random weights: rows against its own processors and classes, by hand pooled."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mulde.errors import MuldeError, UsageError
from mulde.extractors.base import weights_source
from mulde.extractors.video import _HUB, video_backbone
from mulde.pipeline.model.setting_uses import check_used
from mulde.records import Frames, Regions, Window
from mulde.settings_file import load_settings

transformers = pytest.importorskip("transformers")

JEPA, MAE = "facebook/vjepa2-vitl-fpc64-256", "MCG-NJU/videomae-base"
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 16}
BOTH = pytest.mark.parametrize("model", [JEPA, MAE])


def encoder(model: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if model == JEPA:
        config = transformers.VJEPA2Config(
            **SMALL, crop_size=32, frames_per_clip=4, pred_hidden_size=24, pred_num_attention_heads=2,
            pred_num_hidden_layers=1, initializer_range=0.3,
        )  # fmt: skip
        return transformers.VJEPA2Model(config).eval()
    config = transformers.VideoMAEConfig(**SMALL, image_size=32, num_frames=4, initializer_range=0.3)
    return transformers.VideoMAEModel(config).eval()


def processor(model: str) -> object:
    if model == JEPA:
        return transformers.VJEPA2VideoProcessor(crop_size=32)
    return transformers.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


@pytest.fixture
def local(tmp_path):
    """The folder of an encoder, as its library saves it."""

    def make(model: str) -> Path:
        folder = tmp_path / model.replace("/", "-")
        encoder(model).save_pretrained(folder)
        processor(model).save_pretrained(folder)
        return folder

    return make


def scene(num_frames: int = 9, size_hw: tuple[int, int] = (32, 32)) -> Window:
    index = np.arange(num_frames)
    images = np.random.default_rng(0).integers(0, 256, (num_frames, *size_hw, 3)).astype(np.uint8)
    return Window(Frames(images, index, index / 25), 0, num_frames)


def rows_of(model: str, weights: Path | str = "DEFAULT", **options: object) -> np.ndarray:
    return video_backbone(model, str(weights), stride=1, **options).extract(scene(), Regions.empty()).values


@BOTH
@pytest.mark.parametrize("pooling", ["mean", "centre"])
def test_rows_are_the_tokens_that_the_library_gives_for_the_clip(local, model, pooling):
    """On squares of the right size, where neither the library's crop nor our stretching does anything."""
    rows = rows_of(model, local(model), pooling=pooling)
    images, network = scene().frames.images, encoder(model)
    assert rows.shape == (9, 24)
    for t in (0, 4, 8):
        clip = images[[min(max(t + k - 2, 0), 8) for k in range(4)]]
        if model == JEPA:
            resized = transformers.VJEPA2VideoProcessor(crop_size=32)
            inputs = resized(list(clip), return_tensors="pt", do_resize=False)["pixel_values_videos"]
            of = {"pixel_values_videos": inputs, "skip_predictor": True}
        else:
            of = {"pixel_values": processor(model)(list(clip), return_tensors="pt")["pixel_values"]}
        with torch.inference_mode():
            tokens = network(**of).last_hidden_state[0]  # 2 times of 2 x 2 places
        assert tokens.shape == (8, 24)
        expected = tokens.mean(0) if pooling == "mean" else tokens[4:].mean(0)
        assert rows[t] == pytest.approx(expected.numpy(), abs=1e-4)
    assert np.ptp(rows) > 0.1


def test_the_centre_holds_the_frame_itself(local):
    """A picture that is in one frame alone changes the centre of the clip around it most."""
    folder = local(JEPA)
    extractor = video_backbone(JEPA, str(folder), stride=1, pooling="centre")
    images = np.full((9, 32, 32, 3), 100, np.uint8)
    still = extractor.extract(Window(Frames(images, np.arange(9), np.arange(9) / 25), 0, 9), Regions.empty()).values
    images = images.copy()
    images[4] = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    moved = extractor.extract(Window(Frames(images, np.arange(9), np.arange(9) / 25), 0, 9), Regions.empty()).values
    assert np.linalg.norm(moved - still, axis=1).argmax() in (3, 4)


def test_a_clip_has_the_frames_of_the_configuration_or_of_the_setting(local):
    jepa, mae = local(JEPA), local(MAE)
    trained = video_backbone(JEPA, str(jepa), stride=2)
    assert (trained.before, trained.after) == (4, 2)
    assert trained.fingerprint() == {
        "extractor": "video",
        "version": 1,
        "model": JEPA,
        **weights_source(str(jepa)),
        "pooling": "mean",
        "frames": 4,
        "stride": 2,
    }
    assert rows_of(JEPA, jepa, frames=8).shape == (9, 24)
    assert len(video_backbone(JEPA).offsets) == 64
    with pytest.raises(UsageError, match=r"features.video.frames of .*: expected a multiple of 2, got 3"):
        rows_of(JEPA, jepa, frames=3)
    with pytest.raises(UsageError, match=r"features.video.frames of .*: expected 4, got 8"):
        rows_of(MAE, mae, frames=8)
    with pytest.raises(UsageError, match="expected a number, as mulde does not know what it was trained on"):
        video_backbone("me/own")


@pytest.mark.parametrize("model", ["../a/b", "/etc/x", "https://x/y", "a/b/c", "a/..", "me/own@../x"])
def test_names_that_are_paths_or_addresses_are_no_models(model):
    with pytest.raises(UsageError, match=r"expected one of .* or OWNER/NAME of the hub"):
        video_backbone(model)


def test_settings_of_the_hub_are_refused_for_other_networks():
    for change in ("features.video.frames=8", "features.video.pooling=centre"):
        changes = ['features.extractors=["video"]', change]
        with pytest.raises(UsageError, match=r"has no effect: expected features.video.model="):
            check_used("train", changes, load_settings(overrides=changes))
    with pytest.raises(UsageError, match="frames and pooling of the video model 'r3d_18'"):
        video_backbone("r3d_18", frames=8)


def changed(folder: Path, name: str, **values: object) -> Path:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("config.json", {"model_type": "bert"}, "expected a model_type of vjepa2, videomae, got bert"),
        ("config.json", {"image_size": 10**9}, "expected a whole number, 1 to 4096, got 1000000000"),
        ("config.json", {"num_frames": "4"}, "expected a whole number, 1 to 256, got 4"),
        ("config.json", {"hidden_size": 48}, "cannot be loaded: expected a configuration and the weights of"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "expected three numbers from 0 to 1"),
        ("preprocessor_config.json", {"image_std": [0, 1, 1]}, "expected three numbers from 0 to 1"),
        ("preprocessor_config.json", {"resample": 77}, "resample in .* expected one of"),
    ],
)
def test_a_folder_that_says_what_cannot_be_is_refused(local, name, values, sentence):
    with pytest.raises(UsageError, match=sentence):
        rows_of(MAE, changed(local(MAE), name, **values))


def test_weights_that_are_missing_or_would_be_unpickled_are_refused(local):
    folder = local(MAE)
    file = folder / "model.safetensors"
    state = load_file(file)
    gone = next(key for key in state if key.endswith("attention.output.dense.weight") or "output.dense.weight" in key)
    save_file({key: value for key, value in state.items() if key != gone}, file, {"format": "pt"})
    with pytest.raises(UsageError, match=r"do not fit: expected every weight of a VideoMAEModel, got files that lack"):
        rows_of(MAE, folder)
    torch.save(state, folder / "pytorch_model.bin")
    file.unlink()
    with pytest.raises(UsageError, match=r"expected weights as .safetensors; nothing is unpickled"):
        rows_of(MAE, folder)
    (folder / "preprocessor_config.json").unlink()
    save_file(state, file, {"format": "pt"})
    with pytest.raises(UsageError, match=r"video_preprocessor_config.json or preprocessor_config.json beside it"):
        rows_of(MAE, folder)


def test_code_beside_the_weights_is_never_run(local, tmp_path):
    folder = changed(local(MAE), "config.json", auto_map={"AutoModel": "evil.Net", "AutoConfig": "evil.Config"})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert rows_of(MAE, folder).shape == (9, 24)
    assert not (tmp_path / "ran").exists()


@BOTH
def test_the_hub_gives_the_rows_of_the_same_folder(local, monkeypatch, model):
    folder, asked = local(model), []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **how: asked.append((name, how["revision"])) or str(folder)
    )
    assert np.array_equal(rows_of(model, frames=4), rows_of(model, folder))
    assert np.array_equal(rows_of(f"{model}@v1", frames=4), rows_of(model, folder))
    assert asked == [(model, None), (model, "v1")]


def test_a_hub_that_cannot_be_reached_is_a_sentence(monkeypatch):
    def fails(name, **_):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(MuldeError, match=r"cannot be had \(ConnectionError: no network\).*connect to a network"):
        rows_of(MAE)
    with pytest.raises(
        UsageError, match=r"weights 'nowhere/folder' .*: expected DEFAULT, or a folder with config.json"
    ):
        rows_of(MAE, "nowhere/folder")


def test_a_missing_package_is_said(local, monkeypatch):
    folder = local(MAE)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r'needs the package transformers.*pip install "mulde\[transformers\]"'):
        rows_of(MAE, folder)


def test_the_list_has_the_numbers_and_sizes_of_the_library():
    jepa, mae = _HUB[JEPA], _HUB[MAE]
    with torch.device("meta"):
        networks = {
            jepa: transformers.VJEPA2Model(transformers.VJEPA2Config()),
            mae: transformers.VideoMAEForPreTraining(transformers.VideoMAEConfig()),
        }
    for listed, network in networks.items():
        assert listed.numbers == network.config.hidden_size
        assert sum(value.numel() for value in network.parameters()) * 4 / 1e6 == pytest.approx(listed.size_mb, abs=1)


def test_nothing_is_printed_while_it_loads_and_the_bars_of_others_stay(local, capfd):
    folder = local(MAE)
    capfd.readouterr()
    assert rows_of(MAE, folder).shape == (9, 24)
    assert capfd.readouterr() == ("", "")
    assert transformers.logging.is_progress_bar_enabled()
