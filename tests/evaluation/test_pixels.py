"""Pixel figures against scikit-learn and against loops over thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from mulde.errors import LabelError
from mulde.evaluation.pixels import PixelCounts


def images(seed=0, count=5, levels=None):
    """Maps and masks of two squares each; every third image is normal."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for number in range(count):
        mask = np.zeros((24, 32), bool)
        if number % 3 != 2:
            mask[2:7, 3 : 8 + number] = mask[14:18, 20:24] = True
        raw = rng.gamma(2.0, 1.0, mask.shape) + mask * rng.uniform(0, 2)
        maps.append((np.round(raw * levels) / levels if levels else raw).astype(np.float16))
        masks.append(mask)
    return maps, masks


def counted(maps, masks):
    counts = PixelCounts()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        counts.add(anomaly_map, mask if mask.any() else None)
    return counts.figures()


@pytest.mark.parametrize("levels", [None, 4, 1])
def test_auc_and_precision_are_those_of_scikit_learn(levels):
    maps, masks = images(levels=levels)
    truth, scores = np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])
    found = counted(maps, masks)
    assert found.pixel_auc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found.average_precision == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert found.average_precision_chance == pytest.approx(truth.mean())
    assert (found.num_images, found.num_regions) == (5, 8)


@pytest.mark.parametrize("levels", [None, 4])
def test_overlap_is_that_of_a_loop_over_thresholds(levels):
    maps, masks = images(levels=levels)
    regions = [(i, component) for i, mask in enumerate(masks) for component in _components(mask)]
    false, overlap = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]:
        flagged = [m >= threshold for m in maps]
        normal = np.concatenate([f[~mask] for f, mask in zip(flagged, masks, strict=True)])
        false.append(normal.mean())
        overlap.append(np.mean([flagged[i][component].mean() for i, component in regions]))
    x = np.linspace(0, 0.3, 300_001)
    expected = np.trapezoid(np.interp(x, false, overlap), x) / 0.3
    assert counted(maps, masks).pro == pytest.approx(expected, abs=1e-5)


def _components(mask):
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return [labels == number for number in range(1, count + 1)]


def test_a_perfect_map_has_all_and_a_constant_one_has_chance():
    _, masks = images()
    best = counted([mask.astype(np.float16) for mask in masks], masks)
    assert (best.pixel_auc, best.average_precision, best.pro) == (1, 1, 1)
    nothing = counted([np.ones(mask.shape, np.float16) for mask in masks], masks)
    assert nothing.pixel_auc == 0.5
    assert nothing.average_precision == pytest.approx(nothing.average_precision_chance)
    assert nothing.pro == pytest.approx(0.15)  # the diagonal up to 0.3, over 0.3


def test_a_small_region_counts_as_much_as_a_large_one():
    mask = np.zeros((20, 20), bool)
    mask[0, 0] = mask[5:15, 5:15] = True
    anomaly_map = np.zeros(mask.shape, np.float16)
    anomaly_map[0, 0] = 1
    found = counted([anomaly_map], [mask])
    assert found.pro == pytest.approx((0.5 + 0.5 * 0.15 + 0.0), abs=1e-12)  # half, and half along the diagonal


def test_figures_are_undefined_without_anomalous_or_normal_pixels():
    blank = np.zeros((4, 4), np.float16)
    assert counted([blank], [np.zeros((4, 4), bool)]).pixel_auc is None
    whole = counted([blank], [np.ones((4, 4), bool)])
    assert (whole.pixel_auc, whole.average_precision, whole.pro) == (None, None, None)
    assert PixelCounts().figures().num_images == 0


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(LabelError, match=r"expected the size of its map, \(4, 4\), got \(4, 5\)"):
        PixelCounts().add(np.zeros((4, 4), np.float16), np.ones((4, 5), bool))
