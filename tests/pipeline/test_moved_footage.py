"""A video that does not look where the training footage looked is scored, and that is said."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

import mulde
from mulde.media import write_video
from mulde.pipeline.model.bundle import load_bundle
from tests.api_world import QUICK, frames_of, write_small_world
from tests.health.scenes import blurred, shifted
from tests.test_cli import run_main

SAID = "its scores may mean little"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("moved")
    write_small_world(root / "world")
    images = [image for image, _ in frames_of(root / "world/test/test01.mp4")]
    changes = {
        "same": lambda n, image: image,
        "moved": lambda n, image: shifted(image, 20, 9),
        "soft": lambda n, image: blurred(image, 3),
        "late": lambda n, image: shifted(image, 20, 9) if n > 35 else image,
    }
    for name, change in changes.items():
        (root / name).mkdir()
        frames = (change(n, image) for n, image in enumerate(images))
        write_video(root / name / f"{name}.mkv", frames, Fraction(25), crf=10)
    mulde.train(root / "world/train", settings=QUICK, store=root / "store").save(root / "model.safetensors")
    return root


def score(world, name, tmp_path, capsys, *words):
    capsys.readouterr()
    run_main(
        "score", world / name, "--model", world / "model.safetensors", "--out", tmp_path / "run",
        "--store", world / "store", "--device", "cpu", *words,
    )  # fmt: skip
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    return " ".join(capsys.readouterr().err.split()), json.dumps(record)


@pytest.mark.parametrize(
    ("name", "said"),
    [("same", ""), ("moved", "the picture has moved by 49 px of 360, in 12 of 12 pictures"),
     ("soft", "the picture is blurred, in 12 of 12 pictures"), ("late", "")],
)  # fmt: skip
def test_where_a_video_looks_is_said(name, said, world, tmp_path, capsys):
    output, record = score(world, name, tmp_path, capsys)
    assert (SAID in output) == bool(said)
    assert said in output
    assert said in record


def test_it_is_not_said_where_nobody_wants_it(world, tmp_path, capsys):
    output, _ = score(world, "moved", tmp_path, capsys, "--set", "health.compare=false")
    assert SAID not in output


def test_a_model_without_pictures_has_no_reference(world, tmp_path):
    settings = {**QUICK, "health.pictures": 0}
    mulde.train(world / "world/train", settings=settings, store=world / "store").save(tmp_path / "bare.safetensors")
    assert load_bundle(tmp_path / "bare.safetensors").health is None
    assert load_bundle(world / "model.safetensors").health.regimes["colour"].has_view


def test_training_twice_gives_the_same_reference(world, tmp_path):
    mulde.train(world / "world/train", settings=QUICK, store=world / "store").save(tmp_path / "again.safetensors")
    one, other = (load_bundle(path) for path in (world / "model.safetensors", tmp_path / "again.safetensors"))
    assert one.sha256 == other.sha256
