"""`mulde toy --dmad`: what a memory, a skip and a deformation make of normal and of anomalous digits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mulde import __version__
from mulde.datasets.digits import DigitSet, read_digits, small_digits
from mulde.devices import choose_device
from mulde.errors import UsageError
from mulde.evaluation.metrics import roc_auc
from mulde.files import write_json
from mulde.pipeline.experiments.toy import check_out, write_rows
from mulde.pipeline.experiments.toy_comparison import Promise
from mulde.progress import Reporter
from mulde.reconstruction.digits import (
    SIDE,
    VARIANTS,
    DigitNet,
    DigitOptions,
    DigitReading,
    Reconstruction,
    score_digits,
    train_digits,
)
from mulde.records import Float32, UInt8
from mulde.report.digit_plots import BentDigit, plot_bending, plot_rows

NORMAL, ANOMALOUS = (1, 3, 5, 7, 9), (0, 2, 4, 6, 8)
NAMES = {"memory": "memory only", "skip": "memory, skip", "deformation": "memory, deformation"}
"""Of `VARIANTS`, as tables and pictures show them."""
SHOWN = (3, 2)
"""The normal and the anomalous digit whose bending is drawn."""
ERROR, BENDING, BOTH = "error", "deformation", "error and deformation"
_HELDOUT_SHARE, _MAX_HELDOUT, _MIN_TRAIN = 0.1, 1_000, 100
_MIN_GAP = 0.05
_AT_ONCE = 500


@dataclass(frozen=True)
class DigitRow:
    """AUC of one score: over all anomalous digits, and over the images of each alone against all normal ones."""

    network: str
    score: str
    auc: float
    auc_0: float
    auc_2: float
    auc_4: float
    auc_6: float
    auc_8: float


@dataclass(frozen=True)
class DigitComparison:
    """Where the digits are from, a row per score, and whether the deformation does what it is for."""

    data: str
    num_images: dict[str, int]
    rows: list[DigitRow]
    promises: list[Promise]


@dataclass(frozen=True)
class _Samples:
    """Images (N, 1, 32, 32) from 0 to 1: normal ones to learn from, held-out normal ones, and all to test with."""

    train: Tensor
    heldout: Tensor
    test: Tensor
    labels: UInt8


def run_digits(
    out: Path,
    *,
    folder: Path | None,
    seed: int,
    device: str,
    reporter: Reporter,
    options: DigitOptions | None = None,
) -> DigitComparison:
    """Train the three networks on normal digits alone, in the same steps; write toy.json, toy.csv, reconstructions.png
    and bending.png into `out`.

    folder: with the four IDX files of MNIST; None takes scikit-learn's digits. Raises UsageError for an unknown device,
    an `out` that is a file and too few digits, and what `read_digits` raises.
    """
    check_out(out)
    device, options, start = choose_device(device), options or DigitOptions(), time.perf_counter()
    if folder is None:
        reporter.say("no --digits given: taking the small digits of scikit-learn; MNIST makes a better picture")
    digits = small_digits(seed) if folder is None else read_digits(folder)
    samples = _draw_samples(digits, seed)
    nets = {variant: _train(variant, samples, options, seed, device, reporter) for variant in VARIANTS}
    train_s = time.perf_counter() - start
    reporter.say("scoring and drawing")
    rows = _compare(nets, samples)
    _draw_rows(nets, samples, out / "reconstructions.png")
    _draw_bending(nets, samples, out / "bending.png")
    numbers = {
        "train": len(samples.train),
        "heldout": len(samples.heldout),
        "normal": int(np.isin(samples.labels, NORMAL).sum()),
        "anomalous": int(np.isin(samples.labels, ANOMALOUS).sum()),
    }
    comparison = DigitComparison(digits.name, numbers, rows, judge(rows))
    facts = {
        "versions": {"mulde": __version__, "torch": torch.__version__, "numpy": np.__version__},
        "seed": seed,
        "device": device,
        "settings": asdict(options),
        "wall_time_s": {"train": round(train_s, 3), "all": round(time.perf_counter() - start, 3)},
    }
    write_json(out / "toy.json", {**facts, **asdict(comparison)})
    write_rows(rows, out / "toy.csv")
    reporter.say(f"figures: {out / 'toy.json'}; pictures: {out}/*.png")
    return comparison


def _draw_samples(digits: DigitSet, seed: int) -> _Samples:
    """A tenth of the normal digits to learn from, at most 1,000, drawn by `seed`, is held out."""
    normal = digits.train.those(NORMAL)
    if len(normal) < _MIN_TRAIN:
        raise UsageError(
            f"{digits.name}: too few normal digits ({_in_words(NORMAL)}) to learn from",
            expected=f"at least {_MIN_TRAIN}",
            got=len(normal),
        )
    for digit in (*NORMAL, *ANOMALOUS):
        if not len(digits.test.those((digit,))):
            raise UsageError(
                f"{digits.name}: nothing to test with", expected="each digit at least once", got=f"no {digit}"
            )
    order = np.random.default_rng(seed).permutation(len(normal))
    num_heldout = min(_MAX_HELDOUT, round(_HELDOUT_SHARE * len(normal)))
    heldout, train = normal[order[:num_heldout]], normal[order[num_heldout:]]
    return _Samples(_as_input(train), _as_input(heldout), _as_input(digits.test.images), digits.test.labels)


def _in_words(digits: tuple[int, ...]) -> str:
    return " ".join(map(str, digits))


def _as_input(images: UInt8) -> Tensor:
    """(N, 28, 28) bytes as the networks take them: from 0 to 1, with paper around."""
    margin = (SIDE - images.shape[1]) // 2
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)))
    return torch.from_numpy(padded[:, None].astype(np.float32) / 255)


def _train(
    variant: str, samples: _Samples, options: DigitOptions, seed: int, device: str, reporter: Reporter
) -> DigitNet:
    with reporter.bar(f"train: {NAMES[variant]}", options.steps, "steps") as advance:

        def progress(error: float) -> None:
            advance(1, status=f"squared error {error:.4f}")

        return train_digits(variant, samples.train, options, seed=seed, device=device, progress=progress)


def _compare(nets: Mapping[str, DigitNet], samples: _Samples) -> list[DigitRow]:
    """What never learns first: the ink of an image, and how far it is from the nearest image to learn from."""
    rows = [
        _row("none", "ink", samples.test.mean(dim=(1, 2, 3)), samples.labels),
        _row("none", "nearest image", _distances(samples.test, samples.train), samples.labels),
    ]
    for variant, net in nets.items():
        read = score_digits(net, samples.test)
        rows.append(_row(NAMES[variant], ERROR, read.error, samples.labels))
        if read.bending_px is not None:
            both = combine(score_digits(net, samples.heldout), read)
            rows.append(_row(NAMES[variant], BENDING, read.bending_px, samples.labels))
            rows.append(_row(NAMES[variant], BOTH, both, samples.labels))
    return rows


def combine(heldout: DigitReading, read: DigitReading) -> Tensor:
    """Both scores as one, weighed by held-out normal images alone: how unlikely the logarithms of error and deformation
    are under a Gaussian fitted to theirs (the squared Mahalanobis distance)."""
    normal, x = (_logarithms(reading) for reading in (heldout, read))  # (N, 2)
    apart = x - normal.mean(dim=0)
    inverse: Tensor = torch.linalg.pinv(torch.cov(normal.T), hermitian=True)
    return (apart @ inverse * apart).sum(dim=1)


def _logarithms(read: DigitReading) -> Tensor:
    assert read.bending_px is not None
    return torch.stack([read.error, read.bending_px], dim=1).double().clamp_min(1e-12).log()


def _distances(images: Tensor, others: Tensor) -> Tensor:
    """Of each image (N, 1, H, W), the distance to the nearest of the others."""
    rows = others.flatten(1)
    return torch.cat([torch.cdist(part.flatten(1), rows).amin(dim=1) for part in torch.split(images, _AT_ONCE)])


def _row(network: str, score: str, values: Tensor, labels: UInt8) -> DigitRow:
    normal = np.isin(labels, NORMAL)

    def auc(digits: tuple[int, ...]) -> float:
        anomalous = np.isin(labels, digits)
        counted = normal | anomalous
        share = roc_auc(values.double().numpy()[counted], anomalous[counted])
        assert share is not None  # every digit is there
        return share

    return DigitRow(network, score, auc(ANOMALOUS), *(auc((digit,)) for digit in ANOMALOUS))


def judge(rows: list[DigitRow]) -> list[Promise]:
    """Whether the deformation is what makes the difference, by the AUC of the errors."""
    memory, skip, deformation = (
        next(row.auc for row in rows if (row.network, row.score) == (NAMES[variant], ERROR)) for variant in VARIANTS
    )
    return [
        Promise(
            f"AUC of the error with deformation at least {100 * _MIN_GAP:g} points above that of the memory alone",
            f"{100 * (deformation - memory):+.2f} points",
            deformation - memory >= _MIN_GAP,
        ),
        Promise(
            "AUC of the error with a skip the lowest",
            f"{100 * skip:.2f}, the others {100 * min(memory, deformation):.2f} and above",
            skip < min(memory, deformation),
        ),
    ]


def _first(labels: UInt8, digit: int) -> int:
    """The first test image of a digit."""
    return int(np.flatnonzero(labels == digit)[0])


@torch.no_grad()
def _reconstruct(net: DigitNet, images: Tensor) -> Reconstruction:
    made: Reconstruction = net(images.to(next(net.parameters()).device))
    return made


def _picture(images: Tensor) -> Float32:
    """The only channel of images (N, 1, H, W)."""
    pixels: Float32 = images[:, 0].cpu().numpy()
    return pixels


def _draw_rows(nets: Mapping[str, DigitNet], samples: _Samples, path: Path) -> None:
    """The first test image of each digit, and what each network makes of it."""
    shown = samples.test[[_first(samples.labels, digit) for digit in (*NORMAL, *ANOMALOUS)]]
    full = _reconstruct(nets["deformation"], shown)
    rows = {
        "input": shown,
        NAMES["memory"]: _reconstruct(nets["memory"], shown).output,
        NAMES["skip"]: _reconstruct(nets["skip"], shown).output,
        "reference": full.reference,
        "after coarse bending": full.bent[0],
        "after fine bending": full.bent[1],
    }
    columns = [str(digit) for digit in (*NORMAL, *ANOMALOUS)]
    plot_rows({name: _picture(images) for name, images in rows.items()}, columns, len(NORMAL), path)


def _draw_bending(nets: Mapping[str, DigitNet], samples: _Samples, path: Path) -> None:
    """The first test images of `SHOWN`."""
    images = samples.test[[_first(samples.labels, digit) for digit in SHOWN]]
    made = {variant: _reconstruct(net, images) for variant, net in nets.items()}
    full, pixel = made["deformation"], (SIDE - 1) / 2
    assert full.deformation is not None
    coarse, total = ((pixel * field).cpu().numpy() for field in (full.deformation.coarse, full.deformation.total()))
    errors = {NAMES[name]: np.abs(_picture(one.output) - _picture(images)) for name, one in made.items()}
    plot_bending(
        [
            BentDigit(
                name=f"{digit}, {'normal' if digit in NORMAL else 'anomalous'}",
                image=_picture(images)[i],
                reference=_picture(full.reference)[i],
                output=_picture(full.output)[i],
                coarse_px=coarse[i],
                total_px=total[i],
                errors={name: error[i] for name, error in errors.items()},
            )
            for i, digit in enumerate(SHOWN)
        ],
        path,
    )
