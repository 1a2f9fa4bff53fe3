"""`mulde toy --dmad`: the table against obvious answers, the files, the pictures, the command."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread
from scipy.spatial.distance import cdist, mahalanobis

from mulde.datasets.digits import Digits, DigitSet
from mulde.errors import UsageError
from mulde.pipeline.experiments import digits
from mulde.pipeline.experiments.digits import ANOMALOUS, BENDING, BOTH, ERROR, NAMES, NORMAL, DigitRow, combine, judge
from mulde.progress import Reporter
from mulde.reconstruction.digits import VARIANTS, DigitOptions, DigitReading, score_digits
from mulde.report import digit_plots
from tests.pipeline.experiments.commands import command

TINY = DigitOptions(width=4, num_codes=8, dim=8, pyramid_width=4, steps=4, batch_size=16)
FILES = {"toy.json", "toy.csv", "reconstructions.png", "bending.png"}


def drawn_digits(num_train=240, num_test=60, seed=0):
    """Blobs whose place says which digit they are."""
    generator = np.random.default_rng(seed)

    def part(number):
        labels = np.arange(number).astype(np.uint8) % 10
        generator.shuffle(labels)
        images = generator.integers(0, 40, (number, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 + 2 * label : 8 + 2 * label, 8:20] += 200
        return Digits(images, labels)

    return DigitSet("blobs", part(num_train), part(num_test))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run of the command in small: its folder, what it printed, what was compared and drawn."""
    folder, printed, seen = tmp_path_factory.mktemp("run"), io.StringIO(), {}

    def spy(patch, name):
        before = getattr(digits, name)
        patch.setattr(digits, name, lambda *args: seen.update({name: args}) or before(*args))

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(digits, "small_digits", lambda seed: drawn_digits(seed=seed))
        patch.setattr(digits, "DigitOptions", lambda: TINY)
        for name in ("_compare", "plot_rows", "plot_bending"):
            spy(patch, name)
        patch.chdir(folder)
        assert command(patch, "toy", "--dmad", "--seed", 3, "--device", "cpu", "-q") == 0
    return folder / "toy-dmad", printed.getvalue(), seen


def count_auc(normal, anomalous):
    """The share of pairs in which the anomaly has the higher score."""
    return ((np.sign(anomalous[:, None] - normal) + 1) / 2).mean()


def test_every_figure_is_that_of_pairs_counted(done):
    out, _, seen = done
    nets, samples = seen["_compare"]
    images, labels = samples.test.numpy(), samples.labels
    scores = {
        ("none", "ink"): images.mean(axis=(1, 2, 3)),
        ("none", "nearest image"): cdist(
            images.reshape(60, -1), samples.train.numpy().reshape(len(samples.train), -1)
        ).min(axis=1),
    }
    for variant, net in nets.items():
        read = score_digits(net, samples.test)
        scores[NAMES[variant], ERROR] = read.error.numpy()
        if variant == "deformation":
            scores[NAMES[variant], BENDING] = read.bending_px.numpy()
            scores[NAMES[variant], BOTH] = combine(score_digits(net, samples.heldout), read).numpy()
    rows = json.loads((out / "toy.json").read_text())["rows"]
    assert [(row["network"], row["score"]) for row in rows] == list(scores)
    for row, x in zip(rows, scores.values(), strict=True):
        normal = x[np.isin(labels, NORMAL)]
        assert row["auc"] == pytest.approx(count_auc(normal, x[np.isin(labels, ANOMALOUS)]), abs=1e-9)
        for digit in ANOMALOUS:
            assert row[f"auc_{digit}"] == pytest.approx(count_auc(normal, x[labels == digit]), abs=1e-9)


def test_networks_learn_from_normal_digits_alone(done):
    drawn, (_, samples) = drawn_digits(seed=3), done[2]["_compare"]
    normal = {image.tobytes() for image in drawn.train.those(NORMAL)}
    parts = [
        {np.rint(image[2:-2, 2:-2] * 255).astype(np.uint8).tobytes() for image in part[:, 0].numpy()}
        for part in (samples.train, samples.heldout)
    ]
    assert [len(part) for part in parts] == [108, 12]
    assert parts[0] | parts[1] == normal
    assert all(part.dtype == torch.float32 and part.shape[1:] == (1, 32, 32) for part in (samples.train, samples.test))
    outside = samples.test.clone()
    outside[..., 2:-2, 2:-2] = 0
    assert not outside.any()


def test_both_scores_are_one_by_the_distance_from_held_out_normal_images():
    generator = np.random.default_rng(0)
    heldout, read = (
        DigitReading(*(torch.from_numpy(np.exp(generator.normal(size=n))).float() for _ in range(2))) for n in (50, 7)
    )
    normal, x = (np.log(np.stack([r.error, r.bending_px], axis=1).astype(float)) for r in (heldout, read))
    inverse = np.linalg.inv(np.cov(normal.T))
    expected = [mahalanobis(row, normal.mean(axis=0), inverse) ** 2 for row in x]
    np.testing.assert_allclose(combine(heldout, read).numpy(), expected, rtol=1e-6)


def test_a_field_that_never_bends_adds_nothing():
    error = torch.rand(20, generator=torch.Generator().manual_seed(0)) + 0.1
    none = DigitReading(error, torch.zeros(20))
    apart = error.double().log() - error.double().log().mean()
    np.testing.assert_allclose(combine(none, none).numpy(), (apart / apart.std()).square().numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("memory", "skip", "deformation", "kept"),
    [
        (0.9, 0.7, 0.98, [True, True]),
        (0.9, 0.7, 0.9499, [False, True]),
        (0.9, 0.91, 0.98, [True, False]),
        (0.9, 0.9, 0.96, [True, False]),
        (0.9, 0.95, 0.94, [False, False]),
    ],
)
def test_promises_are_judged_by_the_errors(memory, skip, deformation, kept):
    def row(network, score, auc):
        return DigitRow(network, score, auc, *[0.5] * 5)

    rows = [row(NAMES[k], ERROR, auc) for k, auc in zip(VARIANTS, (memory, skip, deformation), strict=True)]
    promises = judge([row("none", "ink", 0.99), *rows, row(NAMES["deformation"], BENDING, 0.1)])
    assert [promise.kept for promise in promises] == kept
    assert promises[0].found == f"{100 * (deformation - memory):+.2f} points"


def test_files_and_print_agree(done):
    out, printed, _ = done
    assert {path.name for path in out.iterdir()} == FILES
    stored, table = json.loads((out / "toy.json").read_text()), pd.read_csv(out / "toy.csv", keep_default_na=False)
    assert (stored["seed"], stored["device"], stored["data"]) == (3, "cpu", "blobs")
    assert stored["settings"] == json.loads(json.dumps(asdict(TINY)))
    assert stored["num_images"] == {"train": 108, "heldout": 12, "normal": 30, "anomalous": 30}
    assert len(table) == len(stored["rows"]) == 7
    text = " ".join(printed.split())
    assert "AUC in percent on blobs" in text
    assert "learnt from 108 normal digits; 30 normal and 30 anomalous ones to test with" in text
    for row, (_, in_table) in zip(stored["rows"], table.iterrows(), strict=True):
        assert {name: in_table[name] for name in row} == row
        assert all(f"{100 * value:.2f}" in printed for name, value in row.items() if name.startswith("auc"))
    for promise in stored["promises"]:
        assert f"{'met' if promise['kept'] else 'NOT MET'}: {promise['promise']} ({promise['found']})" in text


def test_rows_show_the_first_image_of_each_digit_and_what_became_of_it(done):
    nets, samples = done[2]["_compare"]
    rows, columns, num_normal, _ = done[2]["plot_rows"]
    assert columns == list("1357902468")
    assert num_normal == 5
    first = [int(np.flatnonzero(samples.labels == int(digit))[0]) for digit in columns]
    shown = samples.test[first]
    with torch.no_grad():
        made = {variant: net(shown) for variant, net in nets.items()}
    coarse, fine = made["deformation"].bent
    expected = [shown, made["memory"].output, made["skip"].output, made["deformation"].reference, coarse, fine]
    assert list(rows)[3:] == ["reference", "after coarse bending", "after fine bending"]
    for images, tensor in zip(rows.values(), expected, strict=True):
        np.testing.assert_array_equal(images, tensor[:, 0].numpy())


def test_the_bending_is_drawn_in_pixels(done):
    nets, samples = done[2]["_compare"]
    drawn, _ = done[2]["plot_bending"]
    assert [digit.name for digit in drawn] == ["3, normal", "2, anomalous"]
    for digit, number in zip(drawn, (3, 2), strict=True):
        image = samples.test[samples.labels == number][:1]
        with torch.no_grad():
            made = {NAMES[variant]: net(image) for variant, net in nets.items()}
        full = made[NAMES["deformation"]]
        np.testing.assert_allclose(digit.coarse_px, full.deformation.coarse[0].numpy() * 15.5, atol=1e-5)
        np.testing.assert_allclose(digit.total_px, full.deformation.total()[0].numpy() * 15.5, atol=1e-5)
        for name, errors in digit.errors.items():
            np.testing.assert_allclose(errors, (made[name].output - image).abs()[0, 0].numpy(), atol=1e-5)


def test_pictures_show_what_they_were_given(done, monkeypatch, tmp_path):
    saved = {}
    monkeypatch.setattr(digit_plots, "save", lambda figure, path: saved.update({path.name: figure}))
    rows, columns, num_normal, _ = done[2]["plot_rows"]
    digit_plots.plot_rows(rows, columns, num_normal, tmp_path / "rows.png")
    panels = [axes.images[0].get_array() for axes in saved["rows.png"].axes]
    np.testing.assert_array_equal(panels, np.concatenate(list(rows.values())))
    titles = [axes.get_title() for axes in saved["rows.png"].axes[:10]]
    assert titles == [f"{digit}\n{'normal' if int(digit) % 2 else 'anomalous'}" for digit in columns]
    drawn, _ = done[2]["plot_bending"]
    digit_plots.plot_bending(drawn, tmp_path / "bending.png")
    axes = np.array(saved["bending.png"].axes[:18]).reshape(2, 9)
    for line, digit in zip(axes, drawn, strict=True):
        np.testing.assert_allclose(line[4].images[0].get_array(), np.hypot(*digit.total_px), rtol=1e-6)
        # The third horizontal line is row 4, the first vertical one column 0.
        lines = line[2].lines
        assert len(lines) == 32
        np.testing.assert_allclose(lines[2].get_xdata(), np.arange(32) + digit.coarse_px[0, 4], rtol=1e-5)
        np.testing.assert_allclose(lines[2].get_ydata(), 4 + digit.coarse_px[1, 4], rtol=1e-5)
        np.testing.assert_allclose(lines[16].get_xdata(), digit.coarse_px[0, :, 0], rtol=1e-5)
        np.testing.assert_allclose(line[3].lines[2].get_ydata(), 4 + digit.total_px[1, 4], rtol=1e-5)
        assert line[2].axis() == line[1].axis()  # what is bent out of the image does not move it


def test_pictures_are_written_and_show_something(done):
    for name in ("reconstructions.png", "bending.png"):
        picture = imread(done[0] / name)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.05, name


def test_idx_files_are_taken_where_a_folder_is_named(tmp_path, monkeypatch, capsys):
    drawn, folder = drawn_digits(), tmp_path / "mnist"
    folder.mkdir()
    for part, content in (("train", drawn.train), ("t10k", drawn.test)):
        for kind, array in (("images-idx3", content.images), ("labels-idx1", content.labels)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())
    monkeypatch.setattr(digits, "DigitOptions", lambda: TINY)
    options = ("--digits", folder, "--out", tmp_path / "out", "--seed", 3, "--device", "cpu")
    assert command(monkeypatch, "toy", "--dmad", *options) == 0
    said = capsys.readouterr()
    assert "scikit-learn" not in said.err
    assert "train: memory, deformation: " in said.err
    stored = json.loads((tmp_path / "out" / "toy.json").read_text())
    assert stored["data"] == f"the IDX files of {folder}"
    again = digits.run_digits(
        tmp_path / "again", folder=folder, seed=3, device="cpu", reporter=Reporter(quiet=True), options=TINY
    )
    assert stored["rows"] == [asdict(row) for row in again.rows]


def test_that_digits_of_scikit_learn_are_taken_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(digits, "small_digits", lambda seed: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        digits.run_digits(tmp_path / "out", folder=None, seed=0, device="cpu", reporter=Reporter())
    assert capsys.readouterr().err.count("taking the small digits of scikit-learn") == 1


def test_too_few_digits_are_refused(monkeypatch, tmp_path):
    def run(found):
        monkeypatch.setattr(digits, "small_digits", lambda seed: found)
        digits.run_digits(tmp_path / "out", folder=None, seed=0, device="cpu", reporter=Reporter(quiet=True))

    with pytest.raises(UsageError, match=r"\(1 3 5 7 9\) to learn from: expected at least 100, got 95"):
        run(drawn_digits(num_train=190))
    with pytest.raises(UsageError, match="nothing to test with: expected each digit at least once, got no "):
        run(drawn_digits(num_test=9))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dmad", "--columns", "64"], "--columns has no effect with --dmad"),
        (["--dmad", "--rows", "100"], "--rows has no effect with --dmad"),
        (["--dmad", "--preset", "fast"], "--preset has no effect with --dmad"),
        (["--digits", "x"], "--digits: expected --dmad beside it, got --digits alone"),
        (["--dmad", "--digits", "nowhere"], "nowhere: expected a folder with the four IDX files of MNIST, got nothing"),
        (["--dmad", "--device", "cuda:9"], "device 'cuda:9' cannot be used"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_done(monkeypatch, capsys, tmp_path, options, says):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, "toy", *options) in (1, 2)
    assert says in " ".join(capsys.readouterr().err.split())
    (tmp_path / "file").touch()
    assert command(monkeypatch, "toy", "--dmad", "--out", tmp_path / "file") == 2
    assert "expected a folder, or nothing yet, got a file" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
