"""Maps of a pixel model through train, score and evaluate, on images as MVTec AD has them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import average_precision_score, roc_auc_score

from mulde.reconstruction.model_file import load_models
from mulde.reconstruction.teacher import untaught
from mulde.report.colours import shades
from tests.test_cli import run_main

OPTIONS = (
    "features.prediction.options={side=64, num_codes=8, reduced=4, blocks=1, pyramid_width=4, max_steps=8, "
    "eval_every=4, batch_size=2}"
)
SIDE = 80


def draw(rng: np.random.Generator, *, defect: bool) -> tuple[np.ndarray, np.ndarray]:
    image = rng.integers(90, 110, (SIDE, SIDE, 3)).astype(np.uint8)
    image[20:60, 20:60] += 60
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if defect:
        y, x = rng.integers(22, 44, 2)
        image[y : y + 14, x : x + 14] = (20, 240, 20)
        mask[y : y + 14, x : x + 14] = 255
    return image, mask


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Images of one category, a model of them, and its scores with maps."""
    root, rng = tmp_path_factory.mktemp("pixels"), np.random.default_rng(0)
    for part, count in (("train/good", 8), ("test/good", 3), ("test/порча", 4)):
        folder = root / "cap" / part
        folder.mkdir(parents=True)
        for number in range(count):
            image, mask = draw(rng, defect="порча" in part)
            (folder / f"{number:03d}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
            if mask.any():
                target = root / "cap/ground_truth/порча" / f"{number:03d}_mask.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    torch.manual_seed(0)
    save_file(untaught("mobilenet_v2").state_dict(), root / "teacher.safetensors")
    common = ("--store", root / "store", "--device", "cpu", "-q")
    run_main(
        "train", f"mvtec-ad:{root}/cap", "--out", root / "model", *common,
        "--set", 'features.extractors=["prediction"]', "--set", "features.prediction.model=ppdm",
        "--set", f"features.prediction.teacher_weights={root / 'teacher.safetensors'}", "--set", OPTIONS,
        "--set", "density.method=mixture", "--set", "fusion.smoothing_s=0",
    )  # fmt: skip
    model = root / "model/model.safetensors"
    run_main("score", f"mvtec-ad:{root}/cap", "--model", model, "--out", root / "run", "--pixel-maps", *common)
    run_main("evaluate", root / "run", "-q")
    return root


def maps_of(place: Path, name: str) -> np.ndarray:
    return np.load(place / "run/pixel_maps" / f"{name}.npy")


def test_every_image_has_its_maps(place):
    for path in sorted((place / "cap/test").rglob("*.png")):
        maps = maps_of(place, f"{path.parent.name}/{path.stem}")
        assert (maps.shape, maps.dtype) == ((1, 2, 64, 64), np.float16)
        facts = json.loads((place / "run/pixel_maps" / path.parent.name / f"{path.stem}.json").read_text())
        assert facts.pop("highest_normal") == pytest.approx(highest_normal(place), rel=1e-6)
        assert facts == {"maps": ["distillation", "bending"], "num_frames": 1, "side": 64, "telling": "distillation"}


def highest_normal(place: Path) -> float:
    rows = pd.read_parquet(place / "model/normal_moments.parquet")["values_prediction"].dropna()
    return float(np.exp(max(row[0] for row in rows)))


def test_an_image_has_a_picture_of_its_telling_map(place):
    """Beside the image, which shows through where nothing is unusual, the map in the colours of its strength: of its
    means in boxes, as the rows have them."""
    picture = cv2.imread(str(place / "run/pixel_maps/порча/000.png"))[..., ::-1].astype(np.float64)
    image, over = picture[:, :SIDE], picture[:, SIDE:]
    source = np.frombuffer((place / "cap/test/порча/000.png").read_bytes(), np.uint8)
    np.testing.assert_array_equal(image, cv2.imdecode(source, cv2.IMREAD_COLOR)[..., ::-1])
    one = maps_of(place, "порча/000")[0, 0].astype(np.float32)
    padded = np.pad(one, 4)  # boxes of 4 x 4 pixels of 64, two of them before and one behind
    means = np.array([[padded[y + 2 : y + 6, x + 2 : x + 6].mean() for x in range(64)] for y in range(64)])
    heat = cv2.resize(means.astype(np.float32), (SIDE, SIDE))
    strength = np.clip(heat / (2 * highest_normal(place)), 0, 1)[..., None]
    expected = image * (1 - 0.75 * strength) + shades(strength[..., 0].astype(float)) * 0.75 * strength
    np.testing.assert_allclose(over, expected, atol=1)


def test_maps_are_the_mean_over_both_networks(place):
    image = cv2.imdecode(np.frombuffer((place / "cap/test/порча/000.png").read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    square = cv2.resize(np.ascontiguousarray(image[..., ::-1]), (64, 64), interpolation=cv2.INTER_AREA)
    models = load_models(place / "model/prediction.safetensors")
    expected = np.mean([one.model.maps(square[None, None])[0] for one in models], axis=0)
    np.testing.assert_allclose(maps_of(place, "порча/000")[0], expected, rtol=2e-3, atol=2e-3)


def test_figures_are_those_of_the_maps_at_the_size_of_the_images(place):
    found = json.loads((place / "run/metrics.json").read_text())["pixels"]
    assert found.keys() == {"distillation", "bending"}
    for number, name in enumerate(("distillation", "bending")):
        truth, scores = [], []
        for path in sorted((place / "cap/test").rglob("*.png")):
            one = maps_of(place, f"{path.parent.name}/{path.stem}")[0, number].astype(np.float32)
            scores.append(cv2.resize(one, (SIDE, SIDE)).astype(np.float16).ravel())
            mask = place / "cap/ground_truth" / path.parent.name / f"{path.stem}_mask.png"
            drawn = np.frombuffer(mask.read_bytes(), np.uint8) if mask.exists() else None
            truth.append((np.zeros((SIDE, SIDE)) if drawn is None else cv2.imdecode(drawn, 0)).ravel() > 0)
        y, x = np.concatenate(truth), np.concatenate(scores)
        assert found[name]["pixel_auc"] == pytest.approx(roc_auc_score(y, x), abs=1e-9)
        assert found[name]["average_precision"] == pytest.approx(average_precision_score(y, x), abs=1e-9)
        assert (found[name]["num_images"], found[name]["num_regions"]) == (7, 4)
    page = (place / "run/evaluation/evaluation.html").read_text()
    assert "Pixel figures of each map" in page


def test_the_teacher_goes_into_what_is_trained_and_no_path_into_the_model(place):
    model = (place / "model/model.safetensors").read_bytes()
    assert b"teacher.safetensors" not in model
    assert str(place).encode() not in model
    (place / "teacher.safetensors").rename(place / "moved.safetensors")
    run_main("score", place / "cap/test/good/000.png", "--model", place / "model/model.safetensors",
             "--set", f"features.prediction.weights={place / 'model/prediction.safetensors'}",
             "--out", place / "again", "--store", place / "another-store", "--device", "cpu", "-q")  # fmt: skip
    assert {path.name for path in (place / "again/pixel_maps").iterdir()} == {"000.npy", "000.json", "000.png"}
    run_main("score", place / "cap/test/good/000.png", "--model", place / "model/model.safetensors", "--no-pixel-maps",
             "--set", f"features.prediction.weights={place / 'model/prediction.safetensors'}",
             "--out", place / "bare", "--store", place / "another-store", "--device", "cpu", "-q")  # fmt: skip
    assert not (place / "bare/pixel_maps").exists()
    (place / "moved.safetensors").rename(place / "teacher.safetensors")


@pytest.mark.parametrize("damage", ["cut", "nan", "negative", "shape", "no facts", "pickle"])
def test_files_that_are_no_maps_are_a_sentence(place, mulde, tmp_path, damage):
    import shutil

    shutil.copytree(place / "run", tmp_path / "run")
    path = tmp_path / "run/pixel_maps/порча/000.npy"
    maps = np.load(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "nan":
        np.save(path, np.full_like(maps, np.nan))
    elif damage == "negative":
        np.save(path, -1 - maps)
    elif damage == "shape":
        np.save(path, maps[..., :8])
    elif damage == "pickle":
        np.save(path, np.array([{}], object), allow_pickle=True)
    else:
        path.with_suffix(".json").unlink()
    code, _, err = mulde("evaluate", "run", "-q")
    assert code == 1
    assert "000" in err
    assert "error:" in err


def test_a_video_without_maps_leaves_the_figures_out_and_is_said(place, mulde, tmp_path):
    import shutil

    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "run/pixel_maps/порча/000.npy").unlink()
    code, _, err = mulde("evaluate", "run")
    assert code == 0
    assert "pixel figures: maps of 6 of 7 labelled videos; none are made" in err
    assert json.loads((tmp_path / "run/metrics.json").read_text())["pixels"] == {}


def test_a_model_without_a_pixel_model_has_no_maps(mulde, tmp_path):
    from fractions import Fraction

    from mulde.media import write_video
    from tests.conftest import moving_square

    for i in range(2):
        write_video(tmp_path / "normal" / f"{i}.mp4", iter(moving_square(20, seed=i)), Fraction(25))
    streams = ("--set", 'features.extractors=["geometry"]', "--set", "density.method=mixture", "-q")
    assert mulde("train", "normal", "--out", "model", "--store", "store", *streams)[0] == 0
    code, _, err = mulde("score", "normal/0.mp4", "--model", "model/model.safetensors", "--pixel-maps", "-q")
    assert code == 2
    assert "--pixel-maps: expected a model with a stream of a pixel model (prediction), got geometry" in err


def test_an_anomalous_image_without_a_mask_leaves_the_figures_out_and_is_said(place, mulde, tmp_path):
    import shutil

    shutil.copytree(place / "run", tmp_path / "run")
    shutil.copytree(place / "cap", tmp_path / "cap")
    next((tmp_path / "cap/ground_truth/порча").glob("*.png")).unlink()
    code, _, err = mulde("evaluate", "run", "--labels", "mvtec-ad:cap")
    assert code == 0, err
    assert "000_mask.png, got no such file. Try: get a full copy; no pixel figures are made" in err
    assert json.loads((tmp_path / "run/metrics.json").read_text())["pixels"] == {}
