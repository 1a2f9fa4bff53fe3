import numpy as np
import pytest
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors

from mulde.density.baselines import MahalanobisDensity, NeighbourDensity
from mulde.density.pyod import PyodDetector
from mulde.density.registry import DENSITIES, build_density
from mulde.errors import FitError, UsageError

TINY = {"hidden": (8,), "steps": 5, "num_scales": 4, "batch_size": 32, "components": 1}


def rows(n=200, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.fixture(params=list(DENSITIES))
def detector(request):
    tiny = TINY if request.param in ("mulde", "msma") else {}
    return PyodDetector(build_density(request.param, **tiny), contamination=0.1)


def test_conventions_hold_for_every_density(detector):
    x, there = rows(), np.concatenate([rows(20, seed=1), rows(20, seed=2) + 50])
    assert detector.fit(x) is detector
    assert detector.decision_scores_.shape == detector.labels_.shape == (200,)
    assert detector.threshold_ == np.percentile(detector.decision_scores_, 90)
    assert detector.labels_.sum() == 20
    assert (detector.labels_ == (detector.decision_scores_ > detector.threshold_)).all()
    scores = detector.decision_function(there)
    assert (scores == detector.density_.anomaly_score(there)).all()
    assert scores[:20].max() < scores[20:].min()
    labels = detector.predict(there)
    assert set(labels.tolist()) == {0, 1}
    assert (labels == (scores > detector.threshold_)).all()
    probability = detector.predict_proba(there)
    assert probability.shape == (40, 2)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    low, high = min(detector.decision_scores_), max(detector.decision_scores_)
    slow = [min(max((score - low) / (high - low), 0), 1) for score in scores]
    np.testing.assert_allclose(probability[:, 1], slow, atol=1e-12)
    assert (clone(detector).fit_predict(x, y=np.zeros(200)) == detector.labels_).all()


def test_the_density_handed_in_stays_as_it_was():
    density = MahalanobisDensity()
    PyodDetector(density).fit(rows())
    assert not hasattr(density, "offset_")


def test_parameters_are_those_of_scikit_learn():
    detector = PyodDetector(NeighbourDensity(), contamination=0.2)
    detector.set_params(density__neighbours=3, contamination=0.3)
    params = detector.get_params()
    assert params["density__neighbours"] == detector.density.neighbours == 3
    assert params["contamination"] == 0.3
    assert clone(detector).get_params()["density__neighbours"] == 3


def test_a_training_row_is_judged_by_the_others():
    """As PyOD's KNN does: by the distance to the nearest other row, not by the 0 to itself."""
    x = rows()
    scaled = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    expected = NearestNeighbors(n_neighbors=2).fit(scaled).kneighbors(scaled)[0][:, 1]
    np.testing.assert_allclose(PyodDetector(NeighbourDensity()).fit(x).decision_scores_, expected, rtol=1e-4)


def test_equal_rows_have_no_outliers():
    detector = PyodDetector(MahalanobisDensity()).fit(np.ones((30, 2)))
    assert detector.labels_.sum() == 0
    assert (detector.predict_proba(np.array([[1.0, 1.0], [9.0, 1.0]])) == [[1, 0], [0, 1]]).all()


@pytest.mark.parametrize("bad", [-0.1, 0.6, "x", None])
def test_bad_contamination_is_refused(bad):
    with pytest.raises(UsageError, match=r"contamination: expected a number from 0 to 0\.5"):
        PyodDetector(MahalanobisDensity(), bad).fit(rows())


def test_a_detector_before_fit_and_after_one_that_failed_says_so():
    detector = PyodDetector(MahalanobisDensity())
    for method in (detector.decision_function, detector.predict, detector.predict_proba):
        with pytest.raises(
            UsageError, match=r"PyodDetector: expected a fitted one, got one before fit\. Try: fit\(X\)"
        ):
            method(rows())
    detector.fit(rows())
    with pytest.raises(FitError):
        detector.fit(rows() * np.nan)
    with pytest.raises(UsageError, match="got one before fit"):
        detector.predict(rows())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("k", [1, 5])
def test_the_same_as_pyod_itself(k):
    knn = pytest.importorskip("pyod.models.knn")
    x, there = rows(), np.concatenate([rows(50, seed=1), rows(50, seed=2) * 4])
    mean, std = x.mean(axis=0), x.std(axis=0, ddof=1)
    theirs = knn.KNN(n_neighbors=k, method="mean", contamination=0.15).fit((x - mean) / std)
    ours = PyodDetector(NeighbourDensity(neighbours=k), contamination=0.15).fit(x)
    scaled = (there - mean) / std
    np.testing.assert_allclose(ours.decision_scores_, theirs.decision_scores_, rtol=1e-4)
    np.testing.assert_allclose(ours.threshold_, theirs.threshold_, rtol=1e-4)
    np.testing.assert_allclose(ours.decision_function(there), theirs.decision_function(scaled), rtol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(there), theirs.predict_proba(scaled), atol=1e-4)
    assert (ours.labels_ == theirs.labels_).all()
    assert ours.labels_.dtype == theirs.labels_.dtype
    assert (ours.predict(there) == theirs.predict(scaled)).all()
