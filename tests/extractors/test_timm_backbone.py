"""timm's networks: rows and pictures against timm's own, pooling by hand; names and files that cannot be taken."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from mulde.errors import MuldeError, UsageError
from mulde.extractors.crops import CropEmbedding
from mulde.extractors.networks import Preprocessing
from mulde.extractors.timm_backbone import _KNOWN, _NAME, TimmSettings, frame_timm, load_network, timm_appearance
from mulde.records import Frames, Regions, Window

VIT, CONV, SWIN = "test_vit.r160_in1k", "test_convnext.r160_in1k", "swin_tiny_patch4_window7_224.ms_in22k_ft_in1k"
BOX = (5, 5, 30, 50)


def scene() -> tuple[Window, Regions]:
    images = np.random.default_rng(0).integers(0, 255, (2, 60, 80, 3)).astype(np.uint8)
    boxes = np.array([BOX, [40, 10, 70, 40]], np.float32)
    regions = Regions(boxes, np.array([0, 1]), np.ones(2, np.float32), np.zeros(2, np.int64))
    return Window(Frames(images, np.arange(2), np.arange(2) / 25), 0, 2), regions


@pytest.fixture
def tiny(tmp_path):
    """A random network of timm and the file of its weights, classifier included, by name of the model."""

    def make(name: str) -> tuple[torch.nn.Module, str]:
        torch.manual_seed(0)
        network = timm.create_model(name.partition(".")[0]).eval()
        path = tmp_path / f"{name}.safetensors"
        save_file({key: value.clone() for key, value in network.state_dict().items()}, path)
        return network, str(path)

    return make


def as_timm_sees(picture: np.ndarray, name: str, size: int, mode: str = "squash") -> torch.Tensor:
    """A picture through timm's own transform of the model's published weights."""
    config = resolve_model_data_config(None, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    config.update(input_size=(3, size, size), crop_mode=mode, crop_pct=1.0)
    return create_transform(**config)(Image.fromarray(picture))[None]


@pytest.mark.parametrize(
    ("name", "pooling", "by_hand"),
    [
        (VIT, "own", lambda net, x: net.forward_head(net.forward_features(x), pre_logits=True)),
        (VIT, "cls", lambda net, x: net.forward_features(x)[:, 0]),
        (VIT, "patches", lambda net, x: net.forward_features(x)[:, 1:].mean(1)),
        (VIT, "cls+patches", lambda net, x: torch.cat([(y := net.forward_features(x))[:, 0], y[:, 1:].mean(1)], 1)),
        (CONV, "own", lambda net, x: net.forward_head(net.forward_features(x), pre_logits=True)),
        (CONV, "patches", lambda net, x: net.forward_features(x).mean((2, 3))),
    ],
)
def test_rows_are_what_timm_makes_of_the_picture_that_its_own_transform_gives(tiny, name, pooling, by_hand):
    network, path = tiny(name)
    window, regions = scene()
    settings = TimmSettings(model=name, weights=path, pooling=pooling)
    x0, y0, x1, y1 = BOX
    image = window.frames.images[0]
    with torch.inference_mode():
        of_box = by_hand(network, as_timm_sees(image[y0:y1, x0:x1], name, 160)).numpy()
        of_frame = by_hand(network, as_timm_sees(image, name, 160)).numpy()
    boxes, frames = timm_appearance(settings).extract(window, regions), frame_timm(settings).extract(window, regions)
    assert boxes.values[:1] == pytest.approx(of_box, abs=1e-4)
    assert frames.values[:1] == pytest.approx(of_frame, abs=1e-4)
    assert np.ptp(of_box) > 0.1
    assert frames.box_xyxy is None
    assert boxes.values.shape == frames.values.shape


def test_a_map_with_the_channels_last_is_averaged_over_its_places(tiny):
    network, path = tiny(SWIN)
    window, regions = scene()
    row = frame_timm(TimmSettings(model=SWIN, weights=path, pooling="patches")).extract(window, regions).values[0]
    with torch.inference_mode():
        features = network.forward_features(as_timm_sees(window.frames.images[0], SWIN, 224))
    assert features.shape == (1, 7, 7, 768)
    assert row == pytest.approx(features.mean((1, 2))[0].numpy(), abs=1e-4)


def test_another_size_resamples_the_places_as_timm_does(tiny, tmp_path):
    network, path = tiny(VIT)
    window, regions = scene()
    row = frame_timm(TimmSettings(model=VIT, weights=path, size_px=96)).extract(window, regions).values[0]
    small = timm.create_model("test_vit", img_size=96).eval()
    filtered = timm.models.vision_transformer.checkpoint_filter_fn(network.state_dict(), small)
    small.load_state_dict(filtered)
    with torch.inference_mode():
        picture = as_timm_sees(window.frames.images[0], VIT, 96)
        expected = small.forward_head(small.forward_features(picture), pre_logits=True)
    assert row == pytest.approx(expected[0].numpy(), abs=1e-4)


@pytest.mark.parametrize(("fit", "mode"), [("stretch", "squash"), ("pad", "border")])
@pytest.mark.parametrize("size_hw", [(40, 30), (17, 90), (200, 64), (1, 5)])
def test_pictures_come_to_the_square_as_timm_brings_them(fit, mode, size_hw):
    picture = np.random.default_rng(0).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    config = timm.get_pretrained_cfg(VIT)
    ours = Preprocessing(64, config.mean, config.std, interpolation=config.interpolation, fit=fit)([picture])
    theirs = as_timm_sees(picture, VIT, 64, mode)
    assert ours.shape == theirs.shape
    assert ours.numpy() == pytest.approx(theirs.numpy(), abs=0.01)


def test_the_fingerprint_names_all_that_changes_the_rows(tiny):
    _, path = tiny(VIT)
    settings = TimmSettings(model=VIT, weights=path, pooling="cls", size_px=96, fit="pad")
    assert timm_appearance(settings).fingerprint() == {
        "extractor": "timm",
        "version": 1,
        "model": VIT,
        "weights_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "pooling": "cls",
        "size_px": 96,
        "fit": "pad",
    }
    assert frame_timm().fingerprint() == {
        "extractor": "frame_timm",
        "version": 1,
        "model": "vit_small_patch14_dinov2.lvd142m",
        "weights": "DEFAULT",
        "pooling": "own",
        "size_px": 0,
        "fit": "stretch",
    }


def rows_of(**settings: object) -> np.ndarray:
    return timm_appearance(TimmSettings(**settings)).extract(*scene()).values


@pytest.mark.parametrize(
    "model",
    [
        "local-dir:/etc", "hf-hub:../../etc", "hf-hub:/etc/passwd", "hf-hub:a/b/c", "hf_hub:a/b", "https://x.org/a",
        "a/b", "../vit", "hf-hub:a/..", "", "vit;x", "hf-hub:a/b@../c",
    ],
)  # fmt: skip
def test_names_that_are_paths_or_addresses_are_refused_before_timm_sees_them(model, monkeypatch):
    monkeypatch.setattr(timm, "create_model", pytest.fail)
    with pytest.raises((UsageError, ValueError), match=r"the name of a model|at least 1 character"):
        timm_appearance(TimmSettings(model=model))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": "vit_tinny.x"}, "timm model 'vit_tinny.x': expected a model of timm, such as .*vit.*_tiny"),
        ({"model": "test_vit"}, "weights of the timm model 'test_vit': expected one of test_vit.r160_in1k"),
        ({"model": "test_vit.other"}, "weights of the timm model 'test_vit.other': expected one of test_vit.r160_in1k"),
        ({"model": VIT, "weights": "openai"}, "timm weights 'openai': expected DEFAULT, or an existing file"),
        ({"model": VIT, "weights": "no.pth"}, "timm weights 'no.pth': expected DEFAULT, or an existing file"),
    ],
)
def test_what_is_not_there_is_said_with_what_there_is(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        rows_of(**settings)


def test_a_pooling_that_the_network_does_not_have_is_refused(tiny):
    for pooling in ("cls", "cls+patches"):
        with pytest.raises(UsageError, match=r"expected own or patches, got a network without a class token"):
            rows_of(model=CONV, weights=tiny(CONV)[1], pooling=pooling)


def test_a_size_that_the_network_cannot_see_is_refused(tiny):
    with pytest.raises(UsageError, match=r"another features.timm.size_px|do not fit"):
        rows_of(model=VIT, weights=tiny(VIT)[1], size_px=7)


def test_a_file_that_lacks_weights_is_refused(tiny, tmp_path):
    network, _ = tiny(VIT)
    state = network.state_dict()
    lacking, other = tmp_path / "lacking.safetensors", tmp_path / "other.safetensors"
    save_file({key: value for key, value in state.items() if key != "blocks.0.attn.qkv.weight"}, lacking)
    save_file({key: value for key, value in state.items() if key.startswith("head.")}, other)
    with pytest.raises(UsageError, match=r"do not fit .* got RuntimeError: .*blocks.0.attn.qkv.weight"):
        rows_of(model=VIT, weights=str(lacking))
    with pytest.raises(UsageError, match=r"expected those of test_vit.r160_in1k, got a file without any"):
        rows_of(model=VIT, weights=str(other))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that is a folder: what timm asks for, and what it gets."""
    asked = []

    def download(repo_id, filename, **_):
        asked.append((repo_id, filename))
        path = tmp_path / "hub" / repo_id / filename
        if not path.is_file():
            raise ConnectionError("no network\nat all")
        return str(path)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    return asked


@pytest.mark.parametrize(("model", "repository"), [(VIT, f"timm/{VIT}"), ("hf-hub:me/tiny", "me/tiny")])
def test_weights_of_the_hub_give_the_rows_of_the_same_file(hub, tiny, tmp_path, model, repository):
    network, path = tiny(VIT)
    put_on_hub(tmp_path / "hub" / repository, network.state_dict())
    assert rows_of(model=model) == pytest.approx(rows_of(model=VIT, weights=path), abs=1e-6)
    assert {name for name, _ in hub} == {repository}


def put_on_hub(folder: Path, state: dict[str, torch.Tensor], **config: object) -> None:
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors")
    config = timm.get_pretrained_cfg(VIT).to_dict() | config
    (folder / "config.json").write_text(json.dumps({"architecture": "test_vit", "pretrained_cfg": config}))


@pytest.mark.parametrize(
    "config",
    [{"interpolation": "random"}, {"mean": [0.5]}, {"std": [0, 1, 1]}, {"std": "abc"}, {"input_size": [3, 9999, 99999]},
     {"mean": [None, 1, 1]}, {"input_size": [[]]}],
)  # fmt: skip
def test_a_configuration_of_the_hub_that_cannot_be_is_refused(hub, tiny, tmp_path, config):
    put_on_hub(tmp_path / "hub/me/tiny", tiny(VIT)[0].state_dict(), **config)
    with pytest.raises(UsageError, match=r"configuration of hf-hub:me/tiny: expected input_size up to 4096"):
        rows_of(model="hf-hub:me/tiny")


def test_weights_of_the_hub_that_lack_some_are_refused(hub, tiny, tmp_path):
    """timm itself leaves them random where the classifier is another."""
    state = tiny(VIT)[0].state_dict()
    del state["blocks.0.attn.qkv.weight"]
    put_on_hub(tmp_path / "hub/me/tiny", state)
    with pytest.raises(MuldeError, match=r"cannot be had \(RuntimeError: Error"):
        rows_of(model="hf-hub:me/tiny")


@pytest.mark.parametrize("model", [VIT, "hf-hub:me/tiny"])
def test_a_hub_that_cannot_be_reached_is_a_sentence(hub, model):
    with pytest.raises(MuldeError, match=r"cannot be had \(ConnectionError: no network\).*connect to a network"):
        rows_of(model=model)


def test_the_list_says_what_timm_says():
    """Licences and repositories of all; numbers and sizes, which need the network, of the small ones."""
    words = {
        "apache-2.0": "Apache-2.0",
        "mit": "MIT",
        "dinov3-license": "DINOv3 License",
        "cc-by-nc-4.0": "CC-BY-NC-4.0",
    }
    published = set(timm.list_pretrained())
    assert all(_NAME.fullmatch(name) for name in published)
    for name, (numbers, size_mb, licence) in _KNOWN.items():
        config = timm.get_pretrained_cfg(name)
        assert name in published
        assert (config.hf_hub_id, words[config.license]) == (f"timm/{name}", licence)
        if size_mb < 100:
            with torch.device("meta"):
                network = timm.create_model(name, num_classes=0)
            assert network.num_features == numbers
            assert round(sum(value.numel() for value in network.state_dict().values()) * 4 / 1e6) == size_mb


def test_it_is_an_extractor_for_boxes():
    assert isinstance(timm_appearance(), CropEmbedding)


def test_a_whole_network_has_the_weights_of_its_file(tiny):
    network, path = tiny(CONV)
    loaded = load_network(CONV, path).state_dict()
    assert {name for name in loaded if not name.startswith("head.fc")} == {*loaded}
    for name, value in loaded.items():
        torch.testing.assert_close(value, network.state_dict()[name], rtol=0, atol=0)
    for wrong in ("hf-hub:timm/resnet18", "no/such", "nobody"):
        with pytest.raises(UsageError, match="timm model"):
            load_network(wrong, path)
