"""Appearance: the hand-crafted descriptor by relations, the networks with tiny random or real weights."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mulde.errors import UsageError
from mulde.extractors.backbone import backbone_appearance
from mulde.extractors.clip import clip_appearance, frame_clip
from mulde.extractors.crops import CropEmbedding, FrameEmbedding
from mulde.extractors.descriptor import Descriptor, describe, oriented_gradients
from mulde.extractors.geometry import Geometry
from mulde.extractors.networks import Preprocessing
from mulde.extractors.place import Place
from mulde.records import Frames, Regions, Window


def scene(seed: int = 0) -> tuple[Window, Regions]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (3, 60, 80, 3)).astype(np.uint8)
    boxes = np.array([[5, 5, 30, 50], [40, 10, 70, 40], [2, 2, 12, 30], [50, 20, 79, 59]], np.float32)
    regions = Regions(boxes, np.array([0, 0, 2, 2]), np.ones(4, np.float32), np.zeros(4, np.int64))
    return Window(Frames(images, np.arange(3), np.arange(3) / 25), 0, 3), regions


def mean_colour() -> CropEmbedding:
    """A network that is no more than the mean of the crop: the answer can be computed by hand."""
    plain = Preprocessing(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return CropEmbedding(
        "mean", "mean", "none", lambda: (lambda x: x.mean((2, 3)), plain, 3), device="cpu", batch_size=3
    )


def test_crops_are_rgb_of_the_right_frame_in_the_right_row():
    window, regions = scene()
    solid = np.zeros_like(window.frames.images)
    solid[0], solid[2] = (255, 0, 0), (0, 0, 255)
    solid_window = Window(Frames(solid, window.frames.frame_index, window.frames.time_s), 0, 3)
    table = mean_colour().extract(solid_window, regions)
    assert table.values == pytest.approx(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]], float))
    assert np.array_equal(table.frame_index, regions.frame_index)


def mean_colour_of_frames() -> FrameEmbedding:
    plain = Preprocessing(32, (0, 0, 0), (1, 1, 1))
    return FrameEmbedding(
        "mean", "mean", "none", lambda: (lambda x: x.mean((2, 3)), plain, 3), device="cpu", batch_size=2
    )


def test_a_whole_frame_gives_a_row_and_its_borders_count():
    images = np.zeros((5, 60, 80, 3), np.uint8)
    images[:, :, 60:, 0] = 255  # the right quarter is red; a centre crop would see less of it
    images[3, :, :, 2] = 255
    window = Window(Frames(images, np.arange(10, 15), np.arange(5) / 25), 1, 4)
    table = mean_colour_of_frames().extract(window, Regions.empty())
    assert table.values == pytest.approx(np.array([[0.25, 0, 0], [0.25, 0, 0], [0.25, 0, 1]]), abs=0.01)
    assert table.frame_index.tolist() == [11, 12, 13]
    assert table.box_xyxy is None
    nothing = mean_colour_of_frames().extract(Window(window.frames, 2, 2), Regions.empty())
    assert nothing.values.shape == (0, 3)


def test_geometry_is_the_size_of_the_box_against_the_frame():
    window, _ = scene()  # 60 pixels high
    box = np.array([[0, 0, 30, 60], [5, 5, 20, 20]], np.float32)
    regions = Regions(box, np.array([0, 1]), np.ones(2, np.float32), np.zeros(2, np.int64))
    assert Geometry().extract(window, regions).values.tolist() == [[-1, 0], [-2, -2]]


def test_place_is_the_foot_in_frame_heights_and_the_size_there():
    window, _ = scene()  # 60 pixels high
    box = np.array([[0, 0, 30, 60], [5, 5, 20, 20]], np.float32)
    regions = Regions(box, np.array([0, 1]), np.ones(2, np.float32), np.zeros(2, np.int64))
    rows = Place().extract(window, regions).values
    np.testing.assert_allclose(rows, [[0.25, 1, -1, 0], [12.5 / 60, 20 / 60, -2, -2]], rtol=1e-6)


def test_place_is_the_same_in_a_picture_of_another_size():
    (window, regions), frames = scene(), scene()[0].frames
    large = Window(replace(frames, images=np.zeros((3, 180, 240, 3), np.uint8)), 0, 3)
    scaled = replace(regions, box_xyxy=3 * regions.box_xyxy)
    np.testing.assert_allclose(Place().extract(large, scaled).values, Place().extract(window, regions).values, 1e-6)


@pytest.mark.parametrize("make", [Descriptor, Geometry, Place, mean_colour])
def test_shuffled_boxes_shuffle_rows_and_pieces_equal_the_whole(make):
    window, regions = scene()
    whole = make().extract(window, regions).values
    swapped = make().extract(window, regions.select(np.array([1, 0, 3, 2]))).values
    pieces = [make().extract(window, regions.select(np.array([i]))).values for i in range(4)]
    assert swapped == pytest.approx(whole[[1, 0, 3, 2]], abs=1e-6)
    assert np.concatenate(pieces) == pytest.approx(whole, abs=1e-6)
    assert make().extract(window, Regions.empty()).values.shape == (0, whole.shape[1])


def test_preprocessing_normalises_each_channel():
    crop = np.full((5, 9, 3), (51, 102, 255), np.uint8)
    batch = Preprocessing(8, (0.2, 0.2, 0.5), (1.0, 0.5, 0.25))([crop])
    assert batch.shape == (1, 3, 8, 8)
    assert batch[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.4, 2.0], abs=1e-6)


def stripes(horizontal: bool) -> np.ndarray:
    image = np.zeros((64, 32))
    index = np.arange(64)[:, None] if horizontal else np.arange(32)[None, :]
    return image + np.where(index // 4 % 2, 200.0, 50.0)


def test_gradients_tell_directions_apart_and_ignore_contrast_and_light():
    upright, lying = oriented_gradients(stripes(False)), oriented_gradients(stripes(True))
    assert upright.shape == (108,)
    assert np.linalg.norm(upright - lying) > 1
    brighter = oriented_gradients(stripes(False) * 0.5 + 40)
    assert brighter == pytest.approx(upright, abs=0.02)
    assert oriented_gradients(np.full((64, 32), 99.0)) == pytest.approx(np.zeros(108))


def test_the_histogram_of_gradients_equals_a_loop_over_pixels():
    grey = np.random.default_rng(0).uniform(0, 255, (64, 32))
    cells = np.zeros((4, 2, 9))
    gy, gx = np.gradient(grey)
    for y in range(64):
        for x in range(32):
            place = (np.arctan2(gy[y, x], gx[y, x]) % np.pi) / (np.pi / 9)
            low, share = int(place), place - int(place)
            cells[y // 16, x // 16, low % 9] += np.hypot(gx[y, x], gy[y, x]) * (1 - share)
            cells[y // 16, x // 16, (low + 1) % 9] += np.hypot(gx[y, x], gy[y, x]) * share
    cells /= 256
    blocks = [cells[y : y + 2].ravel() for y in range(3)]
    expected = np.concatenate([b / np.sqrt((b**2).sum() + 1) for b in blocks])
    assert oriented_gradients(grey) == pytest.approx(expected, rel=1e-4)


def test_the_descriptor_sees_colour():
    red, blue = np.zeros((2, 20, 20, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 200
    assert np.abs(describe(red) - describe(blue)).max() > 0.2


def test_a_local_state_dict_of_the_features_is_loaded_and_its_digest_kept(tmp_path):
    from torchvision import models

    torch.manual_seed(0)
    network = models.mobilenet_v2(weights=None)
    path = tmp_path / "features.safetensors"
    save_file({k: v.clone() for k, v in network.features.state_dict().items()}, path)
    window, regions = scene()
    extractor = backbone_appearance("mobilenet_v2", str(path))
    table = extractor.extract(window, regions)
    preprocessing = extractor.network.expects
    x0, y0, x1, y1 = 5, 5, 30, 50
    with torch.inference_mode():
        batch = preprocessing([window.frames.images[0, y0:y1, x0:x1]])
        expected = network.eval().features(batch).mean((2, 3))
    assert table.values.shape == (4, 1280)
    assert table.values[0] == pytest.approx(expected[0].numpy(), abs=1e-5)
    assert extractor.fingerprint() == {
        "extractor": "backbone",
        "version": 1,
        "model": "mobilenet_v2",
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_a_state_dict_that_does_not_fit_is_named(tmp_path):
    path = tmp_path / "bad.safetensors"
    save_file({"features.0.0.weight": torch.zeros(1)}, path)
    with pytest.raises(UsageError, match=r"do not fit MobileNetV2: expected .* entries, got a file that lacks"):
        backbone_appearance("mobilenet_v2", str(path)).extract(*scene())
    text = tmp_path / "text.pth"
    text.write_text("not weights")
    with pytest.raises(UsageError, match="cannot be read"):
        backbone_appearance("mobilenet_v2", str(text)).extract(*scene())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: backbone_appearance("mobilnet"), "torchvision model 'mobilnet': expected one of alexnet"),
        (lambda: backbone_appearance("mobilenet_v2", "nowhere.pth"), "an existing file or one of IMAGENET1K_V1"),
        (lambda: clip_appearance("ViT-B-17"), "open_clip model 'ViT-B-17': expected one of"),
        (lambda: clip_appearance("ViT-B-32", "nowhere.pt"), "CLIP weights 'nowhere.pt' for ViT-B-32: expected"),
    ],
)
def test_unknown_names_list_the_known_ones(make, sentence):
    with pytest.raises(UsageError, match=sentence):
        make().extract(*scene())


def test_clip_from_a_local_file_is_unit_length_and_uses_its_own_preprocessing(tmp_path):
    """Random weights: there is no CLIP on this machine. RN50 is the smallest model that open_clip lists."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt")
    path = tmp_path / "clip.safetensors"
    save_file({k: v.clone() for k, v in model.state_dict().items()}, path)
    window, regions = scene()
    extractor = clip_appearance("ViT-S-32-alt", str(path))
    table = extractor.extract(window, regions)
    assert np.linalg.norm(table.values, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    _, preprocessing, dim = extractor.network.loaded
    assert (preprocessing.size_px, table.dim) == (224, dim)
    assert preprocessing.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    with torch.inference_mode():
        expected = model.eval().encode_image(preprocessing([window.frames.images[0, 5:50, 5:30]]), normalize=True)
    assert table.values[0] == pytest.approx(expected[0].numpy(), abs=1e-5)
    frames = frame_clip("ViT-S-32-alt", str(path))
    with torch.inference_mode():
        expected = model.encode_image(preprocessing(window.frames.images), normalize=True)
    assert frames.extract(window, regions).values == pytest.approx(expected.numpy(), abs=1e-5)
    assert (frames.name, frames.fingerprint()["extractor"]) == ("frame_clip", "frame_clip")
    in_bf16 = clip_appearance("ViT-S-32-alt", str(path), precision="bfloat16").extract(window, regions)
    assert np.linalg.norm(in_bf16.values, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert in_bf16.values == pytest.approx(table.values, abs=0.02)


def test_real_mobilenet_weights_load(weights):
    extractor = backbone_appearance("mobilenet_v2", str(weights / "mobilenet_v2_features.safetensors"))
    values = extractor.extract(*scene()).values
    assert values.shape == (4, 1280)
    assert values.std(axis=0).max() > 0
