"""The reference of camera health in a bundle: read back equal, refused where it cannot be one."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mulde.errors import BundleError
from mulde.health import Sample, learn_reference, measure, thumbnail
from mulde.pipeline.model.bundle import SCHEMA_VERSION, load_bundle
from mulde.pipeline.model.bundle_file import digest_of
from tests.health.scenes import in_grey, noisy, place, reference_of, shifted

from .test_bundle import VERSION_1, of_version_1


@pytest.fixture(scope="module")
def reference():
    samples = [Sample(n % 4, thumbnail(noisy(place(), n)), is_still=n % 3 == 0) for n in range(12)]
    samples += [Sample(n % 4, thumbnail(noisy(in_grey(place()), n, 0.5))) for n in range(12)]
    return learn_reference(samples)


@pytest.fixture
def saved(reference, tmp_path):
    path = tmp_path / "model.safetensors"
    replace(of_version_1(), health=reference).save(path)
    return path


def test_a_reference_is_the_same_after_it_is_saved(reference, saved):
    again = load_bundle(saved).health
    assert again.still_share == reference.still_share == pytest.approx(1 / 3)
    assert list(again.regimes) == list(reference.regimes) == ["colour", "grey"]
    for name, regime in reference.regimes.items():
        for key in (one.name for one in fields(regime)):
            mine, read = getattr(regime, key), getattr(again.regimes[name], key)
            assert np.asarray(read).dtype == np.asarray(mine).dtype, key
            np.testing.assert_array_equal(read, mine, err_msg=key)
    for image in (place(), shifted(place(), 9, 3), in_grey(place())):
        assert measure(thumbnail(image), again) == measure(thumbnail(image), reference)


def test_a_bundle_without_one_says_so(tmp_path):
    assert load_bundle(VERSION_1).health is None
    path = tmp_path / "model.safetensors"
    of_version_1().save(path)
    assert load_bundle(path).health is None


def test_a_bundle_of_version_3_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    of_version_1().save(path)
    rewrite(path, lambda header, tensors: header.pop("health"), schema=3)
    bundle = load_bundle(path)
    assert bundle.health is None
    assert set(bundle.streams) == {"velocity", "backbone", "geometry", "descriptor"}


def rewrite(path, change, schema=SCHEMA_VERSION):
    """The file with its content changed, and a digest that fits."""
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["mulde"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    header["schema"] = schema
    change(header, tensors)
    text = json.dumps(header)
    save_file(tensors, path, metadata={"mulde": text, "sha256": digest_of(text, tensors)})


def put(key, value):
    def change(header, tensors):
        tensors[f".health/{key}"] = value

    return change


def dropped(key):
    return lambda header, tensors: tensors.pop(f".health/{key}")


def noted(key, value):
    def change(header, tensors):
        header["health"][key] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        dropped("colour/image"),
        dropped("grey/dark"),
        put("colour/more", np.zeros(3, np.float32)),
        put("colour/image", np.zeros((4, 4), np.uint8)),
        put("colour/image", np.zeros((3000, 3000), np.uint8)),
        put("colour/image", np.zeros((120, 200), np.float32)),
        put("colour/edges", np.full((160, 240), 2, np.uint8)),
        put("colour/usual", np.full((6, 9), 2, np.float32)),
        put("colour/usual", np.zeros((2, 2), np.float32)),
        put("colour/background", np.array([np.nan], np.float32)),
        put("colour/lost", np.zeros(20_000, np.float32)),
        noted("regimes", {}),
        noted("regimes", {"purple": {"brightness": 3.0}}),
        noted("regimes", {"colour": {"brightness": 3.0}}),
        noted("still_share", 1.5),
        noted("still_share", "1"),
        lambda header, tensors: header.pop("health"),
    ],
)
def test_what_is_no_reference_is_refused(change, saved):
    rewrite(saved, change)
    with pytest.raises(BundleError, match="model bundle"):
        load_bundle(saved)


def test_a_reference_of_plain_pictures_is_saved_too(tmp_path):
    """Without an edge: nothing can be compared with it."""
    reference = reference_of(np.full((240, 360, 3), (90, 140, 60), np.uint8))
    assert not reference.regimes["colour"].has_view
    replace(of_version_1(), health=reference).save(tmp_path / "plain.safetensors")
    assert not load_bundle(tmp_path / "plain.safetensors").health.regimes["colour"].has_view
